//! Processes: starting them, signalling them, learning of their end. The one room with `unsafe`,
//! and its closet [`verdicts`].
//!
//! Between `fork` and `execve` a child of a process that may have threads can do next to nothing: no
//! allocation, no lock, no panic. Whatever needs more is prepared by the parent, in buffers that are
//! used again for every spawn, and [`Plan::run`] is all that the child does. The parent never waits for
//! it. A child that cannot become the program leaves the reason in a page that it shares with the
//! parent, one word for each spawn, and ends; who reaps it asks [`Spawner::outcome`] for the reason.
#![expect(unsafe_code, reason = "fork and what may be done in a forked child have no safe form")]

pub(crate) use interrupt::arm_interrupt;
pub(crate) use verdicts::Ticket;

use super::{
    facts,
    given::{FIRST_FD, Given, Variable},
    program::{Kind, Program, Strings, spawn_error},
};
use crate::fsm::{
    action::Scope,
    event::{ExitStatus, SpawnError, SpawnStage},
    id::{Errno, Pid},
    signal::Signal,
};
use log::debug;
use nix::{
    errno::Errno as Sys,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open},
    libc::{self, c_char, c_int},
    sys::{
        signal::{self, SigSet},
        stat::Mode,
    },
    unistd::{self, ForkResult},
};
use std::{
    os::{
        fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    ptr,
    sync::atomic::AtomicU64,
};
use verdicts::Verdicts;

/// Signals are numbered from 1 to this, signal(7).
const LAST_SIGNAL: c_int = 64;

/// The size of the kernel's set of signals, in bytes.
const SIGNAL_SET_SIZE: usize = 8;

/// How far descriptors are closed one by one where the kernel lacks close_range(2) (Linux before 5.9).
const CLOSE_BY_HAND: RawFd = 4096;

/// A process that was made; it may not have become the program yet.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its process id, which is also that of its process group.
    pub(crate) pid: Pid,
    /// To be turned in with [`Spawner::outcome`] when it was reaped.
    pub(crate) ticket: Ticket,
}

/// Starts programs.
#[derive(Debug)]
pub(crate) struct Spawner {
    null: OwnedFd,
    verdicts: Verdicts,
    variables: Strings,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    sockets: Vec<RawFd>,
    /// Signals that do not have their default effect here.
    signals: Vec<c_int>,
}

impl Spawner {
    /// Opens what all children share.
    pub(crate) fn new() -> Result<Self, Errno> {
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).map_err(errno)?;
        Ok(Self {
            null,
            verdicts: Verdicts::default(),
            variables: Strings::default(),
            arguments: Vec::new(),
            environment: Vec::new(),
            sockets: Vec::new(),
            signals: Vec::new(),
        })
    }

    /// Makes a process that becomes `program`. Returns as soon as it exists.
    pub(crate) fn spawn<'v>(
        &mut self,
        program: &Program,
        given: Given<'_, impl IntoIterator<Item = Variable<'v>>>,
    ) -> Result<Child, SpawnError> {
        self.variables.clear();
        for Variable { name, value } in given.variables {
            let variable = [name.as_bytes(), b"=", value.as_bytes()];
            self.variables.push(&variable).map_err(|errno| spawn_error(SpawnStage::Exec, errno))?;
        }
        self.sockets.clear();
        self.sockets.extend(given.sockets.iter().map(AsRawFd::as_raw_fd));
        self.start(program)
    }

    fn start(&mut self, program: &Program) -> Result<Child, SpawnError> {
        let failed = |errno| spawn_error(SpawnStage::Fork, errno);
        // A variable that the child must set itself, such as its own pid, can be written in place
        // here: the child has its own copy of this memory.
        let environment = program.environment().chain(self.variables.pointers());
        fill(&mut self.environment, environment);
        fill(&mut self.arguments, program.arguments().pointers());
        if self.signals.is_empty() {
            // Once: by the first start every handler is in place, and SIGPIPE is ignored at least.
            self.signals.extend((1..=LAST_SIGNAL).filter(|number| !is_default(*number)));
        }
        let count = RawFd::try_from(self.sockets.len()).map_err(|_| failed(Sys::EMFILE))?;
        let ticket = self.verdicts.take().map_err(failed)?;
        let Some(verdict) = self.verdicts.word(&ticket) else { return Err(failed(Sys::EINVAL)) };
        let plan = Plan {
            verdict,
            null: self.null.as_raw_fd(),
            directory: program.directory().map(|directory| directory.as_raw_fd()),
            sockets: &mut self.sockets,
            signals: &self.signals,
            end: FIRST_FD.saturating_add(count),
            executable: program.executable().as_ptr(),
            displaced: program.displaced().map(|(file, kind)| (file.as_raw_fd(), kind)),
            arguments: &self.arguments,
            environment: &self.environment,
        };
        match plan.fork() {
            Ok(pid) => Ok(Child { pid, ticket }),
            Err(errno) => {
                self.verdicts.give_back(ticket);
                Err(failed(errno))
            }
        }
    }

    /// Why a child did not become the program; `None` if it did. Ask once, after it was reaped.
    pub(crate) fn outcome(&mut self, ticket: Ticket) -> Option<SpawnError> {
        self.verdicts.give_back(ticket)
    }
}

