//! A world for the machine to live in: turns short, arbitrary instructions into events that fit the
//! state, keeps the trace, and checks every invariant after every step.
//!
//! Property tests, exploration, simulation and the fuzzers all drive this one.

use einhyrningsins::fsm::{
    Supervisor,
    action::Action,
    config::Config,
    event::{
        Command, Event, EventKind, ExitStatus, Notification, Prospect, Sight, SpawnError, SpawnStage,
        Strategy,
    },
    id::{ClientId, Errno, Generation, ListenerId, Pid, RequestId, WorkerId},
    invariants::{Monitor, Violation},
    journal::{Resumed, Until, resume, write_event},
    signal::{Shutdown, Signal},
    text::Record as _,
    time::{Millis, Time},
    trace::{State, write_step},
};
use std::collections::VecDeque;

/// One instruction. Numbers choose among what there is, modulo how much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Answer the oldest order that waits for an answer, well.
    Answer,
    /// Answer the newest one, well.
    AnswerLast,
    /// Answer the oldest one, badly; the number chooses how.
    Fail(u8),
    /// A process ends; the second number chooses how.
    Exit(u8, u8),
    /// A worker acknowledges.
    Ack(u8),
    /// Somebody else acknowledges for a worker; the second number chooses who.
    Forge(u8, u8),
    /// Something is seen of a worker; the second number chooses what.
    See(u8, u8),
    /// A worker pings.
    Ping(u8),
    /// A worker notifies; the second number chooses what.
    Notify(u8, u8),
    /// The time of the next deadline has come.
    Wake,
    /// So many milliseconds pass, and the shell wakes.
    Pass(u16),
    /// So many milliseconds pass, and nobody wakes until the next event.
    Drift(u16),
    /// So many seconds are lost.
    Gap(u16),
    /// A client asks for something.
    Request(u8, Ask),
    /// A client leaves.
    Leave(u8),
    /// The supervisor gets a signal.
    Signal(u8),
    /// Something that cannot happen.
    Impossible(u8),
}

/// What clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `status`
    Status,
    /// `upgrade`
    Upgrade,
    /// `upgrade_fleet`
    UpgradeFleet,
    /// `upgrade` with a canary and a soak; the numbers choose how many and how long
    Canary(u8, u8),
    /// `abort`
    Abort,
    /// `inc`
    Inc,
    /// `dec`
    Dec,
    /// `set_workers`
    SetWorkers(u8),
    /// `signal`
    Signal(u8),
    /// `retry`
    Retry,
    /// `die`
    Die(u8),
}

/// How far to look after every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// At what went in and came out.
    Step,
    /// At the whole state too.
    State,
}

/// A machine and what is around it.
#[derive(Clone, Debug)]
pub struct World {
    /// The machine.
    pub supervisor: Supervisor,
    /// What checks it.
    pub monitor: Monitor,
    /// The shell's time.
    pub now: Time,
    /// All that happened, for replay.
    pub trace: String,
    /// Orders that wait for an answer.
    pub unanswered: VecDeque<Action>,
    /// The status to end with, once it has ended.
    pub exited: Option<u8>,
    /// Whether the trace is kept; a run that can be repeated need not until it has failed.
    pub tracing: bool,
    /// What a supervisor that takes over reads, if one may: a snapshot, and all events since.
    pub journal: Option<Journal>,
    depth: Depth,
    next_pid: u32,
    next_request: u64,
}

/// What is left of a supervisor.
#[derive(Clone, Debug)]
pub struct Journal {
    /// As the shell writes it.
    pub text: String,
    events: usize,
}

/// Events before the journal is compacted.
const COMPACTED: usize = 60;

const NO_GROUP: Pid = Pid(3);
const STRANGER: Pid = Pid(2);

