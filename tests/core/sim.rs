//! Deterministic simulation: the machine in a kernel that recycles pids as fast as the rules allow,
//! among workers with personalities and clients with moods, on a clock that jumps.
//!
//! One seed decides everything. A run begins with chaos: forks fail, exits are coalesced and late,
//! acks are slow, lost, doubled or forged, generations are bad, time is lost. Then faults stop, and
//! the fleet must become what was asked for within a bound that is computed from the configuration
//! (I23, I24, I26, I27); then it is told to stop, and must end within another (I25), although some of
//! its workers cannot be killed. Other runs are storms: workers are killed all the time, and upgrades
//! must end nonetheless (I35). In every second run the supervisor dies again and again, between any two actions
//! or amid one, and another takes its place, which nobody may notice (H1, H2, H5).
//!
//! `SIM_SEED=N` runs one seed and prints its trace if it fails; `SIM_RUNS=N` runs that many.

mod lost;
mod young;

use crate::{
    kernel::{Kernel, Options, Rng},
    world::{Depth, World, upgrade},
};
use einhyrningsins::fsm::{
    action::{Action, Reply},
    config::{AckMode, BACKOFF_MAX, Config, KILL_AFTER, Patience},
    event::{Command, EventKind, Strategy},
    id::{ClientId, RequestId},
    life::Life,
    signal::{Shutdown, Signal},
    time::Millis,
    worker::PhaseTag,
};
use std::{
    collections::{BTreeMap, VecDeque},
    env,
};
use young::Young;

/// Runs in the ordinary test command.
const RUNS: u64 = 2_000;
/// Storms in the ordinary test command.
const STORMS: u64 = 400;
/// Upgrades of a storm.
const UPGRADES: u64 = 5;
/// Events of a run, at least.
const EVENTS: u64 = 1_000;

/// A run that went wrong.
#[derive(Debug)]
struct Failed {
    why: String,
    trace: String,
}

struct Sim {
    world: World,
    kernel: Kernel,
    options: Options,
    next_request: u64,
    events: u64,
    /// How often the supervisor has died.
    deaths: u64,
    young: Young,
    /// Final answers to requests.
    answers: BTreeMap<RequestId, Reply>,
}

impl Sim {
    fn new(mut rng: Rng, options: Options, tracing: bool) -> Result<Self, Failed> {
        let config = config(&mut rng, &options);
        let options = Options { start: config.ack.span().max(options.start), ..options };
        let mut world = World::new(config, Depth::Step)
            .map_err(|violation| Failed { why: violation.to_string(), trace: String::new() })?;
        world.tracing = tracing;
        if options.deaths > 0 {
            world.keep_journal();
        }
        let answers = BTreeMap::new();
        let looks = world.supervisor.fleet().config().ack.looks();
        let mut kernel = Kernel::new(rng);
        kernel.looks = looks;
        let (next_request, young) = (1_000_000, Young::default());
        Ok(Self { world, kernel, options, next_request, events: 0, deaths: 0, young, answers })
    }

    fn fail(&self, why: impl Into<String>) -> Failed {
        Failed { why: why.into(), trace: self.world.trace.clone() }
    }

    fn is_over(&self) -> bool {
        self.world.exited.is_some()
    }

    /// Tells the machine something and performs what it orders, as the shell does.
    fn tell(&mut self, kind: EventKind) -> Result<(), Failed> {
        let mut facts = VecDeque::from([kind]);
        while let Some(kind) = facts.pop_front() {
            let actions = self.world.step(kind).map_err(|violation| self.fail(violation.to_string()))?;
            self.events += 1;
            self.young.note(&actions, &self.world.supervisor);
            if self.events.is_multiple_of(self.options.look_every) {
                let state = self.world.monitor.state(&self.world.supervisor);
                state.map_err(|violation| self.fail(violation.to_string()))?;
            }
            for (done, action) in actions.iter().enumerate() {
                if self.dies() {
                    // Perhaps in the middle of the action, or before it. What was to be told is lost.
                    let doubtful = self.kernel.rng.chance(500);
                    if doubtful {
                        self.perform(action);
                    }
                    self.deaths += 1;
                    facts = self.take_over(done, doubtful)?;
                    break;
                }
                facts.extend(self.perform(action));
            }
            self.world.unanswered.clear();
            if self.dies() {
                self.deaths += 1;
                facts = self.take_over(actions.len(), false)?;
            }
        }
        Ok(())
    }

