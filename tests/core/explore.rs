//! Every run of small worlds: breadth first over all that can happen, each state once.
//!
//! A *world* ([`worlds`]) is a configuration and a budget: so many upgrades, changes of size, shutdowns,
//! faults, missed acks, clients that leave. From every state every move ([`moves`]) is made that the
//! budget allows: orders are answered in any order, well or badly; processes end, acknowledge, lie; time
//! goes on to the next deadline and no further, or stands still. On every edge all step and state
//! invariants are checked, and every change of a worker's phase is traced back to a row of the table
//! ([`rows`]). From every state a calm run must end at rest with everybody healthy (I23, I24, I26, I27),
//! and a shutdown in which nothing dies must end in time (I25); see [`calm`]. What is found wrong is told
//! as a trace, by the shortest way there is.
//!
//! # What is taken for the same state
//!
//! Two states are one if nothing that can still happen tells them apart ([`key`]):
//!
//! * Processes are compared for equality only, so their numbers are left out.
//! * Workers stand for their place: current or outgoing in their slot, or among those that have left
//!   theirs. Their names decide the order of actions within a step, which changes nothing that follows,
//!   and which of two in a slot beyond the target goes first; so that order is kept.
//! * Those that have left their slot are the same in any order, and of whatever slot: nothing that
//!   happens to them comes back to it.
//! * Generations stand for their rank among those that anything names: all that is asked of them is which
//!   is older and which are the same. Requests stand for whether somebody still waits for them.
//! * Times are counted from the present. How long a worker has served matters up to `SETTLED`, and only
//!   as long as faults are left to come; on the last rung nothing waits for a time at all.
//!   Where health takes no time, the first second of all is a time of its own.
//! * What is only told to people is left out: how things failed or ended, how often and since when, how
//!   far progress was reported, the exit status.
//! * Slots keep their numbers: they decide who is first, and how long a back-off is.
//!
//! This is not only believed: one state in some dozens is kept, and when another is taken for the same,
//! all their successors must be the same too. Keys are hashes of 128 bits; with 10⁷ states two of them
//! collide once in 10²⁴ searches. The monitor of the invariants remembers the first way to a state only.
//!
//! # More of it
//!
//! `EXPLORE_STATES` is how many states are seen of each of the large worlds, `EXPLORE_DEPTH` how many
//! steps from the start; `EXPLORE_WORLD` names the one to look at; `--nocapture` shows the counts. For an
//! hour of it:
//!
//! ```text
//! EXPLORE_STATES=3000000 cargo test --release --test core explore -- --nocapture
//! ```

mod calm;
mod key;
mod moves;
mod place;
mod rows;
mod search;
mod worlds;

use einhyrningsins::fsm::worker::{Input, PhaseTag};
use rows::Row;
use search::{Bounds, Report, explore};
use std::{collections::BTreeSet, env, fs, sync::OnceLock};
use worlds::{Known, LARGE, SMALL};

/// What was found in the small worlds. Two tests want it, and share the work.
static FOUND: [OnceLock<Report>; SMALL.len()] = [const { OnceLock::new() }; SMALL.len()];

fn found(number: usize) -> &'static Report {
    FOUND[number].get_or_init(|| seen(&SMALL[number].0, Bounds { states: usize::MAX, depth: usize::MAX }))
}

#[expect(clippy::print_stdout, reason = "the counts are what one asks for with --nocapture")]
fn seen(world: &worlds::World, bounds: Bounds) -> Report {
    let report = explore(world, bounds).unwrap_or_else(|why| panic!("{why}"));
    let Report { states, moves, depth, calm, compared, rows } = &report;
    let name = world.name;
    println!(
        "{name}: {states} states, {moves} moves, {depth} steps deep, at rest after {calm}, \
         {compared} pairs compared, {} rows",
        rows.len()
    );
    report
}

fn bound(name: &str, otherwise: usize) -> usize {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|why| panic!("{name}={text}: {why}")),
        Err(_) => otherwise,
    }
}

#[test]
fn small_worlds_have_the_states_they_are_known_to_have() {
    let mut wrong = Vec::new();
    for (number, (world, known)) in SMALL.iter().enumerate() {
        let report = found(number);
        let today = Known { states: report.states, calm: report.calm };
        if today != *known {
            wrong.push(format!("{}: {today:?}, known were {known:?}", world.name));
        }
        assert!(report.compared > 0 || report.states < 1_000, "{}: no states were compared", world.name);
    }
    assert!(wrong.is_empty(), "understand this before the numbers are changed:\n{}", wrong.join("\n"));
    let states: usize = SMALL.iter().map(|(_, known)| known.states).sum();
    assert!(states >= 100_000, "only {states} states");
}

#[test]
fn every_row_of_the_table_is_used_but_for_those_that_cannot_be() {
    let mut used: BTreeSet<Row> = BTreeSet::new();
    // From the other end: the test above explores the rest at the same time.
    for number in (0..SMALL.len()).rev() {
        used.extend(&found(number).rows);
    }
    let all = PhaseTag::ALL.iter().flat_map(|phase| Input::ALL.iter().map(|input| (*phase, *input)));
    let unused: BTreeSet<Row> = all.filter(|row| !used.contains(row)).collect();
    let listed = rows::unreached();
    let told = |these: &BTreeSet<Row>, others: &BTreeSet<Row>| {
        let rows = these.difference(others).map(|(phase, input)| format!("{phase} {input}"));
        rows.collect::<Vec<String>>().join("\n")
    };
    assert_eq!(told(&unused, &listed), "", "not used, and not on the list");
    assert_eq!(told(&listed, &unused), "", "on the list, and used");
}

#[test]
fn the_list_of_unused_rows_is_the_one_for_people() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fsm-spec/unreached.md");
    let today = rows::drawn();
    if env::var_os("UPDATE_TRACES").is_some() {
        fs::write(path, &today).expect("the list can be written");
    }
    let drawn = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(drawn, today, "stale: UPDATE_TRACES=1 cargo test --test core draws it anew");
}

#[test]
fn large_worlds_are_sound_as_far_as_they_are_seen() {
    let bounds = Bounds { states: bound("EXPLORE_STATES", 4_000), depth: bound("EXPLORE_DEPTH", usize::MAX) };
    let only = env::var("EXPLORE_WORLD").ok();
    for world in LARGE.iter().filter(|world| only.as_ref().is_none_or(|only| only == world.name)) {
        seen(world, bounds);
    }
}
