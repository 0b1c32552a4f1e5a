//! One line of an answer.

use super::dialect::{self, Dialect};
use core::{fmt, str};
use miniserde::json::{self, Object, Value};

/// The members that make up the envelope itself.
const OWN: [&str; 4] = ["message", "ok", "request_id", "wait"];

/// What an answer owes to its request, whatever it says.
#[derive(Clone, Debug, Default)]
pub struct ReplyTo {
    /// The request's id, if it had one.
    pub id: Option<Value>,
    /// How the request was written.
    pub dialect: Dialect,
}

/// One line of an answer: what it says to people, whether it is good news, and typed fields.
///
/// Einhorn's clients understand it: they want `message` and `request_id`, and read on for as long as
/// `wait` is there.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    /// For people. May have several lines.
    pub message: String,
    /// Whether what was asked for is done, or on its way.
    pub ok: bool,
    /// The request's id, if it had one.
    pub request_id: Option<Value>,
    /// Whether more lines follow.
    pub wait: bool,
    /// What else there is to tell, for programs. The envelope's own names are not for use in it.
    pub fields: Object,
    /// The same, written down already: what is long takes less memory so. Not set in what was read.
    pub written: Vec<(&'static str, String)>,
    /// Who is to read it. Not known of what was read.
    pub dialect: Dialect,
}

impl Envelope {
    /// A last line with no fields: it is done.
    #[must_use]
    pub fn done(message: impl Into<String>) -> Self {
        Self { message: message.into(), ok: true, ..Self::default() }
    }

    /// A last line with no fields: it is not done, and why.
    #[must_use]
    pub fn refused(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// The same as an answer to that request.
    #[must_use]
    pub fn answering(self, ReplyTo { id, dialect }: ReplyTo) -> Self {
        Self { request_id: id, dialect, ..self }
    }

    /// The line, with its line end. What is absent is left out.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut line = String::from("{\"message\":");
        line.push_str(&json::to_string(&self.message));
        line.push_str(if self.ok { ",\"ok\":true" } else { ",\"ok\":false" });
        if let Some(id) = &self.request_id {
            line.push_str(",\"request_id\":");
            line.push_str(&json::to_string(id));
        }
        if self.wait {
            line.push_str(",\"wait\":true");
        }
        for (name, value) in self.fields.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
            line.push(',');
            line.push_str(&json::to_string(name));
            line.push(':');
            line.push_str(&json::to_string(value));
        }
        for (name, text) in &self.written {
            line.push_str(",\"");
            line.push_str(name);
            line.push_str("\":");
            line.push_str(text);
        }
        line.push_str("}\n");
        match self.dialect {
            Dialect::Json => line,
            Dialect::Einhorn => dialect::write(&line),
        }
    }

    /// Reads a line. Where `ok` is missing, as in einhorn's own replies, the news is good.
    ///
    /// # Errors
    /// If it is not a JSON object with a `message`, or one of the envelope's members has another type
    /// than it should.
    pub fn parse(line: &[u8]) -> Result<Self, BadReply> {
        let text = str::from_utf8(line).map_err(|_| BadReply("it is not UTF-8"))?;
        let mut fields: Object = json::from_str(text).map_err(|_| BadReply("it is not a JSON object"))?;
        let message = match fields.remove("message") {
            Some(Value::String(message)) => message,
            _ => return Err(BadReply("it has no `message` text")),
        };
        let ok = flag(fields.remove("ok"), true, BadReply("its `ok` is neither true nor false"))?;
        let wait = flag(fields.remove("wait"), false, BadReply("its `wait` is neither true nor false"))?;
        let request_id = fields.remove("request_id");
        Ok(Self { message, ok, request_id, wait, fields, ..Self::default() })
    }
}

fn flag(value: Option<Value>, absent: bool, error: BadReply) -> Result<bool, BadReply> {
    match value {
        Some(Value::Bool(flag)) => Ok(flag),
        Some(Value::Null) | None => Ok(absent),
        Some(Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => Err(error),
    }
}

/// Why a line is not a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadReply(&'static str);

impl fmt::Display for BadReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for BadReply {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::json::{members, number, text};

    #[test]
    fn absent_things_are_left_out() {
        assert_eq!(Envelope::done("fine").encode(), "{\"message\":\"fine\",\"ok\":true}\n");
        assert_eq!(Envelope::refused("no").encode(), "{\"message\":\"no\",\"ok\":false}\n");
    }

    #[test]
    fn a_line_stays_one_line_whatever_it_says() {
        let line = Envelope::done("a\nb\r\0\"\\\u{1b}é")
            .answering(ReplyTo { id: Some(text("\n")), ..ReplyTo::default() })
            .encode();
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        let back = Envelope::parse(line.as_bytes()).unwrap();
        assert_eq!(back.message, "a\nb\r\0\"\\\u{1b}é");
    }

    #[test]
    fn what_is_written_can_be_read_back() {
        let envelope = Envelope {
            message: "two".into(),
            ok: false,
            request_id: Some(Value::Null),
            wait: true,
            fields: members([("target", number(2_u32)), ("message", text("not for use"))]),
            ..Envelope::default()
        };
        let line = envelope.encode();
        assert_eq!(
            line,
            "{\"message\":\"two\",\"ok\":false,\"request_id\":null,\"wait\":true,\"target\":2}\n"
        );
        assert_eq!(Envelope::parse(line.as_bytes()).unwrap().encode(), line);
    }

    #[test]
    fn einhorns_own_replies_are_understood() {
        let reply = Envelope::parse(b"{\"message\":\"Welcome\",\"request_id\":\"x\"}").unwrap();
        assert!(reply.ok && !reply.wait);
    }

    #[test]
    fn what_is_no_reply_is_said_to_be_none() {
        let cases: [(&[u8], &str); 6] = [
            (b"\xff", "it is not UTF-8"),
            (b"[]", "it is not a JSON object"),
            (b"{}", "it has no `message` text"),
            (b"{\"message\":1}", "it has no `message` text"),
            (b"{\"message\":\"\",\"ok\":1}", "its `ok` is neither true nor false"),
            (b"{\"message\":\"\",\"wait\":\"\"}", "its `wait` is neither true nor false"),
        ];
        for (line, why) in cases {
            assert_eq!(Envelope::parse(line).unwrap_err().to_string(), why);
        }
    }
}
