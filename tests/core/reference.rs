//! The machine against the [model](crate::model): after every step of an arbitrary run, everything
//! the history comes to, worked out from scratch, is what the machine has in hand.

use crate::{
    model::{Chair, Known, Model, Place, Step, Table},
    props::{cases, configs, ops},
    table::table,
    world::{Depth, Op, World},
};
use einhyrningsins::fsm::{
    Supervisor,
    action::Action,
    config::{AckMode, Config},
    event::{Event, EventKind},
    id::{Generation, Pid, SlotId, WorkerId},
    index::TimerKind,
    life::Life,
    notice::Notice,
    slot::{Seat, Slot},
    time::{Millis, Time},
    trace,
    worker::{Phase, PhaseTag, Rung, Worker},
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::LazyLock};

static TABLE: LazyLock<Table> = LazyLock::new(|| table().into_iter().collect());

/// Everything that both have something to say about.
#[derive(Debug, PartialEq, Eq)]
struct Picture {
    now: Time,
    life: Life,
    target: u32,
    stable: Generation,
    next: Option<(Time, TimerKind)>,
    workers: BTreeMap<WorkerId, Known>,
    slots: BTreeMap<SlotId, Place>,
    processes: BTreeMap<Pid, WorkerId>,
    census: BTreeMap<PhaseTag, u32>,
    healthy: u32,
    turns: Option<Time>,
}

impl Picture {
    fn expected(model: Model<'_>) -> Self {
        let mut census: BTreeMap<PhaseTag, u32> = PhaseTag::ALL.iter().map(|tag| (*tag, 0)).collect();
        for known in model.workers.values() {
            *census.entry(known.tag).or_default() += 1;
        }
        Self {
            now: model.now,
            life: model.life,
            target: model.target,
            stable: model.stable,
            next: model.next().filter(|_| !model.life.is_done()),
            processes: model.workers.iter().filter_map(|(id, known)| Some((known.pid?, *id))).collect(),
            healthy: census[&PhaseTag::Healthy],
            census,
            turns: model.turns_last(&[]),
            workers: model.workers,
            slots: model.slots,
        }
    }

    /// Slots that are taken over and wait for room, which nothing has told so far.
    fn taken_from(&self, told: &Self) -> Vec<SlotId> {
        let taken = |id: &SlotId, place: &Place| {
            let before = told.slots.get(id).filter(|before| before.back.is_none());
            let outgoing = place.back.as_ref().and_then(|back| back.worker);
            place.front.worker.is_none()
                && before.is_some_and(|before| before.front.worker == outgoing && outgoing.is_some())
        };
        self.slots.iter().filter(|(id, place)| taken(id, place)).map(|(id, _)| *id).collect()
    }

    fn found(machine: &Supervisor) -> Self {
        let (fleet, index) = (machine.fleet(), machine.fleet().index());
        Self {
            now: machine.now(),
            life: machine.life(),
            target: fleet.target(),
            stable: machine.stable(),
            next: machine.next_deadline(),
            workers: fleet.workers().iter().map(|(id, worker)| (*id, known(worker))).collect(),
            slots: fleet.slots().iter().map(|(id, slot)| (*id, place(slot))).collect(),
            processes: index.pids.clone(),
            census: PhaseTag::ALL.iter().map(|tag| (*tag, index.census.count(*tag))).collect(),
            healthy: fleet.healthy(),
            turns: fleet.extent().turns,
        }
    }
}

fn known(worker: &Worker) -> Known {
    Known {
        slot: worker.slot(),
        generation: worker.generation(),
        tag: worker.phase().tag(),
        pid: worker.phase().pid(),
        why: worker.phase().why(),
        patient: matches!(worker.phase(), Phase::Draining { rung: Rung::PatientTerm, .. }),
        born: worker.born(),
        since: worker.since(),
        proof: worker.proof(),
        registered: worker.registered(),
        extended: worker.extended(),
        strict: worker.strict(),
    }
}

fn place(slot: &Slot) -> Place {
    Place { front: chair(slot.seat()), back: slot.aside().map(chair) }
}

fn chair(seat: &Seat) -> Chair {
    Chair {
        worker: seat.worker(),
        generation: seat.generation(),
        served: seat.served(),
        failures: seat.failures(),
        early: seat.early(),
        lacks: seat.lacks(),
        hold: seat.hold(),
    }
}

/// How many steps a supervisor takes before another goes on in its place.
const REPLACED: usize = 7;