/// An array of pointers with the null at its end that execve(2) wants.
fn fill(array: &mut Vec<*const c_char>, pointers: impl Iterator<Item = *const c_char>) {
    array.clear();
    array.extend(pointers);
    array.push(ptr::null());
}

/// All that a child needs to know, ready before it is made.
struct Plan<'a> {
    verdict: &'a AtomicU64,
    null: RawFd,
    /// What to change to, if the child is not there from the beginning.
    directory: Option<RawFd>,
    sockets: &'a mut [RawFd],
    signals: &'a [c_int],
    /// The first descriptor behind the sockets' places.
    end: RawFd,
    executable: *const c_char,
    /// The executable's own descriptor, if its name leads elsewhere by now.
    displaced: Option<(RawFd, Kind)>,
    arguments: &'a [*const c_char],
    environment: &'a [*const c_char],
}

impl Plan<'_> {
    /// Makes the child. Signals wait meanwhile: a handler of ours must not run in it.
    fn fork(self) -> Result<Pid, Sys> {
        let mask = SigSet::all().thread_swap_mask(signal::SigmaskHow::SIG_SETMASK)?;
        // SAFETY: the child calls `run` and nothing else, which keeps to async-signal-safe functions.
        let forked = unsafe { unistd::fork() };
        if let Ok(ForkResult::Child) = forked {
            self.run()
        }
        if let Ok(ForkResult::Parent { child }) = forked {
            // The child does the same. Whoever comes first, its group exists before anybody can want
            // to signal it. Fails if the child is past execve or gone: then it has done it.
            let _ = unistd::setpgid(child, child);
        }
        // Cannot fail: it was valid before.
        let _ = mask.thread_set_mask();
        match forked? {
            ForkResult::Parent { child } => Ok(known(child)),
            ForkResult::Child => Err(Sys::EINVAL),
        }
    }

    /// The child's whole life before the program.
    fn run(mut self) -> ! {
        let (stage, errno) = match self.prepare() {
            Ok(()) => {
                self.become_program();
                (SpawnStage::Exec, Sys::last())
            }
            Err(failure) => failure,
        };
        verdicts::leave(self.verdict, stage, errno);
        let status = spawn_error(stage, errno).exit_code().unwrap_or(126);
        // SAFETY: ends the process at once, without running anything that belongs to the parent.
        unsafe { libc::_exit(c_int::from(status)) }
    }

    /// Returns only if that fails.
    fn become_program(&self) {
        let (arguments, environment) = (self.arguments.as_ptr(), self.environment.as_ptr());
        match self.displaced {
            // SAFETY: the path is a C string, both arrays end with a null pointer and point to C
            // strings; their owners, the program and the spawner, are not touched in the child.
            None => unsafe { libc::execve(self.executable, arguments, environment) },
            // SAFETY: as above. The system call itself: not every C library has a wrapper for it.
            Some(_) => unsafe {
                let flags = libc::AT_EMPTY_PATH;
                libc::syscall(libc::SYS_execveat, self.end, c"".as_ptr(), arguments, environment, flags)
                    as c_int
            },
        };
    }

    fn prepare(&mut self) -> Result<(), (SpawnStage, Sys)> {
        let itself = unistd::Pid::from_raw(0);
        unistd::setpgid(itself, itself).map_err(|errno| (SpawnStage::Setpgid, errno))?;
        // Before signals are let in: a handler of the parent's must not run here. And `execve` keeps
        // what is ignored ignored.
        self.signals.iter().copied().for_each(default_signal);
        if let Some(directory) = self.directory {
            unistd::fchdir(borrow(directory)).map_err(|errno| (SpawnStage::Chdir, errno))?;
        }
        self.hand_over().map_err(|errno| (SpawnStage::Files, errno))?;
        SigSet::empty().thread_set_mask().map_err(|errno| (SpawnStage::Signals, errno))
    }

    /// Puts every descriptor where it belongs, and closes all others.
    fn hand_over(&mut self) -> Result<(), Sys> {
        place(self.null, libc::STDIN_FILENO)?;
        // Out of the way of everything that is placed below.
        let executable = match self.displaced {
            Some((file, kind)) => {
                let beyond = self.end.saturating_mul(2).saturating_add(1);
                Some((fcntl(borrow(file), FcntlArg::F_DUPFD_CLOEXEC(beyond))?, kind))
            }
            None => None,
        };
        // What stands where a socket is to go would be lost before it is placed itself.
        for (source, target) in self.sockets.iter_mut().zip(FIRST_FD..) {
            if *source < self.end && *source != target {
                *source = fcntl(borrow(*source), FcntlArg::F_DUPFD_CLOEXEC(self.end))?;
            }
        }
        for (source, target) in self.sockets.iter().zip(FIRST_FD..) {
            place(*source, target)?;
        }
        match executable {
            Some((file, kind)) => {
                place(file, self.end)?;
                if kind == Kind::Binary {
                    fcntl(borrow(self.end), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
                }
                close_from(self.end.saturating_add(1));
            }
            None => close_from(self.end),
        }
        Ok(())
    }
}