    fn dies(&mut self) -> bool {
        self.kernel.rng.chance(self.options.deaths)
    }

    fn perform(&mut self, action: &Action) -> Vec<EventKind> {
        if let Action::Reply { request, reply } = action {
            self.answers.insert(*request, reply.clone());
        }
        let answers = self.kernel.perform(action, self.world.now, &self.options);
        if self.options.sabotage && matches!(action, Action::Signal { signal: Signal::Usr2, .. }) {
            self.kernel.lose_next_exit = true;
        }
        answers
    }

    fn request(&mut self, client: u64, command: Command) -> Result<RequestId, Failed> {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        self.tell(EventKind::Requested { client: ClientId(client), request, command })?;
        Ok(request)
    }

    /// One turn of the event loop: time passes, facts are gathered in the shell's order.
    fn turn(&mut self) -> Result<(), Failed> {
        let deadline = self.world.supervisor.next_deadline().map(|(time, _)| time);
        let next = [deadline, self.kernel.next_event()].into_iter().flatten().min();
        let late = if self.kernel.rng.chance(self.options.late) { self.kernel.rng.below(1_500) } else { 0 };
        let next = next.unwrap_or(self.world.now + Millis(1_000));
        self.world.now = self.world.now.max(next) + Millis(late) + self.options.starved;
        if self.kernel.rng.chance(self.options.gaps) {
            let lost = Millis(self.kernel.rng.below(4_000_000));
            self.world.now = self.world.now + lost;
            if self.kernel.rng.chance(50) {
                self.kernel.slept(lost);
            }
        }
        self.kernel.run(self.world.now, &self.options);
        // One by one: a pid that is free again may come back with the next answer.
        for pid in self.kernel.reapable(&self.options) {
            if let Some(kind) = self.kernel.reap(pid) {
                self.tell(kind)?;
            }
        }
        for kind in self.kernel.messages(&self.options) {
            self.tell(kind)?;
        }
        if self.kernel.rng.chance(self.options.requests) {
            self.ask()?;
        }
        if self.world.supervisor.next_deadline().is_some_and(|(time, _)| time <= self.world.now) {
            self.tell(EventKind::Woke)?;
        }
        Ok(())
    }

    fn ask(&mut self) -> Result<(), Failed> {
        let target = self.world.supervisor.fleet().target();
        let rng = &mut self.kernel.rng;
        let client = rng.below(5);
        let most = u64::from(self.options.target) * 2;
        let command = match rng.below(13) {
            0 => upgrade(Strategy::Rolling),
            1 => upgrade(Strategy::Fleet),
            2 | 3 => trial(rng, target),
            4 => Command::Inc,
            5 => Command::Dec,
            6 => Command::SetWorkers { count: u32::try_from(rng.below(most) + 1).expect("small") },
            7 => Command::Retry,
            8 => Command::Status,
            12 => Command::Abort,
            9 => Command::Signal { signal: Signal::Ttin, pids: Vec::new() },
            10 => return self.tell(EventKind::ClientGone { client: ClientId(client) }),
            _ => return self.tell(EventKind::Signalled { signal: Signal::Hup }),
        };
        self.request(client, command).map(|_| ())
    }

    fn chaos(&mut self) -> Result<(), Failed> {
        self.tell_start()?;
        // A world without requests and faults falls silent; that is enough of it then.
        let mut turns = 0;
        while self.events < self.options.events && turns < self.options.events && !self.is_over() {
            self.turn()?;
            turns += 1;
        }
        Ok(())
    }

