//! The first step: what was typed.
//!
//! Options end at `--` or, for a program that runs another, at the first word that is none, as in env and
//! nohup, so that the other's options need no quoting. `--name VALUE`, `--name=VALUE`, `-nVALUE`,
//! `-n VALUE` and `-n=VALUE` are the same.

use super::{
    argument_file::{self, Lines, Reader},
    error::{UsageError, brief},
    table::{CommandLine, Opt, OptionsEnd, Text},
    value::Value,
};
use crate::protocol::nearest::nearest;
use lexopt::{Arg, Parser, RawArgs};
use std::ffi::{OsStr, OsString};

/// What was typed: options in their order, and words.
#[derive(Debug)]
pub(super) struct Typed<K: 'static> {
    options: Vec<Given<K>>,
    /// What the last option has printed in place of a run.
    pub(super) prints: Option<Text>,
    /// All that is no option.
    pub(super) words: Vec<OsString>,
    /// Whether some of it was in a file.
    has_files: bool,
}

/// An option that was given.
#[derive(Debug)]
struct Given<K: 'static> {
    option: &'static Opt<K>,
    value: OsString,
    /// Where, if that was in a file.
    place: Option<String>,
}

/// What stands next on a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// An option.
    Option,
    /// A file with options.
    File,
    /// Nothing: all that was left were words.
    End,
}

impl<K: Copy + PartialEq> Typed<K> {
    /// Takes `args`, without the program's name, apart. `is_program` tells whether a word names a program
    /// that can be run.
    pub(super) fn read(
        line: &CommandLine<K>,
        args: impl IntoIterator<Item = OsString>,
        is_program: impl Fn(&OsStr) -> bool,
    ) -> Result<Self, UsageError> {
        Self::read_with(line, args, is_program, None)
    }

    /// The same where `@FILE` among the options stands for those in FILE, if that can be read.
    pub(super) fn read_with(
        line: &CommandLine<K>,
        args: impl IntoIterator<Item = OsString>,
        is_program: impl Fn(&OsStr) -> bool,
        files: Option<Reader<'_>>,
    ) -> Result<Self, UsageError> {
        let mut parser = Parser::from_args(args);
        let mut typed = Self { options: Vec::new(), prints: None, words: Vec::new(), has_files: false };
        // What files name to be run, which what is typed may take the place of.
        let mut program = Vec::new();
        while typed.prints.is_none() {
            // There are none amid the letters of one argument.
            if let Some(mut rest) = parser.try_raw_args() {
                match typed.take_words(line, &mut rest, &is_program, files.is_some()) {
                    Next::End => break,
                    Next::Option => check_dashes(line, rest.peek().unwrap_or_default())?,
                    Next::File => {
                        let word = rest.next().unwrap_or_default();
                        if let Some(read) = files {
                            typed.include(line, argument_file::lines(&word, read)?, &mut program)?;
                        }
                        continue;
                    }
                }
            }
            let option = match parser.next()? {
                Some(Arg::Long(name)) => long(line, name)?,
                Some(Arg::Short(letter)) => short(line, letter)?,
                Some(Arg::Value(_)) | None => break,
            };
            let value = match option.value {
                Some(value) => {
                    parser.value().map_err(|_| UsageError::MissingValue { option: option.long, value })?
                }
                None => OsString::new(),
            };
            typed.options.push(Given { option, value, place: None });
            typed.prints = option.prints;
        }
        if typed.words.is_empty() {
            typed.words = program;
        }
        Ok(typed)
    }

    /// Takes the lines of a file as if they were typed.
    fn include(
        &mut self,
        line: &CommandLine<K>,
        lines: Lines,
        program: &mut Vec<OsString>,
    ) -> Result<(), UsageError> {
        self.has_files = true;
        for (place, words) in lines.options {
            let typed = Self::read_one(line, &words).map_err(|error| error.at(Some(&place)))?;
            self.prints = typed.prints;
            let given = typed.options.into_iter();
            self.options.extend(given.map(|given| Given { place: Some(place.clone()), ..given }));
            if self.prints.is_some() {
                return Ok(());
            }
        }
        if !lines.program.is_empty() {
            *program = lines.program;
        }
        Ok(())
    }

    /// Takes the words of one line: an option, with its value if it has one.
    fn read_one(line: &CommandLine<K>, words: &[OsString]) -> Result<Self, UsageError> {
        let read = |count: usize| Self::read(line, words.iter().take(count).cloned(), |_| false);
        let alone = read(1);
        let takes_next = match (&alone, words.get(1)) {
            (Err(UsageError::MissingValue { .. }), _) => true,
            // What others have behind a flag.
            (Ok(_), Some(next)) if !next.as_encoded_bytes().starts_with(b"-") => {
                read(2).is_ok_and(|typed| typed.words.is_empty())
            }
            (Ok(_) | Err(_), _) => false,
        };
        let (typed, taken) = if takes_next { (read(2)?, 2) } else { (alone?, 1) };
        match (words.first(), words.get(taken)) {
            (Some(option), Some(next)) => Err(argument_file::too_many(option, next)),
            _ => Ok(typed),
        }
    }