/// Duplicates a descriptor to a number; the duplicate stays open in the program.
fn place(source: RawFd, target: RawFd) -> Result<(), Sys> {
    // SAFETY: dup2 and fcntl take any numbers; the parent's owners of descriptors do not exist in the
    // child, where alone this is called.
    let done = unsafe {
        if source == target { libc::fcntl(source, libc::F_SETFD, 0) } else { libc::dup2(source, target) }
    };
    Sys::result(done).map(drop)
}

fn close_from(first: RawFd) {
    // SAFETY: as in `place`. The system call itself: the C library's wrapper is younger than it.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, c_int::MAX, 0) };
    if done != 0 {
        close_by_hand(first);
    }
}

fn close_by_hand(first: RawFd) {
    for fd in first..CLOSE_BY_HAND {
        // SAFETY: as in `place`.
        unsafe { libc::close(fd) };
    }
}

/// A descriptor of the child's.
fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the number comes from an owner in the parent that outlives the fork; in the child
    // nothing closes it before the last use.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// The kernel's own structure for what a signal does, whatever its layout. All zero it means SIG_DFL, no
/// flags and nothing blocked.
type KernelAction = [u64; 8];

/// Gives a signal its default effect. Fails harmlessly for KILL and STOP.
///
/// By the system call itself: the C library's `sigaction` refuses the two signals it keeps for its
/// threads, and those are inherited like all others.
fn default_signal(number: c_int) {
    let default: KernelAction = [0; 8];
    // SAFETY: reads no more than `default`. No handler is installed.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            default.as_ptr(),
            ptr::null_mut::<u64>(),
            SIGNAL_SET_SIZE,
        )
    };
}

