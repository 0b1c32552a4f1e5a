//! A word with the supervisor on its control socket, in as much JSON as that needs, or over the connection
//! that the worker has inherited.

use super::{Answer, Error, inherited::take};
use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::{fd::RawFd, unix::net::UnixStream},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The connection that was inherited, once it has been used.
static INHERITED: Mutex<Option<UnixStream>> = Mutex::new(None);

/// The longest line of the control socket's protocol, in bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Connects to the control socket.
pub(super) fn connect(path: &Path) -> Result<UnixStream, Error> {
    let failed = |source| Error::Control { tried: "connect to", path: path.to_path_buf(), source };
    UnixStream::connect(path).map_err(failed)
}

/// Sends a line over the inherited connection. No answer is waited for: another thread, or another process that
/// has the connection, might get it.
pub(super) fn send(fd: RawFd, line: &str, timeout: Duration) -> Result<Answer, Error> {
    let mut inherited = INHERITED.lock().unwrap_or_else(PoisonError::into_inner);
    let stream = match &mut *inherited {
        Some(stream) => stream,
        none => none.insert(UnixStream::from(take(fd)?)),
    };
    deliver(stream, line, timeout).map_err(|source| Error::Socket { tried: "write to", fd, source })
}

fn deliver(stream: &mut UnixStream, line: &str, timeout: Duration) -> io::Result<Answer> {
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(line.as_bytes())?;
    Ok(Answer::Unanswered)
}

/// Sends a line to the control socket at that path and reads the one that answers it.
pub(super) fn converse(
    mut stream: UnixStream,
    path: &Path,
    line: &str,
    timeout: Duration,
) -> Result<Answer, Error> {
    let control = |tried| move |source| Error::Control { tried, path: path.to_path_buf(), source };
    stream.set_read_timeout(Some(timeout)).map_err(control("set a time-out for"))?;
    stream.set_write_timeout(Some(timeout)).map_err(control("set a time-out for"))?;
    stream.write_all(line.as_bytes()).map_err(control("write to"))?;

    // The reply is one line, written at once: the time-out of a single read bounds the whole.
    let mut reply = Vec::new();
    if let Err(error) = BufReader::new(stream.take(MAX_LINE_BYTES)).read_until(b'\n', &mut reply) {
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            return Ok(Answer::Unanswered);
        }
        return Err(control("read a reply from")(error));
    }
    if reply.is_empty() {
        return Ok(Answer::Unanswered);
    }
    let reply = String::from_utf8_lossy(&reply);
    if member(&reply, "ok") != Some("false") {
        return Ok(Answer::Confirmed);
    }
    let message = member(&reply, "message").map_or_else(|| reply.trim().to_owned(), unquoted);
    Err(Error::Refused { path: path.to_path_buf(), message })
}

/// The text of one member of a JSON object: as much JSON as a reply needs.
fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = object.trim().strip_prefix('{')?.strip_suffix('}');
    while let Some(members) = rest {
        let (member, others) = split_outside(members, ',');
        if let (key, Some(value)) = split_outside(member, ':')
            && key.trim().strip_prefix('"').and_then(|key| key.strip_suffix('"')) == Some(name)
        {
            return Some(value.trim());
        }
        rest = others;
    }
    None
}

/// Splits JSON text at the first separator that is in no string, list or object.
fn split_outside(text: &str, separator: char) -> (&str, Option<&str>) {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, character) in text.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        match character {
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ if in_string => {}
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            found if found == separator && depth == 0 => {
                let (before, after) = text.split_at(at);
                return (before, after.strip_prefix(separator));
            }
            _ => {}
        }
    }
    (text, None)
}

/// A JSON string for `text`.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// The text of a JSON string, for people: what cannot be read is shown as U+FFFD.
fn unquoted(string: &str) -> String {
    let mut out = String::new();
    let inner = string.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let mut rest = inner.unwrap_or(string).chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        out.push(match rest.next() {
            Some('n' | 'r') => '\n',
            Some('t') => '\t',
            Some('u') => {
                let digits: String = rest.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok();
                code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            Some(other) => other,
            None => char::REPLACEMENT_CHARACTER,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::REPLY_TIMEOUT;
    use std::{env, fs, os::unix::net::UnixListener, process, thread};

    /// What [`converse`] makes of a supervisor that reads a line and answers `reply`, or, with `None`,
    /// keeps silent.
    fn conversation(name: &str, reply: Option<&'static str>) -> Result<Answer, Error> {
        let path = env::temp_dir().join(format!("einhyrningsins-worker-{}-{name}", process::id()));
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let supervisor = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            match reply {
                Some(reply) => stream.write_all(reply.as_bytes()).unwrap(),
                None => assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the worker hangs up"),
            }
            line
        });
        let patience = Duration::from_millis(if reply.is_some() { 10_000 } else { 50 });
        let answer = connect(&path).and_then(|stream| converse(stream, &path, "a line\n", patience));
        assert_eq!(supervisor.join().unwrap(), "a line\n");
        fs::remove_file(&path).unwrap();
        answer
    }

    #[test]
    fn a_reply_confirms() {
        let reply = "{\"message\":\"fine, \\\"ok\\\":false is not meant\",\"ok\":true}\n";
        assert_eq!(conversation("confirmed", Some(reply)).unwrap(), Answer::Confirmed);
    }

    #[test]
    fn no_reply_is_no_error() {
        assert_eq!(conversation("closed", Some("")).unwrap(), Answer::Unanswered);
        assert_eq!(conversation("silent", None).unwrap(), Answer::Unanswered);
    }

    #[test]
    fn a_refusal_is_an_error_with_its_reason() {
        let reply =
            "{\"message\":\"pid 7 is \\u0061 \\\"stranger\\\"\", \"x\":[{\"ok\":true}], \"ok\" : false}\n";
        let error = conversation("refused", Some(reply)).unwrap_err();
        assert!(error.to_string().ends_with(" refused: pid 7 is a \"stranger\""), "{error}");
    }

    #[test]
    fn a_missing_control_socket_is_an_error_with_its_path() {
        let error = connect(Path::new("/nowhere/e.sock")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot connect to the supervisor's control socket /nowhere/e.sock: No such file or \
             directory (os error 2)"
        );
    }

    #[test]
    fn over_the_inherited_connection_lines_go_out_one_after_the_other() {
        let (supervisor, mut worker) = UnixStream::pair().unwrap();
        for line in ["one\n", "two\n"] {
            assert_eq!(deliver(&mut worker, line, REPLY_TIMEOUT).unwrap(), Answer::Unanswered);
        }
        let mut lines = BufReader::new(&supervisor).lines();
        assert_eq!([lines.next().unwrap().unwrap(), lines.next().unwrap().unwrap()], ["one", "two"]);
        drop(lines);
        drop(supervisor);
        let error = deliver(&mut worker, "three\n", REPLY_TIMEOUT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn an_id_is_quoted() {
        assert_eq!(quoted("a\"b\\c\nð"), "\"a\\\"b\\\\c\\u000að\"");
        assert_eq!(unquoted(&quoted("a\"b\\c\tð")), "a\"b\\c\tð");
    }
}
