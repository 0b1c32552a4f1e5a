//! A simulated kernel and what runs on it: processes with personalities, and messages between them
//! and the supervisor. Nothing here knows what the machine thinks.

use crate::world::spawn_error;
use einhyrningsins::fsm::{
    action::{Action, Scope},
    event::{EventKind, ExitStatus, Sight},
    id::{Errno, Generation, Pid, RequestId, SlotId, WorkerId},
    signal::Signal,
    time::{Millis, Time},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Steele, Lea and Flood's `SplitMix64`: small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }

    /// True in `percent` of all cases, in tenths of a percent.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }
}

/// What a run is like; chances are per mille.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub target: u32,
    pub events: u64,
    /// How many events between looks at the whole state.
    pub look_every: u64,
    /// Forks that fail.
    pub forks: u64,
    /// Programs that cannot be captured.
    pub pins: u64,
    /// Generations whose workers do not work.
    pub bad_generations: u64,
    /// Workers that misbehave in a good generation.
    pub bad_workers: u64,
    /// Exits that are told of later than they could be.
    pub delayed: u64,
    /// Acks that are lost, doubled or forged.
    pub acks: u64,
    /// Wake-ups that come late.
    pub late: u64,
    /// Turns in which a lot of time is lost.
    pub gaps: u64,
    /// By how much every turn is late: the supervisor gets to run too rarely.
    pub starved: Millis,
    /// Turns in which a client asks for something.
    pub requests: u64,
    /// Turns in which a healthy worker is killed by somebody.
    pub murders: u64,
    /// Generations whose workers, but for that in the first slot, take long to be healthy and are so for a
    /// short time.
    pub flaps: u64,
    /// How long a worker may take to be healthy.
    pub start: Millis,
    /// Actions amid which the supervisor dies, and another takes its place.
    pub deaths: u64,
    /// Workers of a good generation that die within a tenth of a second, healthy or not yet.
    pub young: u64,
    /// Whether the kernel breaks its promises.
    pub sabotage: bool,
}

impl Options {
    /// What the seed says.
    pub fn drawn(seed: u64, events: u64) -> Self {
        let mut rng = Rng::new(!seed);
        let mut up_to = |most: u64| if rng.below(3) == 0 { 0 } else { rng.below(most) };
        Self {
            target: u32::try_from(1 + up_to(9)).expect("small"),
            events,
            look_every: 40,
            forks: up_to(200),
            pins: up_to(100),
            bad_generations: up_to(600),
            bad_workers: up_to(300),
            delayed: up_to(500),
            acks: up_to(300),
            late: up_to(200),
            gaps: up_to(10),
            starved: Millis(0),
            requests: 20 + up_to(150),
            murders: up_to(100),
            flaps: if rng.chance(200) { 500 } else { 0 },
            start: Millis(200),
            // Every second run.
            deaths: if seed % 2 == 1 { 1 + rng.below(60) } else { 0 },
            young: if rng.chance(300) { 1_000 - rng.below(300) } else { 0 },
            sabotage: false,
        }
    }

    /// The same without faults.
    pub fn calm(self) -> Self {
        Self {
            forks: 0,
            pins: 0,
            bad_generations: 0,
            bad_workers: 0,
            delayed: 0,
            acks: 0,
            late: 0,
            gaps: 0,
            starved: Millis(0),
            requests: 0,
            murders: 0,
            flaps: 0,
            young: 0,
            ..self
        }
    }
}

/// What a worker is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Good,
    ExitsAtOnce,
    CannotExec,
    NeverAcks,
    DiesLater,
    IgnoresStop,
    IgnoresTerm,
    Unkillable,
    LeavesOrphans,
    Flaps,
    DiesYoung,
}

const BAD: [Nature; 8] = [
    Nature::ExitsAtOnce,
    Nature::CannotExec,
    Nature::NeverAcks,
    Nature::DiesLater,
    Nature::IgnoresStop,
    Nature::IgnoresTerm,
    Nature::Unkillable,
    Nature::LeavesOrphans,
];

