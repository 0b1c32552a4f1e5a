//! What a process finds when it begins, by whoever started it, and how that is put right: what signals do,
//! timers that would send some, the standard descriptors, and how many descriptors there may be.

use super::{super::kept::Store, child::close_between, errno};
use crate::fsm::id::Errno;
use nix::{
    errno::Errno as Sys,
    fcntl::{OFlag, open},
    libc::{self, c_int},
    sys::{
        resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit},
        signal::{self, SigSet},
        stat::Mode,
    },
};
use std::{
    collections::BTreeSet,
    mem,
    os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd},
    ptr,
};

/// Signals are numbered from 1 to this, signal(7).
pub(super) const LAST_SIGNAL: c_int = 64;

/// The size of the kernel's set of signals, in bytes.
const SIGNAL_SET_SIZE: usize = 8;

/// The kernel's own structure for what a signal does, whatever its layout. All zero it means SIG_DFL, no
/// flags and nothing blocked.
type KernelAction = [u64; 8];

/// Gives a signal its default effect. Fails harmlessly for KILL and STOP.
///
/// By the system call itself: the C library's `sigaction` refuses the two signals it keeps for its
/// threads, and those are inherited like all others.
pub(super) fn default_signal(number: c_int) {
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
pub(super) fn is_default(number: c_int) -> bool {
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

/// Blocks no signal any more. Fit for a forked child.
pub(super) fn let_signals_in() -> Result<(), Sys> {
    let none = 0_u64;
    // SAFETY: reads no more than `none`.
    let done = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null_mut::<u64>(),
            SIGNAL_SET_SIZE,
        )
    };
    Sys::result(done).map(drop)
}

/// What whoever started the supervisor wants of SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// Nothing in particular: it is an order like others.
    Obeyed,
    /// To be left alone, as by nohup(1): the supervisor ignores it. Workers have the default all the same.
    Ignored,
}

/// What becomes of signals that were held back when the supervisor was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// They come: what was meant for whoever started us is past.
    LetIn,
    /// They wait until everybody is in their place: they are meant for us.
    HeldBack,
}

/// A mask of signals, to be put back.
#[derive(Debug)]
pub(crate) struct HeldBack(SigSet);

/// Has all signals wait.
pub(crate) fn hold_signals_back() -> HeldBack {
    let mask = SigSet::all().thread_swap_mask(signal::SigmaskHow::SIG_SETMASK);
    // Cannot fail: the set is valid.
    HeldBack(mask.unwrap_or_else(|_| SigSet::empty()))
}

impl HeldBack {
    /// Lets those in that were let in before.
    pub(crate) fn undo(self) {
        let _ = self.0.thread_set_mask();
    }
}

/// Lets signals in, but for those that are `read` in another way.
pub(crate) fn let_in_all_but(read: &SigSet) {
    let _ = read.thread_set_mask();
}

/// Undoes what whoever started the supervisor may have left behind: a timer that runs would end us, an
/// ignored SIGCHLD would have the kernel reap our children, and blocked signals would never arrive. To be
/// called before anything else.
/// Returns the one thing that is left as it was.
///
/// What Rust has set up for itself stays: SIGPIPE ignored, so that a closed pipe is an error of the
/// write, and the guards against stack overflow. So does what the C library may have (32 and 33). A file
/// that is at its limit (`ulimit -f`) is an error of the write as well. Workers start with the defaults of
/// all of them.
pub(crate) fn reset_signals_at_start(waiting: Waiting) -> Hangup {
    stop_timers();
    // No handler outlives an exec, execve(2): what has not its default effect is ignored.
    let hangup = if is_default(libc::SIGHUP) { Hangup::Obeyed } else { Hangup::Ignored };
    let kept = [libc::SIGPIPE, libc::SIGSEGV, libc::SIGBUS, 32, 33];
    let ignored = |number: &c_int| hangup == Hangup::Ignored && *number == libc::SIGHUP;
    (1..=LAST_SIGNAL).filter(|number| !kept.contains(number) && !ignored(number)).for_each(default_signal);
    // SAFETY: no handler. Ignoring it cannot fail.
    let _ = unsafe { signal::signal(signal::SIGXFSZ, signal::SigHandler::SigIgn) };
    if waiting == Waiting::LetIn {
        let _ = SigSet::empty().thread_set_mask();
    }
    hangup
}

