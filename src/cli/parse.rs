//! The first step: what was typed.
//!
//! Options end at `--` or at the first word that is none, as in env and nohup, so that a program's own
//! options need no quoting. `--name VALUE`, `--name=VALUE`, `-nVALUE`, `-n VALUE` and `-n=VALUE` are the
//! same.

use super::{
    error::{UsageError, brief},
    table::{CommandLine, Opt, Text},
    value::Value,
};
use lexopt::{Arg, Parser};
use std::ffi::OsString;

/// What was typed: options in their order, then words.
#[derive(Debug)]
pub(super) struct Typed<K: 'static> {
    options: Vec<(&'static Opt<K>, OsString)>,
    /// What the last option has printed in place of a run.
    pub(super) prints: Option<Text>,
    /// All that follows the options.
    pub(super) words: Vec<OsString>,
}

impl<K: Copy + PartialEq> Typed<K> {
    /// Takes `args`, without the program's name, apart.
    pub(super) fn read(
        line: &CommandLine<K>,
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, UsageError> {
        let mut parser = Parser::from_args(args);
        let mut typed = Self { options: Vec::new(), prints: None, words: Vec::new() };
        while let Some(arg) = parser.next()? {
            let option = match arg {
                Arg::Long(name) => long(line, name)?,
                Arg::Short(letter) => short(line, letter)?,
                Arg::Value(word) => {
                    typed.words.push(word);
                    typed.words.extend(parser.raw_args()?);
                    break;
                }
            };
            let value = match option.value {
                Some(value) => {
                    parser.value().map_err(|_| UsageError::MissingValue { option: option.long, value })?
                }
                None => OsString::new(),
            };
            typed.options.push((option, value));
            typed.prints = option.prints;
            if typed.prints.is_some() {
                break;
            }
        }
        Ok(typed)
    }

    /// Whether the option was given.
    pub(super) fn has(&self, key: K) -> bool {
        self.options.iter().any(|(option, _)| option.key == key)
    }

    /// Every value of the option, in the order given.
    pub(super) fn values(&self, key: K) -> impl Iterator<Item = Value<'_>> {
        let given = self.options.iter().filter(move |(option, _)| option.key == key);
        given.map(|(option, value)| Value { option: option.long, text: value })
    }

    /// The value that counts, understood by `read`, if the option was given.
    pub(super) fn value<'a, T>(
        &'a self,
        key: K,
        read: impl FnOnce(Value<'a>) -> Result<T, UsageError>,
    ) -> Result<Option<T>, UsageError> {
        self.values(key).last().map(read).transpose()
    }
}

fn long<K>(line: &CommandLine<K>, name: &str) -> Result<&'static Opt<K>, UsageError> {
    let found = line.options().find(|option| option.long == name || option.aliases.contains(&name));
    found.ok_or_else(|| UsageError::UnknownOption {
        option: brief(format!("--{name}").as_ref()),
        nearest: nearest(line, name),
    })
}

fn short<K>(line: &CommandLine<K>, letter: char) -> Result<&'static Opt<K>, UsageError> {
    let found = line.options().find(|option| option.short == Some(letter));
    found.ok_or_else(|| UsageError::UnknownOption { option: format!("-{letter}"), nearest: None })
}

/// The visible long name that starts with `name`, or else is at most two slips away from it.
fn nearest<K>(line: &CommandLine<K>, name: &str) -> Option<&'static str> {
    const SLIPS: usize = 2;
    let visible = || line.options().filter(|option| !option.hidden).map(|option| option.long);
    let begun = visible().find(|long| name.len() >= 3 && long.starts_with(name));
    begun.or_else(|| {
        // Anything of another length is further away, however long it is.
        let close = visible().filter(|long| long.len().abs_diff(name.len()) <= SLIPS);
        let (slips, long) = close.map(|long| (distance(name, long), long)).min()?;
        (slips <= SLIPS).then_some(long)
    })
}

