//! An HTTP client that keeps asking, and remembers every request that was not answered.
//!
//! It is the judge of "no dropped connection". A request has failed if the connection was refused or
//! reset, ended before the response was complete, took longer than [`TIMEOUT`], or if the status was
//! not 200. Two things are allowed, since HTTP allows them: a response may say `Connection: close`,
//! and a server may close a connection that was idle, before a byte of the next request was sent. A thread
//! that retries allows one more, as HTTP clients do (RFC 9110, 9.2.2): if a kept connection ends before a byte
//! of the answer came, the request is made again on a new one. How often that was so is counted.
#![allow(dead_code, reason = "every test uses the part that it needs")]
#![expect(clippy::disallowed_methods, reason = "latencies are measured here")]

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long a connect, a write or a read may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two requests of one thread: enough load to catch a gap, and processor left for the workers.
const PACE: Duration = Duration::from_millis(1);
/// How many reasons of failure, and how many latencies, a report keeps.
const MAX_REASONS: usize = 20;
const MAX_LATENCIES: usize = 1_000_000;
/// The largest response that is read, in bytes.
const MAX_RESPONSE: usize = 1024 * 1024;

/// What load to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadPlan {
    /// Threads that make a new connection for every request.
    pub(crate) fresh_threads: usize,
    /// Threads that ask on one connection for as long as the server keeps it.
    pub(crate) keepalive_threads: usize,
    /// The same, but they ask again if the connection ends before a byte of an answer.
    pub(crate) retrying_threads: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Requests made, answered or not.
    pub(crate) requests: u64,
    /// Requests that failed.
    pub(crate) failures: u64,
    /// The first reasons.
    pub(crate) failed: Vec<String>,
    /// Answers on connections of their own.
    pub(crate) fresh: u64,
    /// Answers on kept connections.
    pub(crate) keepalive: u64,
    /// How often a kept connection was made anew.
    pub(crate) reconnects: u64,
    /// Requests that were made again, since the server closed their connection as they came.
    pub(crate) retries: u64,
    /// How long answers took, connecting included.
    pub(crate) latencies: Vec<Duration>,
    /// Answers by the version and by the pid that the example workers name in their answers.
    pub(crate) by_version: BTreeMap<String, u64>,
    pub(crate) by_pid: BTreeMap<String, u64>,
}

impl Report {
    /// The latency that a `share` (0 to 1) of the answers did not exceed; zero if there was none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let at = (last as f64 * share.clamp(0.0, 1.0)).round() as usize;
        sorted.get(at).copied().unwrap_or_default()
    }

    fn answered(&mut self, kind: Kind, response: &Response, latency: Duration) {
        match kind {
            Kind::Fresh => self.fresh += 1,
            Kind::KeepAlive | Kind::Retrying => self.keepalive += 1,
        }
        if self.latencies.len() < MAX_LATENCIES {
            self.latencies.push(latency);
        }
        for (word, counts) in [("version", &mut self.by_version), ("pid", &mut self.by_pid)] {
            if let Some(value) = response.word_after(word) {
                *counts.entry(value.to_owned()).or_default() += 1;
            }
        }
    }

    fn failed(&mut self, kind: Kind, error: &io::Error) {
        self.failures += 1;
        if self.failed.len() < MAX_REASONS {
            self.failed.push(format!("{kind:?} request {}: {error}", self.requests));
        }
    }
}

/// Load that is being made, until [`stop`](Load::stop) or until it is dropped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    report: Arc<Mutex<Report>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(addr: SocketAddr, plan: LoadPlan) -> Self {
        let (stop, report) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let kinds = std::iter::repeat_n(Kind::Fresh, plan.fresh_threads)
            .chain(std::iter::repeat_n(Kind::KeepAlive, plan.keepalive_threads))
            .chain(std::iter::repeat_n(Kind::Retrying, plan.retrying_threads));
        let threads = kinds.map(|kind| {
            let client =
                Client { addr, kind, connection: None, stop: Arc::clone(&stop), report: Arc::clone(&report) };
            thread::spawn(|| client.run())
        });
        let threads = threads.collect();
        Self { stop, report, threads }
    }

    /// The report until now.
    pub(crate) fn so_far(&self) -> Report {
        lock(&self.report).clone()
    }

    /// Lets the requests under way come to their end, and reports.
    pub(crate) fn stop(mut self) -> Report {
        self.join();
        let report = self.so_far();
        drop(self);
        report
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                let mut report = lock(&self.report);
                report.failures += 1;
                report.failed.push("a thread of the client panicked".to_owned());
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.join();
    }
}

