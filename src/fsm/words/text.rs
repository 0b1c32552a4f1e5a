//! The one text form of everything that enters or leaves the machine: `word key=value key=value`.
//!
//! [`Field`] is a value within a line, [`Record`] a whole line or the tail of one. The macros `records!`
//! (an enum whose variants are lines), `record!` (a struct that is one) and `words!` (an enum of single
//! words) write a type and its codec from one list, so that nothing can be forgotten in either direction.
//! Fields stand in the order of their declaration; an absent option, an empty list and a `false` are left
//! out. What stands behind the fields of a record is a record itself and continues its line.

use alloc::{
    collections::BTreeSet,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt::{self, Write as _};

/// Why a line or a part of it could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadText {
    /// What was found, and what would have been accepted.
    pub message: String,
}

impl BadText {
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string() }
    }
}

impl fmt::Display for BadText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for BadText {}

/// A value that fits into one word.
pub trait Field: Sized {
    /// Appends the value to `out`; no whitespace.
    fn put(&self, out: &mut String);

    /// Reads the value back.
    ///
    /// # Errors
    /// If `word` is not what [`put`](Self::put) writes.
    fn get(word: &str) -> Result<Self, BadText>;

    /// The value that is left out of a line, if there is one.
    #[must_use]
    fn absent() -> Option<Self> {
        None
    }

    /// Whether this value is the one that is left out.
    fn is_absent(&self) -> bool {
        false
    }
}

/// Something that is a line, or the tail of one.
pub trait Record: Sized {
    /// Appends the words to `out`.
    fn write(&self, out: &mut String);

    /// Reads the words back.
    ///
    /// # Errors
    /// If the words are not what [`write`](Self::write) writes.
    fn read(words: &mut Words<'_>) -> Result<Self, BadText>;

    /// The record as a line of its own, without a line end.
    #[must_use]
    fn to_line(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    /// Reads a whole line.
    ///
    /// # Errors
    /// As [`read`](Self::read), and if anything follows the record.
    fn from_line(line: &str) -> Result<Self, BadText> {
        let mut words = Words::new(line);
        let record = Self::read(&mut words)?;
        match words.next() {
            None => Ok(record),
            Some(word) => Err(BadText::new(format_args!("unexpected `{word}` after `{}`", record.to_line()))),
        }
    }
}

/// The words of a line.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    /// Splits `line` at its spaces.
    #[must_use]
    pub fn new(line: &'a str) -> Self {
        Self { rest: line.trim() }
    }

    fn peek(&self) -> Option<&'a str> {
        self.rest.split(' ').next().filter(|word| !word.is_empty())
    }

    /// The value of the field `name`, which must be next unless it may be left out.
    ///
    /// # Errors
    /// If another word is next, or the value cannot be read.
    pub fn field<T: Field>(&mut self, name: &str) -> Result<T, BadText> {
        let value = self.peek().and_then(|word| word.strip_prefix(name)?.strip_prefix('='));
        match value {
            Some(value) => {
                self.next();
                T::get(value).map_err(|why| BadText::new(format_args!("{name}: {why}")))
            }
            None => T::absent().ok_or_else(|| {
                let found = self.peek().unwrap_or("the end of the line");
                BadText::new(format_args!("expected `{name}=…`, found {found}"))
            }),
        }
    }
}

impl Words<'_> {
    /// Takes the word that must be next.
    ///
    /// # Errors
    /// If another one is.
    pub fn expect(&mut self, word: &str) -> Result<(), BadText> {
        match self.next() {
            Some(found) if found == word => Ok(()),
            found => Err(unknown(found, &[word])),
        }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.rest = self.rest.get(word.len()..).unwrap_or_default().trim_start_matches(' ');
        Some(word)
    }
}

/// Appends `name=value`, a word of its own, unless the value is one that is left out.
pub(crate) fn put_field<T: Field>(out: &mut String, name: &str, value: &T) {
    if !value.is_absent() {
        if !(out.is_empty() || out.ends_with([' ', '\n'])) {
            out.push(' ');
        }
        out.push_str(name);
        out.push('=');
        value.put(out);
    }
}

/// Appends a record that continues the line.
pub(crate) fn put_tail<T: Record>(out: &mut String, tail: &T) {
    let before = out.len();
    if !(out.is_empty() || out.ends_with([' ', '\n'])) {
        out.push(' ');
    }
    let begin = out.len();
    tail.write(out);
    if out.len() == begin {
        out.truncate(before);
    }
}

