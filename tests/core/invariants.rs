//! The list of invariants for people and the one in the code are the same list.

use einhyrningsins::fsm::invariants::{ALL, Kind};
use std::{collections::BTreeMap, fs};

fn listed() -> BTreeMap<u8, Kind> {
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fsm-spec/invariants.md")).expect("a list");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| I"));
    rows.map(|row| {
        let mut cells = row.split(" | ");
        let number = cells.next().and_then(|cell| cell.parse().ok()).expect("a number");
        let kind = match cells.next() {
            Some("step") => Kind::Step,
            Some("state") => Kind::State,
            Some("run") => Kind::Run,
            other => panic!("I{number} is of kind {other:?}"),
        };
        (number, kind)
    })
    .collect()
}

#[test]
fn both_lists_are_the_same() {
    assert_eq!(listed(), ALL.into_iter().collect());
}