fn lock(report: &Mutex<Report>) -> MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request on a connection of its own.
pub(crate) fn get(addr: SocketAddr) -> io::Result<Response> {
    Connection::open(addr)?.request(Kind::Fresh)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fresh,
    KeepAlive,
    Retrying,
}

/// One thread of the load.
struct Client {
    addr: SocketAddr,
    kind: Kind,
    connection: Option<Connection>,
    stop: Arc<AtomicBool>,
    report: Arc<Mutex<Report>>,
}

impl Client {
    fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let begin = Instant::now();
            let result = self.ask();
            let latency = begin.elapsed();
            let mut report = lock(&self.report);
            report.requests += 1;
            match result {
                Ok(response) if response.status == 200 => report.answered(self.kind, &response, latency),
                Ok(response) => report.failed(self.kind, &broken(format!("status {}", response.status))),
                Err(error) => report.failed(self.kind, &error),
            }
            drop(report);
            thread::sleep(PACE);
        }
    }

    fn ask(&mut self) -> io::Result<Response> {
        let kept = self.connection.take().filter(Connection::is_open);
        let is_kept = kept.is_some();
        let mut connection = kept.map_or_else(|| self.connect(), Ok)?;
        let mut result = connection.request(self.kind);
        if self.kind == Kind::Retrying && is_kept && result.is_err() && connection.ended_unheard {
            lock(&self.report).retries += 1;
            connection = self.connect()?;
            result = connection.request(self.kind);
        }
        let response = result?;
        if response.closes() {
            // Whoever closes first has the port blocked for a while: let that be the server.
            let _ = connection.stream.read(&mut [0]);
        } else if self.kind != Kind::Fresh {
            self.connection = Some(connection);
        }
        Ok(response)
    }

    fn connect(&self) -> io::Result<Connection> {
        if self.kind != Kind::Fresh {
            lock(&self.report).reconnects += 1;
        }
        Connection::open(self.addr)
    }
}

/// A response, read as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    /// The first header of that (lower-case) name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether the server closes the connection after this.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The word that follows `word` in the body: `worker 2 pid 1234 version 1`.
    pub(crate) fn word_after(&self, word: &str) -> Option<&str> {
        self.body.split_whitespace().skip_while(|found| *found != word).nth(1)
    }

    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':')?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some(Self { status, headers, body: String::new() })
    }
}

struct Connection {
    addr: SocketAddr,
    stream: TcpStream,
    /// Whether it has ended before a byte of the last answer.
    ended_unheard: bool,
}

impl Connection {
    fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, TIMEOUT).map_err(|error| during("connect", &error))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { addr, stream, ended_unheard: false })
    }

    /// Whether the server has left the connection open while it was idle.
    fn is_open(&self) -> bool {
        let peeked = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut [0]));
        let open = matches!(&peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        open && self.stream.set_nonblocking(false).is_ok()
    }

    fn request(&mut self, kind: Kind) -> io::Result<Response> {
        let connection = match kind {
            Kind::Fresh => "close",
            Kind::KeepAlive | Kind::Retrying => "keep-alive",
        };
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: {connection}\r\n\r\n", self.addr);
        let mut received = Vec::new();
        let head = self.exchange(&request, &mut received);
        // One that takes too long is not over.
        let is_late =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        self.ended_unheard = received.is_empty() && head.as_ref().is_err_and(|error| !is_late(error));
        let head = head?;
        let text = String::from_utf8_lossy(received.get(..head).unwrap_or_default()).into_owned();
        let mut response =
            Response::parse(&text).ok_or_else(|| broken(format!("not a response: {text:?}")))?;
        let mut body = received.split_off(head + 4);
        let length: Option<usize> = response.header("content-length").and_then(|it| it.parse().ok());
        while length.is_none_or(|length| body.len() < length) {
            if self.receive(&mut body)? == 0 {
                break;
            }
        }
        if let Some(length) = length
            && length != body.len()
        {
            return Err(broken(format!("a body of {} bytes instead of {length}", body.len())));
        }
        response.body = String::from_utf8_lossy(&body).into_owned();
        Ok(response)
    }

    /// Sends a request and receives at least the head of the answer; returns how long that is.
    fn exchange(&mut self, request: &str, received: &mut Vec<u8>) -> io::Result<usize> {
        self.stream.write_all(request.as_bytes()).map_err(|error| during("send", &error))?;
        loop {
            if let Some(at) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(at);
            }
            if self.receive(received)? == 0 {
                return Err(broken(format!("closed after {} bytes of a head", received.len())));
            }
        }
    }

    fn receive(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        let count = self
            .stream
            .read(&mut buffer)
            .map_err(|error| during(&format!("receive, after {} bytes", into.len()), &error))?;
        into.extend(buffer.iter().take(count));
        if into.len() > MAX_RESPONSE {
            return Err(broken("a response without end".to_owned()));
        }
        Ok(count)
    }
}

