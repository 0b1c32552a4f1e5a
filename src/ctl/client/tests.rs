//! What the client makes of answers, against a supervisor that only follows a script.

use super::*;
use crate::{
    cli::order::split,
    ctl::{fake::Fake, render::Style},
};
use std::{io::Write as _, os::unix::net::UnixStream, sync::mpsc, thread, time::Duration};

fn client(fake: &Fake) -> Client {
    Client::new(fake.target(), Interrupts::leave())
}

fn run(client: &mut Client, command: &str) -> (Outcome, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let order = Order::read(&split(command).unwrap()[0]).unwrap().unwrap();
    let outcome = client.run(&order, &mut Screen::new(&mut out, &mut err, Style::Plain));
    (outcome, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn a_command_is_sent_as_words_and_its_answer_shown() {
    let fake = Fake::new(&[&["{\"message\":\"number of workers: 1 → 4\",\"ok\":true}\n"]]);
    let mut client = client(&fake);
    let (outcome, out, err) = run(&mut client, "set_workers 4");
    assert_eq!((outcome, out.as_str(), err.as_str()), (Outcome::Done, "number of workers: 1 → 4\n", ""));
    assert_eq!(fake.requests(), ["{\"args\":[\"4\"],\"command\":\"set_workers\",\"id\":\"1\"}"]);
}

#[test]
fn a_refusal_goes_to_standard_error() {
    let fake = Fake::new(&[&["{\"message\":\"the last worker stays\",\"ok\":false}\n"]]);
    let (outcome, out, err) = run(&mut client(&fake), "dec");
    assert_eq!(
        (outcome, out.as_str(), err.as_str()),
        (Outcome::Failed, "", "einhyrningsinsctl: the last worker stays\n")
    );
}

#[test]
fn progress_is_shown_line_by_line_until_the_last_one() {
    let fake = Fake::new(&[&[concat!(
        "{\"message\":\"generation 2: 0/1 healthy, 0 retired\",\"ok\":true,\"wait\":true}\n",
        "{\"message\":\"generation 2: 1/1 healthy, 1 retired\",\"ok\":true,\"wait\":true}\n",
        "{\"message\":\"rolled back\",\"ok\":false}\n",
    )]]);
    let (outcome, out, err) = run(&mut client(&fake), "upgrade");
    assert_eq!(outcome, Outcome::Failed);
    assert_eq!(out, "generation 2: 0/1 healthy, 0 retired\ngeneration 2: 1/1 healthy, 1 retired\n");
    assert_eq!(err, "einhyrningsinsctl: rolled back\n");
}

#[test]
fn an_end_before_the_last_line_is_no_answer() {
    let progress = "{\"message\":\"still at it\",\"ok\":true,\"wait\":true}\n{\"mess";
    let fake = Fake::new(&[&[progress]]);
    let (outcome, out, err) = run(&mut client(&fake), "upgrade");
    assert_eq!((outcome, out.as_str()), (Outcome::Unreachable, "still at it\n"));
    assert_eq!(
        err,
        "einhyrningsinsctl: upgrade: the supervisor closed the connection before its last word; whether \
         `upgrade` is carried out is not known\n"
    );
}

#[test]
fn an_answer_that_makes_no_sense_is_a_failure() {
    let fake = Fake::new(&[&["hello\n"]]);
    let (outcome, _, err) = run(&mut client(&fake), "status");
    assert_eq!(outcome, Outcome::Failed);
    assert!(err.contains("status: the answer cannot be understood: it is not a JSON object"), "{err}");
}

#[test]
fn a_lost_connection_is_made_anew_for_the_next_command() {
    let done = "{\"message\":\"done\",\"ok\":true}\n";
    let fake = Fake::new(&[&[done, done], &[""], &[done]]);
    let mut client = client(&fake);
    assert_eq!(run(&mut client, "inc").0, Outcome::Done);
    assert_eq!(run(&mut client, "dec").0, Outcome::Done);
    fake.wait_for_hang_ups(1);
    assert_eq!(run(&mut client, "status").0, Outcome::Unreachable, "lost amid a command: never sent twice");
    assert_eq!(run(&mut client, "status").0, Outcome::Done);
    assert_eq!(fake.requests().len(), 4);
}

#[test]
fn a_supervisor_that_cannot_be_reached_is_told_from_one_that_refuses() {
    let fake = Fake::new(&[]);
    let nobody = fake.path().with_file_name("nobody.sock");
    let target = Target { path: nobody.clone(), ..fake.target() };
    let (outcome, _, err) = run(&mut Client::new(target, Interrupts::leave()), "status");
    assert_eq!(outcome, Outcome::Unreachable);
    let expected = format!("cannot reach a supervisor at {}: No such file", nobody.display());
    assert!(err.contains(&expected), "{err}");
}
#[test]
fn the_way_back_is_waited_for_and_told() {
    let aborting = "{\"message\":\"taking generation 3 back\",\"ok\":true,\"generation\":3}\n";
    let status = |upgrade: &str, healthy: u32| {
        format!(
            "{{\"message\":\"status\",\"ok\":true,\"status\":{{\"upgrade\":{upgrade},\"generation\":2,\
             \"healthy\":{healthy},\"healthy_of_generation\":{healthy},\"target\":4}}}}\n"
        )
    };
    let under_way = status("{\"generation\":3,\"rolling_back\":false}", 4);
    let going_back = status("{\"generation\":2,\"rolling_back\":true}", 3);
    for (end, outcome, healthy) in [
        (status("null", 4), Outcome::Done, 4),
        (status("{\"generation\":4}", 4), Outcome::Done, 4),
        (status("null", 3), Outcome::Failed, 3),
    ] {
        let fake = Fake::new(&[&[aborting, &under_way, &going_back, &end]]);
        let (found, out, err) = run(&mut client(&fake), "abort --wait");
        let words =
            format!("generation 3 is taken back: generation 2 serves with {healthy} of 4 workers healthy\n");
        assert_eq!(found, outcome);
        assert!(format!("{out}{err}").ends_with(&words), "{out}{err}");
        let asked = fake.requests();
        assert_eq!(asked.len(), 4, "{asked:?}");
        assert!(!asked.concat().contains("--wait"), "{asked:?}");
    }
    let nothing = "{\"message\":\"no upgrade is under way\",\"ok\":false}\n";
    let fake = Fake::new(&[&[nothing]]);
    assert_eq!(run(&mut client(&fake), "abort --wait").0, Outcome::Failed);
}

#[test]
fn an_answer_that_does_not_come_is_not_waited_for_without_end() {
    let begun = "{\"message\":\"generation 2: 0/1\",\"ok\":true,\"wait\":true}\n";
    let soon = Patience::of(Some(crate::fsm::time::Millis(50)));
    let usual = Patience { first: soon.first, next: None };
    // The rest comes when the next request does, which is never.
    for (said, patience, lost) in [
        ("", usual, "does not answer: no line came for 50 ms; it "),
        (begun, soon, "does not go on with its answer: no further line came for 50 ms; it "),
    ] {
        let fake = Fake::new(&[&[said, ""]]);
        let mut client = Client::new(Target { patience, ..fake.target() }, Interrupts::leave());
        let (outcome, _, err) = run(&mut client, "upgrade");
        assert_eq!(outcome, Outcome::Unreachable, "{err}");
        let who = format!("einhyrningsinsctl: upgrade: pid {}: the supervisor {lost}", std::process::id());
        assert!(err.starts_with(&who), "{err}");
    }
}

#[test]
fn a_line_that_drips_is_not_waited_for_without_end() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let most = Duration::from_millis(100);
    let (done, waits) = mpsc::channel::<()>();
    let drips = thread::spawn(move || {
        // Until it is enough: much longer than it may take.
        while waits.recv_timeout(most / 10) == Err(mpsc::RecvTimeoutError::Timeout) {
            theirs.write_all(b" ").unwrap();
        }
    });
    let clock = Clock::start();
    let interrupts = Interrupts::leave();
    let mut connection = Connection::from(ours);
    let received = connection.receive(&interrupts.attend(), Some(most)).unwrap();
    assert!(received.is_none() && clock.now() >= most, "{received:?} after {:?}", clock.now());
    drop(done);
    drips.join().unwrap();
}

#[test]
fn what_is_waited_for_after_an_answer_is_bounded_by_a_time_that_was_given() {
    // The one who answers is this process, which does not end.
    let fake = Fake::new(&[&["{\"message\":\"shutting down\",\"ok\":true}\n", ""]]);
    let patience = Patience::of(Some(crate::fsm::time::Millis(50)));
    let mut client = Client::new(Target { patience, ..fake.target() }, Interrupts::leave());
    let (outcome, out, err) = run(&mut client, "die --wait");
    assert_eq!((outcome, out.as_str()), (Outcome::Unreachable, "shutting down\n"));
    assert_eq!(err, "einhyrningsinsctl: die: not at its end after 50 ms; the shutdown goes on\n");

    let going_back = "{\"message\":\"status\",\"ok\":true,\"status\":{\"upgrade\":{\"generation\":3,\"rolling_back\":true}}}\n";
    let aborting = "{\"message\":\"taking generation 3 back\",\"ok\":true,\"generation\":3}\n";
    let fake = Fake::new(&[&[&[aborting][..], &[going_back; 1_000]].concat()]);
    let mut client = Client::new(Target { patience, ..fake.target() }, Interrupts::leave());
    let (outcome, _, err) = run(&mut client, "abort --wait");
    assert_eq!(outcome, Outcome::Unreachable);
    let words =
        "einhyrningsinsctl: abort: not at its end after 50 ms; going back goes on: `status` shows it\n";
    assert_eq!(err, words);
}

#[test]
fn help_needs_no_supervisor() {
    let fake = Fake::new(&[]);
    let mut client = Client::new(Target { path: "/nowhere".into(), ..fake.target() }, Interrupts::leave());
    assert_eq!(run(&mut client, "help"), (Outcome::Done, command::help() + "\n", String::new()));
    assert_eq!(run(&mut client, "upgrade --help").1, command::find("upgrade").unwrap().help() + "\n");
}
