//! The bodies for what comes from people and from the control socket.

#[cfg(feature = "daemon")]
use einhyrningsins::{
    cli::drain,
    daemon::{
        procfs::{self, Doing, Signals},
        sock_diag,
    },
    protocol::notification::Told,
};
use einhyrningsins::{
    cli::{
        UsageError,
        bind::{BindError, BindSpec},
        client, daemon, einhorn, einhornsh,
    },
    protocol::{
        Dialect, Envelope, LineBuffer, Operation, Overlong, Progress, ReplyTo, Request, decode,
        line::REQUEST_MAX, visible::gives_orders,
    },
};
use miniserde::json::{self, Number, Value};
use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::Path};

/// No message about a bad input is longer, in bytes, however long the input is. The longest name every
/// command, and a few words of the input with every character escaped.
const MESSAGE_MAX: usize = 2_000;

/// No reply that is read is longer, in bytes: comparing one takes a stack as deep as it is nested.
const REPLY_MAX: usize = 2_000;

/// No text is longer, in bytes, of which a request is made: encoded it must fit in a line.
const YAML: usize = 4 * 1024;

/// A limit on lines that a fuzzer can reach.
const SHORT: usize = 40;

/// Lines and requests do not depend on how a stream is cut, and every request is answered under its
/// own id. The first line of the input says how to cut the rest: the length of each piece in turn,
/// counted from `0`, again and again.
pub fn control_stream(data: &[u8]) {
    let mut halves = data.splitn(2, |byte| *byte == b'\n');
    let (cuts, stream) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
    for limit in [SHORT, REQUEST_MAX] {
        let lines = expected_lines(stream, limit);
        assert_eq!(read_lines(stream, &[], limit), lines, "limit {limit}, in one piece");
        assert_eq!(read_lines(stream, &[1], limit), lines, "limit {limit}, byte by byte");
        let cuts: Vec<usize> = cuts.iter().map(|byte| usize::from(byte.wrapping_sub(b'0'))).collect();
        assert_eq!(read_lines(stream, &cuts, limit), lines, "limit {limit}, cut at {cuts:?}");
    }
    for line in expected_lines(stream, REQUEST_MAX).into_iter().flatten() {
        answer(&line);
        read_as_reply(&line);
    }
}

/// What a stream consists of, said in another way than `LineBuffer` does it.
fn expected_lines(stream: &[u8], limit: usize) -> Vec<Result<Vec<u8>, Overlong>> {
    let mut pieces: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let unfinished = pieces.pop().filter(|piece| piece.len() > limit);
    let line = |piece: &[u8]| {
        if piece.len() > limit {
            return Some(Err(Overlong { limit }));
        }
        let line = piece.strip_suffix(b"\r").unwrap_or(piece);
        (!line.trim_ascii().is_empty()).then(|| Ok(line.to_vec()))
    };
    pieces.into_iter().chain(unfinished).filter_map(line).collect()
}

fn read_lines(mut stream: &[u8], cuts: &[usize], limit: usize) -> Vec<Result<Vec<u8>, Overlong>> {
    let mut buffer = LineBuffer::new(limit);
    let mut lines = Vec::new();
    // An empty piece gets nowhere; if all are, the stream comes in one.
    let mut cuts = cuts.iter().filter(|length| **length > 0).cycle();
    while !stream.is_empty() {
        let length = cuts.next().map_or(stream.len(), |length| (*length).min(stream.len()));
        let (mut piece, rest) = stream.split_at(length);
        while let Some(line) = buffer.next_line(&mut piece) {
            lines.push(line);
        }
        assert!(piece.is_empty(), "{} bytes of a piece are left", piece.len());
        assert!(buffer.kept() <= limit, "{} bytes are kept, {limit} may be", buffer.kept());
        stream = rest;
    }
    lines
}

