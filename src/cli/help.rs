//! What a program says about its own command line.

use super::{
    error::UsageError,
    table::{CommandLine, Opt, Rows},
};

/// No line is longer.
const WIDTH: usize = 80;

/// Where explanations start.
const COLUMN: usize = 29;

impl<K> CommandLine<K> {
    /// What `--help` prints.
    #[must_use]
    pub fn help(&self) -> String {
        let mut out = String::new();
        for (position, usage) in self.usage.iter().enumerate() {
            let word = if position == 0 { "Usage:" } else { "      " };
            out.push_str(&format!("{word} {} {usage}\n", self.program));
        }
        out.push('\n');
        wrap(&mut out, String::new(), 0, self.summary);
        for section in self.sections {
            heading(&mut out, section.title);
            for option in section.options.iter().filter(|option| !option.hidden) {
                entry(&mut out, &option.term(), &option.explanation());
            }
        }
        for topic in self.topics {
            heading(&mut out, topic.title);
            match topic.rows {
                Rows::Here(rows) => rows.iter().for_each(|(term, text)| entry(&mut out, term, text)),
                Rows::Elsewhere(rows) => rows().iter().for_each(|(term, text)| entry(&mut out, term, text)),
            }
        }
        out
    }

    /// What `--version` prints.
    #[must_use]
    pub fn version(&self) -> String {
        format!("{} {}\n", self.program, env!("CARGO_PKG_VERSION"))
    }

    /// What a usage error prints: the error, then where to read on.
    #[must_use]
    pub fn complaint(&self, error: &UsageError) -> String {
        let program = self.program;
        format!("{program}: {error}\nTry '{program} --help'.\n")
    }
}

impl<K> Opt<K> {
    /// The option as it is typed: `-n, --number COUNT`.
    fn term(&self) -> String {
        let short = self.short.map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
        format!("{short}--{}{}", self.long, self.behind())
    }

    /// What stands behind its name, with the blank in front.
    pub(super) fn behind(&self) -> String {
        match (self.value, self.word) {
            (Some(value), _) => format!(" {value}"),
            (None, Some(word)) => format!(" [{word}]"),
            (None, None) => String::new(),
        }
    }

    /// What it does, and what the table knows besides.
    pub(super) fn explanation(&self) -> String {
        let mut text = self.help.to_owned();
        if self.repeats {
            text.push_str(" [may be repeated]");
        }
        if let Some(default) = self.default {
            text.push_str(&format!(" [default: {default}]"));
        }
        for alias in self.aliases {
            text.push_str(&format!(" [also: --{alias}]"));
        }
        text
    }
}

fn heading(out: &mut String, title: &str) {
    out.push_str(&format!("\n{title}:\n"));
}

/// A term and its explanation side by side, or below each other if the term is too long for that.
fn entry(out: &mut String, term: &str, text: &str) {
    let mut line = format!("  {term}");
    if line.chars().count() + 2 > COLUMN {
        out.push_str(&line);
        out.push('\n');
        line.clear();
    }
    wrap(out, line, COLUMN, text);
}

/// Appends `text` to `line`, from `column` on, over as many lines as it takes.
fn wrap(out: &mut String, mut line: String, column: usize, text: &str) {
    let mut width = column;
    line = format!("{line:column$}");
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > column && width + 1 + length > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = " ".repeat(column);
            width = column;
        } else if width > column {
            line.push(' ');
            width += 1;
        }
        line.push_str(word);
        width += length;
    }
    out.push_str(&line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{client, daemon, einhorn, einhornsh};

    /// Words that start a line of `help` as the term of an entry.
    fn terms(help: &str) -> Vec<&str> {
        let rows = help.lines().filter(|line| line.starts_with("  ") && !line.starts_with(&" ".repeat(7)));
        rows.map(str::trim_start).collect()
    }

    fn check<K>(line: &CommandLine<K>) {
        let help = line.help();
        for row in help.lines() {
            assert!(row.chars().count() <= WIDTH, "longer than {WIDTH}: {row}");
            assert_eq!(row, row.trim_end(), "blanks at the end");
        }
        for option in line.options() {
            let expected = option.term().trim_start().to_owned();
            let said = terms(&help)
                .iter()
                .filter(|row| {
                    row.strip_prefix(&expected).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
                })
                .count();
            assert_eq!(said, usize::from(!option.hidden), "{expected} in:\n{help}");
            assert!(
                option.hidden || option.help.ends_with(['.', ']']),
                "{expected} is not explained in sentences"
            );
        }
        assert!(help.contains(&format!("Usage: {} [OPTIONS]", line.program)));
        assert_eq!(line.version(), format!("{} {}\n", line.program, env!("CARGO_PKG_VERSION")));
    }

    fn check_names<K>(line: &CommandLine<K>) {
        let longs: Vec<_> =
            line.options().flat_map(|option| option.aliases.iter().chain([&option.long])).collect();
        let shorts: Vec<_> = line.options().filter_map(|option| option.short).collect();
        for (position, long) in longs.iter().enumerate() {
            assert!(!longs[..position].contains(long), "--{long} twice");
        }
        for (position, short) in shorts.iter().enumerate() {
            assert!(!shorts[..position].contains(short), "-{short} twice");
        }
    }

    #[test]
    fn every_visible_option_is_in_help_once_and_no_line_is_too_long() {
        check(&daemon::COMMAND_LINE);
        check(&client::COMMAND_LINE);
        check(&einhorn::COMMAND_LINE);
        check(&einhornsh::COMMAND_LINE);
    }

    #[test]
    fn no_name_means_two_options() {
        check_names(&daemon::COMMAND_LINE);
        check_names(&client::COMMAND_LINE);
        check_names(&einhorn::COMMAND_LINE);
        check_names(&einhornsh::COMMAND_LINE);
    }

    #[test]
    fn help_tells_defaults_repetition_and_other_names() {
        let help = daemon::COMMAND_LINE.help();
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for said in
            ["[default: /tmp/einhorn.sock]", "[may be repeated]", "[also: --signal-timeout]", "seconds"]
        {
            assert!(words.contains(said), "{said} is not in:\n{help}");
        }
    }

    #[test]
    fn help_tells_signals_statuses_and_variables() {
        let help = daemon::COMMAND_LINE.help();
        for term in ["HUP", "INT, USR2", "USR2, TERM", "CONT", "0", "1", "2", "126, 127", "EINHORN_FD_COUNT"]
        {
            let said = terms(&help).iter().filter(|row| row.starts_with(&format!("{term} "))).count();
            assert_eq!(said, 1, "{term} in:\n{help}");
        }
    }

    #[test]
    fn a_complaint_is_the_error_and_a_hint() {
        let complaint = daemon::COMMAND_LINE.complaint(&UsageError::NoProgram);
        let error = "einhyrningsins: PROGRAM is missing; accepted: a program to run, or --demo";
        assert_eq!(complaint, format!("{error}\nTry 'einhyrningsins --help'.\n"));
    }
}
