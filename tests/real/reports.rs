//! Reports of workers: which are taken, and what is said of those that are not.

use crate::{
    another::{OTHER, can_be_another},
    harness::{CLIENT, Connection, Folder, Supervisor, is_ok},
    probe::python,
    tools::{Release, err, sleepers, within},
};
use nix::sys::signal::Signal;
use std::fs;

/// A supervisor of one worker that has to report within so many seconds, and has one try.
fn impatient(folder: Folder, timeout: &str, worker: &[&str]) -> Supervisor {
    let args = [&["-m", "-r", "1", "--ack-timeout", timeout, "--"][..], worker].concat();
    Supervisor::start_in(folder, &args, |_| {})
}

/// A worker with a helper that acknowledges for it while the supervisor is stopped, and is gone before that
/// goes on. A `known` helper is in a session of its own, and connected before that: it was asked about then.
const HELPED: &str = r#"
import os, signal, socket, sys, time
folder, known = sys.argv[1], sys.argv[2:] == ["known"]
def note(name):
    open(folder + name, "w").close()
def wait_for(name):
    while not os.path.exists(folder + name):
        time.sleep(0.005)
helper = os.fork()
if helper == 0:
    control = socket.socket(socket.AF_UNIX)
    if known:
        os.setsid()
        control.connect(os.environ["EINHORN_SOCK_PATH"])
        control.sendall(b'{"command":"version"}\n')
        control.recv(1000)
    note("waits")
    wait_for("stopped")
    if not known:
        control.connect(os.environ["EINHORN_SOCK_PATH"])
    control.sendall(b'{"command":"worker:ack","pid":%d}\n' % os.getppid())
    os._exit(0)
os.waitpid(helper, 0)
note("gone")
signal.alarm(900)
signal.pause()
"#;

/// A supervisor that was stopped while the helper of its worker acknowledged and went.
#[track_caller]
fn helped(words: &[&str]) -> Supervisor {
    let folder = Folder::new();
    let program = folder.script("helped.py", HELPED);
    let place = format!("{}/", folder.join("").display());
    let python = python();
    let worker = [&[python.as_str(), &program, &place], words].concat();
    let mut supervisor = impatient(folder, "60", &worker);
    let noted = |name| move |me: &mut Supervisor| fs::metadata(within(me, name)).ok();
    supervisor.eventually("the helper is there", noted("waits"));
    supervisor.signal(Signal::SIGSTOP);
    fs::write(within(&supervisor, "stopped"), "").expect("a file can be written");
    supervisor.eventually("the helper is gone", noted("gone"));
    supervisor.signal(Signal::SIGCONT);
    supervisor
}

#[test]
fn a_helper_that_is_gone_before_anybody_can_ask_about_it_has_spoken_for_its_worker() {
    helped(&[]).await_log("is healthy after");
}

#[test]
fn who_was_no_part_of_a_worker_when_it_connected_is_none_because_it_is_gone() {
    let mut supervisor = helped(&["known"]);
    supervisor.await_log(": only that process and those of its process group can");
    assert!(supervisor.healthy().is_empty(), "{}", supervisor.log());
}

/// The line that tells that the start of a worker has failed for want of a report.
#[track_caller]
fn time_out(supervisor: &mut Supervisor) -> String {
    let what = "failed: was not ready in time";
    supervisor.await_log(what);
    supervisor.log().lines().find(|line| line.contains(what)).expect("a line").to_owned()
}

/// The warnings of what was refused.
fn warnings(supervisor: &Supervisor) -> Vec<String> {
    let log = supervisor.log();
    log.lines().filter(|line| line.contains(", which is refused: ")).map(str::to_owned).collect()
}

#[test]
fn a_report_from_below_a_wrapper_is_warned_of_and_is_the_reason_when_time_is_up() {
    let folder = Folder::new();
    // The job is in a group of its own, as those of an interactive shell are.
    // It ends with the supervisor, which the client tells by status 3.
    let ack = format!("{CLIENT} -d $EINHORN_SOCK_PATH worker:ack $$");
    let inner = format!("while {ack}; [ $? -ne 3 ]; do sleep 0.01; done");
    let wrapper = folder.script("wrapper", &format!("#!/bin/sh\nsetsid sh -c '{inner}'\nexit 1\n"));
    let mut supervisor = impatient(folder, "1", &[&wrapper]);
    let said = time_out(&mut supervisor);
    for part in [
        "[WARN]",
        "in time (pid ",
        " (failure 1 of 1",
        "; process ",
        "\"command\":\"worker:ack\"",
        "no worker has pid",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains(", which was refused: ") && said.contains("`exec` the program"), "{said}");
    let warnings = warnings(&supervisor);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let start = "[WARN] worker pid ";
    assert!(warnings[0].contains(start) && warnings[0].contains("`exec` the program"), "{warnings:?}");
    assert!(warnings[0].contains(" (einhyrningsinsc) sent `"), "{warnings:?}");
}

