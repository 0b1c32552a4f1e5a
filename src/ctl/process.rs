//! What a supervisor is doing that does not answer, as far as proc(5) tells from outside. Words for people;
//! nothing is decided by them.

use nix::libc::{self, c_long};
use std::fs;

/// System calls that a supervisor may be held up in, or that show that it is not, by their numbers here.
const CALLS: &[(c_long, &str)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, "epoll_wait"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, "poll"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_select, "select"),
    (libc::SYS_epoll_pwait, "epoll_pwait"),
    (libc::SYS_ppoll, "ppoll"),
    (libc::SYS_pselect6, "pselect6"),
    (libc::SYS_clock_nanosleep, "clock_nanosleep"),
    (libc::SYS_read, "read"),
    (libc::SYS_write, "write"),
    (libc::SYS_writev, "writev"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_recvmsg, "recvmsg"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_accept, "accept"),
    (libc::SYS_accept4, "accept4"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_newfstatat, "newfstatat"),
    (libc::SYS_readlinkat, "readlinkat"),
    (libc::SYS_statx, "statx"),
    (libc::SYS_getdents64, "getdents64"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_futex, "futex"),
    (libc::SYS_execve, "execve"),
    (libc::SYS_wait4, "wait4"),
    (libc::SYS_waitid, "waitid"),
];

/// The letter for the state of a process; `None` if there is none of that number, or it may not be known.
#[must_use]
pub fn state(pid: i32) -> Option<char> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // It is behind the name, which may hold anything; proc_pid_stat(5).
    let end = stat.windows(2).rposition(|pair| pair == b") ")?;
    stat.get(end.checked_add(2)?).map(|letter| char::from(*letter))
}

/// What a process is doing, as a clause, with what would help if that is known.
#[must_use]
pub fn doing(pid: i32) -> Option<String> {
    let state = state(pid)?;
    let call = call(pid).map(|call| format!(", in the system call {call}")).unwrap_or_default();
    Some(match state {
        'T' => format!("it is stopped{call}; `kill -CONT {pid}` continues it"),
        't' => format!("it is stopped by a debugger{call}"),
        'D' => format!("it waits for a device or a file system{call}"),
        'S' => format!("it waits{call}"),
        'R' => "it is running".to_owned(),
        'Z' | 'X' => "it has ended".to_owned(),
        other => format!("its state is {other}{call}"),
    })
}

/// The system call that it is in. The kernel tells those only who may trace the process.
fn call(pid: i32) -> Option<&'static str> {
    named(&fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?)
}

/// Its number is the first word, if it is in one; proc_pid_syscall(5). One that is not known here is not told of:
/// its number means nothing to people.
fn named(line: &str) -> Option<&'static str> {
    let number: c_long = line.split_whitespace().next()?.parse().ok()?;
    CALLS.iter().find(|(call, _)| *call == number).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_call_is_named_or_not_told_of() {
        let line = |number: c_long| format!("{number} 0x5 0x7ffc 0x400 0xffff 0x7ffd 0x7f01\n");
        assert_eq!(named(&line(libc::SYS_write)), Some("write"));
        assert_eq!(named(&line(9_999)), None);
        for none in ["running\n", "-1 0x7ffd 0x7f01\n", ""] {
            assert_eq!(named(none), None, "{none}");
        }
    }

    #[test]
    fn what_we_do_ourselves_is_known_and_what_nobody_does_is_not() {
        let us = i32::try_from(std::process::id()).unwrap();
        assert!(matches!(state(us), Some('R' | 'S')));
        assert!(doing(us).unwrap().starts_with("it "));
        assert_eq!((state(0), doing(0)), (None, None));
    }
}