/// Reads a line as a request, and answers it.
fn answer(line: &[u8]) {
    let (reply_to, envelope) = match decode(line) {
        Ok(Request { reply_to, operation }) => (reply_to, Envelope::done(format!("{operation:?}"))),
        Err(refusal) => {
            one_line(&refusal.message);
            (refusal.reply_to, Envelope::refused(refusal.message))
        }
    };
    let ReplyTo { id, dialect } = reply_to.clone();
    let written = envelope.clone().answering(reply_to).encode();
    assert_eq!(written.find('\n'), Some(written.len() - 1), "more than one line: {written:?}");
    let line = if dialect == Dialect::Einhorn { unescaped(&written) } else { written.clone() };
    let read = Envelope::parse(line.as_bytes()).unwrap_or_else(|why| panic!("{written:?}: {why}"));
    assert_eq!((&read.message, read.ok, read.wait), (&envelope.message, envelope.ok, false));
    let same = match (&read.request_id, &id) {
        (Some(read), Some(id)) => is_same(read, id),
        (read, id) => read.is_none() && id.is_none(),
    };
    assert!(same, "{id:?} is asked, {:?} answered: {written:?}", read.request_id);
}

/// An answer as einhorn's clients unescape it, in Ruby and in Go alike.
fn unescaped(line: &str) -> String {
    assert!(
        !line.contains(|char| matches!(char, '+' | '\u{7f}'..='\u{ffff}')),
        "one of them reads something else: {line:?}"
    );
    assert!(line.match_indices('%').all(|(at, _)| line[at..].starts_with("%25")), "{line:?}");
    line.replace("%25", "%")
}

/// The dialect of einhorn's clients: whatever comes is a request or a refusal that they can read the answer to; it
/// does not matter how much of it is encoded; and what is written in any of YAML's styles reads the same.
pub fn einhorn_dialect(data: &[u8]) {
    let data = &data[..data.len().min(YAML)];
    let line: Vec<u8> = data.iter().copied().filter(|byte| *byte != b'\n').collect();
    answer(&line);
    let text = String::from_utf8_lossy(data);
    let some = text.replace('%', "%25").replace('\n', "%0A");
    let all: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
    answer(some.as_bytes());
    // Text that is JSON as it is, or nearly, is not looked at as anything else.
    if !text.trim_start().starts_with(['{', '[', '"']) {
        let meant = |line: &str| decode(line.as_bytes()).map(|request| request.operation).ok();
        assert_eq!(meant(&some), meant(&all), "encoded in part and as a whole: {some:?}");
    }

    let mut styles = vec![double_quoted(&text)];
    // A line end that is data needs an escape; and a carriage return at the end of a line is a part of that.
    if !text.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
        styles.push(format!("'{}'", text.replace('\'', "''")));
        styles.push(format!("|2-\n  {text}"));
    }
    for style in styles {
        let yaml = format!("---\n:command: ehlo\nargs:\n- {style}\nid: 7\n");
        let line = yaml.replace('%', "%25").replace('\n', "%0A");
        let request = decode(line.as_bytes()).unwrap_or_else(|why| panic!("{line:?}: {}", why.message));
        let Operation::Ehlo { user } = request.operation else { panic!("{line:?} is no ehlo") };
        assert_eq!(user.as_deref(), Some(&*text), "{line:?}");
    }
}

/// A text as YAML writes what it cannot write in another way, here with a fold wherever there is a blank.
fn double_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            ' ' => quoted.push_str("\\\n  \\ "),
            '"' | '\\' => quoted.extend(['\\', char]),
            _ if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') => {
                quoted.push_str(&format!("\\U{:08x}", u32::from(char)))
            }
            _ => quoted.push(char),
        }
    }
    quoted + "\""
}

/// Reads a line as the client would.
fn read_as_reply(line: &[u8]) {
    if let Some(envelope) = Envelope::parse(line).ok().filter(|_| line.len() <= REPLY_MAX) {
        let written = envelope.encode();
        let read = Envelope::parse(written.as_bytes()).unwrap_or_else(|why| panic!("{written:?}: {why}"));
        assert_eq!((&read.message, read.ok, read.wait), (&envelope.message, envelope.ok, envelope.wait));
        let fields = [&read, &envelope].map(|envelope| Value::Object(envelope.fields.clone()));
        assert!(is_same(&fields[0], &fields[1]), "{written:?}");
        assert_eq!(Progress::from_fields(&read.fields), Progress::from_fields(&envelope.fields));
    }
}