/// A worker that sends what is no report, again and again, and waits for no answer.
const GARBLER: &str = r#"
import os, signal, socket
signal.alarm(900)
for _ in range(100):
    control = socket.socket(socket.AF_UNIX)
    control.connect(os.environ["EINHORN_SOCK_PATH"])
    control.sendall(b"\x1b[2J" + b"ack! " * 100 + b"\n")
control.sendall(b'{"command":"worker:ack","pid":"self"}\n')
signal.pause()
"#;

#[test]
fn a_garbled_report_is_warned_of_once_and_gives_no_orders_to_who_reads_that() {
    let folder = Folder::new();
    let program = folder.script("garbler.py", GARBLER);
    let mut supervisor = impatient(folder, "2", &[&python(), &program]);
    let said = time_out(&mut supervisor);
    assert!(said.contains("`{\"command\":\"worker:ack\",\"pid\":\"self\"}`, which was refused: "), "{said}");
    assert!(said.contains("`pid` is \"self\"; it must be the worker's process id"), "{said}");
    let (log, warnings) = (supervisor.log(), warnings(&supervisor));
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].contains(r"`\u{1b}[2Jack! ack! ") && warnings[0].contains("…`"), "{log}");
    assert!(!log.contains('\x1b') && log.lines().all(|line| line.len() < 700), "{log}");
}

#[test]
fn an_upgrade_that_fails_for_want_of_a_report_says_which_one_was_refused() {
    let folder = Folder::new();
    let fine = format!("#!/bin/sh\n{CLIENT} -d $EINHORN_SOCK_PATH worker:ack $$ && exec sleep 600\n");
    let release = Release::new(&folder, &folder.script("fine", &fine));
    let child = format!("{CLIENT} -d $EINHORN_SOCK_PATH worker:ack \\$\\$; sleep 600");
    let wrapped = folder.script("wrapped", &format!("#!/bin/sh\nsh -c \"{child}\"\nexit 1\n"));
    let program = release.path();
    let mut supervisor = impatient(folder, "5", &[&program]);
    supervisor.await_healthy(1);
    release.switch(&wrapped);
    let said = err(&supervisor.ctl(&["upgrade"]));
    assert!(said.contains("; rolled back"), "{said}");
    assert!(
        said.contains("; process ") && said.contains(", which was refused: no worker has pid "),
        "{said}"
    );
}

#[test]
fn who_is_no_worker_is_warned_of_for_reports_alone_and_not_time_and_again() {
    let (supervisor, pids) = sleepers(1, &[]);
    let mut connection = Connection::open(&supervisor.socket()).expect("it listens");
    let stray = r#"{"command":"worker:ack","pid":1}"#;
    let foreign = format!("{{\"command\":\"worker:ping\",\"pid\":{}}}", pids[0]);
    let told = |expected: &[&str]| {
        let warnings = warnings(&supervisor);
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        assert!(warnings.iter().zip(expected).all(|(line, part)| line.contains(part)), "{warnings:?}");
    };
    let mut send = |line: &str| {
        connection.send(line).expect("it reads");
        assert!(!is_ok(&connection.line().expect("an answer")));
    };
    send(r#"{"command":"staus"}"#);
    told(&[]);
    let none = "; which worker that comes from is not known";
    send("worker:ack");
    told(&[none]);
    send(stray);
    told(&[none]);
    let of_worker = format!("[WARN] worker pid {}: process {} (", pids[0], std::process::id());
    send(&foreign);
    send(&foreign);
    told(&[none, &of_worker]);
    supervisor.ctl_ok(&["upgrade"]);
    send(stray);
    told(&[none, &of_worker, none]);
}

#[test]
fn a_worker_of_another_user_that_cannot_report_is_told_of_with_the_way_out() {
    if !can_be_another() {
        return;
    }
    let folder = Folder::new();
    let socket = folder.join("ctl").display().to_string();
    let worker = ["setpriv", "--reuid", OTHER, "--clear-groups", "sleep", "600"];
    let mut supervisor = impatient(folder, "2", &worker);
    let said = time_out(&mut supervisor);
    let expected = format!("; it runs as user {OTHER}, and {socket} is open to root only: ");
    assert!(said.contains("[WARN]") && said.contains(&expected), "{said}");

    // One way out: the report first, in the name of the process that will be the worker.
    let become_other = worker[..4].join(" ");
    let inner = format!("{CLIENT} -d \"$EINHORN_SOCK_PATH\" worker:ack $$ && exec {become_other} sleep 600");
    let mut supervisor = impatient(Folder::new(), "30", &["sh", "-c", &inner]);
    supervisor.await_healthy(1);
}