#[derive(Clone, Debug)]
struct Process {
    worker: WorkerId,
    nature: Nature,
    acks_at: Option<Time>,
    ends_at: Option<Time>,
    how: ExitStatus,
}

/// Processes and messages.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub rng: Rng,
    /// The next exit is never told of.
    pub lose_next_exit: bool,
    /// Whether somebody looks at processes.
    pub looks: bool,
    processes: BTreeMap<Pid, Process>,
    /// Processes that have ended and are not reaped: their pids are taken.
    zombies: BTreeMap<Pid, Process>,
    acks: VecDeque<(Pid, Pid, Option<Pid>)>,
    bad_generations: BTreeMap<Generation, Nature>,
    /// Programs that are captured.
    captured: BTreeSet<Generation>,
    next_request: u64,
}

impl Kernel {
    pub fn new(rng: Rng) -> Self {
        Self {
            rng,
            lose_next_exit: false,
            looks: false,
            processes: BTreeMap::new(),
            zombies: BTreeMap::new(),
            acks: VecDeque::new(),
            bad_generations: BTreeMap::new(),
            captured: BTreeSet::new(),
            next_request: 1,
        }
    }

    /// Living processes, in order.
    pub fn pids(&self) -> Vec<Pid> {
        self.processes.keys().copied().collect()
    }

    /// When the next thing happens by itself.
    pub fn next_event(&self) -> Option<Time> {
        let times = self.processes.values().flat_map(|process| [process.acks_at, process.ends_at]);
        let next = times.flatten().min();
        if self.zombies.is_empty() && self.acks.is_empty() { next } else { Some(Time(0)) }
    }

    /// The machine was suspended: nothing ran for so long.
    pub fn slept(&mut self, lost: Millis) {
        for process in self.processes.values_mut() {
            process.acks_at = process.acks_at.map(|at| at + lost);
            process.ends_at = process.ends_at.map(|at| at + lost);
        }
    }

    /// Faults are over: whoever lives will behave, but for those that nothing removes.
    pub fn heal(&mut self, now: Time) {
        self.bad_generations.clear();
        for process in self.processes.values_mut().filter(|process| process.nature != Nature::Unkillable) {
            if matches!(process.nature, Nature::DiesLater | Nature::Flaps | Nature::DiesYoung) {
                process.ends_at = None;
            }
            if process.nature == Nature::NeverAcks {
                process.acks_at = Some(now + Millis(10));
            }
            process.nature = Nature::Good;
        }
    }

    /// Does what the shell would do. Returns the answers.
    pub fn perform(&mut self, action: &Action, now: Time, options: &Options) -> Vec<EventKind> {
        let answer = match action {
            Action::Pin { generation, .. } => Some(self.pin(*generation, options)),
            Action::Bind { listener } => Some(EventKind::Bound { listener: *listener }),
            Action::Spawn { worker, slot, generation } => {
                Some(self.spawn((*worker, *slot), *generation, now, options))
            }
            Action::Signal { pid, signal, scope, .. } => {
                self.signal(*pid, *signal, *scope, now);
                None
            }
            Action::Stop { pid, .. } => {
                self.signal(*pid, Signal::Usr2, Scope::Awake, now);
                None
            }
            Action::Forget { generation } => {
                self.captured.remove(generation);
                None
            }
            Action::Sweep { .. }
            | Action::Reply { .. }
            | Action::Progress { .. }
            | Action::Notice { .. }
            | Action::Exit { .. } => None,
        };
        answer.into_iter().collect()
    }

    fn pin(&mut self, generation: Generation, options: &Options) -> EventKind {
        if self.rng.chance(options.flaps) {
            self.bad_generations.insert(generation, Nature::Flaps);
        }
        if generation > Generation(1) {
            if self.rng.chance(options.pins) {
                return EventKind::PinFailed { generation, error: spawn_error(7) };
            }
            if self.rng.chance(options.bad_generations) {
                let nature = BAD[usize::try_from(self.rng.below(4)).expect("small")];
                self.bad_generations.insert(generation, nature);
            }
        }
        self.captured.insert(generation);
        EventKind::Pinned { generation }
    }

