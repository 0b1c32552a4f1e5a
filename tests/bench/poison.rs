//! Requests that kill the worker that takes them, among many that do not: what that costs the others, and for
//! how long nobody is there to accept.

use crate::{Programs, Running, Who, millis};
use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How many workers there are, and as many clients, each of which asks again as soon as it has an answer.
const WORKERS: usize = 4;

/// One request in how many is poisonous.
const ONE_IN: usize = 100;

/// How long a client waits for an answer: longer than any worker is away.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of it.
pub(crate) struct Outcome {
    /// Requests that were not poisonous and were not answered.
    pub(crate) failed: f64,
    /// The longest time in which no worker accepted, in ms.
    pub(crate) deserted: f64,
}

/// A worker more, or one less.
struct Change {
    at: Instant,
    more: bool,
}

/// Has as many requests asked of workers that are supervised by `who`.
pub(crate) fn ask_all(programs: &Programs, who: Who, requests: usize) -> io::Result<Outcome> {
    let (mut running, address) = supervise(programs, who)?;
    running.await_workers(WORKERS)?;
    let (number, failed, changes) = (AtomicUsize::new(1), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let note = |more| {
        let change = Change { at: Instant::now(), more };
        changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    };
    let client = || {
        loop {
            match number.fetch_add(1, Ordering::Relaxed) {
                number if number > requests => return,
                number if number.is_multiple_of(ONE_IN) => {
                    // It is gone, whether the connection was closed or reset.
                    let _ = ask(address, b"poison");
                    note(false);
                }
                _ if ask(address, b"how are you").is_ok_and(|answer| answer == b"well") => {}
                _ => drop(failed.fetch_add(1, Ordering::Relaxed)),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(client);
        }
        // Each that was killed is replaced, the last ones a while after everything was asked.
        for _ in 0..requests / ONE_IN {
            running.await_workers(1)?;
            note(true);
        }
        io::Result::Ok(())
    })?;
    running.end()?;
    let changes = changes.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failed = u32::try_from(failed.into_inner()).map_or(f64::INFINITY, f64::from);
    Ok(Outcome { failed, deserted: millis(longest_without(changes)) })
}

/// How long a worker takes to its first byte without any supervisor, in ms: the shortest of a few times, which
/// nobody can beat.
pub(crate) fn own_start(programs: &Programs) -> io::Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..20 {
        let (listener, started) = (TcpListener::bind("127.0.0.1:0")?, Instant::now());
        let mut command = Command::new(&programs.server);
        command.stdin(OwnedFd::from(listener)).stdout(Stdio::piped());
        let mut running = Running::new(command.spawn()?, started, programs.socket())?;
        running.await_workers(1)?;
        least = least.min(millis(started.elapsed()));
        running.end()?;
    }
    Ok(least)
}

/// A supervisor of workers that accept from one socket, and where to find them.
fn supervise(programs: &Programs, who: Who) -> io::Result<(Running, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut command = programs.supervisor(who, WORKERS)?;
    match who {
        Who::Ours => {
            drop(listener);
            command.args(["-b", &format!("{address},r"), "--"]).stdin(Stdio::null());
        }
        Who::Floor => drop(command.stdin(OwnedFd::from(listener))),
    }
    let started = Instant::now();
    let child = command.arg(&programs.server).stdout(Stdio::piped()).spawn()?;
    Ok((Running::new(child, started, programs.socket())?, address))
}

/// What comes back on a connection of its own.
fn ask(address: SocketAddr, what: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(what)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// The longest time in which there was no worker.
fn longest_without(mut changes: Vec<Change>) -> Duration {
    changes.sort_by_key(|change| change.at);
    let (mut there, mut since, mut longest) = (WORKERS, None, Duration::ZERO);
    for Change { at, more } in changes {
        // A replacement may be seen before the end of the one that it replaces: for a moment there are more.
        there = if more { there.saturating_add(1) } else { there.saturating_sub(1) };
        match since {
            None if there == 0 => since = Some(at),
            Some(then) if there > 0 => {
                longest = longest.max(at.duration_since(then));
                since = None;
            }
            None | Some(_) => {}
        }
    }
    longest
}