impl World {
    /// A machine that has been told to start.
    ///
    /// # Errors
    /// If an invariant does not hold.
    pub fn new(config: Config, depth: Depth) -> Result<Self, Violation> {
        let trace = config.to_line() + "\n";
        let mut world = Self {
            supervisor: Supervisor::new(config).lenient(),
            monitor: Monitor::new(),
            now: Time(0),
            trace,
            unanswered: VecDeque::new(),
            exited: None,
            tracing: true,
            journal: None,
            depth,
            next_pid: 100,
            next_request: 1,
        };
        world.step(EventKind::Start)?;
        Ok(world)
    }

    /// Tells the machine something.
    ///
    /// # Errors
    /// If an invariant does not hold afterwards.
    pub fn step(&mut self, kind: EventKind) -> Result<Vec<Action>, Violation> {
        let event = Event { at: self.now, kind };
        if let Some(journal) = &mut self.journal {
            if journal.events == COMPACTED {
                *journal = Journal::of(&self.supervisor);
            }
            journal.events += 1;
            write_event(&mut journal.text, &event);
        }
        let actions = self.supervisor.step(event.clone());
        if self.tracing {
            write_step(&mut self.trace, &event, &actions, State::of(&self.supervisor));
        }
        self.monitor.step(&event, &actions, &self.supervisor)?;
        if self.depth == Depth::State {
            self.monitor.state(&self.supervisor)?;
        }
        for action in &actions {
            match action {
                Action::Pin { .. } | Action::Bind { .. } | Action::Spawn { .. } => {
                    self.unanswered.push_back(action.clone());
                }
                Action::Exit { code } => self.exited = Some(*code),
                _ => {}
            }
        }
        Ok(actions)
    }

    /// Follows an instruction.
    ///
    /// # Errors
    /// If an invariant does not hold afterwards.
    pub fn follow(&mut self, op: Op) -> Result<(), Violation> {
        if self.exited.is_some() {
            return Ok(());
        }
        if let Some(kind) = self.event(op) {
            self.step(kind)?;
        }
        Ok(())
    }

    /// From here on the supervisor can be replaced.
    pub fn keep_journal(&mut self) {
        self.journal = Some(Journal::of(&self.supervisor));
    }

    /// The supervisor dies, and another takes its place. Returns what the last event called for.
    ///
    /// # Errors
    /// If it is not what the first one was.
    pub fn replace(&mut self) -> Result<Vec<Action>, String> {
        let Some(journal) = &self.journal else { return Err("there is no journal".into()) };
        let Resumed { supervisor, last, .. } =
            resume(&journal.text, Until::Last).map_err(|why| format!("refused: {why}\n{}", journal.text))?;
        let (found, lost) = (supervisor.snapshot(), self.supervisor.snapshot());
        if found != lost {
            return Err(format!("lost:\n{lost}\nfound:\n{found}\njournal:\n{}", journal.text));
        }
        self.supervisor = supervisor;
        Ok(last.map(|(_, actions)| actions).unwrap_or_default())
    }

    /// Answers everything well, in order, until nothing waits.
    ///
    /// # Errors
    /// If an invariant does not hold afterwards.
    pub fn answer_all(&mut self) -> Result<(), Violation> {
        while let Some(action) = self.unanswered.pop_front() {
            if let Some(kind) = self.good_answer(&action) {
                self.step(kind)?;
            }
        }
        Ok(())
    }

    /// The processes of workers, in order.
    pub fn pids(&self) -> Vec<Pid> {
        self.supervisor.fleet().index().pids.keys().copied().collect()
    }

    fn pid(&self, number: u8) -> Option<Pid> {
        let pids = self.pids();
        pids.get(usize::from(number).checked_rem(pids.len())?).copied()
    }

