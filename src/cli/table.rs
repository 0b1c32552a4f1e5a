//! What a program's command line consists of.
//!
//! `K` is the program's own enum of keys, one for each option, by which its resolver asks for them.

use std::ffi::{OsStr, OsString};

/// Everything a program says about its command line.
#[derive(Debug)]
pub struct CommandLine<K: 'static> {
    /// The program's name, as in messages and in `--version`.
    pub program: &'static str,
    /// Ways to call it, without the program's name.
    pub usage: &'static [&'static str],
    /// What the program does, in a sentence or two.
    pub summary: &'static str,
    /// Its options, grouped.
    pub sections: &'static [Section<K>],
    /// What else a user of the command line needs to know.
    pub topics: &'static [Topic],
    /// Where options may stand.
    pub options_end: OptionsEnd,
    /// Whether the beginning of one option's name, and of no other's, stands for it.
    pub abbreviates: bool,
    /// For who types an option that there is not, named without its dashes: what does the same here, or
    /// why nothing does; a clause without an end. `None` if nobody is known to have such an option.
    pub foreign: fn(&str) -> Option<String>,
}

/// How far options reach.
#[derive(Clone, Copy, Debug)]
pub enum OptionsEnd {
    /// To the first word that is none. That names a program, and the rest is the program's.
    FirstWord,
    /// To `--`. Behind the first word, what is no option of ours is a word as well.
    Dashes {
        /// Whether the next word is one of these words' own, whatever it looks like: an option that they take
        /// themselves, or the value of one.
        is_theirs: fn(&[OsString], &OsStr) -> bool,
    },
}

/// Options that belong together.
#[derive(Debug)]
pub struct Section<K: 'static> {
    /// Heading, without a colon.
    pub title: &'static str,
    /// In the order in which they are listed.
    pub options: &'static [Opt<K>],
}

/// A list of things that are no options: commands, signals, exit statuses, variables.
#[derive(Debug)]
pub struct Topic {
    /// Heading, without a colon.
    pub title: &'static str,
    /// Terms and what they mean.
    pub rows: Rows,
}

/// Terms and what they mean.
#[derive(Debug)]
pub enum Rows {
    /// As they are here.
    Here(&'static [(&'static str, &'static str)]),
    /// As another table has them, which this puts into sentences.
    Elsewhere(fn() -> Vec<(String, String)>),
}

/// What a program can print about itself in place of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// [`CommandLine::help`].
    Help,
    /// [`CommandLine::version`].
    Version,
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Opt<K> {
    /// By what the program's resolver asks for it.
    pub key: K,
    /// Its name, without the dashes.
    pub long: &'static str,
    /// Other names that mean the same, without the dashes.
    pub aliases: &'static [&'static str],
    /// Its letter.
    pub short: Option<char>,
    /// What its value is called; an option without is a flag.
    pub value: Option<&'static str>,
    /// For a flag: a word that may stand behind it, and changes what it does.
    pub word: Option<&'static str>,
    /// What leaving it out amounts to, as it would be typed. Defaults that cannot be typed are told in
    /// `help`.
    pub default: Option<&'static str>,
    /// Whether every use counts. Otherwise the last one does.
    pub repeats: bool,
    /// Whether users are not told of it.
    pub hidden: bool,
    /// What it has printed in place of a run; nothing after such an option matters.
    pub prints: Option<Text>,
    /// For a flag: the words behind it that other programs take as its value. Such a word is taken as
    /// that if it cannot be the program to run.
    pub foreign_value: Option<fn(&OsStr) -> bool>,
    /// What it does. Default, aliases and repetition are added from the fields above.
    pub help: &'static str,
}

impl<K: Copy> Opt<K> {
    /// An option without a value.
    #[must_use]
    pub const fn flag(key: K, long: &'static str, help: &'static str) -> Self {
        Self {
            key,
            long,
            aliases: &[],
            short: None,
            value: None,
            word: None,
            default: None,
            repeats: false,
            hidden: false,
            prints: None,
            foreign_value: None,
            help,
        }
    }

    /// An option with a value, called `value` in `--help`.
    #[must_use]
    pub const fn valued(key: K, long: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { value: Some(value), ..Self::flag(key, long, help) }
    }

    /// Gives it a letter.
    #[must_use]
    pub const fn short(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }

    /// Gives it other names.
    #[must_use]
    pub const fn aliases(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    /// Has this word mean something behind it.
    #[must_use]
    pub const fn word(self, word: &'static str) -> Self {
        Self { word: Some(word), ..self }
    }

    /// Tells what leaving it out amounts to.
    #[must_use]
    pub const fn defaults_to(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// Makes every use count.
    #[must_use]
    pub const fn repeats(self) -> Self {
        Self { repeats: true, ..self }
    }

    /// Keeps it out of what users are told.
    #[must_use]
    pub const fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }

    /// Understands what other programs have behind a flag of this name.
    #[must_use]
    pub const fn understands(self, foreign_value: fn(&OsStr) -> bool) -> Self {
        Self { foreign_value: Some(foreign_value), ..self }
    }

    /// Has this printed in place of a run.
    #[must_use]
    pub const fn prints(self, text: Text) -> Self {
        Self { prints: Some(text), ..self }
    }
}

impl<K> CommandLine<K> {
    /// All options, hidden ones too.
    pub fn options(&self) -> impl Iterator<Item = &'static Opt<K>> + use<K> {
        self.sections.iter().flat_map(|section| section.options)
    }

    /// The option of this long name.
    pub(super) fn find(&self, name: &str) -> Option<&'static Opt<K>> {
        let exact = self.options().find(|option| option.long == name || option.aliases.contains(&name));
        let mut begin = self.options().filter(|option| self.abbreviates && option.long.starts_with(name));
        exact.or_else(|| begin.next().filter(|_| begin.next().is_none()))
    }

    /// The option of this letter.
    pub(super) fn find_letter(&self, letter: char) -> Option<&'static Opt<K>> {
        self.options().find(|option| option.short == Some(letter))
    }
}
