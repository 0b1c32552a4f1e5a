//! `{fd:NAME}` in the arguments of a program: the descriptor that a socket has in the worker, for programs that
//! are told of it nowhere else. `{fd:0}` is the first socket, and `{{fd:0}}` is the text `{fd:0}` itself.
//! Braces with anything else in them are the program's own.

use super::given::FIRST_FD;
use crate::cli::{UsageError, brief};
use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::RawFd,
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
};

/// How a reference begins, and ends.
const OPEN: &[u8] = b"{fd:";
const CLOSE: u8 = b'}';

/// The sockets that can be referred to: what each is called, if anything, in the order of their descriptors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roster(Vec<Option<String>>);

impl Roster {
    pub(crate) fn new(names: impl IntoIterator<Item = Option<String>>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Sees that all references in these arguments lead somewhere.
    ///
    /// # Errors
    /// For the first that does not, with what is accepted.
    pub(crate) fn check<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<(), UsageError> {
        arguments.into_iter().try_for_each(|argument| self.fill(argument.as_ref()).map(drop))
    }

    /// An argument with descriptors in place of references.
    ///
    /// # Errors
    /// If one leads nowhere.
    pub(crate) fn fill(&self, argument: &OsStr) -> Result<OsString, UsageError> {
        let (mut filled, mut rest) = (Vec::new(), argument.as_bytes());
        while let Some((before, inside, behind)) = next(rest) {
            match (before.strip_suffix(b"{"), behind.strip_prefix(&[CLOSE])) {
                (Some(before), Some(behind)) => {
                    filled.extend([before, OPEN, inside, &[CLOSE]].concat());
                    rest = behind;
                }
                _ => {
                    let fd = self.find(inside).map_err(|why| self.refuse(argument, inside, why))?;
                    filled.extend_from_slice(before);
                    filled.extend(fd.to_string().into_bytes());
                    rest = behind;
                }
            }
        }
        filled.extend_from_slice(rest);
        Ok(OsString::from_vec(filled))
    }

    /// The descriptor of the socket that is called so or has that position; or what is wrong.
    fn find(&self, wanted: &[u8]) -> Result<RawFd, &'static str> {
        let is_number = !wanted.is_empty() && wanted.iter().all(u8::is_ascii_digit);
        let position = if is_number {
            let number = str::from_utf8(wanted).ok().and_then(|text| text.parse::<usize>().ok());
            number.filter(|number| *number < self.0.len())
        } else {
            let is_it = |name: &Option<String>| name.as_ref().is_some_and(|name| name.as_bytes() == wanted);
            let mut found = self.0.iter().enumerate().filter(|(_, name)| is_it(name));
            let first = found.next().map(|(position, _)| position);
            if found.next().is_some() {
                return Err("is the name of more than one socket");
            }
            first
        };
        let position = position.ok_or("is no socket")?;
        Ok(FIRST_FD.saturating_add(RawFd::try_from(position).unwrap_or(RawFd::MAX)))
    }

    fn refuse(&self, argument: &OsStr, wanted: &[u8], why: &str) -> UsageError {
        let wanted = brief(OsStr::from_bytes(wanted));
        let numbers = match self.0.len() {
            0 => "no {fd:...}, since there is no socket".to_owned(),
            1 => "{fd:0}".to_owned(),
            count => format!("{{fd:0}} to {{fd:{}}}", count.saturating_sub(1)),
        };
        let once = |name: &&String| self.0.iter().flatten().filter(|other| other == name).count() == 1;
        let names = self.0.iter().flatten().filter(once);
        let names = names.map(|name| format!(", {{fd:{name}}}")).collect::<String>();
        UsageError::BadValue {
            option: "PROGRAM".to_owned(),
            value: brief(argument),
            why: format!("has `{{fd:{wanted}}}`, which {why}"),
            accepted: format!("{numbers}{names}; {{{{fd:{wanted}}}}} for that text itself"),
        }
    }
}

/// The next reference in a text: what is before it, within, and behind it.
fn next(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let begin = text.windows(OPEN.len()).position(|window| window == OPEN)?;
    let (before, found) = text.split_at_checked(begin)?;
    let found = found.strip_prefix(OPEN)?;
    let (inside, behind) = found.split_at_checked(found.iter().position(|byte| *byte == CLOSE)?)?;
    Some((before, inside, behind.strip_prefix(&[CLOSE])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(names: &[&str]) -> Roster {
        Roster::new(names.iter().map(|name| (!name.is_empty()).then(|| (*name).to_owned())))
    }

    fn fill(roster: &Roster, text: &str) -> Result<String, String> {
        let filled = roster.fill(OsStr::new(text)).map_err(|error| error.to_string())?;
        Ok(filled.into_string().unwrap())
    }

    #[test]
    fn references_become_descriptors_and_nothing_else_changes() {
        let roster = roster(&["", "web", "a {b"]);
        for (text, filled) in [
            ("", ""),
            ("{fd:0}", "3"),
            ("fd@{fd:web},{fd:2}{fd:a {b}", "fd@4,55"),
            ("{{fd:0}}", "{fd:0}"),
            ("{{fd:none}}{fd:1}", "{fd:none}4"),
            ("{{{fd:0}}}", "{{fd:0}}"),
            ("{{fd:0} {fd:0}}", "{3 3}"),
            ("{fd} {FD:0} {\"fd\":0} {fd:0", "{fd} {FD:0} {\"fd\":0} {fd:0"),
        ] {
            assert_eq!(fill(&roster, text).as_deref(), Ok(filled), "{text}");
        }
        let odd = OsStr::from_bytes(b"\xff{fd:1}\xff");
        assert_eq!(roster.fill(odd).unwrap().as_bytes(), b"\xff4\xff");
    }

    #[test]
    fn a_reference_to_nothing_is_told_with_what_there_is() {
        let accepted = "accepted: {fd:0} to {fd:1}, {fd:web}; {{fd:2}} for that text itself";
        assert_eq!(
            fill(&roster(&["", "web"]), "a{fd:2}").unwrap_err(),
            format!("PROGRAM: `a{{fd:2}}` has `{{fd:2}}`, which is no socket; {accepted}")
        );
        for text in ["{fd:}", "{fd:+1}", "{fd: 0}", "{fd:99999999999999999999}", "{fd:unknown}", "{fd:Web}"] {
            assert!(fill(&roster(&["web", ""]), text).unwrap_err().contains("is no socket"), "{text}");
        }
        assert!(fill(&roster(&[]), "{fd:0}").unwrap_err().contains("accepted: no {fd:...}, since"));
        let twice = roster(&["web", "web"]);
        let refused = fill(&twice, "{fd:web}").unwrap_err();
        assert!(
            refused.contains("is the name of more than one socket; accepted: {fd:0} to {fd:1}; {{"),
            "{refused}"
        );
        assert_eq!(fill(&twice, "{fd:1}").as_deref(), Ok("4"));
    }

    #[test]
    fn one_line_tells_of_it_whatever_is_in_it() {
        let error = fill(&roster(&[]), "{fd:\n\x1b[2J}").unwrap_err();
        assert!(!error.contains(char::is_control), "{error}");
    }
}
