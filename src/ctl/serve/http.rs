//! What is understood of HTTP/1: the head of a request, and how it is answered. Each connection is for one request.

use httparse::{EMPTY_HEADER, Request, Status};
use std::sync::Arc;

/// The longest head, in bytes, and the most header lines that it may have.
pub(super) const LONGEST: usize = 8 * 1024;
const HEADERS: usize = 64;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Whether the body of the answer is wanted.
    pub(super) body: bool,
    /// What it is about.
    pub(super) path: String,
    /// What stands behind the question mark, as it was sent.
    pub(super) query: String,
}

impl Asked {
    /// Reads a request; `None` if its head is not there as a whole. The answer is an error's, if it cannot be
    /// understood.
    pub(super) fn read(head: &[u8]) -> Result<Option<Self>, Answer> {
        let mut headers = [EMPTY_HEADER; HEADERS];
        let mut request = Request::new(&mut headers);
        match request.parse(head) {
            Ok(Status::Complete(_)) => {}
            Ok(Status::Partial) if head.len() < LONGEST => return Ok(None),
            Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                let most = format!("a request's head may have {LONGEST} bytes and {HEADERS} lines\n");
                return Err(Answer::text(Code::TooLarge, most));
            }
            Err(httparse::Error::Version) => {
                return Err(Answer::text(Code::Version, "only HTTP/1.0 and HTTP/1.1 are understood\n"));
            }
            Err(error) => {
                return Err(Answer::text(Code::Bad, format!("this is no HTTP request: {error}\n")));
            }
        }
        let body = match request.method {
            Some("GET") => true,
            Some("HEAD") => false,
            _ => {
                return Err(Answer::text(Code::Method, "nothing can be changed here: GET and HEAD only\n"));
            }
        };
        let target = request.path.unwrap_or_default();
        // Who asks as if of a proxy names the host, too.
        let target = match target.strip_prefix("http://") {
            Some(rest) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
            None => target,
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Some(Self { body, path: path.to_owned(), query: query.to_owned() }))
    }

    /// The parameters behind the question mark, decoded. A `%` that begins no escape is a `%`, as in `?min=50%`.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (String, String)> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decoded(name), decoded(value)))
    }
}

fn decoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let digits = piece.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(piece.get(2..).unwrap_or_default().as_bytes());
            }
            None => {
                bytes.push(b'%');
                bytes.extend_from_slice(piece.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Fine,
    Bad,
    Unknown,
    Method,
    Slow,
    TooLarge,
    Unavailable,
    Version,
}

impl Code {
    fn line(self) -> &'static str {
        match self {
            Self::Fine => "200 OK",
            Self::Bad => "400 Bad Request",
            Self::Unknown => "404 Not Found",
            Self::Method => "405 Method Not Allowed",
            Self::Slow => "408 Request Timeout",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
            Self::Version => "505 HTTP Version Not Supported",
        }
    }
}

/// What the body of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Metrics,
    Json,
    Page,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Metrics => "text/plain; version=0.0.4; charset=utf-8",
            Self::Json => "application/json",
            Self::Page => "text/html; charset=utf-8",
        }
    }
}

/// An answer. Its body may be shared by many.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) code: Code,
    pub(super) kind: Kind,
    /// Header lines besides those that all have, each with its line end.
    pub(super) extra: String,
    pub(super) body: Arc<[u8]>,
}

impl Answer {
    pub(super) fn new(code: Code, kind: Kind, body: impl Into<Arc<[u8]>>) -> Self {
        Self { code, kind, extra: String::new(), body: body.into() }
    }

    pub(super) fn text(code: Code, text: impl Into<String>) -> Self {
        Self::new(code, Kind::Text, text.into().into_bytes())
    }

    /// All that stands before the body.
    pub(super) fn head(&self) -> String {
        let allow = if self.code == Code::Method { "Allow: GET, HEAD\r\n" } else { "" };
        format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\n{allow}{}\r\n",
            self.code.line(),
            self.kind.name(),
            self.body.len(),
            self.extra
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Result<Option<Asked>, Code> {
        Asked::read(head.as_bytes()).map_err(|answer| answer.code)
    }

    #[test]
    fn a_request_is_read_once_its_head_is_there() {
        let whole = "GET /readyz?min=50%&x HTTP/1.1\r\nHost: h\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), Ok(None), "{end}");
        }
        let asked = read(whole).unwrap().unwrap();
        assert_eq!((asked.body, asked.path.as_str()), (true, "/readyz"));
        let parameters: Vec<_> = asked.parameters().collect();
        assert_eq!(parameters, [("min".into(), "50%".into()), ("x".into(), String::new())]);
        let asked = read("HEAD http://h:1/livez HTTP/1.0\n\n").unwrap().unwrap();
        assert_eq!((asked.body, asked.path.as_str()), (false, "/livez"));
    }

    #[test]
    fn escapes_are_decoded_and_what_is_none_stays() {
        for (text, expected) in [
            ("50%25", "50%"),
            ("50%", "50%"),
            ("%5", "%5"),
            ("%+1a", "%+1a"),
            ("%ff", "\u{fffd}"),
            ("%é", "%é"),
        ] {
            assert_eq!(decoded(text), expected);
        }
    }

    #[test]
    fn whatever_else_comes_is_refused_with_the_reason() {
        for (head, code) in [
            ("POST / HTTP/1.1\r\n\r\n", Code::Method),
            ("OPTIONS * HTTP/1.1\r\n\r\n", Code::Method),
            ("GET / HTTP/2.0\r\n\r\n", Code::Version),
            ("GET /\r\n\r\n", Code::Bad),
            ("\u{16}\u{3}\u{1}\r\n\r\n", Code::Bad),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", Code::Bad),
        ] {
            assert_eq!(read(head), Err(code), "{head:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1));
        assert_eq!(read(&many), Err(Code::TooLarge));
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(LONGEST));
        assert_eq!(read(&long), Err(Code::TooLarge));
    }
}
