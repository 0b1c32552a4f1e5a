//! A lean shell for the machine: answers every order at once and keeps the events, so that they can be
//! told again to a copy of the machine, with nothing else in between to be measured.

use einhyrningsins::fsm::{
    Supervisor,
    action::Action,
    config::{AckMode, Config},
    event::{Command, Event, EventKind, ExitStatus, Strategy},
    id::{ClientId, Pid, RequestId},
    signal::Signal,
    time::{Millis, Time},
};
use std::collections::VecDeque;

/// What may happen. Each is one or more events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A worker says that it is alive.
    Ping,
    /// A worker ends and is replaced: exit, start, ack.
    Crash,
    /// The same, and the replacement fails once and backs off: the deadline of a slot is involved.
    FailedStart,
    /// A wake-up for nothing.
    Wake,
    /// A client has a signal sent to one worker.
    Signal,
    /// One worker less, or the one more again.
    Resize,
    /// A rolling upgrade, unless one is under way.
    Upgrade,
}

/// How the ops of a scene are chosen: each with its weight.
pub(crate) type Mix = &'static [(Op, u64)];

/// Something a process is about to do.
#[derive(Clone, Copy, Debug)]
enum Due {
    Ack(Pid),
    Exit(Pid),
}

/// The time between two ops: more than a worker must serve for its end not to count against its slot,
/// so that fleets of every size get the same events.
const PACE: Millis = Millis(12_000);

/// Longer than any run.
const NEVER: Millis = Millis(1_000_000_000);

/// A machine and what is needed to keep it busy.
pub(crate) struct Driver {
    pub(crate) supervisor: Supervisor,
    pub(crate) events: Vec<Event>,
    workers: u32,
    now: Time,
    /// Processes that serve.
    serving: Vec<Pid>,
    due: VecDeque<Due>,
    next_pid: u32,
    next_request: u64,
    random: u64,
}

impl Driver {
    /// A machine that is about to start that many workers.
    pub(crate) fn new(workers: u32) -> Self {
        Self {
            supervisor: Supervisor::new(config(workers)),
            events: Vec::new(),
            workers,
            now: Time(0),
            serving: Vec::new(),
            due: VecDeque::new(),
            next_pid: 1_000,
            next_request: 1,
            random: 0x2545_F491_4F6C_DD1D,
        }
    }

    /// Brings it up.
    pub(crate) fn start(&mut self) {
        self.tell(EventKind::Start);
        self.catch_up();
        self.settle(usize::MAX);
    }

    /// Makes at least that many events happen, in the proportions of `mix`.
    pub(crate) fn play(&mut self, mix: Mix, events: usize) {
        let whole: u64 = mix.iter().map(|(_, weight)| weight).sum();
        self.events.clear();
        while self.events.len() < events {
            let mut ticket = self.chance(whole);
            let chosen = mix.iter().find(|(_, weight)| match ticket.checked_sub(*weight) {
                Some(rest) => {
                    ticket = rest;
                    false
                }
                None => true,
            });
            if let Some((op, _)) = chosen {
                self.follow(*op);
            }
            // An upgrade goes on as fast as its workers answer; two at a time let other things happen
            // in the middle of it.
            self.settle(2);
            self.catch_up();
        }
    }

    fn follow(&mut self, op: Op) {
        self.now = self.now + PACE;
        match op {
            Op::Ping => {
                if let Some(pid) = self.any() {
                    let request = Some(self.request());
                    self.tell(EventKind::Pinged { pid, sender: pid, group: Some(pid), request });
                }
            }
            Op::Crash => {
                if let Some(pid) = self.lose_any() {
                    self.exit(pid);
                }
            }
            Op::FailedStart => self.fail_once(),
            Op::Wake => self.tell(EventKind::Woke),
            Op::Signal => {
                if let Some(pid) = self.any() {
                    self.ask(Command::Signal { signal: Signal::Usr1, pids: vec![pid] });
                }
            }
            Op::Resize => {
                let shrunk = self.supervisor.fleet().target() < self.workers;
                self.ask(if shrunk { Command::Inc } else { Command::Dec });
            }
            Op::Upgrade if self.supervisor.rollout().is_none() => {
                self.ask(Command::Upgrade {
                    strategy: Strategy::Rolling,
                    canary: None,
                    soak: None,
                    timeout: None,
                });
            }
            Op::Upgrade => {}
        }
    }

