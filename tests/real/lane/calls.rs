//! Which system calls fail in which ways, and how a case is written down.

use super::scenario::Scenario;
use std::{fmt, str::FromStr};

/// The errors that the kernel gives for a call whose arguments are right, by the section ERRORS of its man
/// page: what the machine lacks, what others have done, what a signal interrupts.
///
/// Left out is what would be a lie rather than a fault: EAGAIN of a socket that is ready, ECHILD with
/// children about, EINTR of what never waits, EIO on closing a directory, which nothing is written back to
/// and where the standard library takes any error for a bug.
const FAULTS: &[(&str, &[&str])] = &[
    ("accept4", &["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "ECONNABORTED", "EINTR"]),
    ("access", &["EACCES", "ENOMEM", "EIO"]),
    ("bind", &["EADDRINUSE", "EACCES", "ENOMEM"]),
    ("chdir", &["ENOENT", "EACCES", "ENOMEM"]),
    ("clone", &["EAGAIN", "ENOMEM"]),
    ("clone3", &["EAGAIN", "ENOMEM"]),
    ("close", &["EINTR"]),
    ("connect", &["ECONNREFUSED", "EAGAIN", "EACCES"]),
    ("dup", &["EMFILE"]),
    ("dup2", &["EMFILE"]),
    ("dup3", &["EMFILE"]),
    ("epoll_create1", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("epoll_ctl", &["ENOMEM", "ENOSPC"]),
    ("epoll_pwait", &["EINTR", "EBADF"]),
    ("epoll_wait", &["EINTR", "EBADF"]),
    ("eventfd2", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("faccessat", &["EACCES", "ENOMEM", "EIO"]),
    ("faccessat2", &["EACCES", "ENOMEM", "EIO"]),
    ("fallocate", &["ENOSPC", "ENOMEM", "EINTR"]),
    ("fchdir", &["EACCES", "ENOMEM"]),
    ("fchmod", &["EPERM", "EROFS", "EIO"]),
    ("fcntl", &["EMFILE"]),
    ("flock", &["ENOLCK", "EINTR"]),
    ("fork", &["EAGAIN", "ENOMEM"]),
    ("fstat", &["ENOMEM", "EIO"]),
    ("fsync", &["EIO", "ENOSPC"]),
    ("ftruncate", &["EIO", "EINTR", "EFBIG"]),
    ("getcwd", &["ENOENT", "ENOMEM"]),
    ("getdents64", &["ENOENT", "EIO"]),
    ("getpeername", &["ENOTCONN", "ENOBUFS"]),
    ("getpgid", &["ESRCH", "EPERM"]),
    ("getsockname", &["ENOBUFS"]),
    ("getsockopt", &["ENOMEM", "ENOPROTOOPT"]),
    ("inotify_add_watch", &["ENOSPC", "ENOMEM", "ENOENT", "EACCES"]),
    ("inotify_init1", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("inotify_rm_watch", &["EINVAL"]),
    ("ioctl", &["ENOTTY"]),
    ("kill", &["ESRCH", "EPERM"]),
    ("link", &["EEXIST", "EACCES", "ENOSPC"]),
    ("listen", &["EADDRINUSE"]),
    ("lseek", &["ESPIPE"]),
    ("lstat", &["ENOENT", "EACCES", "ENOMEM", "EIO"]),
    ("memfd_create", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("mkdir", &["EACCES", "ENOSPC"]),
    ("mmap", &["ENOMEM"]),
    ("mprotect", &["ENOMEM"]),
    ("mremap", &["ENOMEM"]),
    ("munmap", &["ENOMEM"]),
    ("newfstatat", &["ENOENT", "EACCES", "ENOMEM", "EIO"]),
    ("open", &["EMFILE", "ENFILE", "ENOMEM", "ENOENT", "EACCES"]),
    ("openat", &["EMFILE", "ENFILE", "ENOMEM", "ENOENT", "EACCES"]),
    ("pidfd_open", &["EMFILE", "ENFILE", "ENOMEM", "ESRCH"]),
    ("pidfd_send_signal", &["EPERM", "ESRCH"]),
    ("pipe2", &["EMFILE", "ENFILE"]),
    ("poll", &["ENOMEM", "EINTR"]),
    ("ppoll", &["ENOMEM", "EINTR"]),
    ("pread64", &["EIO", "EINTR"]),
    ("pwrite64", &["ENOSPC", "EIO", "EINTR"]),
    ("read", &["EIO", "ENOMEM", "EINTR"]),
    ("readlink", &["EACCES", "ENOMEM", "EIO"]),
    ("readlinkat", &["EACCES", "ENOMEM", "EIO"]),
    ("recvfrom", &["ENOMEM", "ECONNRESET", "EINTR"]),
    ("recvmsg", &["ENOMEM", "ECONNRESET", "EINTR"]),
    ("rename", &["EACCES", "ENOSPC"]),
    ("rt_sigtimedwait", &["EINTR"]),
    ("sendmsg", &["ENOMEM", "ENOBUFS", "EPIPE"]),
    ("sendto", &["ENOMEM", "ENOBUFS", "EPIPE"]),
    ("setpgid", &["ESRCH", "EPERM", "EACCES"]),
    ("setsockopt", &["ENOMEM", "ENOPROTOOPT"]),
    ("shutdown", &["ENOTCONN"]),
    ("signalfd4", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("socket", &["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"]),
    ("socketpair", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("stat", &["ENOENT", "EACCES", "ENOMEM", "EIO"]),
    ("statx", &["ENOENT", "EACCES", "ENOMEM", "EIO"]),
    ("timer_create", &["EAGAIN", "ENOMEM"]),
    ("timerfd_create", &["EMFILE", "ENFILE", "ENOMEM"]),
    ("unlink", &["EACCES", "EROFS", "EBUSY"]),
    ("unlinkat", &["EACCES", "EROFS", "EBUSY"]),
    ("vfork", &["EAGAIN", "ENOMEM"]),
    ("wait4", &["EINTR"]),
    ("waitid", &["EINTR"]),
    ("write", &["ENOSPC", "EIO", "EINTR"]),
    ("writev", &["ENOSPC", "EIO", "EINTR"]),
];

/// Calls that fail only for arguments that are wrong, if at all. And `brk`, which answers with an address
/// whatever happens: an error number in its place is an address to the C library.
const FAULTLESS: &[&str] = &[
    "arch_prctl",
    "brk",
    "clock_gettime",
    "clock_nanosleep",
    "execve",
    "exit_group",
    "futex",
    "getegid",
    "geteuid",
    "getgid",
    "getitimer",
    "getpgrp",
    "getpid",
    "getppid",
    "getpriority",
    "getrandom",
    "getrlimit",
    "getsid",
    "gettid",
    "getuid",
    "madvise",
    "nanosleep",
    "prctl",
    "prlimit64",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "setitimer",
    "setpriority",
    "setrlimit",
    "sigaltstack",
    "sysinfo",
    "timer_delete",
    "timer_settime",
    "timerfd_settime",
    "umask",
    "uname",
];

/// How a call can fail; `None` if nobody has thought about it yet.
pub(super) fn faults(call: &str) -> Option<&'static [&'static str]> {
    let known = FAULTS.iter().find(|(name, _)| *name == call).map(|(_, errnos)| *errnos);
    known.or_else(|| FAULTLESS.contains(&call).then_some(&[]))
}

/// Which uses of a call fail, counted from 1 where the scenario begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uses {
    /// That one.
    Only(usize),
    /// That one and all that follow, for as long as the fault lasts.
    From(usize),
}

/// What goes wrong, and while the supervisor is doing what. In text `serve:accept4:EMFILE:3`, or `…:3+`
/// for the third use and all that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) scenario: Scenario,
    pub(super) call: String,
    pub(super) errno: String,
    pub(super) uses: Uses,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:", self.scenario.name(), self.call, self.errno)?;
        match self.uses {
            Uses::Only(use_number) => write!(f, "{use_number}"),
            Uses::From(use_number) => write!(f, "{use_number}+"),
        }
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("`{text}` is not of the form `serve:accept4:EMFILE:3` or `serve:accept4:EMFILE:3+`");
        let words: Vec<&str> = text.split(':').collect();
        let [scenario, call, errno, uses] = words[..] else { return Err(bad()) };
        let scenario = Scenario::ALL.into_iter().find(|it| it.name() == scenario).ok_or_else(bad)?;
        let count = |digits: &str| digits.parse().ok().filter(|count| *count > 0).ok_or_else(bad);
        let uses = match uses.strip_suffix('+') {
            Some(digits) => Uses::From(count(digits)?),
            None => Uses::Only(count(uses)?),
        };
        Ok(Self { scenario, call: call.to_owned(), errno: errno.to_owned(), uses })
    }
}
