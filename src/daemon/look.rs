//! The look from outside: whether a worker waits for connections on a socket that it was given, which is what
//! a program does that is ready and says nothing. Facts as of now; when to look, and what follows, is decided
//! elsewhere. A number of a process must be that of a worker that is not reaped.
//!
//! A process waits where a thread of it is in accept(2), poll(2), select(2) or one of their kin with the
//! socket, or where an epoll instance of it has the socket registered for reading. For a socket of datagrams,
//! receiving is waiting too. It may be the worker, a process below it, or one in its process group.
//!
//! A process that has a connection which was accepted from such a socket accepts as well: one that serves one client
//! after another is hardly ever seen waiting under load.
//!
//! What cannot be told apart from outside: a registration that is *edge-triggered* (Go, tokio, .NET make it
//! when they take a socket over, not when they serve it), and a thread that waits for an io_uring, which does
//! not say for what. Both are [`Sight::Wrapped`]. A 32-bit process, or any of another architecture than ours,
//! numbers its system calls in another way, and is seen by its epoll instances only.
//!
//! The supervisor's loop stands still meanwhile, so all is bounded: see the limits below, which make a few
//! milliseconds. Where one thread waits, a look takes about a dozen system calls; where none does, twenty, and one
//! more for every descriptor. Who looks again and again should rest for much longer than a look takes. The
//! one cost that cannot be bounded here is the kernel's: it writes all that an epoll instance watches before
//! any of it can be read.

use super::{facts, sock_diag::Name};
use crate::fsm::id::{Errno, Pid};
use eye::Eye;
use nix::{
    errno::Errno as Sys,
    sys::{
        signal::kill,
        socket::{SockType, getsockopt, sockopt},
        stat::{fstat, major, minor},
    },
    unistd,
};
use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// How many processes are looked at in one look.
const PROCESSES: usize = 64;

/// How many processes of the machine are asked for their kin, where that must be done.
const RELATIVES: usize = 4_096;

/// What a look has found, the first of these that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// One of the sockets is waited for, or a connection was accepted from it.
    Accepting,
    /// One of the sockets is in the hands of a runtime that may serve it, or not yet: necessary for being
    /// ready, and not sufficient.
    Wrapped,
    /// There is something that may not be looked into, for this reason: another user's process, proc(5)
    /// mounted with `hidepid`, the limits of ptrace(2), or a process of another architecture (`ENOSYS`).
    Hidden(Errno),
    /// There are more processes, threads or polled descriptors than a look takes in, and nothing was found
    /// in those that it did.
    Vast,
    /// Nobody waits; or the worker has just ended.
    NotYet,
}

/// How far a look goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The worker, and the processes that descend from it.
    Family,
    /// Those in its process group that descend from it no more, too. All processes of the machine are asked
    /// for that, which takes about a millisecond for every hundred, and for connections, which takes a few: for a look
    /// now and then.
    Group,
}

/// The sockets to look for.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    sockets: BTreeMap<u64, Socket>,
    /// The numbers of connections that were accepted from them, once that was asked.
    accepted: OnceCell<BTreeSet<u64>>,
}

#[derive(Debug)]
struct Socket {
    /// The file system that numbers it, as the kernel has it within.
    device: u64,
    /// Whether it takes messages and has no connections.
    is_for_messages: bool,
    /// What connections from it have at their near end.
    name: Option<Name>,
}

impl Watched {
    /// These sockets, as they are now. Anything that is no socket is left out.
    pub(crate) fn new<'fd>(sockets: impl IntoIterator<Item = BorrowedFd<'fd>>) -> Self {
        let known = |socket: BorrowedFd<'fd>| {
            let kind = getsockopt(&socket, sockopt::SockType).ok()?;
            let stat = fstat(socket).ok()?;
            let device = major(stat.st_dev).checked_shl(20)? | minor(stat.st_dev);
            let is_for_messages = !matches!(kind, SockType::Stream | SockType::SeqPacket);
            let name = if is_for_messages { None } else { connections::name(socket.as_raw_fd()) };
            Some((stat.st_ino, Socket { device, is_for_messages, name }))
        };
        Self { sockets: sockets.into_iter().filter_map(known).collect(), accepted: OnceCell::new() }
    }

    fn get(&self, inode: u64) -> Option<&Socket> {
        self.sockets.get(&inode)
    }

    /// Whether the socket with that number is a connection that was accepted from one of them, as of the first time
    /// that one is asked for.
    fn has_accepted(&self, inode: u64) -> bool {
        let names = self.sockets.values().filter_map(|socket| socket.name.as_ref());
        self.accepted.get_or_init(|| connections::accepted(names)).contains(&inode)
    }
}

/// Looks at a worker.
pub(crate) fn look(worker: Pid, watched: &Watched, reach: Reach) -> Sight {
    let mut eye = Eye::new(watched, reach);
    match walk(&mut eye, worker, reach) {
        ControlFlow::Break(()) => Sight::Accepting,
        ControlFlow::Continue(()) => eye.sight(),
    }
}

fn walk(eye: &mut Eye<'_>, worker: Pid, reach: Reach) -> ControlFlow<()> {
    let mut known = BTreeSet::from([worker]);
    let mut next = vec![worker];
    while let Some(pid) = next.pop() {
        eye.look_at(pid)?;
        if pid == worker && eye.saw_no_thread() && is_there(worker) {
            // It is not reaped, so proc(5) would have it.
            eye.note_hidden(Sys::ENOENT);
        }
        for child in eye.children_of(pid) {
            if known.len() >= PROCESSES {
                eye.note_more();
                break;
            }
            if known.insert(child) {
                next.push(child);
            }
        }
    }
    if reach == Reach::Family && !eye.misses_children() {
        return ControlFlow::Continue(());
    }
    for pid in relatives(worker).into_iter().filter(|pid| !known.contains(pid)) {
        eye.look_at(pid)?;
    }
    ControlFlow::Continue(())
}

fn is_there(pid: Pid) -> bool {
    let Ok(number) = i32::try_from(pid.0) else { return false };
    number > 0 && kill(unistd::Pid::from_raw(number), None) != Err(Sys::ESRCH)
}

/// The processes that are in a worker's group or descend from one of those, as the whole of proc(5) has them;
/// not all if they are too many.
fn relatives(worker: Pid) -> BTreeSet<Pid> {
    let all = facts::processes().take(RELATIVES);
    let others: Vec<_> = all.filter_map(|pid| Some((pid, facts::kin(pid)?))).collect();
    let mut found = BTreeSet::from([worker]);
    loop {
        let is_new = |pid: &Pid, kin: &facts::Kin| {
            !found.contains(pid) && (kin.group == worker || found.contains(&kin.parent))
        };
        let more: Vec<Pid> =
            others.iter().filter(|(pid, kin)| is_new(pid, kin)).map(|(pid, _)| *pid).collect();
        if more.is_empty() || found.len() >= PROCESSES {
            return found;
        }
        found.extend(more.into_iter().take(PROCESSES));
    }
}

mod calls;
mod connections;
mod eye;
#[cfg(test)]
mod tests;
