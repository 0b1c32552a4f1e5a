//! The text of a value, read as what it stands for.

use super::error::{UsageError, brief};
use crate::fsm::time::Millis;
use std::{
    borrow::Cow,
    ffi::{OsStr, OsString},
    fmt,
    ops::RangeInclusive,
    path::PathBuf,
};

/// Where the control socket is unless an option says otherwise, for both programs.
pub const DEFAULT_SOCKET_PATH: &str = "/tmp/einhorn.sock";

/// Where it is in, also if the service has a name.
pub(super) const DEFAULT_FOLDER: &str = "/tmp";

/// The longest path that a socket can have, in bytes: what fits into `sun_path`, less the zero byte at its
/// end; see unix(7).
pub const LONGEST_SOCKET_PATH: usize = 107;

/// Connections that may wait: listen(2) takes a C int.
pub(super) const BACKLOG: RangeInclusive<u32> = 1..=i32::MAX.unsigned_abs();

/// A value and the option it belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    /// The option's long name, without dashes.
    pub(super) option: &'static str,
    /// As typed.
    pub(super) text: &'a OsStr,
    /// Where, if that was in a file.
    pub(super) place: Option<&'a str>,
}

impl<'a> Value<'a> {
    /// The error for this value.
    pub(super) fn refuse(self, why: impl fmt::Display, accepted: impl fmt::Display) -> UsageError {
        UsageError::BadValue {
            option: format!("--{}", self.option),
            value: brief(self.text),
            why: why.to_string(),
            accepted: accepted.to_string(),
        }
        .at(self.place)
    }

    /// The value for readers that accept ASCII only: what is not UTF-8 becomes something they refuse.
    pub(super) fn text(self) -> Cow<'a, str> {
        self.text.to_string_lossy()
    }

    /// A whole number within `range`; `what` says of what.
    pub(super) fn number(self, what: &str, range: RangeInclusive<u32>) -> Result<u32, UsageError> {
        let number = self.text().parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            self.refuse(format_args!("is not {what}"), format_args!("{} to {}", range.start(), range.end()))
        })
    }

    /// Seconds within `range`, with or without decimals.
    pub(super) fn seconds(self, range: RangeInclusive<Millis>) -> Result<Millis, UsageError> {
        let time = Millis::from_decimal_seconds(&self.text()).filter(|time| range.contains(time));
        time.ok_or_else(|| {
            let (least, most) = (Seconds(*range.start()), Seconds(*range.end()));
            self.refuse("is not a time in seconds", format_args!("{least} to {most}, decimals allowed"))
        })
    }

    /// A path; `what` says of what.
    pub(super) fn path(self, what: &str) -> Result<PathBuf, UsageError> {
        if self.text.is_empty() {
            return Err(self.refuse("is not a path", format_args!("the path of {what}")));
        }
        Ok(PathBuf::from(self.text))
    }

    /// The name of a variable.
    pub(super) fn variable(self) -> Result<OsString, UsageError> {
        let bytes = self.text.as_encoded_bytes();
        if bytes.is_empty() || bytes.contains(&b'=') {
            return Err(self.refuse("is not the name of a variable", "a name without ="));
        }
        Ok(self.text.to_owned())
    }

    /// The path of a UNIX socket.
    pub(super) fn socket_path(self) -> Result<PathBuf, UsageError> {
        if self.text.is_empty() || self.text.len() > LONGEST_SOCKET_PATH {
            let accepted = format_args!("a path of 1 to {LONGEST_SOCKET_PATH} bytes");
            return Err(self.refuse("cannot be the path of a socket", accepted));
        }
        Ok(PathBuf::from(self.text))
    }
}

/// A time as it would be typed.
pub(super) struct Seconds(pub(super) Millis);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Millis(millis) = self.0;
        match millis % 1_000 {
            0 => write!(f, "{}", millis / 1_000),
            rest => f.write_str(format!("{}.{rest:03}", millis / 1_000).trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::config::SPAN;

    fn value(text: &str) -> Value<'_> {
        Value { option: "opt", text: text.as_ref(), place: None }
    }

    #[test]
    fn a_time_out_of_range_is_refused_and_the_range_told() {
        let range = || Millis(1)..=*SPAN.end();
        assert_eq!(value("1000000").seconds(range()), Ok(*SPAN.end()));
        for text in ["0", "1000000.001", "NaN"] {
            let error = value(text).seconds(range()).unwrap_err().to_string();
            let rest = "is not a time in seconds; accepted: 0.001 to 1000000, decimals allowed";
            assert_eq!(error, format!("--opt: `{text}` {rest}"));
        }
    }

    #[test]
    fn a_number_out_of_range_is_refused_and_the_range_told() {
        assert_eq!(value("1").number("a number of things", 1..=9), Ok(1));
        for text in ["0", "10", "-1", "x", "1.0", "99999999999999999999"] {
            let error = value(text).number("a number of things", 1..=9).unwrap_err().to_string();
            assert_eq!(error, format!("--opt: `{text}` is not a number of things; accepted: 1 to 9"));
        }
    }

    #[test]
    fn a_path_is_not_empty() {
        let error = value("").path("a file").unwrap_err().to_string();
        assert_eq!(error, "--opt: '' is not a path; accepted: the path of a file");
    }

    #[test]
    fn a_socket_path_must_fit_into_an_address() {
        assert_eq!(value(&"x".repeat(107)).socket_path(), Ok(PathBuf::from("x".repeat(107))));
        for text in [String::new(), "x".repeat(108)] {
            let error = value(&text).socket_path().unwrap_err().to_string();
            assert!(error.ends_with("accepted: a path of 1 to 107 bytes"), "{error}");
        }
    }
}
