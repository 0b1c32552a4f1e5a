//! What a child does between `fork` and `execve`, and the fork itself.
//!
//! All of [`Plan::run`] is async-signal-safe (signal-safety(7)): system calls and plain memory, nothing that
//! allocates, locks or panics. Only [the spawner](super::Spawner) makes plans.
//!
//! What every child does it does by `syscall` rather than by the C library's functions: each page of code that it
//! comes to, and each page of memory that it writes to, is a page fault of its own, and those are most of what it
//! costs.

use super::{
    super::program::{Kind, spawn_error},
    inherited::{FileLimit, default_signal, let_signals_in},
    known,
    moves::Move,
    nice,
    numbered::PidPlace,
    verdicts,
};
use crate::fsm::{event::SpawnStage, id::Pid};
use nix::{
    errno::Errno as Sys,
    fcntl::{FcntlArg, FdFlag, fcntl},
    libc::{self, c_char, c_int, c_long, c_void, pid_t},
    sys::{
        prctl,
        signal::{self, SigSet},
    },
    unistd::{self, ForkResult},
};
use std::{
    os::fd::{BorrowedFd, RawFd},
    ptr,
    sync::atomic::AtomicU64,
};

/// How far descriptors are closed one by one where the kernel lacks close_range(2) (Linux before 5.9).
pub(super) const BY_HAND: RawFd = 4095;

/// All that a child needs to know, ready before it is made.
pub(super) struct Plan<'a> {
    /// Where it says which process it is, and why it is not the program.
    pub(super) verdict: &'a AtomicU64,
    /// Who makes it.
    pub(super) parent: unistd::Pid,
    pub(super) null: RawFd,
    /// What to change to, if the child is not there from the beginning.
    pub(super) directory: Option<RawFd>,
    /// What is to stand from [`FIRST_FD`](super::super::given::FIRST_FD) on: the sockets, and behind them
    /// the executable, if that is displaced.
    pub(super) moves: &'a [Move],
    pub(super) signals: &'a [c_int],
    /// The first descriptor behind those.
    pub(super) end: RawFd,
    /// The limit of descriptors that the program is to have, if it is another than ours.
    pub(super) files: Option<FileLimit>,
    /// How nice the program is to be, if not as we are.
    pub(super) nice: Option<c_int>,
    /// What the kernel is to send it if its parent ends, if anything.
    pub(super) orphaned: Option<Orphaned>,
    pub(super) executable: *const c_char,
    /// Where the executable itself will stand, if its name leads elsewhere by now.
    pub(super) displaced: Option<Displaced>,
    pub(super) arguments: &'a [*const c_char],
    pub(super) environment: &'a [*const c_char],
    /// Where in the environment the child writes its own pid, if it is to be there.
    pub(super) own_pid: Option<PidPlace>,
}

/// What becomes of a child whose parent has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orphaned {
    /// What it is sent.
    pub(super) signal: signal::Signal,
}

/// An executable that is run by its descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Displaced {
    pub(super) place: RawFd,
    pub(super) kind: Kind,
}