/// Whether two values are the same, but for the last digits of numbers that are no integers of 64 bits.
/// Those are rounded as they are read, by which nobody is misled who uses them for what they are.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(Number::F64(one)), Value::Number(Number::F64(other))) => {
            (one - other).abs() <= one.abs() * 1e-14 + f64::MIN_POSITIVE
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other.iter()).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let alike = |((name, one), (other_name, other)): ((&String, &Value), (&String, &Value))| {
                name == other_name && is_same(one, other)
            };
            one.len() == other.len() && one.iter().zip(other.iter()).all(alike)
        }
        _ => json::to_string(one) == json::to_string(other),
    }
}

/// What `--bind` takes is displayed so that it reads the same.
pub fn bind_spec(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<BindSpec>() {
        Ok(spec) => {
            let shown = spec.to_string();
            assert_eq!(shown.parse::<BindSpec>().as_ref(), Ok(&spec), "{text:?} is shown as {shown:?}");
        }
        Err(BindError::UnknownFlag(flag)) => assert!(text.contains(&flag), "{flag:?} is not in {text:?}"),
        Err(error) => one_line(&error.to_string()),
    }
}

/// No command line makes either program panic, and what is wrong with one is told on one line. Zero
/// bytes separate the arguments, as the kernel keeps them.
pub fn command_line(data: &[u8]) {
    let args = || data.split(|byte| *byte == 0).map(|arg| OsString::from_vec(arg.to_vec()));
    if let Err(error) = daemon::parse(args(), |_| false, &|_| Ok(data.to_vec())) {
        usage(&error, &daemon::COMMAND_LINE.complaint(&error));
    }
    if let Err(error) = client::parse(args()) {
        usage(&error, &client::COMMAND_LINE.complaint(&error));
    }
    let folder = Path::new("/tmp");
    if let Err(error) = einhorn::parse(args(), folder) {
        usage(&error, &einhorn::COMMAND_LINE.complaint(&error));
    }
    if let Err(error) = einhornsh::parse(args(), folder) {
        usage(&error, &einhornsh::COMMAND_LINE.complaint(&error));
    }
}

fn usage(error: &UsageError, complaint: &str) {
    one_line(&error.to_string());
    assert_eq!(complaint.lines().count(), 2, "{complaint:?}");
}

/// A message is one line, fit for a terminal and for a log, and says something.
fn one_line(message: &str) {
    assert!(!message.contains(gives_orders), "{message:?}");
    assert!((1..=MESSAGE_MAX).contains(&message.len()), "{} bytes: {message:?}", message.len());
}

/// No text of the kernel's that is read is longer, in bytes.
#[cfg(feature = "daemon")]
const TEXT_MAX: usize = 4_096;

/// Reading what a supervisor has left behind never panics, and what the shell keeps is written so that it reads the same.
/// The sum of the snapshot is put right, or no input would get anywhere.
#[cfg(feature = "daemon")]
pub fn journal_parser(data: &[u8]) {
    /// No journal is longer, in bytes, nor has more workers, or more events.
    const MOST: usize = 16 * 1024;
    let text = String::from_utf8_lossy(&data[..data.len().min(MOST)]);
    let huge = text
        .split(['=', ' ', '\n'])
        .any(|word| word.parse::<u64>().is_ok_and(|number| (65..=10_000).contains(&number)));
    if huge && text.contains("set-workers") {
        return;
    }
    let Some((body, rest)) = text.split_once("\nend ") else { return };
    let rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    let whole = einhyrningsins::fsm::snapshot::sealed(&format!("{body}\n")) + rest;
    let _ = einhyrningsins::daemon::resume::reads(&whole);
}