    /// The first step was taken by the world; its orders are still to be performed.
    fn tell_start(&mut self) -> Result<(), Failed> {
        let orders = std::mem::take(&mut self.world.unanswered);
        for action in orders {
            for kind in self.perform(&action) {
                self.tell(kind)?;
            }
        }
        Ok(())
    }

    /// The longest that getting well may take once faults have stopped.
    fn bound(&self) -> Millis {
        let config = self.world.supervisor.fleet().config();
        let start = config.ack.span();
        // A start under way may still fail, its slot then waits; and what drains takes its time.
        let once = BACKOFF_MAX.0 + 2 * start.0.max(200) + config.grace.0 + 3 * KILL_AFTER.0;
        // In an upgrade slots take turns, so many at a time, first forward and then back.
        let slots = u64::from(self.world.supervisor.fleet().target().max(self.options.target * 2));
        let turns = 2 * slots.div_ceil(u64::from(config.max_unacked.min(config.max_surge))) + 2;
        // And an upgrade on trial takes the trial's time, twice.
        let trials = self.world.supervisor.rollout().map_or(0, |rollout| 2 * rollout.terms.soak.0);
        Millis(once + turns * (start.0.max(200) + 200) + trials + 10_000)
    }

    fn calm(&mut self) -> Result<(), Failed> {
        self.options = self.options.calm();
        self.kernel.heal(self.world.now);
        self.request(9, Command::Retry)?;
        let end = self.world.now + self.bound();
        while !self.is_over() && !self.is_well() {
            if self.world.now > end {
                let state = self.world.supervisor.snapshot();
                return Err(self.fail(format!("not well within {:?} of calm: {state}", self.bound())));
            }
            // A start from before may still have failed; somebody looks after such slots.
            if self.world.supervisor.fleet().index().gave_up.total() > 0 {
                self.request(9, Command::Retry)?;
            }
            self.turn()?;
        }
        if !self.is_over() {
            self.truthful()?;
        }
        Ok(())
    }

    /// Everything is as was asked for, nobody waits, and nothing is left to come (I23, I24, I26, I27).
    fn is_well(&self) -> bool {
        let supervisor = &self.world.supervisor;
        let census = &supervisor.fleet().index().census;
        let target = supervisor.fleet().target();
        let stuck = census.count(PhaseTag::DrainingStuck);
        self.kernel.next_event().is_none()
            && supervisor.rollout().is_none()
            && supervisor.waiting().is_empty()
            && census.count(PhaseTag::Healthy) == target
            && supervisor.fleet().healthy_of(supervisor.stable()) == target
            && census.total() == target + stuck
            && supervisor.next_deadline().is_none()
            && (stuck > 0 || supervisor.pinned().len() == 1)
    }

    /// What the machine believes is what the kernel knows.
    fn truthful(&self) -> Result<(), Failed> {
        let believed: Vec<_> = self.world.supervisor.fleet().index().pids.keys().copied().collect();
        let real = self.kernel.pids();
        if believed == real {
            Ok(())
        } else {
            Err(self.fail(format!("believed {believed:?}, real {real:?}")))
        }
    }

    /// Told to stop, it ends in time, whatever its workers do (I25).
    fn shutdown(&mut self) -> Result<(), Failed> {
        let shutdown = Shutdown::ALL[usize::try_from(self.kernel.rng.below(4)).expect("small")];
        self.request(9, Command::Die { shutdown })?;
        let grace = self.world.supervisor.fleet().config().grace;
        if self.kernel.rng.chance(250) {
            self.options.starved = Millis(1_000 + self.kernel.rng.below(5_000));
        }
        // Once what is taken for a suspension, and each of three rungs late.
        let late = 8 * self.options.starved.0;
        let end = self.world.now + Millis(grace.0 + 2 * KILL_AFTER.0 + late + 1);
        while !self.is_over() {
            if self.world.now > end {
                return Err(self.fail(format!("{shutdown} shutdown is not over in time")));
            }
            self.turn()?;
        }
        match self.world.supervisor.life() {
            Life::Done { .. } => Ok(()),
            other => Err(self.fail(format!("ended, and is {other:?}"))),
        }
    }
}

