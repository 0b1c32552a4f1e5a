//! What it costs the service to be watched: how long requests to workers take while upgrades run, without anybody who
//! looks and with fifty readers of events and a thousand scrapes of `serve`, in turns. Run by
//! `cargo bench --bench watched`.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and prints what it finds"
)]

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How often each is measured, in turns.
const ROUNDS: usize = 8;

/// How many requests are asked in each turn, one after the other, each over a connection of its own.
const REQUESTS: usize = 10_000;

/// How many read events.
const READERS: usize = 50;

/// How many scrapes there are in all of the turns with them.
const SCRAPES: u32 = 1_000;

/// How long between two scrapes: a hundred times as often as one would.
const PAUSE: Duration = Duration::from_millis(10);

/// How long anything may take before the benchmark has failed.
const DEADLINE: Duration = Duration::from_secs(30);

fn main() -> io::Result<()> {
    if env::args().all(|argument| argument != "--bench") {
        println!("nothing measured: `cargo bench` does that");
        return Ok(());
    }
    let service = Service::start()?;
    let (mut alone, mut watched) = (Vec::new(), Vec::new());
    let (scrapes, events, upgrades) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    for round in 0..ROUNDS {
        // Whoever goes second finds warm caches.
        for is_watched in [round % 2 == 0, round % 2 == 1] {
            let times = service.measure(is_watched, &scrapes, &events, &upgrades)?;
            if is_watched { watched.extend(times) } else { alone.extend(times) }
        }
    }
    let [upgrades, events, scrapes] = [upgrades, events, scrapes].map(AtomicU32::into_inner);
    println!("\n{upgrades} upgrades, {events} events read, {scrapes} scrapes");
    println!("{:<24}{:>12}{:>12}{:>8}", "requests, in µs", "alone", "watched", "ratio");
    for (what, share) in [("median", 0.5), ("99th percentile", 0.99), ("99.9th percentile", 0.999)] {
        let [alone, watched] = [&mut alone, &mut watched].map(|times| quantile(times, share));
        println!("{what:<24}{alone:>12.1}{watched:>12.1}{:>8.2}", watched / alone);
    }
    Ok(())
}

fn quantile(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let at = (times.len().saturating_sub(1) as f64 * share) as usize;
    times.get(at).copied().unwrap_or(f64::NAN)
}

/// A service of four workers, and what serves its metrics.
struct Service {
    folder: PathBuf,
    children: Vec<Child>,
    address: SocketAddr,
}

impl Service {
    fn start() -> io::Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("watched-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let socket = folder.join("control");
        let quiet = |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let supervisor = quiet(
            Command::new(env!("CARGO_BIN_EXE_einhyrningsins"))
                .args(["--demo", "-n", "4", "-b", "127.0.0.1:0,r,n", "-d"])
                .arg(&socket),
        )?;
        let mut service = Self { folder, children: vec![supervisor], address: SocketAddr::from(([0; 4], 0)) };
        let status = service
            .until(|| service.ask("status", &[]).ok().filter(|line| line.contains("\"healthy\":4")))?;
        let address = status.split("\"listeners\":[\"").nth(1).and_then(|rest| rest.split('"').next());
        service.address =
            address.and_then(|address| address.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let metrics = format!("unix:{}", service.metrics().display());
        let client = env!("CARGO_BIN_EXE_einhyrningsinsctl");
        service
            .children
            .push(quiet(Command::new(client).arg("-d").arg(&socket).args(["serve", "--listen", &metrics]))?);
        service.until(|| service.scrape().ok())?;
        Ok(service)
    }

    fn metrics(&self) -> PathBuf {
        self.folder.join("metrics")
    }

    fn until<T>(&self, mut ask: impl FnMut() -> Option<T>) -> io::Result<T> {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask() {
                return Ok(answer);
            }
            if start.elapsed() > DEADLINE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn open(&self, command: &str, args: &[&str]) -> io::Result<BufReader<UnixStream>> {
        let mut stream = UnixStream::connect(self.folder.join("control"))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let args: Vec<_> = args.iter().map(|arg| format!("\"{arg}\"")).collect();
        stream
            .write_all(format!("{{\"command\":\"{command}\",\"args\":[{}]}}\n", args.join(",")).as_bytes())?;
        Ok(BufReader::new(stream))
    }

    /// The last line of an answer.
    fn ask(&self, command: &str, args: &[&str]) -> io::Result<String> {
        let mut lines = self.open(command, args)?;
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if !line.contains("\"wait\":true") {
                return Ok(line);
            }
        }
    }

    fn scrape(&self) -> io::Result<()> {
        let mut stream = UnixStream::connect(self.metrics())?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(io::Error::other(answer)) }
    }

    fn request(&self) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(io::Error::other(answer)) }
    }

    /// How long each request took, in µs, while the workers are replaced again and again.
    fn measure(
        &self,
        is_watched: bool,
        scrapes: &AtomicU32,
        events: &AtomicU32,
        upgrades: &AtomicU32,
    ) -> io::Result<Vec<f64>> {
        let over = AtomicBool::new(false);
        let is_over = || over.load(Ordering::Relaxed);
        thread::scope(|scope| {
            let upgrade = scope.spawn(|| {
                while !is_over() {
                    let answer = self.ask("upgrade", &[])?;
                    if !answer.contains("\"ok\":true") {
                        return Err(io::Error::other(answer));
                    }
                    upgrades.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(100));
                }
                io::Result::Ok(())
            });
            let mut readers = Vec::new();
            if is_watched {
                for _ in 0..READERS {
                    let mut lines = self.open("events", &[])?;
                    readers.push(lines.get_ref().try_clone()?);
                    scope.spawn(move || {
                        let mut line = String::new();
                        while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                            events.fetch_add(1, Ordering::Relaxed);
                            line.clear();
                        }
                    });
                }
                scope.spawn(|| {
                    while !is_over() && scrapes.load(Ordering::Relaxed) < SCRAPES {
                        if self.scrape().is_ok() {
                            scrapes.fetch_add(1, Ordering::Relaxed);
                        }
                        thread::sleep(PAUSE);
                    }
                });
            }
            let time = |_| {
                let asked = Instant::now();
                self.request().map(|()| asked.elapsed().as_secs_f64() * 1e6)
            };
            let times: io::Result<Vec<f64>> = (0..REQUESTS).map(time).collect();
            over.store(true, Ordering::Relaxed);
            for reader in readers {
                reader.shutdown(std::net::Shutdown::Both)?;
            }
            upgrade.join().map_err(|_| io::Error::other("the upgrades have failed"))??;
            times
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let pid = i32::try_from(child.id()).map(Pid::from_raw);
            let _ = pid.map(|pid| kill(pid, Signal::SIGTERM));
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
