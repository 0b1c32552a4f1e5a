//! Who else has a socket of ours, or the port that we want, as proc(5) tells it.
//!
//! Other users' processes are seen by root alone. All processes are looked through, which takes a few
//! milliseconds for every hundred: nothing for a place that is passed often.

use super::facts;
use crate::fsm::id::Pid;
use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process,
};

/// How many processes are named at a time.
const NAMED: usize = 4;

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: Pid,
    /// Its name, fit for a line of text.
    pub(crate) name: String,
    /// Which socket, by its inode; the first that was found.
    pub(crate) inode: u64,
}

/// The processes among those that are `wanted` that have one of these sockets open.
pub(crate) fn holders(inodes: &BTreeSet<u64>, mut wanted: impl FnMut(Pid) -> bool) -> Vec<Holder> {
    let others = facts::processes().filter(|pid| pid.0 != process::id() && wanted(*pid));
    let holder = |pid| {
        let inode = facts::sockets(pid).find(|inode| inodes.contains(inode))?;
        Some(Holder { pid, name: facts::name(pid), inode })
    };
    others.filter_map(holder).collect()
}

/// Which sockets of the internet families there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// The sockets that listen where `address` cannot be bound, by their inodes.
pub(crate) fn at_address(address: SocketAddr, protocol: Protocol) -> BTreeSet<u64> {
    // Sockets that listen, or for messages: those that are not connected.
    let (tables, state) = match protocol {
        Protocol::Tcp => (["/proc/self/net/tcp", "/proc/self/net/tcp6"], "0A"),
        Protocol::Udp => (["/proc/self/net/udp", "/proc/self/net/udp6"], "07"),
    };
    let mut listening = BTreeSet::new();
    for table in tables {
        let text = fs::read_to_string(table).unwrap_or_default();
        let sockets = text.lines().filter_map(|line| read_listener(line, state));
        listening.extend(sockets.filter_map(|(found, inode)| {
            let same_port = found.port() == address.port();
            (same_port && overlap(found.ip(), address.ip())).then_some(inode)
        }));
    }
    listening
}

/// The UNIX sockets that listen and are called so, by their inodes: a path, or `@` and an abstract name.
pub(crate) fn at_unix(name: &str) -> BTreeSet<u64> {
    let text = fs::read("/proc/self/net/unix").unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n').map(String::from_utf8_lossy);
    lines.filter_map(|line| read_unix(&line, name)).collect()
}

/// The variable by which a worker knows its supervisor.
const SUPERVISOR: &str = "EINHORN_MASTER_PID";

/// The supervisor of a process that is a worker, as far as that can be seen.
pub(crate) fn supervisor_of(worker: Pid) -> Option<Pid> {
    std::str::from_utf8(&facts::variable(worker, SUPERVISOR)?).ok()?.parse().ok().map(Pid)
}

/// Whether a process is there, and no zombie.
pub(crate) fn is_there(pid: Pid) -> bool {
    facts::kin(pid).is_some()
}

/// What can be done about workers that have a socket and no supervisor any more: a clause with `; ` in front, or nothing.
fn what_to_do(holders: &[Holder]) -> String {
    let orphan = |holder: &Holder| supervisor_of(holder.pid).filter(|supervisor| !is_there(*supervisor));
    let Some(supervisor) = holders.iter().find_map(orphan) else { return String::new() };
    // Workers may have had helpers that have ended since they were seen.
    let blocks = |holder: &&Holder| orphan(holder) == Some(supervisor) || is_there(holder.pid);
    let holders: Vec<&Holder> = holders.iter().filter(blocks).collect();
    if !holders.iter().all(|holder| orphan(holder) == Some(supervisor)) {
        return String::new();
    }
    let pids: Vec<String> = holders.iter().map(|holder| holder.pid.to_string()).collect();
    format!(
        ", without their supervisor (pid {supervisor}), which is gone; `kill {}` ends them, and --adopt takes the socket \
         from them",
        pids.join(" ")
    )
}

/// The processes that have one of these sockets, in words; `None` if that cannot be found out.
pub(crate) fn named(sockets: &BTreeSet<u64>) -> Option<String> {
    let holders = holders(sockets, |_| true);
    if holders.is_empty() {
        return None;
    }
    let named = holders.iter().take(NAMED).map(|Holder { pid, name, .. }| format!("pid {pid} ({name})"));
    let named = named.collect::<Vec<_>>().join(", ");
    let more = holders.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let verb = if holders.len() == 1 { "has" } else { "have" };
    Some(format!("{named}{more} {verb} it{}", what_to_do(&holders)))
}

