//! One line of a request, and what is wrong with it.

use super::{
    command,
    operation::Operation,
    typed::{quoted, shown},
};
use core::str;
use miniserde::json::{self, Object, Value};

/// How deep a request may be nested. Reading, writing and dropping a value take no more stack the
/// deeper it is, but cloning one and printing it for debugging do.
pub const NESTING_MAX: usize = 64;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Comes back with every line of the answer. Any value; numbers that are no integers of
    /// 64 bits may come back with another last digit.
    pub id: Option<Value>,
    /// What is asked for.
    pub operation: Operation,
}

/// Why a line is not a request.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The request's id, if that much could be read.
    pub id: Option<Value>,
    /// What was found, and what is accepted.
    pub message: String,
}

/// Reads a request from a line without its line end.
///
/// A request is a JSON object with a `command`, perhaps an `id`, perhaps `args` (a list of strings and
/// numbers), and the fields that the command takes; what else is there is ignored. Of members with the
/// same name the last one counts. `-` and `_` are the same in a command's name. A null counts as
/// absent, except as the `id`.
///
/// # Errors
/// If it is not, with a message that names the command or field and what is accepted.
pub fn decode(line: &[u8]) -> Result<Request, Refusal> {
    let mut object = object(line).map_err(|message| Refusal { id: None, message })?;
    let id = object.remove("id");
    match operation(&object) {
        Ok(operation) => Ok(Request { id, operation }),
        Err(message) => Err(Refusal { id, message }),
    }
}

/// Reads the line as an object, in whatever dialect it is written.
fn object(line: &[u8]) -> Result<Object, String> {
    let text = str::from_utf8(line).map_err(|_| "a request must be UTF-8".to_owned())?;
    if nesting(text) > NESTING_MAX {
        return Err(format!("a request may be nested at most {NESTING_MAX} deep"));
    }
    match json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(value) => Err(format!("a request must be a JSON object with a `command`; got {}", shown(&value))),
        Err(_) => Err(format!("a request must be a JSON object on one line; got {}", quoted(text))),
    }
}

/// How deep the brackets outside of strings go. Counts too much in text that is not JSON, never too
/// little in text that is.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn operation(object: &Object) -> Result<Operation, String> {
    let name = match object.get("command") {
        Some(Value::String(name)) => name,
        Some(Value::Null) | None => {
            return Err(format!("`command` is missing; accepted: {}", command::names()));
        }
        Some(value) => {
            return Err(format!("`command` is {}; accepted: {}", shown(value), command::names()));
        }
    };
    command::find(name).ok_or_else(|| command::unknown(name))?.read(object)
}

#[cfg(test)]
mod tests;
