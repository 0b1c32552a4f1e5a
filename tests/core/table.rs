//! The tables of `fsm-spec/` that lead from a state and an input to an outcome, against the code, in both
//! directions, and the diagrams drawn from them.

use einhyrningsins::fsm::{
    life::{self, LifeEffect, LifeInput, LifeTag},
    slot::{self, HoldTag, SlotEffect, SlotInput},
    table::Outcome,
    text::Field,
    worker::{self, Effect, Input, PhaseTag},
};
use std::{
    collections::BTreeMap,
    env,
    fmt::{Debug, Write as _},
    fs,
    path::PathBuf,
};

fn spec(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fsm-spec", name].iter().collect()
}

/// What a table says of one pair.
#[derive(Debug, PartialEq, Eq)]
pub enum Cell<State = PhaseTag, Follows = Effect> {
    Move(State, Vec<Follows>),
    Stay,
    Reject,
}

/// A table in `fsm-spec/`, and what in the code it is about.
struct Machine<State: 'static, On: 'static, Follows: 'static> {
    name: &'static str,
    states: &'static [State],
    inputs: &'static [On],
    transition: fn(State, On) -> Outcome<State, Follows>,
    /// States that nothing leads on from.
    ends: &'static [State],
}

const WORKER: Machine<PhaseTag, Input, Effect> = Machine {
    name: "worker",
    states: PhaseTag::ALL,
    inputs: Input::ALL,
    transition: worker::transition,
    ends: &[PhaseTag::Dead],
};

const SLOT: Machine<HoldTag, SlotInput, SlotEffect> = Machine {
    name: "slot",
    states: HoldTag::ALL,
    inputs: SlotInput::ALL,
    transition: slot::transition,
    ends: &[],
};

const LIFE: Machine<LifeTag, LifeInput, LifeEffect> = Machine {
    name: "life",
    states: LifeTag::ALL,
    inputs: LifeInput::ALL,
    transition: life::transition,
    ends: &[LifeTag::Done],
};

fn word<T: Field>(value: &T) -> String {
    let mut out = String::new();
    value.put(&mut out);
    out
}

fn read<T: Field>(word: &str) -> T {
    T::get(word).unwrap_or_else(|why| panic!("{why}"))
}

type Row<State, On, Follows> = ((State, On), Cell<State, Follows>);

impl<State, On, Follows> Machine<State, On, Follows>
where
    State: Field + Copy + Ord + Debug,
    On: Field + Copy + Ord + Debug,
    Follows: Field + Copy + PartialEq + Debug,
{
    /// The table, in the order of its lines.
    fn rows(&self) -> Vec<Row<State, On, Follows>> {
        let name = format!("{}.table", self.name);
        let text = fs::read_to_string(spec(&name)).expect("the table can be read");
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        lines
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| !words.is_empty())
            .map(|words| ((read(words[0]), read(words[1])), Self::cell(&words[2..])))
            .collect()
    }

    fn cell(words: &[&str]) -> Cell<State, Follows> {
        match words {
            ["move", next, "-"] => Cell::Move(read(next), Vec::new()),
            ["move", next, effects] => Cell::Move(read(next), effects.split(',').map(read).collect()),
            ["stay", "-", "-"] => Cell::Stay,
            ["reject", "-", "-"] => Cell::Reject,
            other => panic!("not an outcome: {other:?}"),
        }
    }

    fn has_every_pair_exactly_once(&self) {
        let mut seen = BTreeMap::new();
        for (pair, _) in self.rows() {
            *seen.entry(pair).or_insert(0) += 1;
        }
        for state in self.states {
            for input in self.inputs {
                assert_eq!(seen.get(&(*state, *input)), Some(&1), "{} {}", word(state), word(input));
            }
        }
        assert_eq!(seen.len(), self.states.len() * self.inputs.len());
    }

    fn is_what_the_code_does(&self) {
        for ((state, input), expected) in self.rows() {
            let found = match (self.transition)(state, input) {
                Outcome::Move(next, effects) => Cell::Move(next, effects.to_vec()),
                Outcome::Stay => Cell::Stay,
                Outcome::Reject => Cell::Reject,
            };
            assert_eq!(found, expected, "{} {}: code, and table", word(&state), word(&input));
        }
    }

    fn moves(&self) -> Vec<(State, State)> {
        let next =
            |((state, _), cell)| if let Cell::Move(next, _) = cell { Some((state, next)) } else { None };
        self.rows().into_iter().filter_map(next).collect()
    }

    /// The moves as a Mermaid state diagram.
    fn diagram(&self) -> String {
        let name = |state: &State| word(state).replace(['/', '-'], "_");
        let drawn = format!("%% Drawn from {}.table: UPDATE_TRACES=1 cargo test --test core", self.name);
        let mut out = drawn + "\nstateDiagram-v2\n";
        let mut line = |text: String| writeln!(out, "    {text}").expect("a string takes everything");
        for state in self.states {
            line(format!("state \"{}\" as {}", word(state), name(state)));
        }
        line(format!("[*] --> {}", name(&self.states[0])));
        let mut arrows: BTreeMap<(State, State), Vec<String>> = BTreeMap::new();
        for ((state, input), cell) in self.rows() {
            if let Cell::Move(next, effects) = cell {
                let effects: Vec<String> = effects.iter().map(word).collect();
                let does =
                    if effects.is_empty() { String::new() } else { format!(" / {}", effects.join(", ")) };
                arrows.entry((state, next)).or_default().push(format!("{}{does}", word(&input)));
            }
        }
        for ((from, to), labels) in arrows {
            line(format!("{} --> {}: {}", name(&from), name(&to), labels.join("<br>")));
        }
        for end in self.ends {
            line(format!("{} --> [*]", name(end)));
        }
        out
    }

    fn is_drawn(&self) {
        let path = spec(&format!("{}.mmd", self.name));
        let today = self.diagram();
        if env::var_os("UPDATE_TRACES").is_some() {
            fs::write(&path, &today).expect("the diagram can be written");
        }
        let drawn = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(drawn, today, "stale: UPDATE_TRACES=1 cargo test --test core draws it anew");
    }
}

