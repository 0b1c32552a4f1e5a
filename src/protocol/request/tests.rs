//! What lines are requests, and what is said about those that are not.

use super::*;
use crate::{
    fsm::{
        event::{Command, Strategy},
        id::Pid,
        signal::{Shutdown, Signal},
    },
    protocol::{Release, line::REQUEST_MAX, operation::Change},
};

fn operation(line: &str) -> Operation {
    decode(line.as_bytes()).unwrap_or_else(|refusal| panic!("{line}: {}", refusal.message)).operation
}

fn refusal(line: impl AsRef<[u8]>) -> String {
    decode(line.as_ref()).expect_err("a refusal").message
}

/// What is said about `command` with these `args`.
fn with_args(name: &str, args: &str) -> Result<Operation, String> {
    let line = format!("{{\"command\":\"{name}\",\"args\":{args}}}");
    decode(line.as_bytes()).map(|request| request.operation).map_err(|refusal| refusal.message)
}

#[test]
fn every_command_of_the_table_is_understood_and_means_something_else() {
    let mut operations = Vec::new();
    for entry in command::COMMANDS {
        let args = match entry.takes.split_once(' ').map_or(entry.takes, |(first, _)| first) {
            "N" => "[\"4\"]",
            "SIG" => "[\"HUP\"]",
            _ => "[]",
        };
        let line = format!("{{\"command\":\"{}\",\"pid\":1,\"args\":{args}}}", entry.name);
        let operation = operation(&line);
        assert!(!operations.contains(&operation), "{} is another one's {operation:?}", entry.name);
        operations.push(operation);
    }
}

#[test]
fn a_command_that_takes_nothing_refuses_arguments() {
    for entry in command::COMMANDS.iter().filter(|entry| entry.takes.is_empty()) {
        let message = format!("{}: unexpected argument `2`; it takes none", entry.name);
        assert_eq!(with_args(entry.name, "[\"2\"]"), Err(message));
    }
}

#[test]
fn workers_of_einhorns_go_and_python_clients_are_understood() {
    // goji and baseplate.py write it with spaces, the PHP client without.
    let acked = Operation::Ack { pid: Pid(17) };
    assert_eq!(operation("{\"command\": \"worker:ack\", \"pid\": 17}"), acked);
    assert_eq!(operation("{\"command\":\"worker:ack\",\"pid\":17}"), acked);
    assert_eq!(
        operation("{\"command\":\"worker:ping\",\"pid\":17,\"request_id\":\"r\"}"),
        Operation::Ping { pid: Pid(17), request_id: Some("r".into()) }
    );
}

#[test]
fn arguments_may_be_strings_or_numbers() {
    let four = Ok(Operation::Machine(Command::SetWorkers { count: 4 }));
    assert_eq!(with_args("set_workers", "[\"4\"]"), four);
    assert_eq!(with_args("set-workers", "[4]"), four);
    assert_eq!(
        with_args("signal", "[\"sigusr1\",12,\"13\"]"),
        Ok(Operation::Machine(Command::Signal { signal: Signal::Usr1, pids: vec![Pid(12), Pid(13)] }))
    );
    assert_eq!(
        with_args("upgrade-fleet", "null"),
        Ok(Operation::Upgrade {
            upgrade: Command::Upgrade { strategy: Strategy::Fleet, canary: None, soak: None, timeout: None },
            release: Release::default(),
        })
    );
    assert_eq!(with_args("ehlo", "[\"me\"]"), Ok(Operation::Ehlo { user: Some("me".into()) }));
}

#[test]
fn die_reads_the_signal_as_the_supervisor_would() {
    let ways = [
        ("[]", Shutdown::Graceful),
        ("[\"INT\"]", Shutdown::Graceful),
        ("[\"usr2\"]", Shutdown::Graceful),
        ("[\"SIGTERM\"]", Shutdown::Fast),
        ("[\"QUIT\"]", Shutdown::Quick),
        ("[\"KILL\"]", Shutdown::Kill),
    ];
    for (args, shutdown) in ways {
        assert_eq!(with_args("die", args), Ok(Operation::Machine(Command::Die { shutdown })), "{args}");
    }
    assert!(with_args("die", "[\"HUP\"]").unwrap_err().starts_with("die: `HUP` is not a way to shut down;"));
}

