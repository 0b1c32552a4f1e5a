//! What may come over the control socket, sense or nonsense, and what comes back.

use crate::{
    harness::{Connection, is_ok, member, number, text},
    tools::{ask, sleepers},
};
use miniserde::json::{self, Value};
use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
};

/// The longest line there may be, without its line end.
const LONGEST: usize = 64 * 1024;

#[test]
fn a_request_gets_its_id_back_whatever_that_is() {
    let (supervisor, _) = sleepers(1, &[]);
    for id in [
        r#""a""#,
        r#""""#,
        "7",
        "-7",
        "1.5",
        "18446744073709551615",
        "null",
        "true",
        r#"[1,"two",null]"#,
        r#"{"a":{"b":[]},"c":"é\n"}"#,
    ] {
        for command in ["version", "nonsense"] {
            let answer = ask(&supervisor, &format!("{{\"id\":{id},\"command\":\"{command}\"}}"));
            let expected: Value = json::from_str(id).expect("JSON");
            let returned = member(&answer, "request_id");
            assert_eq!(json::to_string(returned), json::to_string(&expected));
            assert_eq!(is_ok(&answer), command == "version");
        }
    }
    let Value::Object(answer) = ask(&supervisor, r#"{"command":"version"}"#) else { panic!("no object") };
    assert!(!answer.contains_key("request_id"), "{answer:?}");
}

#[test]
fn what_is_no_request_is_refused_with_what_is_accepted_and_the_connection_stays() {
    let (supervisor, _) = sleepers(1, &[]);
    let mut connection = Connection::open(&supervisor.socket()).expect("a connection");
    let deep = "[".repeat(65) + &"]".repeat(65);
    let deeper = format!("{{\"command\":{}", "{\"a\":[".repeat(9_000));
    let cases: &[(&[u8], &str)] = &[
        (
            b"status",
            "a request must be a JSON object on one line, or einhorn's YAML in percent-encoding; got `status`",
        ),
        (b"{", "a request must be a JSON object on one line"),
        (b"{\"command\":\"status\"} x", "a request must be a JSON object on one line"),
        (b"[]", "a request must be a JSON object with a `command`; got []"),
        (b"\"status\"", "must be a JSON object with a `command`"),
        (b"null", "must be a JSON object with a `command`"),
        (b"{}", "`command` is missing; accepted: status, upgrade"),
        (b"{\"command\":null}", "`command` is missing; accepted: status"),
        (b"{\"command\":7}", "`command` is 7; accepted: status"),
        (b"{\"command\":\"frobnicate\"}", "unknown command `frobnicate`; accepted: status"),
        (b"{\"command\":\"\"}", "unknown command ''; accepted: status"),
        (b"{\"command\":\"STATUS\"}", "unknown command `STATUS`"),
        (b"{\"command\":\"inc\",\"args\":\"x\"}", "inc: `args` is \"x\"; it must be a list"),
        (b"{\"command\":\"inc\",\"args\":[{}]}", "inc: `args` has {} in it; it must be a list of strings"),
        (b"{\"command\":\"worker:ack\"}", "worker:ack: `pid` is missing; it must be the worker's process id"),
        (b"{\"command\":\"worker:ack\",\"pid\":\"12\"}", "worker:ack: `pid` is \"12\"; it must be"),
        (b"{\"command\":\"worker:ack\",\"pid\":0}", "worker:ack: `pid` is 0; it must be"),
        (b"{\"command\":\"worker:ack\",\"pid\":-1}", "worker:ack: `pid` is -1; it must be"),
        (b"{\"command\":\"worker:ack\",\"pid\":1.5}", "worker:ack: `pid` is 1.5; it must be"),
        (b"{\"command\":\"worker:ack\",\"pid\":1e999}", ""),
        (b"{\"command\":\"worker:ack\",\"pid\":99999999999999999999999}", "worker:ack: `pid` is"),
        (b"{\"command\":\"ehlo\",\"user\":[]}", "ehlo: `user` is []; it must be a string"),
        (b"{\"command\":\"set_workers\",\"args\":[-1]}", "`-1` is not a number of workers"),
        (b"\xff\xfe", "a request must be UTF-8"),
        (b"{\"command\":\"stat\xc3us\"}", "a request must be UTF-8"),
        (b"\0", "a request must be a JSON object"),
        (b"{\"command\":\"status\0\"}", ""),
        (b"{\"command\":\"\\u0000\"}", "unknown command"),
        (b"{\"command\":\"\\ud800\"}", ""),
        (deep.as_bytes(), "at most 64 deep"),
        (deeper.as_bytes(), "at most 64 deep"),
    ];
    for (line, expected) in cases {
        let shown = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
        connection.send_bytes(&[line, b"\n".as_slice()].concat()).expect("it is sent");
        let answer = connection.line().unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert!(!is_ok(&answer), "{shown}: {answer:?}");
        assert!(text(&answer, "message").contains(expected), "{shown}: {answer:?}");
    }
    connection.send(r#"{"command":"status"}"#).expect("it is sent");
    assert!(is_ok(&connection.line().expect("the connection is still open")));
}

#[test]
fn of_members_with_the_same_name_the_last_one_counts() {
    let (supervisor, _) = sleepers(1, &[]);
    let answer = ask(&supervisor, r#"{"command":"die","id":1,"command":"version","id":2}"#);
    assert!(is_ok(&answer) && text(&answer, "message").starts_with("einhyrningsins "), "{answer:?}");
    assert_eq!(number(&answer, "request_id"), 2);
}

#[test]
fn blank_lines_are_passed_over_and_lines_may_end_as_on_windows() {
    let (supervisor, _) = sleepers(1, &[]);
    let mut connection = Connection::open(&supervisor.socket()).expect("a connection");
    let bytes =
        b"\n\r\n  \t\r\n{\"command\":\"version\",\"id\":1}\r\n\n  {\"command\":\"version\",\"id\":2}  \n\n";
    connection.send_bytes(bytes).expect("they are sent");
    for expected in 1..=2 {
        let answer = connection.line().expect("an answer");
        assert!(is_ok(&answer) && number(&answer, "request_id") == expected, "{answer:?}");
    }
    connection.send(r#"{"command":"version","id":3}"#).expect("it is sent");
    assert_eq!(number(&connection.line().expect("and nothing else"), "request_id"), 3);
}

#[test]
fn requests_that_come_together_are_answered_in_their_order() {
    let (mut supervisor, _) = sleepers(1, &[]);
    let mut connection = Connection::open(&supervisor.socket()).expect("a connection");
    let names = ["version", "nonsense", "upgrade", "ehlo", "inc", "signal", "dec"];
    let requests: String =
        (0..200).map(|id| format!("{{\"command\":\"{}\",\"id\":{id}}}\n", names[id % names.len()])).collect();
    connection.send_bytes(requests.as_bytes()).expect("they are sent");
    for id in 0..200 {
        let lines = connection.answer().expect("an answer");
        for line in &lines {
            assert_eq!(number(line, "request_id"), id);
        }
        let refused =
            ["nonsense", "signal"].contains(&names[usize::try_from(id).expect("small") % names.len()]);
        assert_eq!(is_ok(lines.last().expect("a line")), !refused, "{lines:?}");
    }
    supervisor.await_healthy(1);
}

#[test]
fn a_request_may_come_in_small_pieces() {
    let (supervisor, _) = sleepers(1, &[]);
    let mut connection = Connection::open(&supervisor.socket()).expect("a connection");
    for byte in b"{\"command\":\"ehlo\",\"user\":\"\xc3\xa9\"}\n" {
        connection.send_bytes(&[*byte]).expect("it is sent");
    }
    let answer = connection.line().expect("an answer");
    assert!(text(&answer, "message").starts_with("Hello é,"), "{answer:?}");
}

#[test]
fn half_a_line_for_ever_disturbs_nobody() {
    let (mut supervisor, _) = sleepers(1, &[]);
    let mut half = Connection::open(&supervisor.socket()).expect("a connection");
    half.send_bytes(b"{\"command\":\"ver").expect("it is sent");
    supervisor.ctl_ok(&["inc"]);
    supervisor.await_healthy(2);
    half.send_bytes(b"sion\"}\n").expect("the rest is sent");
    assert!(is_ok(&half.line().expect("an answer")));
}

#[test]
fn the_longest_line_is_read_and_a_longer_one_is_the_last() {
    let (supervisor, _) = sleepers(1, &[]);
    let mut connection = Connection::open(&supervisor.socket()).expect("a connection");
    let request = r#"{"command":"version"}"#;
    let longest = " ".repeat(LONGEST - request.len()) + request;
    connection.send(&longest).expect("it is sent");
    assert!(is_ok(&connection.line().expect("an answer")));

    // Without a line end: it must not be waited for.
    connection.send_bytes(" ".repeat(LONGEST + 1).as_bytes()).expect("it is sent");
    let answer = connection.line().expect("an answer");
    assert!(!is_ok(&answer));
    let message = text(&answer, "message");
    assert!(message.contains("at most 65536 bytes") && message.contains("closing"), "{message}");
    assert!(connection.line().is_err(), "the connection is closed");
    assert!(is_ok(&ask(&supervisor, r#"{"command":"version"}"#)));
}

#[test]
fn a_line_without_end_is_cut_off() {
    let (supervisor, _) = sleepers(1, &[]);
    let mut stream = UnixStream::connect(supervisor.socket()).expect("a connection");
    // Ends with an error: nobody reads that much.
    while stream.write_all(&[b'x'; 64 * 1024]).is_ok() {}
    let mut said = Vec::new();
    // The supervisor left with unread input, so its last words may be followed by an error.
    let _ = stream.read_to_end(&mut said);
    let said = String::from_utf8(said).expect("UTF-8");
    assert!(said.contains("at most 65536 bytes") && said.lines().count() == 1, "{said}");
    assert!(is_ok(&ask(&supervisor, r#"{"command":"version"}"#)));
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answers() {
    let (supervisor, _) = sleepers(1, &[]);
    let mut stream = UnixStream::connect(supervisor.socket()).expect("a connection");
    stream
        .write_all(b"{\"command\":\"upgrade\",\"id\":1}\n{\"command\":\"inc\",\"id\":2}\n")
        .expect("it is sent");
    stream.shutdown(Shutdown::Write).expect("half of it can be closed");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("answers, then the end");
    let lines: Vec<Value> = said.lines().map(|line| json::from_str(line).expect("JSON")).collect();
    let last = lines.iter().rfind(|line| number(line, "request_id") == 1).expect("an answer to the first");
    assert_eq!((is_ok(last), text(last, "outcome")), (true, "upgraded"));
    let last = lines.last().expect("an answer");
    assert_eq!((number(last, "request_id"), number(last, "target")), (2, 2));
}

#[test]
fn a_last_request_without_a_line_end_is_answered() {
    let (mut supervisor, _) = sleepers(1, &[]);
    let say = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(supervisor.socket()).expect("a connection");
        stream.write_all(bytes).expect("it is sent");
        stream.shutdown(Shutdown::Write).expect("half of it can be closed");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("answers, then the end");
        said.lines().map(|line| json::from_str(line).expect("JSON")).collect::<Vec<Value>>()
    };
    let answers = say(b"{\"command\":\"version\",\"id\":1}\n{\"command\":\"inc\",\"id\":2}");
    assert_eq!(answers.iter().map(|answer| number(answer, "request_id")).collect::<Vec<_>>(), [1, 2]);
    assert!(answers.iter().all(is_ok), "{answers:?}");
    // Half a request is none, and is said to be none.
    let [answer] = &say(b"{\"command\":\"dec\"")[..] else { panic!("one answer") };
    assert!(!is_ok(answer));
    assert_eq!(say(b"  \n ").len(), 0);
    supervisor.await_healthy(2);
}

#[test]
fn a_client_that_reads_no_more_is_hung_up_on_once_what_it_asked_for_is_done() {
    let (mut supervisor, _) = sleepers(1, &[]);
    let mut stream = UnixStream::connect(supervisor.socket()).expect("a connection");
    stream.shutdown(Shutdown::Read).expect("half of it can be closed");
    stream.write_all(b"{\"command\":\"version\"}\n{\"command\":\"inc\"}\n").expect("it is sent");
    // It stays, and could say more; that it may not tells that nobody listens.
    supervisor.eventually("it is hung up on", |_| stream.write_all(b"\n").is_err().then_some(()));
    supervisor.await_healthy(2);
}

#[test]
fn what_a_client_asked_for_before_it_left_is_done() {
    let (mut supervisor, pids) = sleepers(1, &[]);
    let send = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(supervisor.socket()).expect("a connection");
        stream.write_all(bytes).expect("it is sent");
    };
    send(b"{\"command\":\"inc\"}\n{\"command\":\"status\"}\n{\"command\":\"inc\"}\n{\"comm");
    send(b"{\"command\":\"upgrade\"}\n{\"command\":\"inc\"}\n");
    let now = supervisor.await_healthy(4);
    supervisor
        .eventually("the upgrade is complete", |me| (number(&me.status(), "generation") == 2).then_some(()));
    assert!(!supervisor.healthy().contains(&pids[0]), "{now:?}");
}

#[test]
fn a_socket_that_was_removed_is_put_back() {
    let (mut supervisor, _) = sleepers(1, &[]);
    let mut before = Connection::open(&supervisor.socket()).expect("a connection");
    for _ in 0..3 {
        let socket = supervisor.socket();
        std::fs::remove_file(&socket).expect("it can be removed");
        supervisor.eventually("it is there again", |me| me.request(r#"{"command":"version"}"#).ok());
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&socket).expect("a file"));
        assert_eq!(mode & 0o777, 0o600);
    }
    supervisor.await_log("was removed or replaced while in use; binding it again");
    before.send(r#"{"command":"version"}"#).expect("it is sent");
    assert!(is_ok(&before.line().expect("who was connected stays connected")));
}
