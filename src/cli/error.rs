//! What can be wrong with a command line.

use crate::protocol::visible::visible;
use std::{ffi::OsStr, fmt};

/// Why a command line was refused. Displayed, it is one line that names the option, the value and what
/// is accepted, whatever the value contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageError {
    /// No option has this name or letter.
    UnknownOption {
        /// As typed, with its dashes.
        option: String,
        /// What may have been meant, or what to do instead: a clause without an end.
        hint: Option<String>,
    },
    /// The command line ends where a value was due.
    MissingValue {
        /// The option's long name, without dashes.
        option: &'static str,
        /// What its value is called.
        value: &'static str,
    },
    /// A flag was given a value.
    UnexpectedValue {
        /// As typed, with its dashes.
        option: String,
        /// As typed.
        value: String,
    },
    /// The value of an option, or a word, is not one that is accepted.
    BadValue {
        /// The option with its dashes, or what the word is called.
        option: String,
        /// As typed.
        value: String,
        /// What is wrong; continues a sentence that starts with the value.
        why: String,
        /// What would do.
        accepted: String,
    },
    /// Two things that contradict each other.
    Conflict {
        /// One, as it would be typed.
        one: &'static str,
        /// The other.
        other: &'static str,
        /// Why not, or what to do.
        why: &'static str,
    },
    /// An option that means nothing on its own.
    Without {
        /// As it would be typed.
        option: &'static str,
        /// What it needs.
        needs: &'static str,
        /// What to do.
        why: &'static str,
    },
    /// A command that there is not, or that takes something else.
    Command {
        /// What was found, and what is accepted.
        why: String,
    },
    /// Something in a file with options.
    At {
        /// The file and the number of the line.
        place: String,
        /// What is wrong there.
        error: Box<UsageError>,
    },
    /// There is nothing to run.
    NoProgram,
    /// The text cannot be split into options and words.
    NotRead {
        /// What the parser says.
        why: String,
    },
}

impl UsageError {
    /// The same in a file with options, if that is where it was found.
    pub(super) fn at(self, place: Option<&str>) -> Self {
        match place {
            Some(place) => Self::At { place: place.to_owned(), error: Box::new(self) },
            None => self,
        }
    }

    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Self::UnknownOption { option, hint } => {
                write!(out, "unknown option `{option}`")?;
                hint.as_ref().map_or(Ok(()), |hint| write!(out, "; {hint}"))
            }
            Self::MissingValue { option, value } => {
                write!(out, "--{option}: its value is missing; accepted: --{option} {value}")
            }
            Self::UnexpectedValue { option, value } => {
                write!(out, "{option}: {} is one value too many; accepted: {option} alone", quoted(value))
            }
            Self::BadValue { option, value, why, accepted } => {
                write!(out, "{option}: {} {why}; accepted: {accepted}", quoted(value))
            }
            Self::Conflict { one, other, why } => {
                write!(out, "{one} and {other} do not go together: {why}")
            }
            Self::Without { option, needs, why } => {
                write!(out, "{option} does nothing without {needs}: {why}")
            }
            Self::At { place, error } => {
                write!(out, "{place}: ")?;
                error.write(out)
            }
            Self::NoProgram => out.write_str("PROGRAM is missing; accepted: a program to run, or --demo"),
            Self::Command { why } | Self::NotRead { why } => out.write_str(why),
        }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(&mut OneLine(f))
    }
}

impl std::error::Error for UsageError {}

/// Escapes what would start another line or give orders to a terminal.
struct OneLine<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(&visible(text))
    }
}

/// What was typed, told from the words around it: nothing at all as it would be typed.
fn quoted(typed: &str) -> String {
    if typed.is_empty() { "''".to_owned() } else { format!("`{typed}`") }
}

/// What was typed, short enough for a message.
pub(crate) fn brief(typed: &OsStr) -> String {
    const MOST: usize = 80;
    let text = typed.to_string_lossy();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(value: &str) -> String {
        let value = brief(value.as_ref());
        let (why, accepted) = ("is odd".to_owned(), "1 to 2".to_owned());
        UsageError::BadValue { option: "--even".to_owned(), value, why, accepted }.to_string()
    }

    #[test]
    fn an_error_names_the_option_the_value_and_what_is_accepted() {
        assert_eq!(bad("3"), "--even: `3` is odd; accepted: 1 to 2");
        assert_eq!(bad(""), "--even: '' is odd; accepted: 1 to 2");
    }

    #[test]
    fn an_error_is_one_line_whatever_was_typed() {
        assert_eq!(bad("a\nb\x1b[2J\u{2028}é"), r"--even: `a\nb\u{1b}[2J\u{2028}é` is odd; accepted: 1 to 2");
    }

    #[test]
    fn a_long_value_is_cut_short() {
        assert_eq!(brief("é".repeat(80).as_ref()), "é".repeat(80));
        assert_eq!(brief("é".repeat(81).as_ref()), "é".repeat(80) + "...");
    }
}