/// The three timers of setitimer(2) outlive execve(2); alarm(2) is one of them. What one of them has sent
/// already may be waiting for the mask to let it in. Children have none.
fn stop_timers() {
    // SAFETY: a structure of integers; zero is a valid value, and means that a timer does not run.
    let stopped: libc::itimerval = unsafe { mem::zeroed() };
    for timer in [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF] {
        // SAFETY: reads `stopped`, and writes nothing.
        unsafe { libc::setitimer(timer, &raw const stopped, ptr::null_mut()) };
    }
    for sent in [signal::SIGALRM, signal::SIGVTALRM, signal::SIGPROF] {
        // SAFETY: no handler. A signal that is ignored is not kept waiting.
        let _ = unsafe { signal::signal(sent, signal::SigHandler::SigIgn) };
    }
}

/// How many descriptors a process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileLimit {
    soft: rlim_t,
    hard: rlim_t,
}

impl FileLimit {
    /// The limit that we were started with, which is for workers. Ours is raised as far as it goes: what the
    /// supervisor needs grows with its clients and its sockets. Workers keep the one that was meant for
    /// them, since programs that use select(2), or close every descriptor that there might be, are why it
    /// is low.
    pub(crate) fn raise() -> Self {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((RLIM_INFINITY, RLIM_INFINITY));
        if soft < hard {
            // Can fail only if the system's own limit (fs.nr_open) was lowered meanwhile: then it stays.
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
        Self { soft, hard }
    }

    /// The one that whoever was here before was started with.
    pub(crate) fn of(soft: rlim_t, hard: rlim_t) -> Self {
        Self { soft, hard }
    }

    /// How many a worker may have.
    pub(crate) fn soft(self) -> rlim_t {
        self.soft
    }

    /// How many we may have ourselves.
    pub(crate) fn hard(self) -> rlim_t {
        self.hard
    }

    /// Puts back the one that we were started with, for whoever is started in our place.
    pub(crate) fn put_back(self) {
        // A descriptor beyond it stays open.
        let _ = self.set();
    }

    /// Whether ours is another.
    pub(super) fn is_raised(self) -> bool {
        self.soft < self.hard
    }

    /// Sets it for this process, as far as somebody who lowered ours since then lets it.
    /// Fit for a forked child.
    pub(super) fn set(self) -> Result<(), Sys> {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, self.soft.min(most), self.hard.min(most))
    }
}

/// Takes a descriptor that whoever started the supervisor has left open for it, or whoever was here before. No program that
/// is executed later has it by accident.
///
/// # Errors
/// If it is not open.
pub(crate) fn adopt_descriptor(fd: RawFd) -> Result<OwnedFd, Errno> {
    if fd <= libc::STDERR_FILENO {
        return Err(errno(Sys::EBADF));
    }
    // SAFETY: fcntl takes any number. By Rust's rules nobody else here has one that this process has not
    // opened itself.
    let done = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    Sys::result(done).map_err(errno)?;
    // SAFETY: it is open, and as above nobody owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Those that whoever was here before has left, as far as they are open, but for those that are `taken` already. All
/// others are closed.
pub(crate) fn adopt_descriptors(wanted: &BTreeSet<RawFd>, taken: &[RawFd]) -> Store {
    let mut from = libc::STDERR_FILENO.saturating_add(1);
    for fd in wanted.iter().copied().chain(taken.iter().copied()).collect::<BTreeSet<_>>() {
        if from < fd {
            close_between(from, fd.saturating_sub(1));
        }
        from = from.max(fd.saturating_add(1));
    }
    close_between(from, c_int::MAX);
    let adopt = |fd: &RawFd| adopt_descriptor(*fd).ok().map(|owned| (*fd, owned));
    Store(wanted.iter().filter(|fd| !taken.contains(fd)).filter_map(adopt).collect())
}

/// Moves a descriptor to that number, closing what is there. No program that is executed has it.
///
/// # Errors
/// If there cannot be such a descriptor.
pub(crate) fn settle(fd: OwnedFd, number: RawFd) -> Result<OwnedFd, Sys> {
    if number <= libc::STDERR_FILENO {
        return Err(Sys::EBADF);
    }
    if fd.as_raw_fd() == number {
        return Ok(fd);
    }
    // SAFETY: takes any numbers. What was there before is nobody's any more, as the caller sees to.
    let done = unsafe { libc::syscall(libc::SYS_dup3, fd.as_raw_fd(), number, libc::O_CLOEXEC) };
    Sys::result(done)?;
    // SAFETY: it is open, and as above.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Puts copies of descriptors back to where they were: for another program, since here their numbers are nobody's.
pub(crate) fn put_back(copies: &[(RawFd, OwnedFd)]) {
    for (fd, copy) in copies {
        // SAFETY: dup2 takes any numbers. Nothing of this process is used any more after that but the call of another.
        unsafe { libc::dup2(copy.as_raw_fd(), *fd) };
    }
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