    /// The words that mean the same without a file, if there was one.
    pub(super) fn without_files(&self) -> Option<Vec<OsString>> {
        if !self.has_files {
            return None;
        }
        let mut words = Vec::new();
        for Given { option, value, .. } in &self.options {
            let mut word = OsString::from(format!("--{}", option.long));
            if option.value.is_some() {
                word.push("=");
                word.push(value);
            }
            words.push(word);
            words.extend((option.value.is_none() && !value.is_empty()).then(|| value.clone()));
        }
        if !self.words.is_empty() {
            words.push("--".into());
            words.extend(self.words.iter().cloned());
        }
        Some(words)
    }

    /// Takes the words in front of the next option.
    fn take_words(
        &mut self,
        line: &CommandLine<K>,
        rest: &mut RawArgs<'_>,
        is_program: impl Fn(&OsStr) -> bool,
        has_files: bool,
    ) -> Next {
        while let Some(next) = rest.peek() {
            if next == "--" {
                // Behind a word it means something to the one that the word names.
                if self.words.is_empty() {
                    rest.next();
                }
                self.words.extend(rest);
                return Next::End;
            }
            let option = next.as_encoded_bytes().starts_with(b"-") && next != "-";
            match line.options_end {
                OptionsEnd::Dashes { is_theirs } if !self.words.is_empty() => {
                    if option && !is_theirs(&self.words, next) && is_ours(line, next) {
                        return Next::Option;
                    }
                    self.words.extend(rest.next());
                }
                _ if option => return Next::Option,
                OptionsEnd::Dashes { .. } => self.words.extend(rest.next()),
                OptionsEnd::FirstWord => match self.foreign_value(next).filter(|_| !is_program(next)) {
                    Some(value) => *value = rest.next().unwrap_or_default(),
                    None if has_files && argument_file::is_named(next) => return Next::File,
                    None => {
                        self.words.extend(rest);
                        return Next::End;
                    }
                },
            }
        }
        Next::End
    }

    /// Where the word belongs if it is what other programs have behind the flag just read.
    fn foreign_value(&mut self, word: &OsStr) -> Option<&mut OsString> {
        // What ends a file has nothing behind it.
        let Given { option, value, place: None } = self.options.last_mut()? else { return None };
        (value.is_empty() && option.foreign_value?(word)).then_some(value)
    }

    /// Whether the option was given.
    pub(super) fn has(&self, key: K) -> bool {
        self.options.iter().any(|given| given.option.key == key)
    }

    /// All options, in the order given.
    pub(super) fn keys(&self) -> impl Iterator<Item = K> {
        self.options.iter().map(|given| given.option.key)
    }

    /// Every value of the option, in the order given.
    pub(super) fn values(&self, key: K) -> impl Iterator<Item = Value<'_>> {
        let given = self.options.iter().filter(move |given| given.option.key == key);
        given.map(|Given { option, value, place }| Value {
            option: option.long,
            text: value,
            place: place.as_deref(),
        })
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
    line.find(name).ok_or_else(|| {
        let visible = line.options().filter(|option| !option.hidden);
        let names: Vec<_> = visible.map(|option| option.long).collect();
        let hint = (line.foreign)(name).or_else(|| nearest(name, &names).map(did_you_mean));
        UsageError::UnknownOption { option: brief(format!("--{name}").as_ref()), hint }
    })
}

fn short<K>(line: &CommandLine<K>, letter: char) -> Result<&'static Opt<K>, UsageError> {
    line.find_letter(letter).ok_or_else(|| {
        let hint = (line.foreign)(letter.encode_utf8(&mut [0; 4]));
        UsageError::UnknownOption { option: format!("-{letter}"), hint }
    })
}

/// Refuses `-version`, which reads as letters, whatever they stand for, and is a name.
fn check_dashes<K>(line: &CommandLine<K>, word: &OsStr) -> Result<(), UsageError> {
    let Some(name) = word.to_str().and_then(|word| word.strip_prefix('-')) else { return Ok(()) };
    let mut letters = name.chars();
    let prints =
        letters.next().and_then(|letter| line.find_letter(letter)).is_some_and(|it| it.prints.is_some());
    if prints || letters.next().is_none() {
        return Ok(());
    }
    let meant = line.find(name).filter(|option| !option.hidden).map(|option| did_you_mean(option.long));
    match meant.or_else(|| (line.foreign)(name)) {
        Some(hint) => Err(UsageError::UnknownOption { option: brief(word), hint: Some(hint) }),
        None => Ok(()),
    }
}