    /// What an instruction means here and now, if anything.
    pub fn event(&mut self, op: Op) -> Option<EventKind> {
        match op {
            Op::Answer => self.unanswered.pop_front().and_then(|action| self.good_answer(&action)),
            Op::AnswerLast => self.unanswered.pop_back().and_then(|action| self.good_answer(&action)),
            Op::Fail(how) => self.unanswered.pop_front().and_then(|action| bad_answer(&action, how)),
            Op::Exit(who, how) => self.pid(who).map(|pid| exit(pid, how)),
            Op::Ack(who) => self.pid(who).map(|pid| self.ack(pid, pid, Some(pid))),
            Op::Forge(who, by) => {
                let pid = self.pid(who)?;
                Some(match by % 5 {
                    0 => self.ack(pid, STRANGER, Some(NO_GROUP)),
                    1 => self.ack(pid, STRANGER, Some(pid)),
                    2 => self.ack(pid, STRANGER, None),
                    3 => {
                        let other = self.pid(by)?;
                        self.ack(pid, other, Some(other))
                    }
                    _ => {
                        let other = self.pid(by)?;
                        self.ack(pid, other, Some(pid))
                    }
                })
            }
            Op::See(who, what) => {
                let sight = if what % 2 == 0 { Sight::Accepting } else { Sight::Registered };
                self.pid(who).map(|pid| EventKind::Seen { pid, sight })
            }
            Op::Ping(who) => {
                let (pid, request) = (self.pid(who)?, self.request());
                Some(EventKind::Pinged { pid, sender: pid, group: Some(pid), request: Some(request) })
            }
            Op::Notify(who, what) => {
                let pid = self.pid(who)?;
                Some(match what % 4 {
                    0 => EventKind::Notified { pid, word: Notification::Ready },
                    1 => EventKind::Notified { pid, word: Notification::Stopping },
                    2 => EventKind::Extended { pid, by: Millis(u64::from(what) * 10) },
                    _ => EventKind::Extended { pid, by: Millis(u64::from(what) * 1_000) },
                })
            }
            Op::Wake => {
                let (deadline, _) = self.supervisor.next_deadline()?;
                self.now = self.now.max(deadline);
                Some(EventKind::Woke)
            }
            Op::Pass(ms) => {
                self.now = self.now + Millis(u64::from(ms));
                Some(EventKind::Woke)
            }
            Op::Drift(ms) => {
                self.now = self.now + Millis(u64::from(ms));
                None
            }
            Op::Gap(secs) => {
                self.now = self.now + Millis(u64::from(secs) * 1_000);
                Some(EventKind::Woke)
            }
            Op::Request(who, ask) => {
                let (client, request) = (ClientId(u64::from(who % 4)), self.request());
                Some(EventKind::Requested { client, request, command: self.command(ask) })
            }
            Op::Leave(who) => Some(EventKind::ClientGone { client: ClientId(u64::from(who % 4)) }),
            Op::Signal(which) => {
                let signal = Signal::ALL[usize::from(which) % Signal::ALL.len()];
                Some(EventKind::Signalled { signal })
            }
            Op::Impossible(which) => Some(self.impossible(which)),
        }
    }

    fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    fn ack(&mut self, pid: Pid, sender: Pid, group: Option<Pid>) -> EventKind {
        let request = Some(self.request());
        EventKind::Acked { pid, sender, group, request }
    }

    fn good_answer(&mut self, action: &Action) -> Option<EventKind> {
        match action {
            Action::Pin { generation, .. } => Some(EventKind::Pinned { generation: *generation }),
            Action::Bind { listener } => Some(EventKind::Bound { listener: *listener }),
            Action::Spawn { worker, .. } => {
                Some(EventKind::Spawned { worker: *worker, pid: self.free_pid() })
            }
            _ => None,
        }
    }

    /// The kernel's choice: never one that is in use, otherwise as soon as it may be.
    pub fn free_pid(&mut self) -> Pid {
        let used = &self.supervisor.fleet().index().pids;
        loop {
            self.next_pid = if self.next_pid >= 140 && used.len() < 30 { 101 } else { self.next_pid + 1 };
            if !used.contains_key(&Pid(self.next_pid)) {
                return Pid(self.next_pid);
            }
        }
    }

