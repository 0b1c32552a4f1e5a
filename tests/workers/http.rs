//! An HTTP worker that is replaced without a dropped connection: an example to copy from.
//!
//! It answers every GET with one line that says who answered. Started by the supervisor it serves the
//! inherited sockets, started by hand it listens on 127.0.0.1:8080:
//!
//! ```text
//! einhyrningsins -m -n 4 -b 127.0.0.1:8080,r,n target/debug/examples/http
//! ```
//!
//! One thread waits in one [`Poll`] for sockets and signals. What makes the replacement smooth is in
//! [`Server::drain`], [`Server::expire`] and [`Connection::advance`]: stop accepting; answer whoever
//! still asks, with `Connection: close`; leave idle clients a moment, since their next request may be
//! under way; end every connection with a FIN, not with a RST.
//!
//! Settings, from the environment: `DEMO_VERSION` (shown in the answers), `DEMO_LINGER` (seconds that
//! an idle connection is left after the stop signal), `DEMO_ADDR` (where to listen without supervisor).
#![expect(clippy::disallowed_methods, reason = "a worker keeps its own time")]

use einhyrningsins::worker;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use nix::sys::signal::Signal;
use signal_hook_mio::v1_0::Signals;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};
use std::{env, process};

/// How long a connection may stay without a request; how long a request or an answer may take.
const IDLE: Duration = Duration::from_secs(60);
const TRANSFER: Duration = Duration::from_secs(5);
/// How long an idle connection is left for a next request after USR2; after TERM or INT.
const LINGER_SECS: f64 = 2.0;
const HURRY_SECS: f64 = 0.5;
/// How long to wait for the client's FIN after ours.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long to leave the listeners alone when the system cannot accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The longest request, in bytes; how many steps a connection may take before others have a turn.
const MAX_HEAD: usize = 8 * 1024;
const TURN: usize = 64;

const SIGNALS: Token = Token(usize::MAX);
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

#[allow(dead_code, reason = "not called where this file is a module of another program")]
pub(crate) fn main() -> process::ExitCode {
    match serve() {
        Ok(()) => process::ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("cannot serve: {error}"));
            process::ExitCode::FAILURE
        }
    }
}

/// Serves until a stop signal has come and the last connection has ended.
pub(crate) fn serve() -> Result<(), Box<dyn Error>> {
    let linger = env::var("DEMO_LINGER").ok().map_or(Ok(LINGER_SECS), |secs| secs.parse())?;
    let mut poll = Poll::new()?;
    // Before the ack: an acknowledged worker may be told to stop at any moment.
    let stop = [Signal::SIGUSR2, Signal::SIGTERM, Signal::SIGINT];
    let mut signals = Signals::new(stop.map(|signal| signal as i32))?;
    poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
    let mut server = Server::new(poll.registry().try_clone()?, listeners()?)?;
    // No reason to give up: without --manual nobody waits for it, and with it the supervisor decides.
    if let Err(error) = worker::ack() {
        complain(&format!("cannot acknowledge: {error}"));
    }
    let mut events = Events::with_capacity(256);
    while !(server.draining && server.connections.is_empty()) {
        match poll.poll(&mut events, server.timeout()) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            match event.token() {
                SIGNALS => {
                    for signal in signals.pending() {
                        let gentle = signal == Signal::SIGUSR2 as i32;
                        let patience = if gentle { linger } else { linger.min(HURRY_SECS) };
                        server.drain(Duration::try_from_secs_f64(patience)?)?;
                    }
                }
                Token(id) if id < server.listeners.len() => server.accept(),
                Token(id) => server.advance(id),
            }
        }
        server.expire();
    }
    Ok(())
}

/// The inherited sockets, or one of our own.
fn listeners() -> Result<Vec<TcpListener>, Box<dyn Error>> {
    let listeners = if worker::is_supervised() {
        (0..worker::socket_count()?).map(worker::listener).collect::<Result<Vec<_>, _>>()?
    } else {
        let address = env::var("DEMO_ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
        let bound = std::net::TcpListener::bind(&address);
        vec![bound.map_err(|error| format!("cannot listen on {address}: {error}"))?]
    };
    if listeners.is_empty() {
        return Err("no socket was inherited; give the supervisor a --bind".into());
    }
    for listener in &listeners {
        // Several workers wake up for one connection and one of them gets it: the others must not
        // block. The setting is shared by all workers, so better let the supervisor make it (`,n`).
        listener.set_nonblocking(true)?;
    }
    Ok(listeners.into_iter().map(TcpListener::from_std).collect())
}

fn complain(message: &str) {
    // Nothing can be done if standard error is closed.
    let _ = writeln!(io::stderr(), "http worker, pid {}: {message}", process::id());
}

/// `None` if the socket can do nothing now, and will report when it can.
fn if_ready<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        other => other.map(Some),
    }
}

