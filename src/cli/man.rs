//! Manual pages: what stands in the tables, as man(7) has it.
//!
//! A page of a program is its command line and a [`Manual`], which has what `--help` has no room for. Topics that
//! both tell are the same ones.

mod commands;
mod protocol;
mod roff;

pub(super) use protocol::protocol;

use super::table::{CommandLine, Opt, Rows, Topic};
use roff::Roff;

/// When the pages were last gone over. It is not when they were built: whoever builds the same gets the same.
const DATE: &str = "2026-11-27";

/// What a page has besides the command line.
#[derive(Debug)]
pub(super) struct Manual {
    /// What it is about, in a clause.
    pub(super) about: &'static str,
    /// How that works; behind the summary of the command line.
    pub(super) description: &'static [Part],
    /// What follows the options.
    pub(super) chapters: &'static [Chapter],
}

/// A section of a page.
#[derive(Debug)]
pub(super) struct Chapter {
    /// Heading.
    pub(super) title: &'static str,
    /// What stands in it.
    pub(super) parts: &'static [Part],
}

/// A part of a section. In sentences, what stands in backquotes is typed as it is.
#[derive(Debug)]
pub(super) enum Part {
    /// Sentences.
    Text(&'static str),
    /// Sentences that have no order, each a point of its own.
    Points(&'static [&'static str]),
    /// Lines to be shown as they are.
    Lines(&'static str),
    /// The rows of a topic.
    Rows(&'static Topic),
    /// The same below its heading.
    Topic(&'static Topic),
    /// The supervisor's commands, as they are typed.
    Commands,
    /// The same as requests.
    Requests,
    /// The client's own commands.
    Tools,
}

/// The page of a program.
pub(super) fn page<K>(line: &CommandLine<K>, manual: &Manual) -> String {
    let mut out = Roff::page(line.program, 1, "User Commands", manual.about);
    out.chapter("SYNOPSIS");
    for (position, usage) in line.usage.iter().enumerate() {
        if position > 0 {
            out.line_break();
        }
        out.typed(&format!("{} {usage}", line.program));
    }
    out.chapter("DESCRIPTION");
    out.paragraph(line.summary);
    parts(&mut out, manual.description);
    out.chapter("OPTIONS");
    let is_alone = line.sections.len() == 1;
    for section in line.sections {
        if !is_alone {
            out.heading(section.title);
        }
        section.options.iter().filter(|option| !option.hidden).for_each(|it| option(&mut out, it));
    }
    chapters(&mut out, manual.chapters);
    out.text()
}

fn chapters(out: &mut Roff, chapters: &[Chapter]) {
    for chapter in chapters {
        out.chapter(chapter.title);
        parts(out, chapter.parts);
    }
}

fn parts(out: &mut Roff, parts: &[Part]) {
    for part in parts {
        match part {
            Part::Text(text) => out.paragraph(text),
            Part::Points(points) => points.iter().for_each(|point| out.point(point)),
            Part::Lines(lines) => out.lines(lines),
            Part::Rows(topic) => rows(out, topic),
            Part::Topic(topic) => {
                out.heading(topic.title);
                rows(out, topic);
            }
            Part::Commands => commands::commands(out),
            Part::Requests => commands::requests(out),
            Part::Tools => commands::tools(out),
        }
    }
}

fn rows(out: &mut Roff, topic: &Topic) {
    match topic.rows {
        Rows::Here(rows) => rows.iter().for_each(|(term, text)| out.entry(&[term], text)),
        Rows::Elsewhere(rows) => rows().iter().for_each(|(term, text)| out.entry(&[term], text)),
    }
}

fn option<K>(out: &mut Roff, option: &Opt<K>) {
    out.option(option.short, option.long, &option.behind(), &option.explanation());
}

#[cfg(test)]
mod tests {
    use crate::{
        cli::{DEFAULT_SOCKET_PATH, client, daemon, tool::TOOLS},
        protocol::command::COMMANDS,
    };

    /// A page as it is read: escapes undone, requests left out.
    fn read(page: &str) -> String {
        let lines = page.lines().filter(|line| !line.starts_with('.'));
        let text = lines.collect::<Vec<_>>().join(" ");
        [
            ("\\fB", ""),
            ("\\fI", ""),
            ("\\fP", ""),
            ("\\-", "-"),
            ("\\(aq", "'"),
            ("\\(ga", "`"),
            ("\\(dq", "\""),
            ("\\(ha", "^"),
            ("\\(ti", "~"),
            ("\\&", ""),
        ]
        .iter()
        .fold(text, |text, (escape, char)| text.replace(escape, char))
    }

    #[test]
    fn a_page_tells_all_that_help_tells() {
        let pages = [
            (daemon::manual(), daemon::COMMAND_LINE.help()),
            (client::manual(), client::COMMAND_LINE.help()),
        ];
        for (page, help) in pages {
            let page = read(&page);
            // What stands between `OPTS` and its options differs: the page lists them one by one.
            let words = help.split_whitespace().filter(|word| word.starts_with("--"));
            for word in words.map(|word| word.trim_matches(|char: char| !char.is_alphanumeric())) {
                assert!(page.contains(word), "{word} is not in:\n{page}");
            }
        }
        let page = read(&daemon::manual());
        for option in daemon::COMMAND_LINE.options().filter(|option| !option.hidden) {
            let told = option.help.replace('`', "");
            assert!(page.contains(&told), "{told} is not in:\n{page}");
        }
        for said in [DEFAULT_SOCKET_PATH, "Stop fast: TERM, the grace period, KILL.", "126, 127"] {
            assert!(page.contains(said), "{said} is not in:\n{page}");
        }
    }

    #[test]
    fn every_command_is_told_of_with_its_options() {
        let (client, protocol) = (read(&client::manual()), read(&super::protocol()));
        for entry in COMMANDS {
            for page in [&client, &protocol] {
                assert!(page.contains(entry.about.trim_start_matches(char::is_alphabetic)), "{}", entry.name);
                assert!(entry.options.iter().all(|option| page.contains(option.name)), "{}", entry.name);
            }
        }
        for tool in TOOLS {
            assert!(client.contains(&tool.line.summary.replace('`', "")), "{}", tool.name);
            for option in tool.line.options().filter(|option| !option.hidden) {
                assert!(client.contains(&option.help.replace('`', "")), "{}", option.long);
            }
        }
    }

    #[test]
    fn no_line_of_a_page_is_taken_for_something_else() {
        let known = [".EE", ".EX", ".IP", ".PP", ".RE", ".RS", ".SH", ".SS", ".TH", ".TP", ".br"];
        for page in [daemon::manual(), client::manual(), super::protocol()] {
            for line in page.lines() {
                let request = line.split(' ').next().unwrap_or_default();
                assert!(!line.starts_with('\'') && !line.is_empty(), "{line}");
                assert!(!line.starts_with('.') || known.contains(&request), "{line}");
                assert!(line.is_ascii() && line.trim_end() == line, "{line}");
            }
        }
    }
}