/// Follows the instructions and compares after every step. Returns the history.
fn compare(config: &Config, ops: &[Op]) -> Result<Vec<Step>, TestCaseError> {
    let failed = |what: &dyn std::fmt::Display, trace: &str| TestCaseError::fail(format!("{what}\n{trace}"));
    let mut world = World::new(config.clone(), Depth::Step).map_err(|why| failed(&why, ""))?;
    world.keep_journal();
    let start = Event { at: Time(0), kind: EventKind::Start };
    let actions = vec![Action::Pin { generation: Generation(1), request: None }];
    let mut history = vec![Step { event: start, actions, taken: Vec::new() }];
    for op in ops {
        let Some(kind) = world.event(*op).filter(|_| world.exited.is_none()) else {
            continue;
        };
        let event = Event { at: world.now, kind: kind.clone() };
        let actions = world.step(kind).map_err(|why| failed(&why, &world.trace))?;
        history.push(Step { event, actions, taken: Vec::new() });
        if history.len().is_multiple_of(REPLACED) {
            // Another supervisor goes on, and the model does not notice.
            world.replace().map_err(|why| failed(&why, &world.trace))?;
        }
        let expected = |history: &[Step]| {
            let picture = Model::of(config, &TABLE, history).map(Picture::expected);
            picture.map_err(|wrong| failed(&wrong, &world.trace))
        };
        let found = Picture::found(&world.supervisor);
        let mut told = expected(&history)?;
        let taken = found.taken_from(&told);
        if let Some(step) = history.last_mut().filter(|_| !taken.is_empty()) {
            step.taken = taken;
            told = expected(&history)?;
        }
        if told != found {
            let what = format!("expected {told:#?}\nfound {found:#?}");
            return Err(failed(&what, &world.trace));
        }
    }
    Ok(history)
}

fn legal() -> impl Strategy<Value = Op> {
    ops().prop_map(|op| if matches!(op, Op::Impossible(_)) { Op::Wake } else { op })
}

/// A service that nobody asks for anything: workers start, serve for a while and end.
fn quiet() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => Just(Op::Answer),
        4 => any::<u8>().prop_map(Op::Ack),
        2 => Just(Op::Wake),
        3 => any::<(u8, u8)>().prop_map(|(who, how)| Op::Exit(who, how)),
        2 => any::<(u8, u8)>().prop_map(|(who, what)| Op::See(who, what)),
        2 => (0_u16..15_000).prop_map(Op::Drift),
    ]
}

/// A service whose workers die young, before and after they are healthy.
fn young() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => Just(Op::Answer),
        4 => any::<u8>().prop_map(Op::Ack),
        4 => any::<u8>().prop_map(|who| Op::Exit(who, 1)),
        1 => Just(Op::Wake),
        1 => (0_u16..100).prop_map(Op::Drift),
    ]
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn what_the_history_comes_to_is_what_the_machine_has_in_hand(
        config in configs(),
        ops in prop::collection::vec(legal(), 1..80),
    ) {
        for Step { event, actions, .. } in compare(&config, &ops)? {
            let impossible = |action: &&Action| matches!(action, Action::Notice { notice: Notice::Impossible { .. } });
            let event = trace::Line::Event(event);
            prop_assert_eq!(actions.iter().find(impossible), None, "that can happen: {}", event);
        }
    }

    #[test]
    fn it_is_also_after_what_cannot_happen(config in configs(), ops in prop::collection::vec(ops(), 1..80)) {
        compare(&config, &ops)?;
    }

    #[test]
    fn it_is_while_workers_come_and_go(config in configs(), ops in prop::collection::vec(quiet(), 1..60)) {
        compare(&config, &ops)?;
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn it_is_while_workers_die_young(
        config in configs(),
        target in 1_u32..4,
        ops in prop::collection::vec(young(), 100..200),
    ) {
        compare(&Config { target, listeners: 0, ..config }, &ops)?;
    }
}

/// Arbitrary runs never come there.
#[test]
fn it_is_where_all_turns_are_taken() {
    for ack in [AckMode::After(Millis(0)), AckMode::Manual(Millis(1_000))] {
        let config = Config { target: 2, listeners: 0, ack, ..Config::default() };
        // Of two, one has ended so often that it waits; the other ends all the time, and so now and then does the one.
        let all = [Op::Answer, Op::Answer, Op::Ack(0), Op::Ack(1)];
        let round = |number: u8| {
            let time = if number % 16 == 15 { Op::Wake } else { Op::Drift(1) };
            [Op::Exit(0, 1), Op::Answer, Op::Ack(0), time]
        };
        let ops: Vec<Op> = [Op::Answer].into_iter().chain(all).chain((0..180).flat_map(round)).collect();
        let history = compare(&config, &ops).unwrap_or_else(|why| panic!("{why}"));
        let machine = Model::of(&config, &TABLE, &history).expect("it was right before");
        assert!(machine.turns.len() > 100, "only {} turns were taken", machine.turns.len());
    }
}
