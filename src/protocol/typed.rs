//! What somebody typed: numbers read from it, and itself shown in a message.

use super::visible::visible;
use core::str::FromStr;
use miniserde::json::{self, Value};

/// Digits only: `+1` looks like a request for one more.
pub(crate) fn number<T: FromStr>(word: &str) -> Option<T> {
    word.parse().ok().filter(|_| word.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What somebody wrote, fit for a message and for a log: short, on one line, nothing invisible.
pub(crate) fn quoted(text: &str) -> String {
    if text.is_empty() { "''".to_owned() } else { format!("`{}`", shortened(text)) }
}

/// The same for a value, as JSON.
pub(super) fn shown(value: &Value) -> String {
    shortened(&json::to_string(value))
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => visible(text.get(..end).unwrap_or_default()) + "…",
        None => visible(text),
    }
}
