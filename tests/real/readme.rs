//! README.md against the programs: what it lists is what there is.

use crate::harness::{CLIENT, SUPERVISOR};
use einhyrningsins::{
    cli::tool::TOOLS,
    protocol::command::{COMMANDS, Entry},
};
use std::{collections::BTreeSet, os::unix::process::CommandExt as _, process::Command};

const README: &str = include_str!("../../README.md");

/// The long options in a text, as words: `--max-unacked` is not a mention of `--max`.
fn long_options(text: &str) -> BTreeSet<String> {
    let words = text.split(|char: char| !(char.is_ascii_alphanumeric() || char == '-'));
    let named = |word: &&str| {
        word.strip_prefix("--").is_some_and(|name| name.starts_with(|char: char| char.is_ascii_lowercase()))
    };
    words.filter(named).map(str::to_owned).collect()
}

fn help(program: &str) -> String {
    let output = Command::new(program).arg("--help").output().expect("help can be asked for");
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

/// A section, from the line after its heading to the next heading.
pub(crate) fn section(heading: &str) -> &'static str {
    let found = README.split("\n## ").find_map(|section| section.strip_prefix(heading)?.strip_prefix('\n'));
    found.unwrap_or_else(|| panic!("README.md has no section `{heading}`"))
}

/// The code blocks of a section in that language, in their order, as printed, without the last line break.
pub(crate) fn blocks(heading: &str, language: &str) -> Vec<&'static str> {
    let fenced = section(heading).split("\n```").skip(1).step_by(2);
    fenced.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// The first cells of a section's tables, headings left out.
fn first_cells(heading: &str) -> Vec<&'static str> {
    let rows = section(heading).lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split(" | ").next()).collect()
}

#[test]
fn every_option_of_both_programs_is_in_the_readme() {
    let told = long_options(README);
    for program in [SUPERVISOR, CLIENT] {
        let missing: Vec<_> = long_options(&help(program)).difference(&told).cloned().collect();
        assert!(missing.is_empty(), "README.md does not tell of {missing:?} of {program}");
    }
}

#[test]
fn the_readme_lists_no_option_that_there_is_not() {
    for (program, heading, one) in
        [(SUPERVISOR, "Options of `einhyrningsins`", "--number"), (CLIENT, "The control client", "--execute")]
    {
        let there = long_options(&help(program));
        let options = first_cells(heading).into_iter().filter(|cell| cell.starts_with('-'));
        let listed: BTreeSet<String> = options.flat_map(long_options).collect();
        assert!(listed.contains(one), "the table was not found: {listed:?}");
        assert_eq!(listed.difference(&there).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}

/// The long options that a program has when it is called by that name.
fn options_as(program: &str, name: &str) -> BTreeSet<String> {
    let output = Command::new(program).arg0(name).arg("--help").output().expect("help can be asked for");
    assert_eq!(output.status.code(), Some(1), "as einhorn has it");
    long_options(&String::from_utf8([output.stdout, output.stderr].concat()).expect("help is UTF-8"))
}

#[test]
fn the_readme_lists_exactly_the_options_that_there_are_under_einhorns_names() {
    let tables = section("Coming from einhorn").split("\n| `einhorn");
    let tables: Vec<&str> = tables.skip(1).collect();
    let [einhorn, einhornsh] = tables.as_slice() else { panic!("{} tables", tables.len()) };
    for (program, name, table) in [(SUPERVISOR, "einhorn", einhorn), (CLIENT, "einhornsh", einhornsh)] {
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `-")?.split(" | ").next());
        let listed: BTreeSet<String> = rows.flat_map(|row| long_options(&format!("`-{row}"))).collect();
        assert_eq!(listed, options_as(program, name), "{name}");
    }
}

#[test]
fn the_readme_lists_exactly_the_commands_that_there_are_with_what_they_take() {
    let cells = first_cells("The control client");
    let commands = cells.into_iter().filter(|cell| !cell.starts_with('-'));
    let listed: Vec<&str> = commands.filter_map(|cell| cell.strip_suffix('`')).collect();
    let (of_supervisor, own) = listed.split_at(COMMANDS.len());
    assert_eq!(of_supervisor, COMMANDS.iter().map(Entry::synopsis).collect::<Vec<_>>());
    let named: Vec<_> = own.iter().filter_map(|cell| cell.split(' ').next()).collect();
    assert_eq!(named, TOOLS.iter().map(|tool| tool.name).collect::<Vec<_>>());
}