struct Server {
    registry: Registry,
    listeners: Vec<TcpListener>,
    /// When to accept again, after the system could not.
    accept_at: Option<Instant>,
    /// By token; the first tokens are the listeners'.
    connections: BTreeMap<usize, Connection>,
    next_id: usize,
    draining: bool,
    /// What is answered.
    line: String,
}

impl Server {
    fn new(registry: Registry, mut listeners: Vec<TcpListener>) -> io::Result<Self> {
        for (id, listener) in listeners.iter_mut().enumerate() {
            registry.register(listener, Token(id), Interest::READABLE)?;
        }
        let index = worker::index().map_or_else(|| "-".to_owned(), |index| index.to_string());
        let version = env::var("DEMO_VERSION").unwrap_or_else(|_| "1".to_owned());
        let line = format!("worker {index} pid {} version {version}\n", process::id());
        let (connections, next_id) = (BTreeMap::new(), listeners.len());
        Ok(Self { registry, listeners, accept_at: None, connections, next_id, draining: false, line })
    }

    /// Accepts until nothing is left, for readiness is reported once.
    fn accept(&mut self) {
        self.accept_at = None;
        for listener in &self.listeners {
            loop {
                match if_ready(listener.accept()) {
                    Ok(Some((mut stream, _))) => {
                        if self.registry.register(&mut stream, Token(self.next_id), BOTH).is_ok() {
                            self.connections.insert(self.next_id, Connection::new(stream));
                            self.next_id += 1;
                        }
                    }
                    Ok(None) => break,
                    Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        // Out of descriptors, most likely. Trying at once would only spin; another
                        // worker may take the connection meanwhile.
                        complain(&format!("cannot accept: {error}"));
                        self.accept_at = Some(Instant::now() + ACCEPT_PAUSE);
                        break;
                    }
                }
            }
        }
    }

    /// Takes a connection as far as it goes now.
    fn advance(&mut self, id: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let goes_on = match connection.advance(self.draining, &self.line) {
            Ok(Next::Wait) => true,
            // Registering anew makes what is ready now be reported once more.
            Ok(Next::Again) => self.registry.reregister(&mut connection.stream, Token(id), BOTH).is_ok(),
            Ok(Next::End) | Err(_) => false,
        };
        if !goes_on {
            self.connections.remove(&id);
        }
    }

    /// Stops accepting, and leaves every idle connection `linger` for one more request.
    fn drain(&mut self, linger: Duration) -> io::Result<()> {
        self.draining = true;
        self.accept_at = None;
        for mut listener in self.listeners.drain(..) {
            // Closing is not enough: the supervisor has the same socket, so it would stay registered.
            self.registry.deregister(&mut listener)?;
        }
        for connection in self.connections.values_mut() {
            let patience = if connection.is_idle() { linger } else { TRANSFER };
            connection.deadline = connection.deadline.min(Instant::now() + patience);
        }
        Ok(())
    }

    fn timeout(&self) -> Option<Duration> {
        let first = self.connections.values().map(|it| it.deadline).chain(self.accept_at).min();
        first.map(|first| first.saturating_duration_since(Instant::now()))
    }

    /// Does what is due.
    fn expire(&mut self) {
        let now = Instant::now();
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept();
        }
        let due = self.connections.iter().filter(|(_, it)| it.deadline <= now);
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            // A request may have come in at the last moment: look once more before closing.
            self.advance(id);
            match self.connections.get_mut(&id) {
                Some(connection) if connection.deadline <= now => match connection.stage {
                    Stage::Serving => {
                        connection.stage = Stage::LastAnswer;
                        connection.deadline = now + GOODBYE;
                        self.advance(id);
                    }
                    Stage::LastAnswer | Stage::Goodbye => drop(self.connections.remove(&id)),
                },
                _ => {}
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Serving,
    /// What is in `output`, if anything, is the last.
    LastAnswer,
    /// Our side is shut. What the client sends is read and dropped until it closes too: closing with
    /// unread data would reset the connection, and the client might lose the last answer.
    Goodbye,
}