    /// What an order came to, if it was carried out and nobody was told.
    pub fn carried_out(&self, order: &Action) -> Option<EventKind> {
        match order {
            Action::Pin { generation, .. } if self.captured.contains(generation) => {
                Some(EventKind::Pinned { generation: *generation })
            }
            Action::Spawn { worker, .. } => {
                let all = self.processes.iter().chain(&self.zombies);
                let found = all.filter(|(_, process)| process.worker == *worker).map(|(pid, _)| *pid).next();
                found.map(|pid| EventKind::Spawned { worker: *worker, pid })
            }
            _ => None,
        }
    }

    /// Whether there is such a process, even one that has ended.
    pub fn knows(&self, pid: Pid) -> bool {
        self.processes.contains_key(&pid) || self.zombies.contains_key(&pid)
    }

    fn spawn(
        &mut self,
        (worker, slot): (WorkerId, SlotId),
        generation: Generation,
        now: Time,
        options: &Options,
    ) -> EventKind {
        if self.rng.chance(options.forks) {
            return EventKind::SpawnFailed { worker, error: spawn_error(11) };
        }
        let pid = self.free_pid();
        let nature = match self.bad_generations.get(&generation) {
            // Where all end again and again, one that does not makes all the difference.
            Some(Nature::Flaps) if slot == SlotId(0) => Nature::Good,
            Some(nature) => *nature,
            None if self.rng.chance(options.bad_workers) => {
                BAD[usize::try_from(self.rng.below(8)).expect("small")]
            }
            None if self.rng.chance(options.young) => Nature::DiesYoung,
            None => Nature::Good,
        };
        let slow = Millis(options.start.0 * (6 + self.rng.below(4)) / 10);
        let soon = |rng: &mut Rng, most: u64| Some(now + Millis(1 + rng.below(most)));
        let ends_at = match nature {
            Nature::ExitsAtOnce | Nature::CannotExec => soon(&mut self.rng, 20),
            Nature::DiesYoung => soon(&mut self.rng, 100),
            Nature::DiesLater => soon(&mut self.rng, 20_000),
            Nature::LeavesOrphans => soon(&mut self.rng, 30_000),
            Nature::Flaps => soon(&mut self.rng, options.start.0 / 5).map(|at| at + slow),
            Nature::Good
            | Nature::NeverAcks
            | Nature::IgnoresStop
            | Nature::IgnoresTerm
            | Nature::Unkillable => None,
        };
        let acks_at = match nature {
            Nature::NeverAcks => None,
            Nature::Flaps => Some(now + slow),
            Nature::DiesYoung => soon(&mut self.rng, 60),
            _ => soon(&mut self.rng, 150),
        };
        let how = if self.rng.chance(500) { ExitStatus::Code(1) } else { ExitStatus::Signal(11) };
        self.processes.insert(pid, Process { worker, nature, acks_at, ends_at, how });
        EventKind::Spawned { worker, pid }
    }

    /// The lowest that is free: recycled as fast as can be.
    fn free_pid(&self) -> Pid {
        let taken = |pid: &Pid| self.processes.contains_key(pid) || self.zombies.contains_key(pid);
        // Above the highest there is always room; below it only sometimes, and rarely far down.
        (100..).map(Pid).find(|pid| !taken(pid)).expect("numbers enough")
    }