#[test]
fn a_refusal_names_the_command_or_field_and_what_is_accepted() {
    let cases = [
        (
            "nonsense",
            "a request must be a JSON object on one line, or einhorn's YAML in percent-encoding; got `nonsense`",
        ),
        ("[1]", "a request must be a JSON object with a `command`; got [1]"),
        ("{\"command\":", "a request must be a JSON object on one line; got `{\"command\":`"),
        (
            "{\"command\":\"inc\"} x",
            "a request must be a JSON object on one line; got `{\"command\":\"inc\"} x`",
        ),
        ("{\"command\":\"inc\",\"args\":7}", "inc: `args` is 7; it must be a list of strings and numbers"),
        (
            "{\"command\":\"inc\",\"args\":[true]}",
            "inc: `args` has true in it; it must be a list of strings and numbers",
        ),
        ("{\"command\":\"retry\",\"args\":[\"2\"]}", "retry: unexpected argument `2`; it takes none"),
        (
            "{\"command\":\"inc\",\"args\":[\"2\",\"3\"]}",
            "inc: unexpected argument `3`; it takes a number of workers",
        ),
        (
            "{\"command\":\"worker:ack\",\"args\":[\"abc\"]}",
            "worker:ack: `abc` is not a process id; it must be the worker's process id, a whole number from 1 to \
             2147483647",
        ),
        (
            "{\"command\":\"help\",\"args\":[\"staus\"]}",
            "help: unknown command `staus`; did you mean `status`?",
        ),
        ("{\"command\":\"stop\"}", "unknown command `stop`; did you mean `die [--wait] [SIG]`?"),
        ("{\"command\":\"ehlo\",\"user\":7}", "ehlo: `user` is 7; it must be a string"),
    ];
    for (line, message) in cases {
        assert_eq!(refusal(line), message);
    }
    assert!(
        refusal("{\"command\":\"signal\",\"args\":[\"USR1\",\"SIGHUP\"]}")
            .contains("`SIGHUP` is a second signal")
    );
    for (line, start) in [
        ("{}", "`command` is missing; accepted: status, upgrade, "),
        ("{\"command\":null}", "`command` is missing; accepted: "),
        ("{\"command\":3}", "`command` is 3; accepted: "),
        ("{\"command\":\"frob\"}", "unknown command `frob`; accepted: status, "),
        ("{\"command\":\"\"}", "unknown command ''; accepted: "),
        ("{\"command\":\"in\\u0000c\"}", "unknown command `in\\0c`; did you mean `inc [N]`?"),
        ("{\"command\":\"signal\"}", "signal: the signal is missing; accepted: HUP, "),
        ("{\"command\":\"signal\",\"args\":[9]}", "signal: `9` is not a signal; accepted: HUP, "),
        (
            "{\"command\":\"signal\",\"args\":[\"HUP\",0]}",
            "signal: `0` is not a process id; it must be a whole",
        ),
    ] {
        let message = refusal(line);
        assert!(message.starts_with(start), "{line}: {message}");
    }
}

#[test]
fn a_pid_is_a_whole_number_that_a_process_can_have() {
    for (pid, found) in [
        ("0", "is 0"),
        ("-3", "is -3"),
        ("2147483648", "is 2147483648"),
        ("18446744073709551616", "is 1.8446744073709552e+19"),
        ("1.5", "is 1.5"),
        ("\"17\"", "is \"17\""),
        ("[17]", "is [17]"),
        ("null", "is missing"),
    ] {
        assert_eq!(
            refusal(format!("{{\"command\":\"worker:ack\",\"pid\":{pid}}}")),
            format!(
                "worker:ack: `pid` {found}; it must be the worker's process id, \
                 a whole number from 1 to 2147483647"
            )
        );
    }
    let most = "{\"command\":\"worker:ack\",\"pid\":2147483647}";
    assert_eq!(operation(most), Operation::Ack { pid: Pid(2_147_483_647) });
    assert!(refusal("{\"command\":\"worker:ack\",\"pid\":1e999}").starts_with("a request must be a JSON"));
}

#[test]
fn a_number_of_workers_is_digits_and_nothing_else() {
    let wrong = ["\"+1\"", "-1", "1.5", "\"four\"", "4294967296", "\"4 \"", "0", "10001", "\"abc\""];
    for word in wrong {
        for name in ["set_workers", "inc", "dec"] {
            let message = with_args(name, &format!("[{word}]")).unwrap_err();
            let given = format!("{name}: `{}`", word.trim_matches('"'));
            let rest = "is not a number of workers; it can be from 1 to 10000";
            assert_eq!(message, format!("{given} {rest}"));
        }
        let message = with_args("upgrade", &format!("[\"--canary\",{word},\"--soak\",1]")).unwrap_err();
        assert!(
            message.starts_with("upgrade: --canary: `") && message.ends_with("it can be from 1 to 10000")
        );
    }
    assert_eq!(
        with_args("set_workers", "[]").unwrap_err(),
        "set_workers: the argument is missing; it takes one argument, the number of workers"
    );
    assert!(with_args("set_workers", "[1,2]").unwrap_err().contains("unexpected argument `2`"));
}

#[test]
fn more_and_fewer_workers_are_counted_from_those_at_the_moment() {
    assert_eq!(with_args("inc", "[]"), Ok(Operation::Machine(Command::Inc)));
    assert_eq!(with_args("inc", "[3]"), Ok(Operation::Scale(Change::More(3))));
    assert_eq!(with_args("dec", "[\"2\"]"), Ok(Operation::Scale(Change::Fewer(2))));
    let applied = [Change::More(3), Change::Fewer(2), Change::Fewer(9)].map(|change| change.applied_to(4));
    assert_eq!(applied, [7, 2, 0]);
    assert_eq!(Change::More(1).applied_to(u32::MAX), u32::MAX);
}