/// Whether a signal has its default effect. A child need not set it then, which is most of what it would
/// have to do.
fn is_default(number: c_int) -> bool {
    let mut action: KernelAction = [0; 8];
    // SAFETY: writes no more than `action`, which is larger than any kernel's structure.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            ptr::null::<u64>(),
            action.as_mut_ptr(),
            SIGNAL_SET_SIZE,
        )
    };
    action.iter().all(|word| *word == 0)
}

/// What whoever started the supervisor wants of SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// Nothing in particular: it is an order like others.
    Obeyed,
    /// To be left alone, as by nohup(1): the supervisor ignores it. Workers have the default all the same.
    Ignored,
}

/// Undoes what whoever started the supervisor may have left behind: an ignored SIGCHLD would have the
/// kernel reap our children, and blocked signals would never arrive. To be called before anything else.
/// Returns the one thing that is left as it was.
///
/// What Rust has set up for itself stays: SIGPIPE ignored, so that a closed pipe is an error of the
/// write, and the guards against stack overflow. So does what the C library may have (32 and 33). A file
/// that is at its limit (`ulimit -f`) is an error of the write as well.
pub(crate) fn reset_signals_at_start() -> Hangup {
    // No handler outlives an exec, execve(2): what has not its default effect is ignored.
    let hangup = if is_default(libc::SIGHUP) { Hangup::Obeyed } else { Hangup::Ignored };
    let kept = [libc::SIGPIPE, libc::SIGSEGV, libc::SIGBUS, 32, 33];
    let ignored = |number: &c_int| hangup == Hangup::Ignored && *number == libc::SIGHUP;
    (1..=LAST_SIGNAL).filter(|number| !kept.contains(number) && !ignored(number)).for_each(default_signal);
    // SAFETY: no handler. Ignoring it cannot fail.
    let _ = unsafe { signal::signal(signal::SIGXFSZ, signal::SigHandler::SigIgn) };
    let _ = SigSet::empty().thread_set_mask();
    hangup
}

/// Makes sure that descriptors 0 to 2 exist, so that nothing else takes their place and is written to
/// as standard error. They stay open in workers.
pub(crate) fn open_standard_fds() -> Result<(), Errno> {
    loop {
        // The lowest free number is taken.
        let fd = open("/dev/null", OFlag::O_RDWR, Mode::empty()).map_err(errno)?;
        if fd.as_raw_fd() > libc::STDERR_FILENO {
            return Ok(());
        }
        let _ = fd.into_raw_fd();
    }
}

/// A child that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reaped {
    /// Which. Possibly a stranger: process 1 and subreapers inherit children.
    pub(crate) pid: Pid,
    /// How.
    pub(crate) status: ExitStatus,
}

/// Reaps one child that has ended, if there is one. To be repeated until there is none.
pub(crate) fn reap() -> Option<Reaped> {
    reap_one(-1)
}

/// `selector` as in waitpid(2).
fn reap_one(selector: libc::pid_t) -> Option<Reaped> {
    // Not nix's `waitpid`: that is an error when a real-time signal ended the child, which is gone then.
    let mut status: c_int = 0;
    loop {
        // SAFETY: `status` is a valid place for the answer.
        match Sys::result(unsafe { libc::waitpid(selector, &raw mut status, libc::WNOHANG) }) {
            Ok(0) => return None,
            Ok(pid) => {
                return Some(Reaped { pid: known(unistd::Pid::from_raw(pid)), status: decode(status) });
            }
            Err(Sys::EINTR) => {}
            Err(_) => return None,
        }
    }
}