impl Plan<'_> {
    /// Makes the child. Signals wait meanwhile: a handler of ours must not run in it.
    pub(super) fn fork(self) -> Result<Pid, Sys> {
        let mask = SigSet::all().thread_swap_mask(signal::SigmaskHow::SIG_SETMASK)?;
        // SAFETY: the child calls `run` and nothing else, which keeps to async-signal-safe functions.
        let forked = unsafe { fork() };
        if let Ok(ForkResult::Child) = forked {
            self.run()
        }
        if let Ok(ForkResult::Parent { child }) = forked {
            // Nothing of ours runs in between, signals being held back: whoever takes over finds it.
            verdicts::tell(self.verdict, known(child));
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
    fn run(self) -> ! {
        let own = Pid(own_pid());
        verdicts::tell(self.verdict, own);
        if parent_pid() != known(self.parent) {
            // Who takes over from the parent may have looked before that was written, and has made another.
            leave(0);
        }
        let (stage, errno) = match self.prepare(own) {
            Ok(()) => {
                self.become_program();
                (SpawnStage::Exec, Sys::last())
            }
            Err(failure) => failure,
        };
        verdicts::leave(self.verdict, stage, errno);
        leave(spawn_error(stage, errno).exit_code().unwrap_or(126))
    }

    /// Returns only if that fails.
    fn become_program(&self) {
        let (arguments, environment) = (self.arguments.as_ptr(), self.environment.as_ptr());
        match self.displaced {
            // SAFETY: the path is a C string, both arrays end with a null pointer and point to C
            // strings; their owners, the program and the spawner, are not touched in the child.
            None => unsafe {
                libc::syscall(libc::SYS_execve, self.executable, arguments, environment) as c_int
            },
            // SAFETY: as above. The system call itself: not every C library has a wrapper for it.
            Some(Displaced { place, .. }) => unsafe {
                let flags = libc::AT_EMPTY_PATH;
                libc::syscall(libc::SYS_execveat, place, c"".as_ptr(), arguments, environment, flags) as c_int
            },
        };
    }

    fn prepare(&self, own: Pid) -> Result<(), (SpawnStage, Sys)> {
        if let Some(place) = self.own_pid {
            // SAFETY: the spawner keeps the room and does not exist in the child.
            unsafe { place.write(own.0) };
        }
        lead_a_group().map_err(|errno| (SpawnStage::Setpgid, errno))?;
        // Before signals are let in: a handler of the parent's must not run here. And `execve` keeps
        // what is ignored ignored.
        self.signals.iter().copied().for_each(default_signal);
        if let Some(orphaned) = self.orphaned {
            orphaned.arrange(self.parent).map_err(|errno| (SpawnStage::Signals, errno))?;
        }
        if let Some(niceness) = self.nice {
            // The start has seen that it is allowed. A worker that serves is worth more than its place in the
            // queue, should it not be any more.
            let _ = nice::set(niceness);
        }
        if let Some(directory) = self.directory {
            unistd::fchdir(borrow(directory)).map_err(|errno| (SpawnStage::Chdir, errno))?;
        }
        self.hand_over().map_err(|errno| (SpawnStage::Files, errno))?;
        let_signals_in().map_err(|errno| (SpawnStage::Signals, errno))
    }

    /// Puts every descriptor where it belongs, and closes all others. Takes no number that is not given:
    /// however many descriptors the parent has open, and however near its limit it is, these are to be had.
    pub(super) fn hand_over(&self) -> Result<(), Sys> {
        place(self.null, libc::STDIN_FILENO)?;
        for Move { from, to } in self.moves.iter().copied() {
            place(from, to)?;
        }
        if let Some(Displaced { place, kind: Kind::Binary }) = self.displaced {
            fcntl(borrow(place), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        close_between(self.end, c_int::MAX);
        // Last: what is above the limit may still be moved down.
        self.files.map_or(Ok(()), FileLimit::set)
    }
}

impl Orphaned {
    /// Has the kernel send the signal, prctl(2). It comes when the mask is lifted: by then it has its default effect,
    /// and the program is not begun.
    fn arrange(self, parent: unistd::Pid) -> Result<(), Sys> {
        prctl::set_pdeathsig(self.signal)?;
        // It may have ended just before; then nothing tells.
        if unistd::getppid() == parent { Ok(()) } else { Err(Sys::ESRCH) }
    }
}

pub(super) fn leave(status: u8) -> ! {
    // SAFETY: ends the process at once, without running anything that belongs to the parent.
    unsafe { libc::_exit(c_int::from(status)) }
}

/// Makes a child as fork(2) does, by the system call itself: it has nothing of the C library's own to put right, since
/// it becomes another program.
///
/// # Safety
/// The child may do what is async-signal-safe, and what does not ask the C library which process or thread it is.
unsafe fn fork() -> Result<ForkResult, Sys> {
    let (none, signal) = (ptr::null_mut::<c_void>(), libc::SIGCHLD as usize as *mut c_void);
    // The stack is the same, so there is none to be named. It stands first on one kind of machine.
    let (first, second) = if cfg!(target_arch = "s390x") { (none, signal) } else { (signal, none) };
    // SAFETY: as the caller promises. Nothing is shared with the child, and nothing is written to.
    let made = unsafe { libc::syscall(libc::SYS_clone, first, second, none, none, none) };
    match Sys::result(made)? {
        0 => Ok(ForkResult::Child),
        child => pid_t::try_from(child)
            .map(|child| ForkResult::Parent { child: unistd::Pid::from_raw(child) })
            .map_err(|_| Sys::EINVAL),
    }
}

/// Which process this is. C libraries of old remember it, and would have the parent's.
fn own_pid() -> u32 {
    // SAFETY: takes and returns numbers only. Cannot fail.
    let pid = unsafe { libc::syscall(libc::SYS_getpid) };
    u32::try_from(pid).unwrap_or(0)
}

/// Who has made it, as long as that has not ended.
fn parent_pid() -> Pid {
    // SAFETY: takes and returns numbers only. Cannot fail.
    let pid = unsafe { libc::syscall(libc::SYS_getppid) };
    Pid(u32::try_from(pid).unwrap_or(0))
}

/// Makes the calling process the first of a group of its own, setpgid(2).
fn lead_a_group() -> Result<(), Sys> {
    // SAFETY: takes and returns numbers only.
    Sys::result(unsafe { libc::syscall(libc::SYS_setpgid, 0, 0) }).map(drop)
}

/// Duplicates a descriptor to a number; the duplicate stays open in the program.
pub(super) fn place(source: RawFd, target: RawFd) -> Result<(), Sys> {
    // SAFETY: dup3 and fcntl take any numbers; the parent's owners of descriptors do not exist in the
    // child, where alone this is called.
    let done = unsafe {
        if source == target {
            c_long::from(libc::fcntl(source, libc::F_SETFD, 0))
        } else {
            libc::syscall(libc::SYS_dup3, source, target, 0)
        }
    };
    Sys::result(done).map(drop)
}

/// Closes descriptors that are nobody's here: in a child, or in a process that has opened nothing yet.
pub(super) fn close_between(first: RawFd, last: RawFd) {
    // SAFETY: as the name says. The system call itself: the C library's wrapper is younger than it.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if done != 0 {
        close_by_hand(first, last);
    }
}

pub(super) fn close_by_hand(first: RawFd, last: RawFd) {
    for fd in first..=last.min(BY_HAND) {
        // SAFETY: as in `close_between`.
        unsafe { libc::close(fd) };
    }
}

/// A descriptor of the child's.
pub(super) fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the number comes from an owner in the parent that outlives the fork; in the child
    // nothing closes it before the last use.
    unsafe { BorrowedFd::borrow_raw(fd) }
}
