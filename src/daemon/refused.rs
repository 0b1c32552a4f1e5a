//! What workers have said and nobody took: reports that were refused, and lines that are no requests.
//!
//! Many programs send their report and read no answer, so a refusal that is not in the log is seen by nobody.
//! It is warned of once for each worker that it may have come from, and told again when that worker's time to
//! acknowledge is up. Only the shell notes and asks; whether a report is right is not decided here.

use super::{
    client::Peer,
    facts::{self, Kin},
    given::Reporting,
    process::Children,
};
use crate::{fsm::id::Pid, protocol::visible::visible};
use log::{debug, warn};
use nix::unistd::geteuid;
use std::{
    collections::{BTreeMap, VecDeque},
    iter,
    path::Path,
};

/// How much of what was sent is shown, in characters.
const SHOWN: usize = 80;

/// What every report has in it, in whatever dialect.
const MARK: &[u8] = b"worker:";

/// How far up a sender's ancestors are looked at: a wrapper or two, and what they are made with.
const DEPTH: usize = 16;

/// How many senders are remembered that come from no worker.
const STRANGERS: usize = 32;

/// What somebody has sent, as it is shown to people.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    shown: String,
    /// Whether it is meant to be a report, as far as can be seen.
    is_report: bool,
    /// The process that it is about, if it says so in a way that can be read.
    pid: Option<Pid>,
}

impl Sent {
    /// A line that is no request.
    pub(crate) fn garbled(line: &[u8]) -> Self {
        let is_report = line.windows(MARK.len()).any(|part| part == MARK);
        Self { shown: shown(line), is_report, pid: None }
    }

    /// A report on a worker's process.
    pub(crate) fn report(line: &[u8], pid: Pid) -> Self {
        Self { shown: shown(line), is_report: true, pid: Some(pid) }
    }

    /// What was sent to the manager's socket.
    pub(crate) fn notification(datagram: &[u8]) -> Self {
        Self { shown: shown(datagram), is_report: true, pid: None }
    }

    /// More than a line may have, of which nothing is kept.
    pub(crate) fn endless() -> Self {
        Self { shown: "…".into(), is_report: false, pid: None }
    }
}

/// The beginning of a line, fit for a log.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut rest = text.chars();
    let mut shown = visible(&rest.by_ref().take(SHOWN).collect::<String>());
    if rest.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Something that was sent and refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// Who sent it.
    pub(crate) peer: Peer,
    pub(crate) sent: Sent,
    /// What the sender was told.
    pub(crate) why: String,
}

/// The last refusal of each worker that runs, and who else was told of.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    workers: BTreeMap<Pid, String>,
    /// The names of senders that come from no worker, since the last generation began.
    strangers: VecDeque<String>,
}

impl Refused {
    /// Takes note of a refusal, and warns of the first of each worker. To be called before the sender is told:
    /// many end by that, and cannot be asked any more. Who comes from no worker and sends no report is none of
    /// our business: people mistype commands.
    pub(crate) fn note(&mut self, refusal: &Refusal, workers: &Children) {
        let Refusal { peer, sent, why } = refusal;
        let Some(worker) = worker_of(*peer, sent, workers) else {
            if sent.is_report {
                self.note_stranger(*peer, sent, why);
            }
            return;
        };
        let sender = named(peer.pid);
        let stray = sent.pid.is_some_and(|pid| !workers.contains_key(&pid));
        let advice = if stray { advice(worker) } else { String::new() };
        let words = |was: &str| format!("{sender} sent `{}`, which {was} refused: {why}{advice}", sent.shown);
        if self.workers.insert(worker, words("was")).is_none() {
            warn!("worker pid {worker}: {}", words("is"));
        } else {
            debug!("worker pid {worker}: {}", words("is"));
        }
    }

    fn note_stranger(&mut self, peer: Peer, sent: &Sent, why: &str) {
        let name = facts::name(peer.pid);
        let line = format!("{} sent `{}`, which is refused: {why}", named(peer.pid), sent.shown);
        if self.strangers.contains(&name) {
            return debug!("{line}");
        }
        self.strangers.push_front(name);
        self.strangers.truncate(STRANGERS);
        warn!("{line}; which worker that comes from is not known");
    }

    /// A worker has ended, and its number may soon be another's.
    pub(crate) fn forget(&mut self, worker: Pid) {
        self.workers.remove(&worker);
    }

    /// A new generation begins: whoever is wrong about that one has not been told of.
    pub(crate) fn begin_anew(&mut self) {
        self.strangers.clear();
    }

    /// What is known of why nothing was heard of a worker that should have reported at `socket`; a clause, or
    /// nothing.
    pub(crate) fn silence(&self, worker: Pid, socket: &Path, reporting: Reporting) -> Option<String> {
        let refused = self.workers.get(&worker).cloned();
        let clauses: Vec<_> = refused.into_iter().chain(shut_out(worker, socket, reporting)).collect();
        (!clauses.is_empty()).then(|| clauses.join("; "))
    }
}

/// The worker that somebody speaks for: the one that it is, whose group it was in, or that it descends from;
/// else the one that it names.
fn worker_of(peer: Peer, sent: &Sent, workers: &Children) -> Option<Pid> {
    let near = iter::once(peer.pid).chain(peer.group);
    let far = sent.is_report.then(|| ancestors(peer.pid)).into_iter().flatten();
    near.chain(far).chain(sent.pid).find(|pid| workers.contains_key(pid))
}

