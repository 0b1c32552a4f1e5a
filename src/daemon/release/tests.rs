use super::{super::scratch::Scratch, *};
use crate::{
    cli::daemon::{Parsed, parse},
    fsm::{event::Prospect, id::Pid},
};

const BY: Asker = Asker::Client { user: 7, pid: Pid(30) };

fn options(program: &str) -> Options {
    match parse([program.into()], |_| true, &|_| Err(String::new())).unwrap() {
        Parsed::Run(options) => *options,
        other @ (Parsed::Checked | Parsed::CheckConfig(_) | Parsed::Print(_) | Parsed::Tell(_)) => {
            panic!("{other:?}")
        }
    }
}

/// The path of something that can be run.
fn executable(scratch: &Scratch, name: &str) -> String {
    scratch.file(name, "#!/bin/sh\n", 0o755).to_str().unwrap().to_owned()
}

fn to_run(command: &str) -> Release {
    Release { program: Some(vec![command.into()]), ..Release::default() }
}

fn capture(releases: &mut Releases<'_>, generation: u32, request: Option<u64>, serving: u32) -> EventKind {
    releases.capture(Generation(generation), request.map(RequestId), Generation(serving))
}

fn is_captured(releases: &mut Releases<'_>, generation: u32, request: Option<u64>, serving: u32) {
    let pinned = EventKind::Pinned { generation: Generation(generation) };
    assert_eq!(capture(releases, generation, request, serving), pinned);
}

#[test]
fn what_is_not_said_stays_as_it_is_in_the_generation_that_serves() {
    let scratch = Scratch::new();
    let (first, second) = (executable(&scratch, "first"), executable(&scratch, "second"));
    let options = options(&first);
    let mut releases = Releases::new(&options, Roster::default(), Journal::new(0).unwrap());
    is_captured(&mut releases, 1, None, 0);
    releases.ask(RequestId(5), BY, to_run(&second)).unwrap();
    is_captured(&mut releases, 2, Some(5), 1);
    is_captured(&mut releases, 3, None, 2);
    // What was asked for is so once.
    is_captured(&mut releases, 4, Some(5), 1);
    let names = [1, 2, 3, 4].map(|number| releases.name(Generation(number)));
    assert_eq!(names, [&first, &second, &second, &first].map(String::clone));
    let by: Vec<_> = releases.history().map(|entry| entry.by).collect();
    assert_eq!(by, [Asker::Start, BY, Asker::Hangup, Asker::Hangup]);
    let programs: Vec<_> = releases.history().map(|entry| entry.program.clone()).collect();
    assert_eq!(programs, names);
}

#[test]
fn what_was_asked_for_and_refused_does_not_come_later() {
    let scratch = Scratch::new();
    let first = executable(&scratch, "first");
    let options = options(&first);
    let mut releases = Releases::new(&options, Roster::default(), Journal::new(0).unwrap());
    releases.ask(RequestId(5), BY, to_run("/nowhere/second")).unwrap();
    releases.retract(RequestId(5));
    is_captured(&mut releases, 2, Some(5), 1);
    assert_eq!(releases.name(Generation(2)), first);
}

#[test]
fn what_the_contract_sets_or_hides_is_not_an_upgrades_to_set() {
    let options = options("/bin/true");
    let mut releases = Releases::new(&options, Roster::default(), Journal::new(0).unwrap());
    let with = |name: &str| Release {
        variables: vec![("FINE".into(), "1".into()), (name.into(), "99".into())],
        ..Release::default()
    };
    for name in ["EINHORN_FD_0", "EINHORN_", "LISTEN_FDS", "NOTIFY_SOCKET", "PWD"] {
        let why = releases.ask(RequestId(5), BY, with(name)).unwrap_err();
        assert!(why.starts_with(&format!("--env: {name} cannot be set: it ")), "{why}");
        assert!(releases.asked.is_empty(), "{name}");
    }
    assert_eq!(releases.ask(RequestId(5), BY, with("LISTEN_ADDR")), Ok(()));
}

#[test]
fn what_cannot_be_run_is_named_until_the_next_such() {
    let options = options("/bin/true");
    let mut releases = Releases::new(&options, Roster::default(), Journal::new(0).unwrap());
    for (number, path) in [(2, "/nowhere/a"), (3, "/nowhere/b")] {
        releases.ask(RequestId(5), BY, to_run(path)).unwrap();
        let EventKind::PinFailed { generation, error } = capture(&mut releases, number, Some(5), 1) else {
            panic!("{path} is there");
        };
        assert_eq!((generation, error.prospect), (Generation(number), Prospect::NotFound));
        assert_eq!(releases.unrunnable(generation), Some(path));
        assert_eq!(releases.name(generation), path);
        assert!(releases.program(generation).is_err());
    }
    assert_eq!(releases.unrunnable(Generation(2)), None);
    assert_eq!(releases.name(Generation(2)), "");
}

#[test]
fn what_is_forgotten_can_be_neither_started_nor_named() {
    let options = options("/bin/true");
    let mut releases = Releases::new(&options, Roster::default(), Journal::new(0).unwrap());
    is_captured(&mut releases, 1, None, 0);
    assert!(releases.program(Generation(1)).is_ok());
    releases.forget(Generation(1));
    assert!(releases.program(Generation(1)).is_err());
    assert_eq!(releases.name(Generation(1)), "");
}