    fn fail_once(&mut self) {
        let before = self.due.len();
        let Some(pid) = self.lose_any() else { return };
        self.exit(pid);
        // There is none if what ended was being replaced anyway.
        if self.due.len() > before
            && let Some(Due::Ack(pid)) = self.due.pop_back()
        {
            self.exit(pid);
        }
    }

    /// Wakes for slots that back off, and for what was left undone.
    fn catch_up(&mut self) {
        let soon = self.now + PACE;
        while let Some((deadline, _)) =
            self.supervisor.next_deadline().filter(|(deadline, _)| *deadline < soon)
        {
            self.now = self.now.max(deadline);
            self.tell(EventKind::Woke);
        }
    }

    /// Lets the next processes do what they are about to do.
    fn settle(&mut self, count: usize) {
        for _ in 0..count {
            match self.due.pop_front() {
                Some(Due::Ack(pid)) => {
                    let request = Some(self.request());
                    self.serving.push(pid);
                    self.tell(EventKind::Acked { pid, sender: pid, group: Some(pid), request });
                }
                Some(Due::Exit(pid)) => self.exit(pid),
                None => return,
            }
        }
    }

    fn exit(&mut self, pid: Pid) {
        self.tell(EventKind::Exited { pid, status: ExitStatus::Code(0), error: None, orphans: false });
    }

    fn ask(&mut self, command: Command) {
        let request = self.request();
        self.tell(EventKind::Requested { client: ClientId(request.0 % 4), request, command });
    }

    /// Tells the machine, and answers what it asks.
    fn tell(&mut self, kind: EventKind) {
        let mut facts = VecDeque::from([kind]);
        while let Some(kind) = facts.pop_front() {
            let event = Event { at: self.now, kind };
            self.events.push(event.clone());
            for action in self.supervisor.step(event) {
                match action {
                    Action::Pin { generation, .. } => facts.push_back(EventKind::Pinned { generation }),
                    Action::Spawn { worker, .. } => {
                        let pid = Pid(self.next_pid);
                        self.next_pid += 1;
                        self.due.push_back(Due::Ack(pid));
                        facts.push_back(EventKind::Spawned { worker, pid });
                    }
                    Action::Signal { pid, signal: Signal::Usr2 | Signal::Term, .. } => self.ask_to_go(pid),
                    _ => {}
                }
            }
        }
    }

    fn ask_to_go(&mut self, pid: Pid) {
        if let Some(position) = self.serving.iter().position(|serving| *serving == pid) {
            self.serving.swap_remove(position);
        }
        self.due.retain(|due| !matches!(due, Due::Ack(starting) if *starting == pid));
        self.due.push_back(Due::Exit(pid));
    }

    fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    fn any(&mut self) -> Option<Pid> {
        let position = self.position()?;
        self.serving.get(position).copied()
    }

    fn lose_any(&mut self) -> Option<Pid> {
        let position = self.position()?;
        Some(self.serving.swap_remove(position))
    }

    fn position(&mut self) -> Option<usize> {
        let count = u64::try_from(self.serving.len()).ok().filter(|count| *count > 0)?;
        usize::try_from(self.chance(count)).ok()
    }

    /// A number below `bound`; the same ones in every run.
    fn chance(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 16) % bound
    }
}

fn config(workers: u32) -> Config {
    Config {
        target: workers,
        ack: AckMode::Manual(NEVER),
        grace: NEVER,
        retries: u32::MAX,
        max_unacked: 2,
        max_surge: 2,
        ..Config::default()
    }
}
