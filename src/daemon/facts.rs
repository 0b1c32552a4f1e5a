//! What the kernel tells of processes from outside, in proc(5). Facts only; what they mean is decided
//! elsewhere. Nothing here is asked while nothing happens.

pub(crate) use super::procfs::Kin;

use super::procfs;
use crate::fsm::id::Pid;
use std::{fs, io, os::unix::ffi::OsStrExt as _};

/// Whether a process has a handler for the signal with that number, as of now.
///
/// # Errors
/// If it is gone, or the kernel does not tell us.
pub(crate) fn catches(pid: Pid, signal: i32) -> io::Result<bool> {
    let status = fs::read(format!("/proc/{pid}/status"))?;
    let caught = procfs::Signals::caught(&status).and_then(|caught| caught.contains(signal));
    caught.ok_or_else(|| io::Error::other("no SigCgt in its status"))
}

/// Whether a process is stopped, by a signal or a debugger.
///
/// # Errors
/// If it is gone, or the kernel does not tell us.
pub(crate) fn is_stopped(pid: Pid) -> io::Result<bool> {
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    procfs::state(&stat)
        .map(|state| matches!(state, 'T' | 't'))
        .ok_or_else(|| io::Error::other("no state in its stat"))
}

/// The kin of a process, unless it has ended.
pub(crate) fn kin(pid: Pid) -> Option<Kin> {
    procfs::kin(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// When a process was started, in milliseconds since the machine was, rounded down to hundredths of a second.
pub(crate) fn started(pid: Pid) -> Option<u64> {
    Some(procfs::started(&fs::read(format!("/proc/{pid}/stat")).ok()?)?.saturating_mul(10))
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

/// Under which number a process has that socket open, if it has, and we may know.
pub(crate) fn descriptor_of(pid: Pid, socket: u64) -> Option<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    entries.filter_map(Result::ok).find_map(|entry| {
        let link = fs::read_link(entry.path()).ok()?;
        (procfs::socket_inode(link.as_os_str().as_bytes())? == socket).then_some(())?;
        entry.file_name().to_str()?.parse().ok()
    })
}

/// The inodes of the sockets that a process has open; none if we may not know.
pub(crate) fn sockets(pid: Pid) -> impl Iterator<Item = u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    entries.filter_map(|entry| {
        procfs::socket_inode(fs::read_link(entry.ok()?.path()).ok()?.as_os_str().as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc::SIGUSR1;

    #[test]
    fn a_process_is_asked() {
        assert_eq!(catches(Pid(std::process::id()), SIGUSR1).ok(), Some(false));
        assert_eq!(is_stopped(Pid(std::process::id())).ok(), Some(false));
        assert!(catches(Pid(0), SIGUSR1).is_err() && is_stopped(Pid(0)).is_err());
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
        let inode = procfs::socket_inode(link.as_os_str().as_bytes()).unwrap();
        assert!(sockets(us).any(|found| found == inode));
        assert!(!name(us).is_empty());
        let path = std::env::var_os("PATH").map(|path| path.as_bytes().to_vec());
        assert_eq!(variable(us, "PATH"), path);
        assert_eq!((variable(us, "PAT"), variable(Pid(0), "PATH")), (None, None));
        assert_eq!(name(Pid(0)), "?");
    }
}
