//! The control socket's file: who may hold it up, and what becomes of it when its folder goes.

use crate::{
    harness::{Connection, Folder, Supervisor, is_ok, raw, rust_worker},
    tools::{sleepers, status_field, ticks},
};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
};
use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

#[test]
fn a_lock_on_the_folder_that_somebody_keeps_holds_up_no_start() {
    let folder = Folder::new();
    let door = fs::File::open(folder.join("")).expect("anybody can open it");
    let held = Flock::lock(door, FlockArg::LockExclusiveNonblock).expect("anybody can lock it");
    let mut supervisor = Supervisor::start_in(folder, &["--ack-after", "0", "sleep", "600"], |_| {});
    supervisor.await_healthy(1);
    fs::remove_file(supervisor.socket()).expect("it can be removed");
    supervisor.eventually("it is there again", |me| me.request(r#"{"command":"version"}"#).ok());
    drop(held);
}

/// Removes a folder with the socket in it, which may be bound again before the folder itself is removed.
fn remove(supervisor: &mut Supervisor, folder: &Path) {
    supervisor.eventually("it can be removed", |_| fs::remove_dir_all(folder).ok());
}

#[test]
fn a_folder_that_was_removed_or_renamed_and_made_again_gets_a_socket_again() {
    for renamed in [false, true] {
        let folder = Folder::new();
        let place = folder.join("app/run");
        fs::create_dir_all(&place).expect("a folder can be made");
        let args =
            ["-m", "-b", "127.0.0.1:0", "-d", &place.join("ctl").display().to_string(), "--", &rust_worker()];
        let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
        let (socket, answers) = (place.join("ctl"), |path: &Path| {
            let mut connection = Connection::open(path).ok()?;
            connection.send(r#"{"command":"version"}"#).ok()?;
            connection.line().ok().filter(is_ok)
        });
        supervisor.eventually("it listens", |_| answers(&socket));
        let mut before = Connection::open(&socket).expect("it listens");
        supervisor.await_log("up: 1 healthy worker");
        if renamed {
            // Of a folder further up nothing tells: it takes a signal, or a worker to be started.
            fs::rename(supervisor.folder.join("app"), supervisor.folder.join("old")).expect("a new name");
            supervisor.signal(Signal::SIGUSR1);
        } else {
            remove(&mut supervisor, &place);
        }
        supervisor.await_log("control socket cannot be bound again: ");
        fs::create_dir_all(&place).expect("a folder can be made");
        supervisor.eventually("it listens again", |_| answers(&socket));
        supervisor.await_log("is bound again");
        // Workers report as before, and who was connected stays connected.
        before.send(r#"{"command":"upgrade"}"#).expect("it reads");
        assert!(is_ok(before.answer().expect("it answers").last().expect("a line")));
        let said = "cannot be bound again";
        assert_eq!(supervisor.log().matches(said).count(), 1, "{}", supervisor.log());
    }
}

#[test]
fn a_worker_that_is_started_finds_the_socket_whatever_became_of_its_folder_meanwhile() {
    let folder = Folder::new();
    let place = folder.join("app/run");
    fs::create_dir_all(&place).expect("a folder can be made");
    let path = place.join("ctl").display().to_string();
    let mut supervisor =
        Supervisor::start_in(folder, &["-m", "-b", "127.0.0.1:0", "-d", &path, "--", &rust_worker()], |_| {});
    supervisor.await_log("up: 1 healthy worker");
    fs::rename(supervisor.folder.join("app"), supervisor.folder.join("old")).expect("a new name");
    fs::create_dir_all(&place).expect("a folder can be made");
    let worker = supervisor.eventually("there is a worker", |me| me.children().first().copied());
    kill(raw(worker), Signal::SIGKILL).expect("the worker is there");
    supervisor.eventually("its successor has reported", |me| {
        (me.log().matches("is healthy after").count() == 2).then_some(())
    });
}

#[test]
fn what_has_taken_the_socket_s_place_is_looked_at_again_after_pauses_only() {
    let (mut supervisor, _) = sleepers(1, &[]);
    let other = supervisor.folder.join("other");
    fs::write(&other, "precious").expect("a file can be written");
    fs::rename(&other, supervisor.socket()).expect("it takes the place");
    supervisor.await_log("control socket cannot be bound again: ");
    let pid = supervisor.pid();
    // One that spins need not sleep in between, so its time tells as well as how often it slept.
    let cost = || {
        let sleeps = status_field(pid, "voluntary_ctxt_switches").expect("a number");
        sleeps + ticks(pid).expect("it runs")
    };
    let before = cost();
    // Not a wait for anything: the time in which hardly anything may happen.
    thread::sleep(Duration::from_secs(1));
    let more = cost() - before;
    assert!(more < 20, "it has slept or used a tick {more} times");
    assert_eq!(fs::read_to_string(supervisor.socket()).expect("it is left alone"), "precious");
    fs::remove_file(supervisor.socket()).expect("it can be removed");
    supervisor.eventually("it listens again", |me| me.request(r#"{"command":"version"}"#).ok());
}

#[test]
fn a_worker_that_is_started_does_not_wait_for_the_end_of_a_pause() {
    let folder = Folder::new();
    let place = folder.join("run");
    fs::create_dir(&place).expect("a folder can be made");
    let path = place.join("ctl").display().to_string();
    let args = ["-v", "-m", "-b", "127.0.0.1:0", "-d", &path, "--", &rust_worker()];
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    supervisor.await_log("up: 1 healthy worker");
    remove(&mut supervisor, &place);
    supervisor.await_log("control socket cannot be bound again: ");
    // A try each, and a longer pause: of five seconds in the end.
    for count in 1..=5 {
        supervisor.signal(Signal::SIGUSR1);
        supervisor.eventually("it has the signal", |me| {
            (me.log().matches("got SIGUSR1").count() == count).then_some(())
        });
    }
    fs::create_dir(&place).expect("a folder can be made");
    // Not a wait for anything: the time in which nothing may happen.
    thread::sleep(Duration::from_secs(1));
    assert!(!place.join("ctl").exists(), "there is no pause");
    let worker = supervisor.eventually("there is a worker", |me| me.children().first().copied());
    let begun = Instant::now();
    kill(raw(worker), Signal::SIGKILL).expect("the worker is there");
    supervisor.await_log("is bound again");
    assert!(begun.elapsed() < Duration::from_secs(3), "only after {:?}", begun.elapsed());
    supervisor.eventually("its successor has reported", |me| {
        (me.log().matches("is healthy after").count() == 2).then_some(())
    });
}