/// How many bytes must be added, left out or changed to get from one to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.bytes().enumerate() {
        let (mut diagonal, mut left) = (line, line + 1);
        for (cell, b) in row.iter_mut().skip(1).zip(to.bytes()) {
            let cost = (diagonal + usize::from(a != b)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, cost);
            left = cost;
        }
    }
    row.last().copied().unwrap_or_default()
}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        if let lexopt::Error::UnexpectedValue { option, value } = error {
            Self::UnexpectedValue { option, value: brief(&value) }
        } else {
            Self::NotRead { why: error.to_string() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::Section;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Key {
        Count,
        Loud,
        Help,
        Secret,
    }

    static LINE: CommandLine<Key> = CommandLine {
        program: "test",
        usage: &[],
        summary: "",
        sections: &[Section {
            title: "Options",
            options: &[
                Opt::valued(Key::Count, "count", "N", "").short('c').aliases(&["tally"]),
                Opt::flag(Key::Loud, "loud", "").short('l'),
                Opt::flag(Key::Help, "help", "").short('h').prints(Text::Help),
                Opt::flag(Key::Secret, "secret", "").hidden(),
            ],
        }],
        topics: &[],
    };

    fn read(line: &str) -> Result<Typed<Key>, UsageError> {
        Typed::read(&LINE, line.split_whitespace().map(OsString::from))
    }

    fn error(line: &str) -> String {
        read(line).unwrap_err().to_string()
    }

    #[test]
    fn a_value_may_stand_apart_or_be_attached() {
        for line in ["--count 3", "--count=3", "--tally=3", "-c 3", "-c3", "-c=3", "-lc3", "-c 2 -c 3"] {
            let typed = read(line).unwrap();
            let count = typed.value(Key::Count, |value| Ok(value.text.to_owned())).unwrap();
            assert_eq!(count, Some(OsString::from("3")), "{line}");
        }
    }

    #[test]
    fn options_end_at_the_first_word() {
        let typed = read("-l word -c 3 -- --help").unwrap();
        assert!(typed.has(Key::Loud) && !typed.has(Key::Count));
        assert_eq!(typed.words, ["word", "-c", "3", "--", "--help"]);
    }

    #[test]
    fn options_end_at_two_dashes() {
        assert_eq!(read("-l -- -c 3").unwrap().words, ["-c", "3"]);
        assert!(read("-l --").unwrap().words.is_empty());
    }

    #[test]
    fn nothing_matters_after_an_option_that_prints() {
        let typed = read("-l --help --nonsense").unwrap();
        assert!(typed.has(Key::Help));
        assert_eq!(typed.prints, Some(Text::Help));
        assert_eq!(read("-l").unwrap().prints, None);
    }

    #[test]
    fn a_missing_value_is_named() {
        assert_eq!(error("-c"), "--count: its value is missing; accepted: --count N");
    }

    #[test]
    fn a_flag_takes_no_value() {
        assert_eq!(error("--loud=no word"), "--loud: `no` is one value too many; accepted: --loud alone");
        assert_eq!(error("-l=no"), "-l: `no` is one value too many; accepted: -l alone");
    }

    #[test]
    fn an_unknown_option_is_named_with_one_that_may_have_been_meant() {
        assert_eq!(error("--conut"), "unknown option `--conut`; did you mean `--count`?");
        assert_eq!(error("--cou"), "unknown option `--cou`; did you mean `--count`?");
        assert_eq!(error("--laud=3"), "unknown option `--laud`; did you mean `--loud`?");
    }

    #[test]
    fn nothing_is_suggested_that_is_not_close_or_is_hidden() {
        assert_eq!(error("--color"), "unknown option `--color`");
        assert_eq!(error("--secrets"), "unknown option `--secrets`");
        assert_eq!(error("-z"), "unknown option `-z`");
    }

    #[test]
    fn distance_counts_slips() {
        for (from, to, slips) in
            [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(from, to), slips, "{from} {to}");
        }
    }
}