fn decode(status: c_int) -> ExitStatus {
    if libc::WIFSIGNALED(status) {
        ExitStatus::Signal(libc::WTERMSIG(status))
    } else {
        ExitStatus::Code(libc::WEXITSTATUS(status))
    }
}

/// Sends a signal to a worker or its group.
pub(crate) fn signal(pid: Pid, signal: Signal, scope: Scope) -> Result<(), Errno> {
    let pid = target(pid).map_err(errno)?;
    match scope {
        Scope::Process => signal::kill(pid, number(signal)),
        Scope::Handler if handles(pid, signal) => signal::kill(pid, number(signal)),
        Scope::Handler => Ok(()),
        Scope::Awake => signal::kill(pid, number(signal)).and_then(|()| wake(pid)),
        Scope::Group => signal::killpg(pid, number(signal)),
    }
    .map_err(errno)
}

/// Continues a worker that is stopped: it takes nothing in before it goes on. One that is not may have a
/// meaning of its own for CONT, and is spared it.
fn wake(pid: unistd::Pid) -> Result<(), Sys> {
    match facts::is_stopped(known(pid)) {
        Ok(false) => Ok(()),
        Ok(true) | Err(_) => signal::kill(pid, signal::SIGCONT),
    }
}

/// Whether a worker would survive a signal that most programs end by.
fn handles(pid: unistd::Pid, signal: Signal) -> bool {
    facts::catches(known(pid), number(signal) as c_int)
        .inspect_err(|error| debug!("pid {pid}: it is not known whether it handles SIG{signal}: {error}"))
        .unwrap_or(false)
}

/// Whether any process is left in the group that `pid` leads or led.
pub(crate) fn group_alive(pid: Pid) -> bool {
    match target(pid).and_then(|pid| signal::killpg(pid, None)) {
        Ok(()) | Err(Sys::EPERM) => true,
        Err(_) => false,
    }
}

/// The process group of any process, if that exists and we may know.
pub(crate) fn group_of(pid: Pid) -> Option<Pid> {
    let pid = i32::try_from(pid.0).ok().filter(|raw| *raw > 0)?;
    unistd::getpgid(Some(unistd::Pid::from_raw(pid))).ok().map(known)
}

/// A process that can be one of ours. To kill(2), 0 is our own group and, as a group, 1 is everybody.
fn target(pid: Pid) -> Result<unistd::Pid, Sys> {
    match i32::try_from(pid.0) {
        Ok(raw) if raw > 1 => Ok(unistd::Pid::from_raw(raw)),
        _ => Err(Sys::ESRCH),
    }
}

fn known(pid: unistd::Pid) -> Pid {
    Pid(pid.as_raw().unsigned_abs())
}

fn errno(errno: Sys) -> Errno {
    Errno(errno as i32)
}

/// The system's number for a signal.
pub(crate) fn number(signal: Signal) -> signal::Signal {
    match signal {
        Signal::Hup => signal::SIGHUP,
        Signal::Int => signal::SIGINT,
        Signal::Quit => signal::SIGQUIT,
        Signal::Usr1 => signal::SIGUSR1,
        Signal::Usr2 => signal::SIGUSR2,
        Signal::Term => signal::SIGTERM,
        Signal::Kill => signal::SIGKILL,
        Signal::Stop => signal::SIGSTOP,
        Signal::Tstp => signal::SIGTSTP,
        Signal::Cont => signal::SIGCONT,
        Signal::Ttin => signal::SIGTTIN,
        Signal::Ttou => signal::SIGTTOU,
        Signal::Winch => signal::SIGWINCH,
        Signal::Alrm => signal::SIGALRM,
        Signal::Abrt => signal::SIGABRT,
        Signal::Pipe => signal::SIGPIPE,
    }
}

mod interrupt;
#[cfg(test)]
mod tests;
mod verdicts;
