//! What the kernel tells of processes from outside, in proc(5). Facts only; what they mean is decided
//! elsewhere. Nothing here is asked while nothing happens.

use crate::fsm::id::Pid;
use std::{
    fs, io,
    os::unix::ffi::OsStrExt as _,
    str::{self, SplitAsciiWhitespace},
};

/// Whether a process has a handler for the signal with that number, as of now.
///
/// # Errors
/// If it is gone, or the kernel does not tell us.
pub(crate) fn catches(pid: Pid, signal: i32) -> io::Result<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    caught(&status, signal).ok_or_else(|| io::Error::other("no SigCgt in its status"))
}

/// Whether a process is stopped, by a signal or a debugger.
///
/// # Errors
/// If it is gone, or the kernel does not tell us.
pub(crate) fn is_stopped(pid: Pid) -> io::Result<bool> {
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    state(&stat)
        .map(|state| matches!(state, 'T' | 't'))
        .ok_or_else(|| io::Error::other("no state in its stat"))
}

fn state(stat: &[u8]) -> Option<char> {
    behind_the_name(stat)?.next()?.chars().next()
}

/// The fields of `stat` from the third on: state, parent, group and so on. Before them stands the name in
/// parentheses, which may hold anything, parentheses too.
fn behind_the_name(stat: &[u8]) -> Option<SplitAsciiWhitespace<'_>> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    Some(str::from_utf8(stat.get(end.checked_add(1)?..)?).ok()?.split_ascii_whitespace())
}

/// Whether `SigCgt`, a set of 64 bits in hexadecimal with signal 1 as its lowest, has a signal.
fn caught(status: &str, signal: i32) -> Option<bool> {
    let set = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    let set = u64::from_str_radix(set.trim(), 16).ok()?;
    let bit = u32::try_from(signal).ok()?.checked_sub(1)?;
    Some(1_u64.checked_shl(bit)? & set != 0)
}

/// Where a process stands among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kin {
    /// Who has made it, or has inherited it.
    pub(crate) parent: Pid,
    /// Its process group.
    pub(crate) group: Pid,
}

/// The kin of a process, unless it has ended.
pub(crate) fn kin(pid: Pid) -> Option<Kin> {
    read_kin(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn read_kin(stat: &[u8]) -> Option<Kin> {
    let mut fields = behind_the_name(stat)?;
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let mut number = || fields.next()?.parse().ok().map(Pid);
    Some(Kin { parent: number()?, group: number()? })
}

/// The effective user of a process, even of one that has ended and is not reaped.
pub(crate) fn user(pid: Pid) -> Option<u32> {
    read_user(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The second field of `Uid`; before it stands the real user.
fn read_user(status: &str) -> Option<u32> {
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// What a process calls itself; fit for a line of text.
pub(crate) fn name(pid: Pid) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(&name)).into_owned();
    if name.is_empty() { "?".into() } else { name.escape_debug().to_string() }
}

/// A variable in the environment that a process was started with, if it has it and we may know.
pub(crate) fn variable(pid: Pid, name: &str) -> Option<Vec<u8>> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = |pair: &[u8]| Some(pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?.to_vec());
    environment.split(|byte| *byte == 0).find_map(value)
}

/// All processes that we can see, us included.
pub(crate) fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().map(Pid))
}

/// The inodes of the sockets that a process has open; none if we may not know.
pub(crate) fn sockets(pid: Pid) -> impl Iterator<Item = u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    entries.filter_map(|entry| socket_inode(fs::read_link(entry.ok()?.path()).ok()?.as_os_str().as_bytes()))
}

/// As the kernel names a socket: `socket:[INODE]`.
fn socket_inode(link: &[u8]) -> Option<u64> {
    let number = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc::{SIGPIPE, SIGUSR1, SIGUSR2};

    #[test]
    fn the_set_of_caught_signals_is_read_bit_by_bit() {
        let status = "Name:\tsh\nSigIgn:\tffffffffffffffff\nSigCgt:\t0000000000000a00\nSeccomp:\t0\n";
        assert_eq!(
            [SIGUSR1, SIGUSR2, SIGPIPE].map(|signal| caught(status, signal)),
            [Some(true), Some(true), Some(false)]
        );
        assert_eq!([0, 65, -1].map(|signal| caught(status, signal)), [None; 3]);
        assert_eq!(caught("Name:\tsh\n", SIGUSR1), None);
        assert_eq!(caught("SigCgt:\tno number\n", SIGUSR1), None);
    }

    #[test]
    fn the_state_stands_behind_whatever_the_name_is() {
        assert_eq!(state(b"7 (sleep) S 1 7"), Some('S'));
        assert_eq!(state(b"7 (a) T (b) T 1 7"), Some('T'));
        assert_eq!(state(b"7 (\xff) T 1 7"), Some('T'), "a name need not be text");
        assert_eq!(state(b"7"), None);
    }

    #[test]
    fn a_process_is_asked() {
        assert_eq!(catches(Pid(std::process::id()), SIGUSR1).ok(), Some(false));
        assert_eq!(is_stopped(Pid(std::process::id())).ok(), Some(false));
        assert!(catches(Pid(0), SIGUSR1).is_err() && is_stopped(Pid(0)).is_err());
    }

    #[test]
    fn the_name_of_a_process_does_not_disturb_its_kin() {
        let kin = |stat: &str| read_kin(stat.as_bytes());
        let expected = Some(Kin { parent: Pid(7), group: Pid(42) });
        assert_eq!(kin("42 (sh) S 7 42 1 0 -1"), expected);
        assert_eq!(kin("42 (a) Z 9 (b) R 7 42 1"), expected);
        assert_eq!(kin("42 (sh) Z 7 42 1 0 -1"), None, "it has ended");
        for broken in ["", "42 (sh", "42 (sh)", "42 (sh) S 7", "42 (sh) S x 42"] {
            assert_eq!(kin(broken), None, "{broken}");
        }
    }

    #[test]
    fn the_user_of_a_process_is_the_effective_one() {
        assert_eq!(read_user("Name:\tsh\nUid:\t0\t65534\t0\t0\nGid:\t1\t1\t1\t1\n"), Some(65534));
        for broken in ["", "Uid:\t0\n", "Uid:\t0\tx\t0\t0\n"] {
            assert_eq!(read_user(broken), None, "{broken}");
        }
        assert_eq!(user(Pid(std::process::id())), Some(nix::unistd::geteuid().as_raw()));
    }

    #[test]
    fn our_own_kin_sockets_and_name_are_found() {
        use std::{net::TcpListener, os::fd::AsRawFd as _};
        let us = Pid(std::process::id());
        assert_eq!(kin(us).map(|kin| kin.parent), Some(Pid(std::os::unix::process::parent_id())));
        assert_eq!(kin(Pid(0)), None);
        assert!(processes().any(|pid| pid == us));
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let inode = socket_inode(link.as_os_str().as_bytes()).unwrap();
        assert!(sockets(us).any(|found| found == inode));
        assert!(!name(us).is_empty());
        let path = std::env::var_os("PATH").map(|path| path.as_bytes().to_vec());
        assert_eq!(variable(us, "PATH"), path);
        assert_eq!((variable(us, "PAT"), variable(Pid(0), "PATH")), (None, None));
        assert_eq!(name(Pid(0)), "?");
    }
}
