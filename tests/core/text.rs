//! The text of events, orders and states: what is not what the machine writes is refused, and the reason
//! says what was found and what is accepted.

use einhyrningsins::fsm::{
    action::Action,
    config::{AckMode, Config},
    event::{EventKind, SpawnError},
    id::{Pid, WorkerId},
    life::Life,
    reason::{Failure, Next},
    slot::Hold,
    text::{Field, Record as _},
    time::Millis,
    trace,
};
use std::collections::BTreeSet;

/// Why a word is not a value of that kind.
fn refusal<T: Field + core::fmt::Debug>(word: &str) -> String {
    match T::get(word) {
        Ok(value) => panic!("`{word}` was taken for {value:?}"),
        Err(why) => why.to_string(),
    }
}

#[test]
fn a_word_that_is_no_value_is_refused_with_what_is_accepted() {
    for (why, named) in [
        (refusal::<Failure>("late"), "`late` is none of: spawn:…, exited:…, unacknowledged:PID:MS"),
        (refusal::<Failure>("exited:soon"), "`soon` is not a number in range"),
        (refusal::<Failure>("unacknowledged"), "is none of: spawn:…"),
        (refusal::<AckMode>("1000"), "`1000` is none of: after:MS, manual:MS, accepting:MS:MS, auto:MS:MS"),
        (refusal::<AckMode>("never:1"), "is none of: after:MS"),
        (refusal::<AckMode>("auto:1"), "number in range"),
        (refusal::<SpawnError>("exec:2"), "`exec:2` is not STAGE:ERRNO:PROSPECT"),
        (refusal::<SpawnError>("exec"), "`exec` is not STAGE:ERRNO:PROSPECT"),
        (refusal::<Next>("soon"), "`soon` is none of: in:MS, given-up:COUNT, not-replaced"),
        (refusal::<Next>("in:x"), "`x` is not a number in range"),
        (refusal::<Hold>("later"), "`later` is none of: ready, until:MS, gave-up"),
        (refusal::<bool>("maybe"), "`maybe` is none of: yes, no"),
        (refusal::<Pid>("-1"), "`-1` is not a number in range"),
    ] {
        assert!(why.contains(named), "{why}");
    }
    assert_eq!(bool::get("no"), Ok(false));
    assert_eq!((WorkerId::get("7"), Millis::get("7")), (Ok(WorkerId(7)), Ok(Millis(7))));
}

#[test]
fn every_value_is_read_as_it_is_written() {
    fn both_ways<T: Field + core::fmt::Debug + PartialEq>(words: &[&str]) {
        for word in words {
            let mut out = String::new();
            T::get(word).unwrap_or_else(|why| panic!("{word}: {why}")).put(&mut out);
            assert_eq!(out, *word);
        }
    }
    both_ways::<Failure>(&[
        "spawn:exec:2:not-found",
        "exited:3",
        "exited:signal:9",
        "unacknowledged:101:30000",
    ]);
    both_ways::<AckMode>(&["after:0", "manual:1000", "accepting:0:1000", "auto:1000:30000"]);
    both_ways::<Next>(&["in:0", "given-up:5", "not-replaced"]);
    both_ways::<BTreeSet<Pid>>(&["1", "1,2,3"]);
    both_ways::<Hold>(&["ready", "until:7", "gave-up"]);
    both_ways::<Vec<Pid>>(&["1", "1,2,3"]);
    both_ways::<bool>(&["yes", "no"]);
    let lives =
        ["new", "pinning", "binding done=1", "serving", "stopping shutdown=fast code=1", "done code=0"];
    for line in lives {
        assert_eq!(Life::from_line(line).map(|life| life.to_line()), Ok(line.to_owned()));
    }
}

#[test]
fn a_line_with_too_little_too_much_or_something_else_is_refused() {
    for (line, named) in [
        ("@1 exited status=1", "expected `pid=…`, found status=1"),
        ("@1 exited", "expected `pid=…`, found the end of the line"),
        ("@1 exited pid=x status=1", "pid: `x` is not a number in range"),
        ("@1 woke up", "unexpected `up`"),
        ("@1 slept", "`slept` is none of: start, woke, "),
        ("@soon woke", "`soon` is not a number in range"),
        ("> spawn worker=1 slot=0 generation=1 more", "unexpected `more` after `spawn worker=1"),
        ("> dance", "`dance` is none of: pin, forget, "),
        ("= healthy=1 starting=0 draining=0 next=1 more", "unexpected `more`"),
        ("= healthy=1", "expected `starting=…`, found the end of the line"),
        ("nonsense", "`nonsense` is none of: config"),
    ] {
        match trace::parse(line) {
            Ok(parsed) => panic!("`{line}` was taken for {parsed:?}"),
            Err(why) => assert!(why.message.contains(named), "{line}: {why}"),
        }
    }
}

#[test]
fn what_is_left_out_is_what_is_absent() {
    for line in [
        "exited pid=1 status=0",
        "exited pid=1 status=0 error=exec:2:not-found orphans=yes",
        "acked pid=1 sender=2",
        "acked pid=1 sender=2 group=1 request=5",
        "requested client=1 request=2 signal signal=HUP",
        "requested client=1 request=2 signal signal=HUP pids=1,2",
    ] {
        assert_eq!(EventKind::from_line(line).map(|event| event.to_line()).as_deref(), Ok(line));
    }
    let impossible = "notice impossible what=a%20b%2Cc";
    assert_eq!(Action::from_line(impossible).map(|action| action.to_line()).as_deref(), Ok(impossible));
    let config = Config::default();
    assert_eq!(Config::from_line(&config.to_line()), Ok(config));
}

#[test]
fn a_trace_that_is_wrong_is_refused_with_the_line() {
    let config = Config::default().to_line();
    for (text, named) in [
        ("@0 start".to_owned(), "line 1: an event before any `config`"),
        (format!("{config}\n@0 begin"), "line 2: `begin` is none of: "),
        (format!("{config}\n= healthy=0"), "line 2: nothing has happened yet"),
        ("\n> exit code=0".to_owned(), "line 2: nothing has happened yet"),
    ] {
        let why = trace::recorded(&text).expect_err("it is wrong").to_string();
        assert!(why.starts_with(named), "{why}");
        assert_eq!(trace::retell(&text).expect_err("it is wrong").to_string(), why);
    }
}
