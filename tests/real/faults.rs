//! The table of faults, `faults.md`: every fault that is known, in a place of its own, with the tests that
//! fail if what must hold does not. Checked here: that each row is whole, is there once, and names tests
//! that there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

const TABLE: &str = include_str!("faults.md");

/// What stands in a row instead of tests that are still to be written.
const MARK: &str = "(open)";

/// The rows that are marked so.
const OPEN: &[&str] = &[];

/// A row of the table: a fault, what holds, and the tests of that.
struct Row<'a> {
    id: &'a str,
    fault: &'a str,
    tests: &'a str,
}

/// The rows below the heads of the tables. An error is a line that is none.
fn rows(table: &str) -> impl Iterator<Item = Result<Row<'_>, String>> {
    let lines = table.lines().filter(|line| line.starts_with('|'));
    let lines = lines.filter(|line| !line.starts_with("| Id |") && !line.starts_with("|---"));
    lines.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        match cells[..] {
            ["", id, fault, holds, tests, ""]
                if [id, fault, holds, tests].iter().all(|cell| !cell.is_empty()) =>
            {
                Ok(Row { id, fault, tests })
            }
            _ => Err(format!("not four cells with something in each: {line}")),
        }
    })
}

/// What is wrong with a table, where `is_test` tells what is a test.
fn complaints(table: &str, open: &[&str], is_test: impl Fn(&str) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let (mut ids, mut faults, mut marked) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for row in rows(table) {
        let Row { id, fault, tests } = match row {
            Ok(row) => row,
            Err(why) => {
                wrong.push(why);
                continue;
            }
        };
        if !ids.insert(id) || !faults.insert(fault) {
            wrong.push(format!("{id}: twice: {fault}"));
        }
        if tests == MARK {
            marked.insert(id);
            continue;
        }
        let mut named = BTreeSet::new();
        for test in tests.split(' ') {
            match test.strip_prefix('`').and_then(|test| test.strip_suffix('`')) {
                Some(test) if !named.insert(test) => wrong.push(format!("{id}: twice: {test}")),
                Some(test) if is_test(test) => {}
                _ => wrong.push(format!("{id}: there is no test {test}")),
            }
        }
    }
    let open = BTreeSet::from_iter(open.iter().copied());
    wrong.extend(marked.symmetric_difference(&open).map(|id| format!("{id}: open here and not there")));
    wrong
}

/// Whether `FOLDER/FILE::NAME` is a test: `tests/` is left out, `src/` is not.
fn is_test(named: &str) -> bool {
    let Some((file, name)) = named.rsplit_once("::") else { return false };
    let below = if file.starts_with("src/") { "" } else { "tests" };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(below).join(file).with_extension("rs");
    fs::read_to_string(path).is_ok_and(|source| has_test(&source, name))
}

/// Whether a source has the function, with the attribute that makes it a test among those before it.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let head = format!("fn {name}(");
    let Some(at) = lines.iter().position(|line| line.starts_with(&head)) else { return false };
    let mut before =
        lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    before.any(|line| *line == "#[test]")
}

#[test]
fn every_fault_has_tests_that_there_are() {
    let wrong = complaints(TABLE, OPEN, is_test);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let counts = TABLE.split("\n## ").skip(1).map(|section| (section.lines().next(), rows(section).count()));
    let empty: BTreeMap<_, _> = counts.filter(|(_, count)| *count == 0).collect();
    assert!(empty.is_empty(), "{empty:?}");
}

#[test]
fn a_table_that_is_not_so_is_found_out() {
    let row = "| A1 | a fault | what holds | `real/faults::a_table_that_is_not_so_is_found_out` |";
    assert!(complaints(row, &[], is_test).is_empty());
    for (table, open) in [
        ("| A1 | a fault | what holds | |", [].as_slice()),
        ("| A1 | a fault |  | `real/faults::a_table_that_is_not_so_is_found_out` |", &[]),
        ("| A1 | a fault | what holds | real/faults::a_table_that_is_not_so_is_found_out |", &[]),
        ("| A1 | a fault | what holds | `real/faults::has_test` |", &[]),
        ("| A1 | a fault | what holds | `real/faults::no_such` |", &[]),
        ("| A1 | a fault | what holds | `real/no_such::a_table_that_is_not_so_is_found_out` |", &[]),
        ("| A1 | a fault | what holds | (open) |", &[]),
        (row, &["A1"]),
        (&format!("{row}\n{row}"), &[]),
        (&format!("{row}\n{}", row.replace("A1", "A2")), &[]),
        (&row.replace("` |", "` `real/faults::a_table_that_is_not_so_is_found_out` |"), &[]),
    ] {
        assert!(!complaints(table, open, is_test).is_empty(), "{table}");
    }
}
