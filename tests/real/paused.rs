//! A supervisor that is paused (a stop signal, a machine that is too busy): what was said meanwhile counts as of
//! when it was said.

use crate::{
    harness::{Folder, Supervisor, eventually, number},
    tools::{python, skip, within},
};
use nix::sys::signal::Signal;
use std::{fs, time::Instant};

/// Reports when it is told to, over a connection made before or then, and stays or goes.
const WORKER: &str = r#"
import json, os, signal, socket, sys, time

place, connects, stays = sys.argv[1], sys.argv[2], sys.argv[3] == "stays"
control = socket.socket(socket.AF_UNIX)
if connects == "early":
    control.connect(os.environ["EINHORN_SOCK_PATH"])
open(place + "waits", "w").close()
while not os.path.exists(place + "now"):
    time.sleep(0.005)
if connects == "late":
    control.connect(os.environ["EINHORN_SOCK_PATH"])
control.sendall(json.dumps({"command": "worker:ack", "pid": os.getpid()}).encode() + b"\n")
open(place + "reported", "w").close()
if stays:
    signal.alarm(900)
    signal.pause()
"#;

/// A supervisor of one such worker, with three seconds for each start, paused from before the report until, at
/// the latest, `late` milliseconds after the deadline.
fn paused(connects: &str, stays: &str, late: u64) -> Option<Supervisor> {
    let Some(python) = python() else {
        skip("there is no python3");
        return None;
    };
    let folder = Folder::new();
    let program = folder.script("worker.py", WORKER);
    let place = format!("{}/", folder.join("").display());
    let options = ["-m", "-n", "1", "--ack-timeout", "3", "--", &python, &program, &place, connects, stays];
    let mut supervisor = Supervisor::start_in(folder, &options, |_| {});
    let noted = |name| move |me: &mut Supervisor| fs::metadata(within(me, name)).ok();
    supervisor.eventually("the worker waits", noted("waits"));
    supervisor.signal(Signal::SIGSTOP);
    let paused = Instant::now();
    fs::write(within(&supervisor, "now"), "").expect("a file can be written");
    supervisor.eventually("it has reported", noted("reported"));
    // What is waited for is the deadline, which came after less than that much of the pause.
    eventually("its time is up", || (paused.elapsed().as_millis() >= u128::from(3_000 + late)).then_some(()));
    supervisor.signal(Signal::SIGCONT);
    Some(supervisor)
}

#[track_caller]
fn has_reported_in_time(supervisor: Option<Supervisor>) {
    if let Some(mut supervisor) = supervisor {
        supervisor.await_log("is healthy after");
        assert!(!supervisor.log().contains("was not ready in time"), "{}", supervisor.log());
    }
}

#[test]
fn a_report_that_came_in_time_counts_though_the_supervisor_was_paused_over_the_deadline() {
    has_reported_in_time(paused("late", "stays", 100));
}

#[test]
fn so_it_does_over_a_connection_that_was_there_before_and_after_a_longer_pause() {
    has_reported_in_time(paused("early", "stays", 1_500));
}

#[test]
fn who_has_reported_and_ended_meanwhile_had_been_healthy() {
    for connects in ["early", "late"] {
        let Some(mut supervisor) = paused(connects, "goes", 0) else {
            return;
        };
        supervisor.await_log("is healthy after");
        supervisor.await_log("exited with status 0 without being asked to; replaced at once");
        assert!(!supervisor.log().contains(" failed: "), "{}", supervisor.log());
    }
}

#[test]
fn workers_that_report_and_end_at_once_are_started_as_rarely_as_others_that_end_early() {
    let Some(python) = python() else {
        return skip("there is no python3");
    };
    let folder = Folder::new();
    let words = "import os, socket; control = socket.socket(socket.AF_UNIX); \
                 control.connect(os.environ['EINHORN_SOCK_PATH']); \
                 control.sendall(b'{\"command\":\"worker:ack\",\"pid\":%d}\\n' % os.getpid())";
    let program = folder.script("brief.py", words);
    let options = ["-m", "-n", "10", "--", &python, &program];
    let mut supervisor = Supervisor::start_in(folder, &options, |_| {});
    supervisor.eventually("each has ended several times", |me| {
        me.workers(|worker| number(worker, "restarts") < 6).is_empty().then_some(())
    });
    let log = supervisor.log();
    assert!(!log.contains(" failed: "), "{log}");
    assert!(!log.contains("no worker has pid"), "{log}");
}