/// Whether a word is written like an option that there is.
fn is_ours<K>(line: &CommandLine<K>, word: &OsStr) -> bool {
    let Some(word) = word.to_str() else { return false };
    match word.strip_prefix("--") {
        Some(name) => line.find(name.split('=').next().unwrap_or_default()).is_some(),
        None => word.chars().nth(1).is_some_and(|letter| line.find_letter(letter).is_some()),
    }
}

fn did_you_mean(long: &str) -> String {
    format!("did you mean `--{long}`?")
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
                Opt::flag(Key::Loud, "loud", "").short('l').understands(|word| word.len() == 1),
                Opt::flag(Key::Help, "help", "").short('h').prints(Text::Help),
                Opt::flag(Key::Secret, "secret", "").hidden(),
            ],
        }],
        topics: &[],
        options_end: OptionsEnd::FirstWord,
        abbreviates: false,
        foreign: |name| (name == "threads" || name == "T").then(|| "there are none".to_owned()),
    };

    /// The same for words of which some take whatever follows.
    static AMONG_WORDS: CommandLine<Key> = CommandLine {
        options_end: OptionsEnd::Dashes {
            is_theirs: |words, _| words.last().is_some_and(|word| word == "--take"),
        },
        ..LINE
    };

    static ABBREVIATED: CommandLine<Key> = CommandLine { abbreviates: true, ..LINE };

    fn read(line: &str) -> Result<Typed<Key>, UsageError> {
        Typed::read(&LINE, line.split_whitespace().map(OsString::from), |word| word == "7")
    }

    fn read_among_words(line: &str) -> Result<Typed<Key>, UsageError> {
        Typed::read(&AMONG_WORDS, line.split_whitespace().map(OsString::from), |_| false)
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
    fn options_stand_on_either_side_of_words_where_no_program_follows() {
        let typed = read_among_words("word -l --other -c 3 more -x -1 --take --count -- -l --").unwrap();
        assert!(typed.has(Key::Loud) && typed.has(Key::Count));
        assert_eq!(
            typed.words,
            ["word", "--other", "more", "-x", "-1", "--take", "--count", "--", "-l", "--"]
        );
        assert_eq!(read_among_words("-- word -l").unwrap().words, ["word", "-l"]);
        assert_eq!(read_among_words("--other word").unwrap_err().to_string(), "unknown option `--other`");
        assert_eq!(read_among_words("word --help -z").unwrap().prints, Some(Text::Help));
    }

    #[test]
    fn what_others_have_behind_a_flag_is_its_value_unless_it_is_the_program() {
        let value = |line: &str| {
            let typed = read(line).unwrap();
            let value = typed.value(Key::Loud, |value| Ok(value.text.to_owned())).unwrap().unwrap();
            (value, typed.words)
        };
        let none: [&str; 0] = [];
        for (line, understood, words) in [
            ("-l 2 -c 3 prog", "2", ["prog"].as_slice()),
            ("--loud 2", "2", &none),
            ("-l 2 2", "2", &["2"]),
            ("-l 7 x", "", &["7", "x"]),
            ("-l -- 2", "", &["2"]),
            ("-l -c 3 2", "", &["2"]),
            ("-l two", "", &["two"]),
        ] {
            let (value, rest) = value(line);
            assert_eq!(
                (value.to_str(), rest.as_slice()),
                (Some(understood), words.iter().map(OsString::from).collect::<Vec<_>>().as_slice()),
                "{line}"
            );
        }
    }

    #[test]
    fn where_names_may_be_cut_short_the_beginning_of_one_is_enough() {
        let read =
            |line: &str| Typed::read(&ABBREVIATED, line.split_whitespace().map(OsString::from), |_| false);
        assert!(read("--co 3").unwrap().has(Key::Count) && read("--loud").unwrap().has(Key::Loud));
        assert_eq!(read("--c=3").unwrap().values(Key::Count).count(), 1);
        assert!(read("--counts 3").is_err() && read("--= 3").is_err());
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
    fn what_only_others_have_is_told_with_what_to_do() {
        assert_eq!(error("--threads 3"), "unknown option `--threads`; there are none");
        assert_eq!(error("-T"), "unknown option `-T`; there are none");
    }

    #[test]
    fn one_dash_is_too_few_for_a_name() {
        assert_eq!(error("-loud"), "unknown option `-loud`; did you mean `--loud`?");
        assert_eq!(error("-count 3"), "unknown option `-count`; did you mean `--count`?");
        assert_eq!(error("-threads"), "unknown option `-threads`; there are none");
        assert_eq!(read("-help").unwrap().prints, Some(Text::Help));
        assert!(read("-secret").unwrap_err().to_string().starts_with("unknown option `-s`"));
    }

    #[test]
    fn nothing_is_suggested_that_is_not_close_or_is_hidden() {
        assert_eq!(error("--color"), "unknown option `--color`");
        assert_eq!(error("--secrets"), "unknown option `--secrets`");
        assert_eq!(error("-z"), "unknown option `-z`");
    }
}
