//! `fsm-spec/worker.table` against the code, in both directions, and the diagram drawn from it.

use einhyrningsins::fsm::{
    text::Field as _,
    worker::{Effect, Input, Outcome, PhaseTag, transition},
};
use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::PathBuf};

fn spec(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fsm-spec", name].iter().collect()
}

/// What the table says of one pair.
#[derive(Debug, PartialEq, Eq)]
pub enum Cell {
    Move(PhaseTag, Vec<Effect>),
    Stay,
    Reject,
}

fn cell(words: &[&str]) -> Cell {
    match words {
        ["move", next, "-"] => Cell::Move(tag(next), Vec::new()),
        ["move", next, effects] => {
            let effects = effects.split(',').map(|word| Effect::get(word).expect("an effect"));
            Cell::Move(tag(next), effects.collect())
        }
        ["stay", "-", "-"] => Cell::Stay,
        ["reject", "-", "-"] => Cell::Reject,
        other => panic!("not an outcome: {other:?}"),
    }
}

fn tag(word: &str) -> PhaseTag {
    PhaseTag::get(word).expect("a phase")
}

/// The table, in the order of its lines.
pub fn table() -> Vec<((PhaseTag, Input), Cell)> {
    let text = fs::read_to_string(spec("worker.table")).expect("the table can be read");
    let rows = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    rows.map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| !words.is_empty())
        .map(|words| ((tag(words[0]), Input::get(words[1]).expect("an input")), cell(&words[2..])))
        .collect()
}

#[test]
fn every_pair_stands_in_the_table_exactly_once() {
    let mut seen = BTreeMap::new();
    for (pair, _) in table() {
        *seen.entry(pair).or_insert(0) += 1;
    }
    for phase in PhaseTag::ALL {
        for input in Input::ALL {
            assert_eq!(seen.get(&(*phase, *input)), Some(&1), "{phase} {input}");
        }
    }
    assert_eq!(seen.len(), PhaseTag::ALL.len() * Input::ALL.len());
}

#[test]
fn every_row_of_the_table_is_what_the_code_does() {
    for ((phase, input), expected) in table() {
        let found = match transition(phase, input) {
            Outcome::Move(next, effects) => Cell::Move(next, effects.to_vec()),
            Outcome::Stay => Cell::Stay,
            Outcome::Reject => Cell::Reject,
        };
        assert_eq!(found, expected, "{phase} {input}: code, and table");
    }
}

#[test]
fn a_workers_phases_never_go_backwards() {
    for ((phase, input), cell) in table() {
        if let Cell::Move(next, _) = cell {
            assert!(next.order() > phase.order(), "{phase} {input} leads back to {next}");
        }
    }
}

#[test]
fn every_phase_can_be_reached_and_left() {
    let moves: Vec<(PhaseTag, PhaseTag)> = table()
        .into_iter()
        .filter_map(
            |((phase, _), cell)| if let Cell::Move(next, _) = cell { Some((phase, next)) } else { None },
        )
        .collect();
    for phase in PhaseTag::ALL {
        let entered = moves.iter().any(|(_, next)| next == phase);
        let left = moves.iter().any(|(from, _)| from == phase);
        assert_eq!(entered, *phase != PhaseTag::SpawningWanted, "{phase} entered");
        assert_eq!(left, *phase != PhaseTag::Dead, "{phase} left");
    }
}

/// The moves of the table as a Mermaid state diagram.
fn diagram() -> String {
    let name = |tag: PhaseTag| tag.word().replace(['/', '-'], "_");
    let mut out =
        String::from("%% Drawn from worker.table: UPDATE_TRACES=1 cargo test --test core\nstateDiagram-v2\n");
    let mut line = |text: String| writeln!(out, "    {text}").expect("a string takes everything");
    for phase in PhaseTag::ALL {
        line(format!("state \"{phase}\" as {}", name(*phase)));
    }
    line(format!("[*] --> {}", name(PhaseTag::SpawningWanted)));
    let mut arrows: BTreeMap<(PhaseTag, PhaseTag), Vec<String>> = BTreeMap::new();
    for ((phase, input), cell) in table() {
        if let Cell::Move(next, effects) = cell {
            let effects: Vec<&str> = effects.into_iter().map(Effect::word).collect();
            let does = if effects.is_empty() { String::new() } else { format!(" / {}", effects.join(", ")) };
            arrows.entry((phase, next)).or_default().push(format!("{input}{does}"));
        }
    }
    for ((from, to), labels) in arrows {
        line(format!("{} --> {}: {}", name(from), name(to), labels.join("<br>")));
    }
    line(format!("{} --> [*]", name(PhaseTag::Dead)));
    out
}

#[test]
fn the_diagram_is_the_one_the_table_draws() {
    let path = spec("worker.mmd");
    let today = diagram();
    if env::var_os("UPDATE_TRACES").is_some() {
        fs::write(&path, &today).expect("the diagram can be written");
    }
    let drawn = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(drawn, today, "stale: UPDATE_TRACES=1 cargo test --test core draws it anew");
}
