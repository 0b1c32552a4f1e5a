//! The dialect of einhorn's own clients: YAML, percent-encoded so that it takes one line.
//!
//! Ruby's `Einhorn::Worker` and `einhornsh` write it with Psych, stripe/go-einhorn with yaml.v2; others have put
//! it together by hand. All send one mapping without any nesting but a list of arguments, and that is what is
//! read here: what it says becomes the same object that a request in JSON is. They read an answer by
//! undoing the encoding, then as YAML, and since JSON is nearly that, an answer is a line of JSON [with what
//! they would not take](write) written in another way.
//!
//! Nothing here knows a command.

mod percent;
mod scalar;
mod yaml;

use super::typed::quoted;
use core::fmt::Write as _;
use miniserde::json::Object;

/// How a request is written, and so its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// A JSON object on one line.
    #[default]
    Json,
    /// Percent-encoded YAML.
    Einhorn,
}

/// What a request in this dialect may consist of.
const ACCEPTED: &str = "accepted is a flat mapping: lines of `key: value`, a value being plain text, quoted text, \
                        a `|` block, `[]`, or lines of `- value`";

/// Reads a line as a mapping. A member's name loses the colon that makes it a symbol of Ruby's; of members with
/// the same name the last one counts.
///
/// Plain values are null (also `~` or nothing), true and false, whole numbers, and decimals without an exponent;
/// all else is text, and so is what is quoted.
///
/// What does not even begin as a mapping is nobody's dialect: it is answered as JSON.
pub(super) fn read(line: &str) -> (Dialect, Result<Object, String>) {
    let text = match percent::decode(line).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => {
            let before = error.utf8_error().valid_up_to();
            let ends = error.as_bytes().iter().take(before).filter(|byte| **byte == b'\n').count();
            let why = format!("line {} of the decoded request is not UTF-8", ends + 1);
            return (Dialect::Einhorn, Err(why));
        }
        Err(why) => return (Dialect::Einhorn, Err(why)),
    };
    match yaml::mapping(&text) {
        Ok(object) => (Dialect::Einhorn, Ok(object)),
        Err(yaml::Error::NoMapping) => {
            let line = quoted(line);
            let accepted = "a JSON object on one line, or einhorn's YAML in percent-encoding";
            (Dialect::Json, Err(format!("a request must be {accepted}; got {line}")))
        }
        Err(yaml::Error::In { line, what }) => {
            (Dialect::Einhorn, Err(format!("line {line} of the decoded request: {what}; {ACCEPTED}")))
        }
    }
}

/// Rewrites a line of JSON for those who read YAML from behind an encoding: `%` as they expect it; and as an
/// escape what is a line end to YAML, what it has no room for (YAML 1.1, section 5.1), and `+`, which Go would
/// take for a blank. So is nearly all that is not ASCII, which Ruby stumbles over where the locale is `C`; what
/// JSON needs two escapes for is not, since to YAML they are not one character.
pub(super) fn write(json: &str) -> String {
    let mut line = String::with_capacity(json.len() + json.len() / 8);
    let (mut in_string, mut escaped) = (false, false);
    for char in json.chars() {
        let was_escaped = escaped;
        escaped = in_string && char == '\\' && !was_escaped;
        in_string ^= char == '"' && !was_escaped;
        match char {
            '%' => line.push_str("%25"),
            // In a number it says nothing.
            '+' if !in_string => {}
            '+' | '\u{7f}'..='\u{ffff}' => {
                // Writing to a String cannot fail.
                let _ = write!(line, "\\u{:04x}", u32::from(char));
            }
            _ => line.push(char),
        }
    }
    line
}

#[cfg(test)]
mod tests;
