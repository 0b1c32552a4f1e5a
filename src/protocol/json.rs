//! Short ways to write JSON values down.

use miniserde::json::{Number, Object, Value};

/// A whole number.
pub(crate) fn number(number: impl Into<u64>) -> Value {
    Value::Number(Number::U64(number.into()))
}

/// A whole number that may be below zero.
pub(crate) fn integer(number: i32) -> Value {
    u64::try_from(number).map_or_else(|_| Value::Number(Number::I64(number.into())), self::number)
}

/// A string.
pub(crate) fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// What is there, or null.
pub(crate) fn or_null<T>(value: Option<T>, write: impl FnOnce(T) -> Value) -> Value {
    value.map_or(Value::Null, write)
}

/// A list.
pub(crate) fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(values.into_iter().collect())
}

/// The members of an object.
pub(crate) fn members<const N: usize>(members: [(&str, Value); N]) -> Object {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