    fn signal(&mut self, pid: Pid, signal: Signal, scope: Scope, now: Time) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        let ends = match (signal, process.nature) {
            (_, Nature::Unkillable) => false,
            (Signal::Kill, _) => scope == Scope::Group,
            (Signal::Term, nature) => nature != Nature::IgnoresTerm,
            (Signal::Usr2, nature) => !matches!(nature, Nature::IgnoresTerm | Nature::IgnoresStop),
            _ => false,
        };
        if ends {
            let takes = if signal == Signal::Kill { 1 } else { 1 + self.rng.below(100) };
            let at = now + Millis(takes);
            process.ends_at = Some(process.ends_at.map_or(at, |before| before.min(at)));
            process.acks_at = process.acks_at.filter(|_| self.rng.chance(200));
        }
    }

    /// Lets everything happen that is due.
    pub fn run(&mut self, now: Time, options: &Options) {
        if self.rng.chance(options.murders) && !self.processes.is_empty() {
            let victim = usize::try_from(self.rng.below(self.processes.len() as u64)).expect("small");
            if let Some(process) =
                self.processes.values_mut().nth(victim).filter(|process| process.nature != Nature::Unkillable)
            {
                process.ends_at = Some(now);
                process.how = ExitStatus::Signal(9);
            }
        }
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let acking: Vec<Pid> =
            self.processes.iter().filter(|(_, process)| due(process.acks_at)).map(|(pid, _)| *pid).collect();
        for pid in acking {
            self.send_ack(pid, options);
        }
        let ending: Vec<Pid> =
            self.processes.iter().filter(|(_, process)| due(process.ends_at)).map(|(pid, _)| *pid).collect();
        for pid in ending {
            if let Some(process) = self.processes.remove(&pid)
                && !std::mem::take(&mut self.lose_next_exit)
            {
                self.zombies.insert(pid, process);
            }
        }
    }

    fn send_ack(&mut self, pid: Pid, options: &Options) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.acks_at = None;
        }
        if !self.rng.chance(options.acks) {
            return self.acks.push_back((pid, pid, Some(pid)));
        }
        match self.rng.below(5) {
            0 => {}
            1 => self.acks.extend([(pid, pid, Some(pid)), (pid, pid, Some(pid))]),
            2 => self.acks.push_back((Pid(pid.0 + 1), pid, Some(pid))),
            3 => self.acks.push_back((pid, Pid(7), Some(Pid(7)))),
            _ => self.acks.push_back((pid, Pid(7), Some(pid))),
        }
    }

    /// The children that can be reaped now, in any order; some can be only later.
    pub fn reapable(&mut self, options: &Options) -> Vec<Pid> {
        let mut pids: Vec<Pid> = self.zombies.keys().copied().collect();
        if self.rng.chance(300) {
            pids.reverse();
        }
        pids.retain(|_| !self.rng.chance(options.delayed));
        pids
    }

    /// Reaps a child: its pid is free from here on.
    pub fn reap(&mut self, pid: Pid) -> Option<EventKind> {
        let process = self.zombies.remove(&pid)?;
        let error = (process.nature == Nature::CannotExec).then(|| {
            let mut error = spawn_error(if self.rng.chance(500) { 7 } else { 2 });
            error.errno = Errno(2);
            error
        });
        let orphans = process.nature == Nature::LeavesOrphans;
        Some(EventKind::Exited { pid, status: process.how, error, orphans })
    }

    /// What has arrived over the control socket.
    pub fn messages(&mut self, options: &Options) -> Vec<EventKind> {
        let mut events = Vec::new();
        for _ in 0..self.acks.len() {
            let Some((pid, sender, group)) = self.acks.pop_front() else {
                break;
            };
            if self.rng.chance(options.delayed) {
                self.acks.push_back((pid, sender, group));
                continue;
            }
            if self.looks && self.rng.chance(700) {
                // It does not say so, but can be seen, if only half-way.
                let half = self.rng.chance(300);
                let sight = if half { Sight::Registered } else { Sight::Accepting };
                events.push(EventKind::Seen { pid, sight });
                continue;
            }
            self.next_request += 1;
            let request = Some(RequestId(self.next_request));
            events.push(EventKind::Acked { pid, sender, group, request });
        }
        events
    }
}