/// An upgrade with a canary, a soak, both or neither. There are seldom more canaries than workers.
fn trial(rng: &mut Rng, target: u32) -> Command {
    let strategy = if rng.chance(300) { Strategy::Fleet } else { Strategy::Rolling };
    let most = if rng.chance(950) { target } else { target + 1 };
    let canary = Some((small(rng, 4) - 1).min(most)).filter(|canary| *canary > 0);
    let soak = Some(Millis(rng.below(20_000))).filter(|soak| *soak > Millis(4_000));
    let least = soak.map_or(0, |soak| soak.0) * 2;
    let timeout = rng.chance(150).then(|| Millis(least + 1 + rng.below(20_000)));
    Command::Upgrade { strategy, canary, soak, timeout }
}

fn small(rng: &mut Rng, most: u64) -> u32 {
    u32::try_from(1 + rng.below(most)).expect("small")
}

fn config(rng: &mut Rng, options: &Options) -> Config {
    let patience = |rng: &mut Rng| Patience {
        after: Millis(1 + rng.below(1_000)),
        timeout: Millis(200 + rng.below(5_000)),
    };
    let ack = match rng.below(6) {
        0 => AckMode::After(Millis(0)),
        1 => AckMode::After(Millis(1 + rng.below(1_000))),
        2 => AckMode::Accepting(patience(rng)),
        3 => AckMode::Auto(patience(rng)),
        _ => AckMode::Manual(Millis(200 + rng.below(5_000))),
    };
    Config {
        target: options.target,
        listeners: small(rng, 3) - 1,
        ack,
        retries: small(rng, 5),
        backoff: Millis(rng.below(400)),
        grace: Millis(rng.below(10_000)),
        stop_signal: rng.chance(700).then_some(Signal::Usr2),
        max_unacked: small(rng, 4),
        max_surge: small(rng, 4),
        exit_on_failure: rng.below(8) == 0,
    }
}

/// What a run came to.
#[derive(Debug, Default)]
struct Ran {
    events: u64,
    deaths: u64,
    time: Millis,
    young: Young,
}

/// A run: a supervisor that ends before there were events enough is started anew.
fn run(seed: u64, options: Options, tracing: bool) -> Result<Ran, Failed> {
    let mut ran = Ran::default();
    let mut rng = Rng::new(seed);
    while ran.events < options.events {
        let left = Options { events: options.events - ran.events, ..options };
        let mut sim = Sim::new(rng, left, tracing)?;
        sim.chaos()?;
        if !sim.is_over() {
            sim.calm()?;
        }
        if !sim.is_over() {
            sim.shutdown()?;
        }
        ran.events += sim.events;
        ran.deaths += sim.deaths;
        ran.young += sim.young;
        ran.time = Millis(ran.time.0 + sim.world.now.0);
        rng = sim.kernel.rng;
    }
    Ok(ran)
}

/// Repeats a run that has failed, and tells of it.
fn report(seed: u64, options: &Options) -> String {
    let Err(failed) = run(seed, *options, true) else {
        return format!("SIM_SEED={seed} fails only sometimes, so something here is not deterministic");
    };
    format!("SIM_SEED={seed}: {}\n{options:?}\n{}", failed.why, kept(seed, &failed))
}