/// Appends what `Display` says.
pub(crate) fn put_display(out: &mut String, value: impl fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{value}");
}

/// Reads a number.
pub(crate) fn get_number<T: core::str::FromStr>(word: &str) -> Result<T, BadText> {
    word.parse().map_err(|_| BadText::new(format_args!("`{word}` is not a number in range")))
}

/// Enums whose variants are lines. `"word" => Variant { fields; tail: Record }`.
macro_rules! records {
    ($(#[$meta:meta])* pub enum $Name:ident { $(
        $(#[$vmeta:meta])* $word:literal => $Variant:ident
        $({ $( $(#[$fmeta:meta])* $field:ident : $Type:ty ),* $(,)? $(; $(#[$tmeta:meta])* $tail:ident : $Tail:ty $(,)? )? })?
    ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $Name { $(
            $(#[$vmeta])* $Variant $({
                $( $(#[$fmeta])* $field: $Type, )*
                $( $(#[$tmeta])* $tail: $Tail, )?
            })?
        ),* }

        impl $crate::fsm::text::Record for $Name {
            fn write(&self, out: &mut alloc::string::String) {
                match self { $(
                    Self::$Variant $({ $($field,)* $($tail,)? })? => {
                        out.push_str($word);
                        $( $( $crate::fsm::text::put_field(out, stringify!($field), $field); )*
                        $( $crate::fsm::text::put_tail(out, $tail); )? )?
                    }
                )* }
            }

            fn read(words: &mut $crate::fsm::text::Words<'_>) -> Result<Self, $crate::fsm::text::BadText> {
                match words.next() {
                    $( Some($word) => Ok(Self::$Variant $({
                        $( $field: words.field(stringify!($field))?, )*
                        $( $tail: $crate::fsm::text::Record::read(words)?, )?
                    })?), )*
                    found => Err($crate::fsm::text::unknown(found, &[$($word),*])),
                }
            }
        }
    };
}

/// Structs that are a line, or the tail of one: `record! { "word" => pub struct Name { fields; tails } }`.
/// The word may be missing; `field: Type = "name"` gives a field another name in the text. Fields of an
/// `opaque struct` can be read by everybody, by methods of their names, and written in its own module only.
macro_rules! record {
    ($(#[$meta:meta])* $($word:literal =>)? pub opaque struct $Name:ident { $($fields:tt)* }) => {
        $crate::fsm::text::record! { $(#[$meta])* $($word =>)? pub struct $Name { $($fields)* } }
        $crate::fsm::text::record! { @getters $Name { $($fields)* } }
    };
    (@getters $Name:ident {
        $( $(#[$fmeta:meta])* $field:ident : $Type:ty $(= $label:literal)? ),* $(,)?
        $(; $( $(#[$tmeta:meta])* $tail:ident : $Tail:ty ),+ $(,)? )?
    }) => {
        impl $Name {
            $( $(#[$fmeta])* #[must_use] pub fn $field(&self) -> $Type { self.$field } )*
            $( $( $(#[$tmeta])* #[must_use] pub fn $tail(&self) -> $Tail { self.$tail } )+ )?
        }
    };
    ($(#[$meta:meta])* $($word:literal =>)? pub struct $Name:ident {
        $( $(#[$fmeta:meta])* $fvis:vis $field:ident : $Type:ty $(= $label:literal)? ),* $(,)?
        $(; $( $(#[$tmeta:meta])* $tvis:vis $tail:ident : $Tail:ty ),+ $(,)? )?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $Name {
            $( $(#[$fmeta])* $fvis $field: $Type, )*
            $( $( $(#[$tmeta])* $tvis $tail: $Tail, )+ )?
        }

        impl $crate::fsm::text::Record for $Name {
            fn write(&self, out: &mut alloc::string::String) {
                $( out.push_str($word); )?
                $( $crate::fsm::text::put_field(
                    out, $crate::fsm::text::label!($field $($label)?), &self.$field,
                ); )*
                $( $( $crate::fsm::text::put_tail(out, &self.$tail); )+ )?
            }

            fn read(words: &mut $crate::fsm::text::Words<'_>) -> Result<Self, $crate::fsm::text::BadText> {
                $( words.expect($word)?; )?
                Ok(Self {
                    $( $field: words.field($crate::fsm::text::label!($field $($label)?))?, )*
                    $( $( $tail: $crate::fsm::text::Record::read(words)?, )+ )?
                })
            }
        }
    };
}

/// The name of a field in the text.
macro_rules! label {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $label:literal) => {
        $label
    };
}

/// Fieldless enums that are one word. `"word" => Variant`.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $Name:ident { $( $(#[$vmeta:meta])* $word:literal => $Variant:ident ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $Name { $( $(#[$vmeta])* $Variant ),* }

        impl $Name {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$Variant),*];

            /// The word for it, as in traces and tables.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$Variant => $word),* }
            }
        }

        impl core::fmt::Display for $Name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl $crate::fsm::text::Field for $Name {
            fn put(&self, out: &mut alloc::string::String) {
                out.push_str(self.word());
            }

            fn get(word: &str) -> Result<Self, $crate::fsm::text::BadText> {
                match word {
                    $( $word => Ok(Self::$Variant), )*
                    other => Err($crate::fsm::text::unknown(Some(other), &[$($word),*])),
                }
            }
        }
    };
}

/// The error for a word that is none of those accepted.
pub(crate) fn unknown(found: Option<&str>, accepted: &[&str]) -> BadText {
    let found = found.unwrap_or_default();
    BadText::new(format_args!("`{found}` is none of: {}", accepted.join(", ")))
}

pub(crate) use {label, record, records, words};

/// A record that may be missing ends its line.
impl<T: Record> Record for Option<T> {
    fn write(&self, out: &mut String) {
        if let Some(record) = self {
            record.write(out);
        }
    }

    fn read(words: &mut Words<'_>) -> Result<Self, BadText> {
        words.peek().map(|_| T::read(words)).transpose()
    }
}

macro_rules! number_field {
    ($($Number:ty),*) => { $(
        impl Field for $Number {
            fn put(&self, out: &mut String) {
                put_display(out, self);
            }

            fn get(word: &str) -> Result<Self, BadText> {
                get_number(word)
            }
        }
    )* };
}
number_field!(u8, u32, u64, i32);

impl Field for bool {
    fn put(&self, out: &mut String) {
        out.push_str(if *self { "yes" } else { "no" });
    }

    fn get(word: &str) -> Result<Self, BadText> {
        match word {
            "yes" => Ok(true),
            "no" => Ok(false),
            other => Err(unknown(Some(other), &["yes", "no"])),
        }
    }

    fn absent() -> Option<Self> {
        Some(false)
    }

    fn is_absent(&self) -> bool {
        !*self
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut String) {
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn get(word: &str) -> Result<Self, BadText> {
        T::get(word).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

fn put_list<'a, T: Field + 'a>(out: &mut String, values: impl IntoIterator<Item = &'a T>) {
    for (position, value) in values.into_iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        value.put(out);
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut String) {
        put_list(out, self);
    }

    fn get(word: &str) -> Result<Self, BadText> {
        word.split(',').map(T::get).collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

/// As a list, in order.
impl<T: Field + Ord> Field for BTreeSet<T> {
    fn put(&self, out: &mut String) {
        put_list(out, self);
    }

    fn get(word: &str) -> Result<Self, BadText> {
        word.split(',').map(T::get).collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

/// Percent-encoded: `%`, `,`, `=`, white space and control characters as `%XX` of their UTF-8 bytes.
impl Field for String {
    fn put(&self, out: &mut String) {
        for char in self.chars() {
            if matches!(char, '%' | ',' | '=') || char.is_whitespace() || char.is_control() {
                for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                    put_display(out, format_args!("%{byte:02X}"));
                }
            } else {
                out.push(char);
            }
        }
    }

    fn get(word: &str) -> Result<Self, BadText> {
        let text = percent_decoded(word).and_then(|bytes| Self::from_utf8(bytes).ok());
        text.ok_or_else(|| BadText::new(format_args!("`{word}` is not percent-encoded UTF-8")))
    }
}

/// The bytes that a percent-encoded word stands for.
pub(crate) fn percent_decoded(word: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::new(), word.bytes());
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        bytes.push(if byte == b'%' { u8::try_from(digit()? * 16 + digit()?).ok()? } else { byte });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_survive_every_character_a_line_gives_a_meaning() {
        for text in ["", "plain", "a b=c,d%e", "tab\tline\nend\u{2028}é\u{0}"] {
            let text = text.to_string();
            let mut word = String::new();
            text.put(&mut word);
            assert!(!word.contains([' ', '\n', '=', ',']), "{word}");
            assert_eq!(String::get(&word).unwrap(), text);
        }
        assert!(String::get("%G0").is_err());
        assert!(String::get("%f").is_err());
        assert!(String::get("%FF").is_err());
    }
}