#[test]
fn help_may_be_asked_for_one_command() {
    assert_eq!(with_args("help", "[]"), Ok(Operation::Help { command: None }));
    assert_eq!(with_args("help", "[\"set-workers\"]"), Ok(Operation::Help { command: Some("set_workers") }));
    assert!(with_args("help", "[\"inc\",\"dec\"]").unwrap_err().contains("unexpected argument `dec`"));
}

#[test]
fn the_id_comes_back_whatever_it_is_and_with_a_refusal_too() {
    for id in ["null", "7", "\"x\"", "[1,{\"a\":[]}]", "-0.5", "true"] {
        let line = format!("{{\"id\":{id},\"command\":\"inc\"}}");
        let request = decode(line.as_bytes()).unwrap();
        assert_eq!(json::to_string(&request.reply_to.id.unwrap()), id);
        let refusal = decode(line.replace("inc", "frob").as_bytes()).unwrap_err();
        assert_eq!(json::to_string(&refusal.reply_to.id.unwrap()), id);
    }
    assert!(decode(b"{\"command\":\"inc\"}").unwrap().reply_to.id.is_none());
}

#[test]
fn of_members_with_the_same_name_the_last_one_counts() {
    let twice = "{\"command\":\"inc\",\"command\":\"dec\"}";
    assert_eq!(operation(twice), Operation::Machine(Command::Dec));
}

#[test]
fn what_is_not_text_is_refused() {
    assert_eq!(refusal(b"{\"command\":\"\xff\"}"), "a request must be UTF-8");
    assert!(refusal(b"\0").ends_with("got `\\0`"));
    assert!(refusal(b"{\"command\":\"inc\0\"}").starts_with("a request must be a JSON object on one line"));
}

#[test]
fn a_message_stays_short_and_on_one_line() {
    let message = refusal(format!("\u{1b}[2J{}", "x\n".repeat(10_000)));
    assert!(message.len() < 300 && !message.contains(char::is_control), "{message}");
}

#[test]
fn a_request_may_be_nested_but_not_without_end() {
    let nested =
        |depth: usize| format!("{{\"command\":\"inc\",\"id\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(decode(nested(NESTING_MAX - 1).as_bytes()).is_ok());
    for line in [nested(NESTING_MAX), "[".repeat(REQUEST_MAX), "{\"a\":".repeat(REQUEST_MAX / 5)] {
        assert_eq!(refusal(line), "a request may be nested at most 64 deep");
    }
    assert!(
        decode(format!("{{\"command\":\"inc\",\"id\":\"\\\"{}\"}}", "[".repeat(1_000)).as_bytes()).is_ok()
    );
}

/// The limit on nesting is for what is done with values later; the JSON library must hold without it.
#[test]
fn the_json_library_needs_no_stack_for_nesting() {
    let small_stack = std::thread::Builder::new().stack_size(64 * 1024);
    let thread = small_stack.spawn(|| {
        assert!(json::from_str::<Value>(&"[".repeat(REQUEST_MAX)).is_err());
        assert!(json::from_str::<Value>(&"{\"\":".repeat(REQUEST_MAX / 4)).is_err());
        let deep = "[".repeat(REQUEST_MAX / 2) + &"]".repeat(REQUEST_MAX / 2);
        let value: Value = json::from_str(&deep).unwrap();
        assert_eq!(json::to_string(&value), deep);
        drop(value);
    });
    thread.unwrap().join().unwrap();
}

/// Bytes that come close to a request more often than random ones do.
fn bytes() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let piece = prop_oneof![
        "\\PC{0,6}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..4),
        proptest::sample::select(vec![
            "{\"command\":\"signal\",",
            "{\"command\":\"worker:ack\",\"pid\":",
            "\"id\":",
            "\"args\":[",
            "\"",
            "[",
            "]",
            "{",
            "}",
            ":",
            ",",
            "1e308",
            "-0",
            "%0A",
            "%",
            "command: ",
            "- ",
            "'",
            "9999999999",
            "null",
            "\\u0000",
            "\\ud800",
            "HUP",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest::proptest! {
    // A failing case becomes a test of its own, by hand; seeds rot.
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_are_a_request_or_a_refusal_that_makes_a_reply_line(bytes in bytes()) {
        use crate::protocol::{Dialect, Envelope};
        let (reply_to, message) = match decode(&bytes) {
            Ok(request) => (request.reply_to, String::new()),
            Err(refusal) => (refusal.reply_to, refusal.message),
        };
        let line = Envelope::refused(message.clone()).answering(reply_to.clone()).encode();
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        if reply_to.dialect == Dialect::Json {
            assert_eq!(Envelope::parse(line.as_bytes()).unwrap().encode(), line);
        } else {
            assert_eq!(Envelope::parse(line.replace("%25", "%").as_bytes()).unwrap().message, message);
        }
        // Whatever came may also come to a client.
        let _ = Envelope::parse(&bytes).map(|envelope| envelope.encode());
    }
}
