//! Single values: what plain text means, and what is between quotes.

use crate::protocol::typed::quoted;
use miniserde::json::{Number, Value};

/// What a plain text means.
pub(super) fn plain(text: &str) -> Value {
    match text {
        "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

/// Whole numbers of 64 bits, and decimals: what comes back as it came. Other numbers of YAML are text.
fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) =
        digits.split_once('.').map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A leading zero means octal.
    if !are_digits(whole) || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    match decimals {
        Some(decimals) if are_digits(decimals) => {
            text.parse().ok().filter(|number: &f64| number.is_finite()).map(Number::F64)
        }
        Some(_) => None,
        None => text.parse().map(Number::U64).or_else(|_| text.parse().map(Number::I64)).ok(),
    }
}

/// Goes on with a text on another line: what ended the one before, unless that was escaped, and what ended the
/// empty ones between them. An ordinary line end alone is a blank, and before others nothing.
pub(super) fn fold(text: &mut String, end: Option<char>, empty: &str) {
    match end {
        Some('\n') if empty.is_empty() => text.push(' '),
        Some('\n') | None => {}
        Some(other) => text.push(other),
    }
    text.push_str(empty);
}

/// A kind of quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quote {
    /// Between which two quotes are one, and nothing else is special.
    Single,
    /// Between which a backslash is.
    Double,
}

/// How a line of a quoted text ends.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// With the quote, and this behind it.
    Closed(&'a str),
    /// With the line.
    Open {
        /// The line end is escaped: the text goes on as if there were none.
        joined: bool,
    },
}

impl Quote {
    /// The one that a text begins with.
    pub(super) fn of(text: &str) -> Option<Self> {
        match text.chars().next() {
            Some('\'') => Some(Self::Single),
            Some('"') => Some(Self::Double),
            _ => None,
        }
    }

    /// Reads up to the closing quote, or to the end of the line without the white space there.
    pub(super) fn read<'a>(self, line: &'a str, text: &mut String) -> Result<Piece<'a>, String> {
        // White space at the end of a line is no part of the text, but for what is escaped.
        let mut kept = text.len();
        let mut chars = line.chars();
        while let Some(char) = chars.next() {
            match (self, char) {
                (Self::Single, '\'') if chars.as_str().starts_with('\'') => {
                    chars.next();
                    text.push('\'');
                }
                (Self::Single, '\'') | (Self::Double, '"') => return Ok(Piece::Closed(chars.as_str())),
                (Self::Double, '\\') => match chars.next() {
                    None => return Ok(Piece::Open { joined: true }),
                    Some(letter) => {
                        text.push(escaped(letter, &mut chars)?);
                        kept = text.len();
                    }
                },
                (Self::Single | Self::Double, _) => text.push(char),
            }
        }
        let spare = text.get(kept..).unwrap_or_default();
        text.truncate(kept + spare.trim_end_matches([' ', '\t']).len());
        Ok(Piece::Open { joined: false })
    }
}

/// What a backslash and that letter stand for, with the digits behind it: YAML 1.1, section 5.6.
fn escaped(letter: char, rest: &mut core::str::Chars<'_>) -> Result<char, String> {
    let digits = match letter {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => 0,
    };
    let found = match letter {
        '0' => Some('\0'),
        'a' => Some('\u{7}'),
        'b' => Some('\u{8}'),
        't' | '\t' => Some('\t'),
        'n' => Some('\n'),
        'v' => Some('\u{b}'),
        'f' => Some('\u{c}'),
        'r' => Some('\r'),
        'e' => Some('\u{1b}'),
        ' ' | '"' | '/' | '\\' => Some(letter),
        'N' => Some('\u{85}'),
        '_' => Some('\u{a0}'),
        'L' => Some('\u{2028}'),
        'P' => Some('\u{2029}'),
        'x' | 'u' | 'U' => {
            let (code, behind) = rest.as_str().split_at_checked(digits).unwrap_or_default();
            *rest = behind.chars();
            let are_digits = code.bytes().all(|digit| digit.is_ascii_hexdigit());
            u32::from_str_radix(code, 16).ok().filter(|_| are_digits).and_then(char::from_u32)
        }
        _ => None,
    };
    found.ok_or_else(|| {
        let digits = if digits > 0 { format!(" and what stands for {digits} digits") } else { String::new() };
        format!("{}{digits} is no escape", quoted(&format!("\\{letter}")))
    })
}
