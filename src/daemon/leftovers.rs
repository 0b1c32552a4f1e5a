//! Processes that have a socket of the service and come from no worker that runs: a worker has made them,
//! they have left its process group, and so nothing ends them with it. They may take connections, and they
//! keep the port from the next start. All that is done about them is to say so.
//!
//! They can only come to be where a worker ends, and only then are they looked for: a while later, and the
//! less often the longer a look takes. A crowd of workers that ends again and again costs no more than a
//! hundredth of the time.

use super::{
    clock::Monotonic,
    facts,
    holders::{Holder, holders},
    process::Children,
    sockets::Sockets,
};
use crate::fsm::{
    id::Pid,
    time::{Millis, Time},
};
use log::warn;
use std::{collections::BTreeSet, iter, process, thread, time::Duration};

/// How long after the end of a worker its family is expected to be gone.
const SETTLE: Millis = Millis(1_000);

/// How much longer than a look the time to the next one is.
const THRIFT: u64 = 100;

/// How many are told of at a time.
const TOLD: usize = 8;

/// The farthest ancestor that is looked for.
const ANCESTORS: usize = 64;

/// How often, and after which pause, the end of the last ones is waited for before the service ends.
const LAST_LOOKS: usize = 10;
const LAST_PAUSE: Duration = Duration::from_millis(20);

/// When to look, and who is known.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    due: Option<Time>,
    /// No look before that.
    earliest: Time,
    /// Those that were told of and are still there.
    known: BTreeSet<Pid>,
}

impl Leftovers {
    /// Notes that a worker has ended.
    pub(crate) fn expect(&mut self, now: Time) {
        if self.due.is_none() {
            self.due = Some(self.earliest.max(now + SETTLE));
        }
    }

    /// When to look, if there is anything to look for.
    pub(crate) fn due(&self) -> Option<Time> {
        self.due
    }

    /// Looks, and tells of those that are new.
    pub(crate) fn look(
        &mut self,
        clock: &Monotonic,
        sockets: &Sockets,
        workers: &Children,
        keeper: Option<Pid>,
    ) {
        let begin = clock.now();
        let mut found = find(sockets, workers);
        found.retain(|holder| Some(holder.pid) != keeper);
        let end = clock.now();
        let took = end.since(begin);
        self.earliest = end + SETTLE.max(Millis(took.0.saturating_mul(THRIFT)));
        self.due = None;
        tell(sockets, found.iter().filter(|holder| !self.known.contains(&holder.pid)));
        self.known = found.iter().map(|holder| holder.pid).collect();
    }

    /// Tells of all that the service leaves behind. To be called when no worker is left; waits for a moment
    /// for what is ending just now.
    pub(crate) fn last_look(sockets: &Sockets, workers: &Children) {
        let mut found = find(sockets, workers);
        for _ in 1..LAST_LOOKS {
            if found.is_empty() {
                return;
            }
            thread::sleep(LAST_PAUSE);
            found = find(sockets, workers);
        }
        tell(sockets, found.iter());
    }
}

fn find(sockets: &Sockets, workers: &Children) -> Vec<Holder> {
    let inodes: BTreeSet<u64> = sockets.by_inode().into_keys().collect();
    if inodes.is_empty() {
        return Vec::new();
    }
    let mut found = holders(&inodes, |pid| !workers.contains_key(&pid));
    // Whoever has handed a socket over has it still, and has started us, or whoever did.
    let ours = ancestors(Pid(process::id()));
    found.retain(|holder| !ours.contains(&holder.pid) && is_left(holder.pid, workers));
    found
}

fn ancestors(pid: Pid) -> BTreeSet<Pid> {
    let parent = |pid: &Pid| facts::kin(*pid).map(|kin| kin.parent);
    iter::successors(parent(&pid), parent).take(ANCESTORS).collect()
}

/// Whether a process is in no worker's group and descends from none.
pub(crate) fn is_left(pid: Pid, workers: &Children) -> bool {
    let mut next = pid;
    for _ in 0..ANCESTORS {
        // One that has ended meanwhile is not left either.
        let Some(kin) = facts::kin(next) else { return next != pid };
        if workers.contains_key(&kin.group) || workers.contains_key(&kin.parent) {
            return false;
        }
        next = kin.parent;
    }
    true
}

fn tell<'a>(sockets: &Sockets, left: impl Iterator<Item = &'a Holder>) {
    let addresses = sockets.by_inode();
    let mut more = 0_usize;
    for (position, Holder { pid, name, inode }) in left.enumerate() {
        if position >= TOLD {
            more = more.saturating_add(1);
            continue;
        }
        let address = addresses.get(inode).map_or("a socket", String::as_str);
        warn!(
            "pid {pid} ({name}), which comes from no worker that runs, has {address} open: it may take \
             connections, and keeps the port from the next start; `kill {pid}` ends it"
        );
    }
    if more > 0 {
        warn!("{more} more such processes");
    }
}

#[cfg(test)]
mod tests {
    use super::{super::process::Ticket, *};

    #[test]
    fn a_look_is_due_a_while_after_an_end_and_once_for_many() {
        let mut leftovers = Leftovers::default();
        assert_eq!(leftovers.due(), None);
        leftovers.expect(Time(500));
        leftovers.expect(Time(900));
        assert_eq!(leftovers.due(), Some(Time(1_500)));
        leftovers.earliest = Time(60_000);
        assert_eq!(leftovers.due(), Some(Time(1_500)));
        leftovers.due = None;
        leftovers.expect(Time(2_000));
        assert_eq!(leftovers.due(), Some(Time(60_000)), "not before its time");
    }

    #[test]
    fn children_of_workers_are_theirs_and_other_processes_are_left() {
        let us = Pid(std::process::id());
        let mut workers = Children::new();
        assert!(is_left(us, &workers));
        assert!(!is_left(Pid(0), &workers), "there is none");
        workers.insert(Pid(std::os::unix::process::parent_id()), Ticket::VOID);
        assert!(!is_left(us, &workers));
    }
}
