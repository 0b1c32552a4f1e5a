//! The log, and what becomes of the service when nobody takes it.

use crate::{
    harness::{Connection, Folder, Supervisor, eventually, is_ok, raw},
    probe::{run, start_through},
};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::signal::{Signal, kill},
};
use std::{
    fs,
    io::{self, PipeReader, Read as _},
    process::Stdio,
};

const SLEEP: [&str; 4] = ["--ack-after", "0", "sleep", "1000"];

/// Has it say more than any pipe holds, and sees that it goes on answering.
#[track_caller]
fn make_noise(supervisor: &Supervisor) {
    let mut connection = Connection::open(&supervisor.socket()).expect("it listens");
    let words = "x".repeat(3_000);
    let ping = format!(r#"{{"command":"worker:ping","pid":1,"request_id":"{words}"}}"#);
    for _ in 0..100 {
        connection.send(&ping).expect("it reads");
        connection.answer().expect("it answers");
    }
}

/// Sees that workers are still replaced and that it ends when told to.
#[track_caller]
fn still_works(supervisor: &mut Supervisor) {
    let before = supervisor.await_healthy(1);
    let [worker] = before[..] else { panic!("one worker") };
    kill(raw(worker), Signal::SIGKILL).expect("the worker is there");
    supervisor.eventually("the worker is replaced", |me| {
        Some(me.healthy()).filter(|after| after.len() == 1 && *after != before)
    });
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
}

/// Starts with a pipe for standard error.
fn piped() -> (Supervisor, PipeReader) {
    let (reader, writer) = io::pipe().expect("a pipe can be made");
    let args = [&["-v"][..], &SLEEP].concat();
    let supervisor = Supervisor::start_in(Folder::new(), &args, |command| {
        command.stderr(writer);
    });
    (supervisor, reader)
}

/// Reads until it has seen `text`.
#[track_caller]
fn read_until(reader: &mut PipeReader, text: &str) -> String {
    fcntl(&*reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("it need not wait");
    let mut seen = String::new();
    let mut buffer = [0; 65_536];
    eventually(&format!("the log says {text:?}"), || {
        match reader.read(&mut buffer) {
            Ok(count) => seen.push_str(&String::from_utf8_lossy(buffer.get(..count).unwrap_or_default())),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        seen.contains(text).then_some(())
    });
    seen
}

#[test]
fn a_log_that_nobody_reads_stops_nothing_and_lost_lines_are_counted() {
    let (mut supervisor, mut reader) = piped();
    supervisor.await_healthy(1);
    make_noise(&supervisor);
    supervisor.await_healthy(1);
    // Now somebody does.
    read_until(&mut reader, "up: 1 healthy worker");
    let replies = supervisor.request(r#"{"command":"worker:ping","pid":1,"request_id":"at last"}"#);
    replies.expect("it answers");
    let rest = read_until(&mut reader, "at last");
    let lost = rest.lines().find(|line| line.contains(" of this log w"));
    assert!(lost.is_some(), "{rest}");
    assert!(rest.lines().skip(1).all(|line| line.starts_with("einhyrningsins[")), "whole lines only: {rest}");
    still_works(&mut supervisor);
}

#[test]
fn a_log_whose_reader_is_gone_stops_nothing() {
    let (mut supervisor, reader) = piped();
    supervisor.await_healthy(1);
    drop(reader);
    make_noise(&supervisor);
    still_works(&mut supervisor);
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    for closed in [true, false] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let args = [&["-v"][..], &SLEEP].concat();
        let mut supervisor = match closed {
            true => {
                let starter = ["/bin/sh", "-c", "exec \"$@\" 2>&-", "sh"];
                start_through(Folder::new(), &starter, &args)
            }
            false => Supervisor::start_in(Folder::new(), &args, |command| {
                command.stderr(full);
            }),
        };
        supervisor.await_healthy(1);
        make_noise(&supervisor);
        still_works(&mut supervisor);
    }
}

#[test]
fn a_refused_start_with_closed_output_still_has_its_exit_status() {
    for (args, code) in [(&["-n", "0", "true"][..], 2), (&["--", "/no/such/program"], 127), (&["--help"], 0)]
    {
        let starter = ["/bin/sh", "-c", "exec \"$@\" >&- 2>&-", "sh"];
        let mut supervisor = start_through(Folder::new(), &starter, args);
        assert_eq!(supervisor.await_exit(), code, "{args:?}");
    }
}

#[test]
fn syslog_that_is_not_there_stops_nothing() {
    let args = [&["--syslog"][..], &SLEEP].concat();
    let mut supervisor = Supervisor::start(&args);
    supervisor.await_healthy(1);
    // Warnings go there as well.
    still_works(&mut supervisor);
    assert!(supervisor.log().contains("WARN"), "{}", supervisor.log());
}

#[test]
fn a_quiet_supervisor_says_nothing_but_errors() {
    let mut supervisor = Supervisor::start(&[&["-q"][..], &SLEEP].concat());
    supervisor.await_healthy(1);
    still_works(&mut supervisor);
    assert_eq!(supervisor.log(), "");

    let ended = run(&["-q", "-r", "2", "-s", "0", "/bin/false"]);
    assert_eq!(ended.code, 1);
    assert!(
        !ended.stderr.is_empty() && ended.stderr.lines().all(|line| line.contains("[ERROR]")),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_verbose_supervisor_says_more_and_a_client_can_change_that() {
    let mut supervisor = Supervisor::start(&SLEEP);
    supervisor.await_healthy(1);
    assert!(!supervisor.log().contains("[DEBUG]"), "{}", supervisor.log());
    let replies = supervisor.request(r#"{"command":"louder"}"#).expect("it answers");
    assert!(is_ok(&replies[0]));
    supervisor.signal(Signal::SIGCONT);
    supervisor.await_log("[DEBUG] got SIGCONT");

    let mut supervisor = Supervisor::start(&[&["-v"][..], &SLEEP].concat());
    supervisor.await_log("[DEBUG]");
}

#[test]
fn the_log_is_one_line_for_each_thing_whatever_clients_say() {
    let mut supervisor = Supervisor::start(&[&["-v"][..], &SLEEP].concat());
    supervisor.await_healthy(1);
    let forged = r#"{"command":"worker:ping","pid":1,"request_id":"a\neinhyrningsins[1] forged\u001b[2J"}"#;
    supervisor.request(forged).expect("it answers");
    supervisor.await_log("forged");
    let (log, pid) = (supervisor.log(), supervisor.pid());
    let mark = format!("einhyrningsins[{pid}] 2");
    assert!(log.lines().all(|line| line.starts_with(&mark)), "{log}");
    assert!(!log.contains('\x1b'), "{log}");
}

#[test]
fn the_log_is_not_left_without_blocking_for_those_who_share_it() {
    // O_NONBLOCK would belong to whoever started us, too.
    let (reader, writer) = io::pipe().expect("a pipe can be made");
    let shared = writer.try_clone().expect("it can be shared");
    let mut supervisor = Supervisor::start_in(Folder::new(), &SLEEP, |command| {
        command.stdout(Stdio::null()).stderr(writer);
    });
    supervisor.await_healthy(1);
    let flags = fcntl(&shared, FcntlArg::F_GETFL).expect("its flags");
    assert!(!OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK));
    still_works(&mut supervisor);
    drop(reader);
}
