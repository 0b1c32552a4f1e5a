//! Requests that kill the worker that takes them, and workers that end at once by themselves.

use crate::{
    harness::{Folder, Supervisor},
    probe::Trace,
    tools::{python, skip},
};
use einhyrningsins::fsm::action::Action;
use nix::sys::signal::Signal;
use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

/// One connection at a time, so that whoever is killed has no other client's.
const WORKER: &str = r#"import os, socket
listener = socket.socket(fileno=int(os.environ["EINHORN_FD_0"]))
while True:
    client, _ = listener.accept()
    if b"poison" in client.recv(4096):
        os.kill(os.getpid(), 9)
    client.sendall(b"well")
    client.close()
"#;

/// Requests of each client, and one in how many is bad.
const REQUESTS: usize = 250;
const ONE_IN: usize = 100;

/// What comes back for a request on a connection of its own; nothing if that ends without an answer.
fn ask(addr: SocketAddr, what: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    // Longer than any worker's start, and no measure of it.
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(what.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_request_that_kills_its_worker_costs_no_other_request() {
    let Some(python) = python() else {
        return skip("there is no python3");
    };
    let folder = Folder::new();
    let program = folder.script("worker", &format!("#!{python}\n{WORKER}"));
    let args = ["-n", "4", "-b", "127.0.0.1:0", "--ack-after", "0.05", &program];
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    supervisor.await_healthy(4);
    let (addr, number) = (supervisor.address(0), AtomicUsize::new(1));
    let client = || {
        for _ in 0..REQUESTS {
            if number.fetch_add(1, Ordering::Relaxed).is_multiple_of(ONE_IN) {
                let nothing = ask(addr, "poison").unwrap_or_default();
                assert_eq!(nothing, "");
            } else {
                assert_eq!(ask(addr, "how are you").expect("it is answered"), "well");
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(client);
        }
    });
    // Some before they were healthy: they serve from their first moment on.
    supervisor.eventually("all who took a bad request are gone", |supervisor| {
        let killed = supervisor.log().lines().filter(|line| line.contains("killed by SIGKILL")).count();
        (killed >= 4 * REQUESTS / ONE_IN).then_some(())
    });
    supervisor.await_healthy(4);
}

#[test]
fn a_single_worker_that_ends_at_once_for_ever_costs_a_handful_of_starts_a_second() {
    let folder = Folder::new();
    let file = folder.join("trace");
    let trace = file.display().to_string();
    let args = ["-n", "1", "--trace", &trace, "--ack-after", "0", "/bin/sh", "-c", "sleep 0.05"];
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    supervisor.eventually("it has ended often", |me| {
        (me.log().matches("without being asked to").count() >= 25).then_some(())
    });
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
    let trace = Trace::read(&file);
    let starts = trace.actions(|action| matches!(action, Action::Spawn { .. }).then_some(()));
    let first = starts.first().map_or(0, |start| start.at);
    for (number, start) in (1..).zip(&starts) {
        let most = 10 + 7 * (start.at - first) / 1_000;
        assert!(number <= most, "{number} starts after {} ms", start.at - first);
    }
}