enum Next {
    Wait,
    /// There is more to do, after the others had their turn.
    Again,
    End,
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    stage: Stage,
    deadline: Instant,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let deadline = Instant::now() + IDLE;
        Self { stream, input: Vec::new(), output: Vec::new(), stage: Stage::Serving, deadline }
    }

    fn is_idle(&self) -> bool {
        self.stage == Stage::Serving && self.input.is_empty() && self.output.is_empty()
    }

    fn advance(&mut self, draining: bool, line: &str) -> io::Result<Next> {
        for _ in 0..TURN {
            // One answer at a time: a client that does not read is not read from either.
            while !self.output.is_empty() {
                let Some(count) = if_ready(self.stream.write(&self.output))? else { return Ok(Next::Wait) };
                self.output.drain(..count);
            }
            if self.stage == Stage::LastAnswer {
                self.stream.shutdown(Shutdown::Write)?;
                self.stage = Stage::Goodbye;
                self.deadline = Instant::now() + GOODBYE;
            }
            if self.stage == Stage::Serving {
                match parse(&self.input) {
                    Ok(None) => {}
                    Ok(Some(request)) => {
                        self.input.drain(..request.length);
                        // Of several requests sent at once, the last gets the `Connection: close`.
                        let last = draining && self.input.is_empty();
                        self.answer("200 OK", line, request.keep_alive && !last);
                        continue;
                    }
                    Err(status) => {
                        self.answer(status, &format!("{status}\n"), false);
                        continue;
                    }
                }
            }
            let mut buffer = [0; 4096];
            let Some(count) = if_ready(self.stream.read(&mut buffer))? else { return Ok(Next::Wait) };
            if count == 0 {
                return Ok(Next::End);
            }
            if self.stage == Stage::Serving {
                if self.input.is_empty() {
                    self.deadline = Instant::now() + TRANSFER;
                }
                self.input.extend(buffer.iter().take(count));
            }
        }
        Ok(Next::Again)
    }

    fn answer(&mut self, status: &str, body: &str, keep_alive: bool) {
        let length = body.len();
        let connection = if keep_alive { "keep-alive" } else { "close" };
        self.stage = if keep_alive { Stage::Serving } else { Stage::LastAnswer };
        // What is left of the input is the beginning of the next request.
        let idle = keep_alive && self.input.is_empty();
        self.deadline = Instant::now() + if idle { IDLE } else { TRANSFER };
        self.output = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\nConnection: {connection}\r\n\r\n{body}"
        )
        .into_bytes();
    }
}

struct Request {
    /// In bytes, from the start of the input.
    length: usize,
    keep_alive: bool,
}

/// The first request in `input`, if it is there as a whole; or the status that answers what is none.
fn parse(input: &[u8]) -> Result<Option<Request>, &'static str> {
    const BAD: &str = "400 Bad Request";
    let end = input.windows(4).position(|four| four == b"\r\n\r\n");
    if end.unwrap_or(input.len()) > MAX_HEAD {
        return Err("431 Request Header Fields Too Large");
    }
    let Some(head) = end.and_then(|end| input.get(..end)) else { return Ok(None) };
    let mut lines = str::from_utf8(head).map_err(|_| BAD)?.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let &[method, _, version] = words.as_slice() else { return Err(BAD) };
    let (mut keep, mut close) = match version {
        "HTTP/1.1" => (true, false),
        "HTTP/1.0" => (false, false),
        _ => return Err("505 HTTP Version Not Supported"),
    };
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(BAD)?;
        match name.to_ascii_lowercase().as_str() {
            "connection" => {
                for option in value.split(',').map(str::trim) {
                    keep |= option.eq_ignore_ascii_case("keep-alive");
                    close |= option.eq_ignore_ascii_case("close");
                }
            }
            "content-length" if value.trim() == "0" => {}
            "content-length" | "transfer-encoding" => return Err("413 Content Too Large"),
            _ => {}
        }
    }
    if method != "GET" {
        return Err("405 Method Not Allowed");
    }
    Ok(Some(Request { length: head.len() + 4, keep_alive: keep && !close }))
}
