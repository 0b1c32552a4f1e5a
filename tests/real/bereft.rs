//! What is left where the keeper is killed, or the supervisor and the keeper, whatever is under way.

use crate::{
    harness::{Connection, Folder, Supervisor, eventually, is_alive, is_ok, raw, workers_of},
    probe::own_address,
    tools::{command, skip},
};
use nix::sys::signal::{Signal, kill};
use std::net::TcpStream;

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Amid {
    Nothing,
    Upgrade,
    HandOver,
    Shutdown,
}

const ALL: [Amid; 4] = [Amid::Nothing, Amid::Upgrade, Amid::HandOver, Amid::Shutdown];

/// A service of two workers that do nothing and do not go by being asked, amid that; and a connection that waits for it.
fn start(amid: Amid) -> (Supervisor, Vec<u32>, Option<Connection>) {
    let folder = Folder::new();
    let worker = folder.script("worker", "#!/bin/sh\ntrap '' USR2 TERM INT\nwhile :; do sleep 0.1; done\n");
    let silent = folder.script("silent", "#!/bin/sh\nexec sleep 600\n");
    let bind = format!("{},r", own_address());
    let args = ["-n", "2", "--ack-after", "0.3", "-t", "60", "-b", &bind, "--", &worker];
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    let workers = supervisor.await_healthy(2);
    supervisor.keeper();
    let ask = |line: &str| {
        let mut waiting = Connection::open(&supervisor.socket()).expect("a connection");
        waiting.send(line).expect("it is sent");
        waiting
    };
    let waiting = match amid {
        Amid::Nothing => None,
        Amid::Upgrade => {
            // New ones are trusted after a minute only.
            let mut waiting = ask(r#"{"command":"upgrade","canary":1,"soak":60}"#);
            waiting.line().expect("it has begun");
            Some(waiting)
        }
        Amid::HandOver => {
            let waiting = ask(&format!(r#"{{"command":"reexec","args":["{silent}"]}}"#));
            supervisor.await_log("is to take over, and is tried");
            Some(waiting)
        }
        Amid::Shutdown => {
            supervisor.signal(Signal::SIGINT);
            supervisor.await_log("graceful shutdown");
            None
        }
    };
    (supervisor, workers, waiting)
}

#[test]
fn a_keeper_that_is_killed_is_replaced_whatever_is_under_way() {
    for amid in ALL {
        let (mut supervisor, workers, _waiting) = start(amid);
        let keeper = supervisor.keeper();
        kill(raw(keeper), Signal::SIGKILL).expect("it is there");
        supervisor.await_log(&format!("the keeper (pid {keeper}) has ended; another takes its place"));
        let another =
            supervisor.eventually("another is there", |me| Some(me.keeper()).filter(|pid| *pid != keeper));
        assert!(workers.iter().all(|pid| is_alive(*pid)), "{amid:?}");
        // That one is as good.
        supervisor.kill();
        supervisor.start_again();
        supervisor.await_log(&format!("this one (pid {}) goes on from there", supervisor.pid()));
        assert!(workers.iter().all(|pid| is_alive(*pid)), "{amid:?}");
        eventually("the old keeper has gone", || (!is_alive(another)).then_some(()));
    }
}

#[test]
fn where_both_are_killed_workers_serve_on_and_the_next_start_names_them_whatever_was_under_way() {
    for amid in ALL {
        let (mut supervisor, workers, waiting) = start(amid);
        let address = supervisor.address(0);
        let keeper = supervisor.keeper();
        supervisor.signal(Signal::SIGSTOP);
        kill(raw(keeper), Signal::SIGKILL).expect("it is there");
        supervisor.kill_at_once();
        if let Some(mut waiting) = waiting {
            waiting.answer().expect_err("its connection ends");
        }
        assert!(workers.iter().all(|pid| is_alive(*pid)), "{amid:?}");
        TcpStream::connect(address).expect("somebody listens");
        supervisor.start_again();
        assert_eq!(supervisor.await_exit(), 1, "{amid:?}");
        let log = supervisor.log();
        let what = "without their supervisor (pid ";
        assert!(log.contains(what) && log.contains("`kill ") && log.contains("--adopt"), "{amid:?}: {log}");
        assert!(workers.iter().all(|pid| log.contains(&format!("pid {pid} "))), "{amid:?}: {log}");
    }
}

#[test]
fn with_adopt_the_socket_is_taken_from_workers_that_nobody_supervises() {
    let (mut supervisor, workers, _) = start(Amid::Nothing);
    let address = supervisor.address(0);
    let keeper = supervisor.keeper();
    supervisor.signal(Signal::SIGSTOP);
    kill(raw(keeper), Signal::SIGKILL).expect("it is there");
    supervisor.kill_at_once();
    let waiting = TcpStream::connect(address).expect("somebody listens");
    let bind = format!("{address},r");
    supervisor.start_again_as(&["-n", "2", "--ack-after", "0.1", "--adopt", "-b", &bind, "sleep", "600"]);
    supervisor.eventually("it is up, or not", |me| {
        (me.log().matches("up: 2 healthy").count() == 2 || me.has_exited()).then_some(())
    });
    if supervisor.log().contains("it takes root") {
        return skip("this user may not take descriptors of others");
    }
    let log = supervisor.log();
    assert!(log.contains(&format!("{address} was taken from workers without a supervisor")), "{log}");
    let now = supervisor.await_healthy(2);
    assert!(now.iter().all(|pid| !workers.contains(pid)) && workers.iter().all(|pid| is_alive(*pid)));
    // It is the same socket, with whoever waits there.
    drop(waiting);
    for pid in workers_of(&supervisor.folder).into_iter().filter(|pid| !now.contains(pid)) {
        let _ = kill(raw(pid), Signal::SIGKILL);
    }
    TcpStream::connect(address).expect("somebody listens");
    assert!(is_ok(&command(&supervisor, &["die"])));
    assert_eq!(supervisor.await_exit(), 0);
    TcpStream::connect(address).expect_err("nobody listens");
}

#[test]
fn adopt_takes_nothing_from_anybody_else() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let mut supervisor = Supervisor::start(&["--adopt", "-b", &address.to_string(), "sleep", "600"]);
    assert_eq!(supervisor.await_exit(), 1);
    let log = supervisor.log();
    assert!(log.contains("Address already in use"), "{log}");
    // Nor from one whose supervisor is there.
    let (mut first, _, _) = start(Amid::Nothing);
    let bind = format!("{},r", first.address(0));
    let mut second = Supervisor::start(&["--adopt", "-b", &bind, "sleep", "600"]);
    assert_eq!(second.await_exit(), 1);
    assert!(second.log().contains("and its supervisor (pid "), "{}", second.log());
}