/// The end of a failed run's trace, and where the whole of it is.
fn kept(seed: u64, failed: &Failed) -> String {
    let lines: Vec<&str> = failed.trace.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(200)..).unwrap_or_default();
    let file = env::temp_dir().join(format!("einhyrningsins-sim-{seed}.trace"));
    let place = match std::fs::write(&file, &failed.trace) {
        Ok(()) => file.display().to_string(),
        Err(error) => format!("cannot be kept: {error}"),
    };
    format!("whole trace: {place}\n…\n{}", tail.join("\n"))
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

#[test]
fn chaos_is_survived_and_calm_makes_everything_well() {
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_RUNS").unwrap_or(RUNS),
    };
    let mut all = Ran::default();
    for seed in seeds.clone() {
        let options = Options::drawn(seed, EVENTS);
        match run(seed, options, false) {
            Ok(ran) => {
                (all.events, all.deaths) = (all.events + ran.events, all.deaths + ran.deaths);
                all.time = Millis(all.time.0 + ran.time.0);
                all.young += ran.young;
            }
            Err(_) => panic!("{}", report(seed, &options)),
        }
    }
    let runs = seeds.count();
    let (events, deaths, hours) = (all.events, all.deaths, all.time.0 / 3_600_000);
    eprintln!("{runs} runs, {events} events, {deaths} deaths of the supervisor, {hours} simulated hours");
    let Young { turns, spared, .. } = all.young;
    eprintln!("{turns} turns of the last one, {spared} ends that were none of a start that failed");
    assert!(runs < 100 || (turns > 100 && spared > 100), "{turns} turns, {spared} spared");
}

#[test]
fn ten_thousand_workers_are_no_different() {
    for seed in 0..3 {
        let drawn = Options::drawn(seed, 40_000);
        // A supervisor of that size takes a while to be compared with the one that takes over.
        let options = Options { target: 10_000, look_every: 20_000, deaths: drawn.deaths.min(1), ..drawn };
        if run(seed, options, false).is_err() {
            panic!("{}", report(seed, &options));
        }
    }
}

#[test]
fn upgrades_end_while_workers_keep_being_killed() {
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..number("SIM_RUNS").map_or(STORMS, |runs| runs / 5) {
        let drawn = Options::drawn(seed, EVENTS);
        // They are killed, or those of some generations end by themselves, out of step.
        let (murders, flaps) = if seed % 2 == 0 { (100 + 97 * seed % 800, 0) } else { (0, 600) };
        let options = Options { murders, flaps, ..drawn.calm() };
        let options = Options { target: drawn.target, bad_generations: drawn.bad_generations / 2, ..options };
        let storm = |tracing| Sim::new(Rng::new(seed), options, tracing)?.storm();
        let answers = storm(false).unwrap_or_else(|_| match storm(true) {
            Err(failed) => panic!("storm {seed}: {}\n{options:?}\n{}", failed.why, kept(seed, &failed)),
            Ok(_) => panic!("storm {seed} fails only sometimes"),
        });
        for answer in answers {
            let outcome = match answer {
                Reply::Upgraded { .. } => "upgraded",
                Reply::RolledBack { .. } => "rolled back",
                Reply::NotRestored { .. } => "not restored",
                Reply::NotRunning | Reply::Cancelled { .. } => "over",
                Reply::CanaryRefused { .. } => "refused",
                other => panic!("storm {seed}: {other:?}"),
            };
            *outcomes.entry(outcome).or_default() += 1;
        }
    }
    eprintln!("{outcomes:?}");
    for outcome in ["upgraded", "rolled back", "not restored"] {
        assert!(outcomes.contains_key(outcome), "{outcome} never came of one: {outcomes:?}");
    }
}

/// Who tests the tests: a kernel that forgets an exit is found out.
#[test]
fn a_kernel_that_breaks_its_promises_is_found_out() {
    let found = (0..20).filter(|seed| {
        let options = Options { sabotage: true, ..Options::drawn(*seed, EVENTS) };
        run(*seed, options, false).is_err()
    });
    assert!(found.count() > 0, "twenty runs with lost exits, and nothing was noticed");
}