/// The processes above a process, from its parent on, and their groups.
fn ancestors(pid: Pid) -> impl Iterator<Item = Pid> {
    let above = |kin: &Kin| facts::kin(kin.parent);
    iter::successors(facts::kin(pid), above).take(DEPTH).flat_map(|kin| [kin.parent, kin.group])
}

/// A process, for people.
fn named(pid: Pid) -> String {
    format!("process {pid} ({})", facts::name(pid))
}

/// What can be done about a report on a process that is no worker, but belongs to one.
fn advice(worker: Pid) -> String {
    format!(
        "; the process that was started is {worker}, and a report has to name that: have a script in between \
         `exec` the program, or report for its own pid"
    )
}

/// A worker that runs as somebody to whom the control socket is closed is not even heard being refused.
fn shut_out(worker: Pid, socket: &Path, reporting: Reporting) -> Option<String> {
    let owner = geteuid().as_raw();
    let user = facts::user(worker).filter(|user| *user != 0 && *user != owner)?;
    let owners = if owner == 0 { "root".into() } else { format!("user {owner} and root") };
    let way_out = match reporting {
        Reporting::AtTheSocket => "give it a connection of its own with --command-socket-as-fd",
        Reporting::OverItsOwn => "have it report over its own connection, EINHORN_SOCK_FD",
    };
    Some(format!(
        "it runs as user {user}, and {} is open to {owners} only: {way_out}, or have it report before it \
         becomes that user",
        socket.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::{super::process::Ticket, *};
    use std::{os::unix::process::parent_id, process};

    /// Who has no number at all.
    const NOBODY: Pid = Pid(0);

    fn us() -> Pid {
        Pid(process::id())
    }

    fn workers(pids: &[Pid]) -> Children {
        pids.iter().map(|pid| (*pid, Ticket::VOID)).collect()
    }

    fn peer(pid: Pid, group: Option<Pid>) -> Peer {
        Peer { pid, user: 0, group }
    }

    #[test]
    fn what_is_shown_is_short_and_gives_no_orders() {
        assert_eq!(shown(b"worker:ack\x1b[2J\xff"), "worker:ack\\u{1b}[2J\u{fffd}");
        assert_eq!(shown("ä".repeat(SHOWN).as_bytes()), "ä".repeat(SHOWN));
        assert_eq!(shown("ä".repeat(SHOWN + 1).as_bytes()), "ä".repeat(SHOWN) + "…");
    }

    #[test]
    fn a_sender_speaks_for_itself_its_group_its_ancestors_or_else_for_the_one_it_names() {
        let (parent, other) = (Pid(parent_id()), Pid(7));
        let report = Sent::report(b"worker:ack 7", other);
        let found = |peer, workers: &Children| worker_of(peer, &report, workers);
        assert_eq!(found(peer(us(), None), &workers(&[us(), parent, other])), Some(us()));
        assert_eq!(found(peer(us(), Some(Pid(9))), &workers(&[Pid(9), parent])), Some(Pid(9)));
        assert_eq!(found(peer(us(), None), &workers(&[parent, other])), Some(parent));
        assert_eq!(found(peer(NOBODY, None), &workers(&[parent, other])), Some(other));
        assert_eq!(found(peer(NOBODY, None), &workers(&[parent])), None);
        // What is no report is looked into no further.
        let garbled = Sent::garbled(b"hello");
        assert_eq!(worker_of(peer(us(), None), &garbled, &workers(&[parent])), None);
        assert_eq!(worker_of(peer(us(), None), &garbled, &workers(&[us()])), Some(us()));
    }

    #[test]
    fn the_last_refusal_of_a_worker_is_known_until_it_ends() {
        let mut refused = Refused::default();
        let mut send = |line: &[u8]| {
            let refusal = Refusal { peer: peer(us(), None), sent: Sent::garbled(line), why: "so".into() };
            refused.note(&refusal, &workers(&[us()]));
            refused.silence(us(), Path::new("/ctl"), Reporting::AtTheSocket)
        };
        let said = send(b"one").unwrap();
        assert!(
            said.starts_with(&format!("process {} (", us()))
                && said.ends_with("`one`, which was refused: so")
        );
        assert!(send(b"two").unwrap().contains("`two`"));
        refused.forget(us());
        assert_eq!(refused.silence(us(), Path::new("/ctl"), Reporting::AtTheSocket), None);
    }

    #[test]
    fn who_comes_from_no_worker_is_told_of_by_name_and_no_name_twice_in_a_generation() {
        let mut refused = Refused::default();
        let mut send = |line: &[u8]| {
            let refusal = Refusal { peer: peer(us(), None), sent: Sent::garbled(line), why: String::new() };
            refused.note(&refusal, &workers(&[]));
            refused.strangers.len()
        };
        assert_eq!(send(b"staus"), 0, "a slip is no report");
        assert_eq!([send(b"worker:ack"), send(b"worker:ack")], [1, 1]);
        refused.begin_anew();
        assert!(refused.strangers.is_empty());
    }
}