/// Whatever a file of proc(5) holds, reading it never panics; what was read is written so that it reads the
/// same; and a file that was cut off tells less, and nothing else.
#[cfg(feature = "daemon")]
pub fn proc_text(data: &[u8]) {
    let data = &data[..data.len().min(TEXT_MAX)];
    let letter = procfs::state(data);
    assert!(procfs::kin(data).is_none() || letter.is_some(), "kin without a state");
    assert!(procfs::started(data).is_none() || letter.is_some(), "a start without a state");
    assert!(procfs::socket_inode(data).is_none_or(|inode| data == format!("socket:[{inode}]").as_bytes()
        || data.starts_with(b"socket:[0")
        || data.starts_with(b"socket:[+")));
    if let Some(Signals(set)) = Signals::caught(data) {
        assert_eq!(Signals::caught(format!("SigCgt:\t{set:016x}\n").as_bytes()), Some(Signals(set)));
        let held = (1..=64).filter(|signal| Signals(set).contains(*signal) == Some(true)).count();
        assert_eq!(held, usize::try_from(set.count_ones()).unwrap_or_default());
    }
    if let Some(Doing::Call(call)) = procfs::doing(data) {
        let [a, b, c, d, e, f] = call.arguments;
        let (number, stack) = (call.number, call.stack);
        let written = format!("{number} {a:#x} {b:#x} {c:#x} {d:#x} {e:#x} {f:#x} {stack:#x} 0x0\n");
        // A call of that number would be written in another way.
        assert!(number == -1 || procfs::doing(written.as_bytes()) == Some(Doing::Call(call)), "{written}");
    }
    read_in_parts(data);
    read_as_memory(data);
    read_as_sockets(data);
    read_as_names(data);
}

/// Lists, whole and cut off.
#[cfg(feature = "daemon")]
fn read_in_parts(data: &[u8]) {
    let interests: Vec<_> = procfs::interests(data).collect();
    let children: Vec<_> = procfs::children(data).collect();
    for cut in (0..data.len()).step_by(data.len() / 16 + 1) {
        let part = &data[..cut];
        assert!(procfs::interests(part).eq(interests.iter().copied().take(procfs::interests(part).count())));
        assert!(procfs::children(part).eq(children.iter().copied().take(procfs::children(part).count())));
    }
    for interest in interests {
        let procfs::Interest { events, inode, device } = interest;
        let line = format!("tfd: 1 events: {events:x} data: 1  pos:0 ino:{inode:x} sdev:{device:x}\n");
        assert!(procfs::interests(line.as_bytes()).eq([interest]), "{line}");
    }
}

/// What the kernel says of sockets: no more than there is room for, and less if it is cut off.
#[cfg(feature = "daemon")]
fn read_as_sockets(data: &[u8]) {
    let all: Vec<_> = sock_diag::said(data).collect();
    assert!(all.len() <= data.len() / 16);
    let half: Vec<_> = sock_diag::said(&data[..data.len() / 2]).collect();
    assert!(all.starts_with(&half));
}

/// What a process polls or selects.
#[cfg(feature = "daemon")]
fn read_as_memory(data: &[u8]) {
    let entries = data.len() / 8;
    let polled: Vec<i32> = procfs::polled(data, 1).collect();
    assert!(polled.len() <= entries && polled.iter().all(|fd| *fd >= 0));
    let selected: Vec<i32> = procfs::selected(data).collect();
    assert!(selected.is_sorted_by(|one, other| one < other));
    let ones: u32 = data[..entries * 8].iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(u32::try_from(selected.len()), Ok(ones));
}

/// The first line as the name of a process, the rest as its arguments: what is found in there is in there.
#[cfg(feature = "daemon")]
fn read_as_names(data: &[u8]) {
    let mut halves = data.splitn(2, |byte| *byte == b'\n');
    let (comm, cmdline) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
    for (found, text) in [
        (drain::by_process(comm, cmdline), data),
        (drain::by_process(comm, b""), comm),
        (drain::by_file(comm), comm),
    ] {
        let is_there = |name: &str| text.windows(name.len()).any(|part| part == name.as_bytes());
        assert!(found.is_none_or(|drain| is_there(drain.program)), "{found:?}");
    }
}

/// What a worker notifies: read as a whole, and with a line behind it.
#[cfg(feature = "daemon")]
pub fn notification(data: &[u8]) {
    let (told, nonsense) = Told::read(data);
    let fits = |text: &str| text.chars().count() <= MESSAGE_MAX && !text.chars().any(gives_orders);
    assert!(told.status.as_deref().is_none_or(fits), "{told:?}");
    assert!(nonsense.iter().all(|nonsense| fits(&nonsense.to_string())), "{nonsense:?}");
    let (more, _) = Told::read(&[data, b"\nREADY=1"].concat());
    assert_eq!(more, Told { ready: true, ..told }, "a line behind others counts");
}