/// The worker's table, for those who look things up in it.
pub fn table() -> Vec<((PhaseTag, Input), Cell)> {
    WORKER.rows()
}

#[test]
fn every_pair_stands_in_its_table_exactly_once() {
    WORKER.has_every_pair_exactly_once();
    SLOT.has_every_pair_exactly_once();
    LIFE.has_every_pair_exactly_once();
}

#[test]
fn every_row_of_the_tables_is_what_the_code_does() {
    WORKER.is_what_the_code_does();
    SLOT.is_what_the_code_does();
    LIFE.is_what_the_code_does();
}

#[test]
fn the_diagrams_are_those_that_the_tables_draw() {
    WORKER.is_drawn();
    SLOT.is_drawn();
    LIFE.is_drawn();
}

#[test]
fn a_workers_phases_never_go_backwards() {
    for (phase, next) in WORKER.moves() {
        assert!(next.order() > phase.order(), "{phase} leads back to {next}");
    }
}

#[test]
fn a_supervisors_life_never_goes_backwards() {
    for (life, next) in LIFE.moves() {
        // The next socket, and the next, harsher step of a shutdown.
        let again = matches!(life, LifeTag::Binding | LifeTag::Stopping);
        assert!(next > life || (next == life && again), "{life} leads back to {next}");
    }
}

#[test]
fn every_state_can_be_reached_and_left() {
    for phase in PhaseTag::ALL {
        let entered = WORKER.moves().iter().any(|(_, next)| next == phase);
        let left = WORKER.moves().iter().any(|(from, _)| from == phase);
        assert_eq!(entered, *phase != PhaseTag::SpawningWanted, "{phase} entered");
        assert_eq!(left, *phase != PhaseTag::Dead, "{phase} left");
    }
    for life in LifeTag::ALL {
        let entered = LIFE.moves().iter().any(|(_, next)| next == life);
        let left = LIFE.moves().iter().any(|(from, _)| from == life);
        assert_eq!(entered, *life != LifeTag::New, "{life} entered");
        assert_eq!(left, *life != LifeTag::Done, "{life} left");
    }
    for hold in HoldTag::ALL {
        assert!(SLOT.moves().iter().any(|(_, next)| next == hold), "{hold} entered");
        assert!(SLOT.moves().iter().any(|(from, _)| from == hold), "{hold} left");
    }
}
