//! An HTTP client that keeps asking, and remembers every request that was not answered.
//!
//! It is the judge of "no dropped connection". A request has failed if the connection was refused or
//! reset, ended before the response was complete, took longer than [`TIMEOUT`], or if the status was
//! not 200. Two things are allowed, since HTTP allows them: a response may say `Connection: close`,
//! and a server may close a connection that was idle, before a byte of the next request was sent.
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
            Kind::KeepAlive => self.keepalive += 1,
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
            .chain(std::iter::repeat_n(Kind::KeepAlive, plan.keepalive_threads));
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

#[derive(Clone, Copy, Debug)]
enum Kind {
    Fresh,
    KeepAlive,
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
        let mut connection = match kept {
            Some(connection) => connection,
            None => {
                if matches!(self.kind, Kind::KeepAlive) {
                    lock(&self.report).reconnects += 1;
                }
                Connection::open(self.addr)?
            }
        };
        let response = connection.request(self.kind)?;
        if response.closes() {
            // Whoever closes first has the port blocked for a while: let that be the server.
            let _ = connection.stream.read(&mut [0]);
        } else if matches!(self.kind, Kind::KeepAlive) {
            self.connection = Some(connection);
        }
        Ok(response)
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
}

impl Connection {
    fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, TIMEOUT).map_err(|error| during("connect", &error))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { addr, stream })
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
            Kind::KeepAlive => "keep-alive",
        };
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: {connection}\r\n\r\n", self.addr);
        self.stream.write_all(request.as_bytes()).map_err(|error| during("send", &error))?;

        let mut received = Vec::new();
        let head = loop {
            if let Some(at) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if self.receive(&mut received)? == 0 {
                return Err(broken(format!("closed after {} bytes of a head", received.len())));
            }
        };
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
        let load = Load::start(addr, LoadPlan { fresh_threads: 0, keepalive_threads: 1 });
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
}