fn during(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn broken(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::BufRead as _, io::BufReader, net::TcpListener};

    /// A server that gives each connection one of `answers`, in turn, after it has read a request; the
    /// thread ends once all connections and the listener are closed.
    fn server(answers: &'static [&'static str]) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            for answer in answers {
                let mut reader = BufReader::new(listener.accept().unwrap().0);
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    reader.read_line(&mut line).unwrap();
                }
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        (addr, thread)
    }

    #[test]
    fn a_response_is_read_as_a_whole() {
        let (addr, _thread) =
            server(&["HTTP/1.1 200 OK\r\nContent-Length: 27\r\nX-A: b\r\n\r\nworker 2 pid 12 version 3x\n"]);
        let response = get(addr).unwrap();
        assert_eq!((response.status, response.header("x-a")), (200, Some("b")));
        assert_eq!((response.word_after("pid"), response.word_after("version")), (Some("12"), Some("3x")));
        assert!(!response.closes());
    }

    #[test]
    fn what_is_not_answered_has_failed() {
        let (addr, thread) = server(&[
            "",
            "HTTP/1.1 200",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
            "Hello\r\n\r\n",
        ]);
        let reasons = [(); 4].map(|()| get(addr).unwrap_err().to_string());
        assert_eq!(
            reasons,
            [
                "closed after 0 bytes of a head",
                "closed after 12 bytes of a head",
                "a body of 5 bytes instead of 9",
                "not a response: \"Hello\"",
            ]
        );
        thread.join().unwrap();
        let refused = get(addr).unwrap_err().to_string();
        assert!(refused.starts_with("connect: "), "{refused}");
    }

    #[test]
    fn a_connection_that_was_closed_while_idle_is_noticed() {
        let (addr, thread) = server(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]);
        let mut connection = Connection::open(addr).unwrap();
        assert!(connection.is_open());
        assert_eq!(connection.request(Kind::KeepAlive).unwrap().body, "ok");
        thread.join().unwrap();
        assert!(!connection.is_open());
    }

    #[test]
    fn load_counts_what_was_answered_and_what_was_not() {
        const ANSWER: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nversion 7\n";
        let (addr, thread) = server(&[ANSWER; 5]);
        let load =
            Load::start(addr, LoadPlan { fresh_threads: 0, keepalive_threads: 1, retrying_threads: 0 });
        thread.join().unwrap();
        while load.so_far().failures == 0 {
            thread::sleep(PACE);
        }
        let report = load.stop();
        assert_eq!((report.keepalive, report.fresh, report.latencies.len()), (5, 0, 5));
        assert_eq!(report.by_version, BTreeMap::from([("7".to_owned(), 5)]));
        assert!(report.failed[0].starts_with("KeepAlive request 6: "), "{report:?}");
        assert!(report.reconnects == report.requests && report.requests == report.failures + 5, "{report:?}");
        assert!(report.quantile(0.5) <= report.quantile(0.99));
    }

    #[test]
    fn only_a_request_on_a_kept_connection_is_made_again() {
        let keep = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        for (kind, expected) in [(Kind::Retrying, Some(1)), (Kind::KeepAlive, None), (Kind::Fresh, None)] {
            // One connection is answered once and closed at the next request, the second is answered.
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            let mut client = Client {
                addr,
                kind,
                connection: Some(Connection::open(addr).unwrap()),
                stop: Arc::default(),
                report: Arc::default(),
            };
            let thread = thread::spawn(move || {
                let (mut first, _) = listener.accept().unwrap();
                assert!(first.read(&mut [0; 4096]).unwrap() > 0);
                drop(first);
                if expected.is_some() {
                    let (mut second, _) = listener.accept().unwrap();
                    assert!(second.read(&mut [0; 4096]).unwrap() > 0);
                    second.write_all(keep.as_bytes()).unwrap();
                }
            });
            let result = client.ask().map(|response| response.body);
            thread.join().unwrap();
            assert_eq!(result.ok().as_deref(), expected.map(|_| "ok"), "{kind:?}");
            assert_eq!(lock(&client.report).retries, expected.unwrap_or_default(), "{kind:?}");
        }
    }
}
