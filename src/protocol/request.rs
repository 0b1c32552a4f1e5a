//! One line of a request, and what is wrong with it.

use super::{
    command,
    dialect::{self, Dialect},
    operation::Operation,
    reply::ReplyTo,
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
    /// What every line of the answer is to say, and how. The id may be any value; numbers that are no integers
    /// of 64 bits may come back with another last digit.
    pub reply_to: ReplyTo,
    /// What is asked for.
    pub operation: Operation,
}

/// Why a line is not a request.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The same of the answer that says so, as far as it could be read.
    pub reply_to: ReplyTo,
    /// What was found, and what is accepted.
    pub message: String,
}

/// Reads a request from a line without its line end.
///
/// A request is a JSON object with a `command`, perhaps an `id` (or `request_id`, as some clients of einhorn say),
/// perhaps `args` (a list of strings and numbers), and the fields that the command takes; what else is there is
/// ignored. Of members with the same name the last one counts. `-` and `_` are the same in a command's name. A
/// null counts as absent, except as the `id`. What is no JSON may be the same in [einhorn's dialect](dialect).
///
/// # Errors
/// If it is not, with a message that names the command or field and what is accepted.
pub fn decode(line: &[u8]) -> Result<Request, Refusal> {
    let (dialect, object) = object(line);
    let mut object =
        object.map_err(|message| Refusal { reply_to: ReplyTo { id: None, dialect }, message })?;
    let id = object.remove("id").or_else(|| object.get("request_id").cloned());
    let reply_to = ReplyTo { id, dialect };
    match operation(&object) {
        Ok(operation) => Ok(Request { reply_to, operation }),
        Err(message) => Err(Refusal { reply_to, message }),
    }
}

/// Reads the line as an object, in whatever dialect it is written.
fn object(line: &[u8]) -> (Dialect, Result<Object, String>) {
    let Ok(text) = str::from_utf8(line) else {
        return (Dialect::Json, Err("a request must be UTF-8".to_owned()));
    };
    let is_collection = text.trim_start().starts_with(['{', '[']);
    if is_collection && nesting(text) > NESTING_MAX {
        return (Dialect::Json, Err(format!("a request may be nested at most {NESTING_MAX} deep")));
    }
    match json::from_str(text) {
        Ok(Value::Object(object)) => (Dialect::Json, Ok(object)),
        Ok(value) => {
            let found = shown(&value);
            (Dialect::Json, Err(format!("a request must be a JSON object with a `command`; got {found}")))
        }
        Err(_) if is_collection => {
            (Dialect::Json, Err(format!("a request must be a JSON object on one line; got {}", quoted(text))))
        }
        Err(_) => dialect::read(text),
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