/// The inode of a socket of that name that listens, from a line of `/proc/net/unix`: after three fields there
/// are the flags (`__SO_ACCEPTCON`), the type, the state, the inode, and the name, which may have blanks.
fn read_unix(line: &str, name: &str) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    let inode = fields.nth(2)?;
    let is_it = line.split_once(&format!(" {inode} ")).is_some_and(|(_, found)| found == name);
    (flags & 0x1_0000 != 0 && is_it).then(|| inode.parse().ok()).flatten()
}

/// Whether a socket on the one keeps a socket on the other from being bound. One on all IPv6 addresses may
/// take IPv4 too.
fn overlap(found: IpAddr, wanted: IpAddr) -> bool {
    let found_v6 = matches!(found, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_none());
    let (found, wanted_v4) = (found.to_canonical(), wanted.is_ipv4());
    found == wanted || found.is_unspecified() || (wanted.is_unspecified() && found_v6 != wanted_v4)
}

/// A socket in that state, and its inode, from a line of `/proc/net/tcp` or its like: after a number there are
/// the local address, the remote one, the state, four fields, and the inode.
fn read_listener(line: &str, wanted: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (host, port) = fields.next()?.split_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    let address = SocketAddr::new(read_host(host)?, u16::from_str_radix(port, 16).ok()?);
    (state == wanted).then_some((address, inode))
}

/// An address as the kernel prints it: words of 32 bits in the machine's own order of bytes.
fn read_host(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at.checked_mul(8)?..at.checked_add(1)?.checked_mul(8)?)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.as_flattened().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, os::unix::process::parent_id};

    #[test]
    fn listening_sockets_are_read_from_the_kernels_table() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1";
        assert_eq!(read_listener(line, "0A"), Some(("127.0.0.1:8080".parse().unwrap(), 4242)));
        assert_eq!(read_listener(&line.replace(" 0A ", " 01 "), "0A"), None, "that is a connection");
        let v6 = line.replace("0100007F", "00000000000000000000000001000000");
        assert_eq!(read_listener(&v6, "0A"), Some(("[::1]:8080".parse().unwrap(), 4242)));
        for broken in ["", "sl local_address rem_address st", "0: 0100007F 0 0A 0 0 0 0 0 1"] {
            assert_eq!(read_listener(broken, "0A"), None, "{broken}");
        }
    }

    #[test]
    fn unix_sockets_are_read_from_the_kernels_table() {
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 4242 /run/a b";
        assert_eq!(read_unix(line, "/run/a b"), Some(4242));
        assert_eq!(read_unix(line, "/run/a"), None);
        assert_eq!(read_unix(&line.replace("00010000", "00000000"), "/run/a b"), None, "a connection");
        for broken in ["", "Num RefCount Protocol Flags Type St Inode Path", "0: 2 0 00010000 1 1 4242"] {
            assert_eq!(read_unix(broken, ""), None, "{broken}");
        }
    }

    #[test]
    fn what_stands_in_the_way_of_an_address_is_told_apart() {
        for (found, wanted, in_the_way) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.2", "127.0.0.1", false),
            ("0.0.0.0", "127.0.0.1", true),
            ("127.0.0.1", "0.0.0.0", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("::ffff:127.0.0.1", "0.0.0.0", true),
            ("::1", "::", true),
            ("::1", "0.0.0.0", false),
            ("127.0.0.1", "::", false),
        ] {
            let overlap = overlap(found.parse().unwrap(), wanted.parse().unwrap());
            assert_eq!(overlap, in_the_way, "{found} {wanted}");
        }
    }

    #[test]
    fn only_others_that_have_the_socket_open_are_holders() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours: BTreeSet<u64> = facts::sockets(Pid(process::id())).collect();
        assert!(!ours.is_empty());
        let found = holders(&ours, |pid| pid.0 == process::id() || pid.0 == parent_id());
        assert!(found.iter().all(|holder| holder.pid.0 != process::id()), "{found:?}");
        // Children of other tests may have it for a moment, between their fork and exec.
        drop(socket);
    }
}