    fn command(&self, ask: Ask) -> Command {
        match ask {
            Ask::Status => Command::Status,
            Ask::Upgrade => upgrade(Strategy::Rolling),
            Ask::UpgradeFleet => upgrade(Strategy::Fleet),
            Ask::Canary(count, soak) => Command::Upgrade {
                strategy: if count >= 128 { Strategy::Fleet } else { Strategy::Rolling },
                canary: Some(u32::from(count % 4)).filter(|count| *count > 0),
                soak: Some(Millis(u64::from(soak) * 20)).filter(|soak| *soak > Millis(0)),
                timeout: Some(Millis(u64::from(count) * 40)).filter(|_| count % 5 == 1),
            },
            Ask::Abort => Command::Abort,
            Ask::Inc => Command::Inc,
            Ask::Dec => Command::Dec,
            Ask::SetWorkers(count) => Command::SetWorkers { count: u32::from(count) },
            Ask::Signal(which) => {
                let signal = Signal::ALL[usize::from(which) % Signal::ALL.len()];
                let pids = match which % 3 {
                    0 => Vec::new(),
                    1 => vec![STRANGER],
                    _ => self.pid(which).into_iter().collect(),
                };
                Command::Signal { signal, pids }
            }
            Ask::Retry => Command::Retry,
            Ask::Die(how) => Command::Die { shutdown: Shutdown::ALL[usize::from(how) % Shutdown::ALL.len()] },
        }
    }

    fn impossible(&self, which: u8) -> EventKind {
        let newest = self.supervisor.fleet().extent().next_worker;
        let error = spawn_error(0);
        match which % 10 {
            0 => EventKind::Start,
            1 => EventKind::Pinned { generation: Generation(u32::from(which)) },
            2 => EventKind::PinFailed { generation: Generation(u32::from(which)), error },
            3 => EventKind::Bound { listener: ListenerId(u32::from(which)) },
            4 => EventKind::BindFailed { listener: ListenerId(u32::from(which)), errno: Errno(98) },
            5 => EventKind::Spawned { worker: newest, pid: Pid(9_999) },
            6 => EventKind::Spawned { worker: WorkerId(1), pid: Pid(9_999) },
            7 => EventKind::SpawnFailed { worker: newest, error },
            8 => EventKind::Exited { pid: STRANGER, status: ExitStatus::Code(0), error: None, orphans: true },
            _ => EventKind::SpawnFailed { worker: WorkerId(1), error },
        }
    }
}

impl Journal {
    fn of(supervisor: &Supervisor) -> Self {
        Self { text: supervisor.snapshot(), events: 0 }
    }
}

/// An upgrade without a trial.
pub fn upgrade(strategy: Strategy) -> Command {
    Command::Upgrade { strategy, canary: None, soak: None, timeout: None }
}

fn exit(pid: Pid, how: u8) -> EventKind {
    let status = match how % 4 {
        0 => ExitStatus::Code(0),
        1 => ExitStatus::Code(1),
        2 => ExitStatus::Signal(9),
        _ => ExitStatus::Code(127),
    };
    let error = matches!(how % 8, 3 | 7).then(|| spawn_error(how));
    EventKind::Exited { pid, status, error, orphans: how >= 250 }
}

/// How a start fails for which the machine lacks something.
pub const SHORTAGE: u8 = 3;

/// An error of a start; some kinds are not worth another try.
pub fn spawn_error(how: u8) -> SpawnError {
    let prospect = match how % 16 {
        SHORTAGE => Prospect::Shortage,
        7 => Prospect::NotFound,
        15 => Prospect::NotExecutable,
        _ => Prospect::Passing,
    };
    SpawnError { stage: SpawnStage::Exec, errno: Errno(i32::from(how)), prospect }
}

fn bad_answer(action: &Action, how: u8) -> Option<EventKind> {
    match action {
        Action::Pin { generation, .. } => {
            Some(EventKind::PinFailed { generation: *generation, error: spawn_error(how) })
        }
        Action::Bind { listener } => {
            Some(EventKind::BindFailed { listener: *listener, errno: Errno(i32::from(how)) })
        }
        Action::Spawn { worker, .. } => {
            Some(EventKind::SpawnFailed { worker: *worker, error: spawn_error(how) })
        }
        _ => None,
    }
}
