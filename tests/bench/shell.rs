//! What the supervisor costs next to a bare loop in C that starts processes and waits for them, measured
//! in turns on the same machine at the same time. Run by `cargo bench --bench shell`; takes a C compiler.
//!
//! Workers say that they run with one byte on their standard output, which is a pipe to here.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and prints what it finds"
)]

mod poison;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long anything may take before the benchmark has failed.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long an idle supervisor is watched.
const WATCH: Duration = Duration::from_secs(3);

/// How many requests are asked while one in a hundred kills its worker, unless BENCH_REQUESTS says so.
const REQUESTS: usize = 10_000;

/// How often one of four workers is killed, a second apart, unless BENCH_KILLS says so.
const KILLS: usize = 20;

/// Who supervises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Ours,
    Floor,
}

/// The programs that are measured.
struct Programs {
    floor: PathBuf,
    worker: PathBuf,
    /// A worker that has clients.
    server: PathBuf,
    /// For control sockets and logs.
    folder: PathBuf,
}

/// A supervisor with its workers.
struct Running {
    child: Child,
    bytes: ChildStdout,
    started: Instant,
    socket: PathBuf,
}

/// A line of the table.
struct Figure {
    what: String,
    unit: &'static str,
    ours: Measured,
    floor: Measured,
    target: Target,
}

/// What was measured: the figure, and what it could be on a machine that has nothing else to do; that is not a
/// number where it makes no sense.
#[derive(Clone, Copy, Debug)]
struct Measured {
    median: f64,
    best: f64,
}

/// What is asked of the ratio, or of the figure itself.
enum Target {
    Ratio(f64),
    Most(f64),
}

fn main() -> io::Result<()> {
    if env::args().all(|argument| argument != "--bench") {
        println!("nothing measured: `cargo bench` does that");
        return Ok(());
    }
    let Some(programs) = Programs::compile()? else {
        println!("SKIPPED: no C compiler (`cc`), so there is no floor to compare with");
        return Ok(());
    };
    println!("\n{:<30}{:>12}{:>12}{:>8}{:>8}{:>11}", "medians", "figure", "floor", "ratio", "best", "target");
    starts(&programs)?;
    respawns(&programs)?;
    sizes(&programs)?;
    poisoned(&programs)?;
    let [ours, floor] = in_turns(5, |who| programs.round_trips(who))?;
    let what = "control round trip".to_owned();
    show(&Figure { what, unit: "µs", ours, floor, target: Target::Most(40.0) });
    let [ours, floor] = in_turns(1, |who| Ok(vec![programs.watch(who)?]))?;
    let what = format!("wakes in {} s with 100 idle", WATCH.as_secs());
    show(&Figure { what, unit: "", ours, floor, target: Target::Most(0.0) });
    Ok(())
}

fn starts(programs: &Programs) -> io::Result<()> {
    for (workers, rounds, most) in [(1, 31, 1.3), (10, 21, 1.15), (100, 9, 1.15), (1_000, 5, 1.15)] {
        let what = match workers {
            1 => "start to first worker".to_owned(),
            _ => format!("start of {workers} workers"),
        };
        let [ours, floor] = in_turns(rounds, |who| {
            let mut running = programs.start(who, workers, workers)?;
            let elapsed = running.started.elapsed();
            running.end()?;
            Ok(vec![millis(elapsed)])
        })?;
        show(&Figure { what, unit: "ms", ours, floor, target: Target::Ratio(most) });
    }
    Ok(())
}

fn respawns(programs: &Programs) -> io::Result<()> {
    let [ours, floor] = in_turns(5, |who| programs.replace_one_by_one(who))?;
    let what = "respawn after one kill".to_owned();
    show(&Figure { what, unit: "ms", ours, floor, target: Target::Ratio(1.15) });
    let [ours, floor] = programs.replace_each_second(asked("BENCH_KILLS", KILLS))?;
    let worst = [worst(&ours), worst(&floor)];
    let what = "respawn, a kill a second".to_owned();
    let (ours, floor) = (summary(ours), summary(floor));
    show(&Figure { what, unit: "ms", ours, floor, target: Target::Ratio(1.2) });
    let what = "the same, 99th percentile".to_owned();
    let [ours, floor] = worst;
    show(&Figure { what, unit: "ms", ours, floor, target: Target::Ratio(3.0) });
    let [ours, floor] = in_turns(9, |who| Ok(vec![programs.replace_all(who)?]))?;
    let what = "100 replaced after 100 kills".to_owned();
    show(&Figure { what, unit: "ms", ours, floor, target: Target::Ratio(1.15) });
    Ok(())
}

fn sizes(programs: &Programs) -> io::Result<()> {
    for (workers, most) in [(1, 1.3), (1_000, 2.0)] {
        let [ours, floor] = in_turns(1, |who| {
            let mut running = programs.start(who, workers, workers)?;
            let size = running.size();
            running.end()?;
            Ok(vec![size?])
        })?;
        let what = format!("PSS with {workers}");
        show(&Figure { what, unit: "MiB", ours, floor, target: Target::Most(most) });
    }
    Ok(())
}

fn poisoned(programs: &Programs) -> io::Result<()> {
    let requests = asked("BENCH_REQUESTS", REQUESTS);
    let start = poison::own_start(programs)?;
    let [ours, floor] = [Who::Ours, Who::Floor].map(|who| poison::ask_all(programs, who, requests));
    let (ours, floor) = (ours?, floor?);
    let once = |median| Measured { median, best: f64::NAN };
    let what = format!("failed of {requests}, 1 % poison");
    let (failed, of_floor) = (once(ours.failed), once(floor.failed));
    show(&Figure { what, unit: "", ours: failed, floor: of_floor, target: Target::Most(0.0) });
    let what = "longest with no worker".to_owned();
    let (ours, floor) = (once(ours.deserted), once(floor.deserted));
    show(&Figure { what, unit: "ms", ours, floor, target: Target::Most(start) });
    Ok(())
}

/// A number from the environment.
fn asked(name: &str, otherwise: usize) -> usize {
    env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

fn show(figure: &Figure) {
    let Figure { what, unit, ours, floor, target } = figure;
    let with_unit = |number: f64| format!("{number:.2} {unit:<3}");
    let ratio = |ours: f64, floor: f64| (floor > 0.0).then(|| ours / floor);
    let (typical, best) = (ratio(ours.median, floor.median), ratio(ours.best, floor.best));
    let (met, target) = match target {
        Target::Ratio(most) => (typical.is_some_and(|ratio| ratio <= *most), format!("{most}×")),
        Target::Most(most) => (ours.median <= *most, format!("{} {unit}", (most * 100.0).round() / 100.0)),
    };
    let as_text = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    println!(
        "{what:<30}{:>12}{:>12}{:>8}{:>8}{:>11}{}",
        with_unit(ours.median),
        with_unit(floor.median),
        as_text(typical),
        as_text(best),
        format!("≤ {target}"),
        if met { "" } else { "  missed" }
    );
}

/// Measures both in turns.
fn in_turns(rounds: usize, measure: impl Fn(Who) -> io::Result<Vec<f64>>) -> io::Result<[Measured; 2]> {
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Whoever goes second finds warm caches.
        let order = if round % 2 == 0 { [Who::Ours, Who::Floor] } else { [Who::Floor, Who::Ours] };
        for who in order {
            match who {
                Who::Ours => ours.extend(measure(who)?),
                Who::Floor => floor.extend(measure(who)?),
            }
        }
    }
    Ok([summary(ours), summary(floor)])
}

fn summary(mut numbers: Vec<f64>) -> Measured {
    numbers.sort_by(f64::total_cmp);
    let at = |position: usize| numbers.get(position).copied().unwrap_or(f64::NAN);
    Measured { median: at(numbers.len() / 2), best: at(0) }
}

/// The 99th percentile, which is the highest of a hundred or fewer.
fn worst(numbers: &[f64]) -> Measured {
    let mut numbers = numbers.to_vec();
    numbers.sort_by(f64::total_cmp);
    let below = numbers.len().saturating_sub(1) / 100;
    Measured { median: numbers.iter().rev().nth(below).copied().unwrap_or(f64::NAN), best: f64::NAN }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Programs {
    /// Compiles what is written in C. `None` without a compiler.
    fn compile() -> io::Result<Option<Self>> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
        fs::create_dir_all(&folder)?;
        let [floor, worker, server] = ["floor", "worker", "server"].map(|name| folder.join(name));
        // A worker without shared libraries is quicker to start, and hides less of what is measured.
        let lean = |source, output: &PathBuf| {
            Ok::<_, io::Error>(compile(source, output, &["-static"])? || compile(source, output, &[])?)
        };
        let done =
            compile("floor.c", &floor, &[])? && lean("worker.c", &worker)? && lean("server.c", &server)?;
        Ok(done.then_some(Self { floor, worker, server, folder }))
    }

    /// Where the supervisor has its control socket.
    fn socket(&self) -> PathBuf {
        self.folder.join(format!("control-{}", std::process::id()))
    }

    /// A supervisor of that many workers; what they run, and whatever stands before that, is to be added.
    fn supervisor(&self, who: Who, workers: usize) -> io::Result<Command> {
        let workers = workers.to_string();
        let mut command = Command::new(match who {
            Who::Ours => Path::new(env!("CARGO_BIN_EXE_einhyrningsins")),
            Who::Floor => &self.floor,
        });
        match who {
            Who::Ours => command.args(["--ack-after", "0", "-n", &workers, "-d"]).arg(self.socket()),
            Who::Floor => command.arg(workers),
        };
        command.stderr(fs::File::create(self.folder.join("log"))?);
        Ok(command)
    }

    /// Starts a supervisor and waits until `running` of its workers do.
    fn start(&self, who: Who, workers: usize, running: usize) -> io::Result<Running> {
        let mut command = self.supervisor(who, workers)?;
        if who == Who::Ours {
            command.arg("--");
        }
        command.arg(&self.worker).stdin(Stdio::null()).stdout(Stdio::piped());
        let started = Instant::now();
        let mut running_now = Running::new(command.spawn()?, started, self.socket())?;
        running_now.await_workers(running)?;
        Ok(running_now)
    }

    /// Kills some workers one after the other, each in another slot. How long each was away, in ms.
    fn replace_one_by_one(&self, who: Who) -> io::Result<Vec<f64>> {
        let mut running = self.start(who, 20, 20)?;
        let mut times = Vec::new();
        for worker in running.workers()? {
            // Past whatever the last one left to be done.
            thread::sleep(Duration::from_millis(2));
            let killed = Instant::now();
            send(worker, Signal::SIGKILL)?;
            running.await_workers(1)?;
            times.push(millis(killed.elapsed()));
        }
        running.end()?;
        Ok(times)
    }

    /// Has both supervise four workers, and kills the oldest of each every second. How long each was away, in ms.
    fn replace_each_second(&self, kills: usize) -> io::Result<[Vec<f64>; 2]> {
        let mut both = [self.start(Who::Ours, 4, 4)?, self.start(Who::Floor, 4, 4)?];
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..kills {
            for (running, times) in both.iter_mut().zip(&mut times) {
                // The other one's turn is half a second later, when this one has nothing left to do.
                thread::sleep(Duration::from_millis(500));
                let oldest = running.workers()?.first().copied().ok_or(io::ErrorKind::NotFound)?;
                let killed = Instant::now();
                send(oldest, Signal::SIGKILL)?;
                running.await_workers(1)?;
                times.push(millis(killed.elapsed()));
            }
        }
        for running in &mut both {
            running.end()?;
        }
        Ok(times)
    }

    /// Kills all of 100 workers at once. How long until as many run again, in ms.
    fn replace_all(&self, who: Who) -> io::Result<f64> {
        let mut running = self.start(who, 100, 100)?;
        let workers = running.workers()?;
        let killed = Instant::now();
        for worker in workers {
            send(worker, Signal::SIGKILL)?;
        }
        running.await_workers(100)?;
        let time = millis(killed.elapsed());
        running.end()?;
        Ok(time)
    }

    /// Asks for something over one connection, again and again. How long each took, in µs.
    fn round_trips(&self, who: Who) -> io::Result<Vec<f64>> {
        let mut running = match who {
            Who::Ours => self.start(who, 1, 1)?,
            Who::Floor => self.start_echo()?,
        };
        let mut stream = running.connect()?;
        let mut answers = BufReader::new(stream.try_clone()?);
        let mut answer = String::new();
        let mut times = Vec::new();
        for _ in 0..2_000 {
            let asked = Instant::now();
            stream.write_all(b"{\"command\":\"version\"}\n")?;
            answer.clear();
            answers.read_line(&mut answer)?;
            times.push(asked.elapsed().as_secs_f64() * 1e6);
        }
        drop((stream, answers));
        running.end()?;
        Ok(times)
    }

    fn start_echo(&self) -> io::Result<Running> {
        let socket = self.folder.join(format!("echo-{}", std::process::id()));
        let _ = fs::remove_file(&socket);
        let child = Command::new(&self.floor).arg("echo").arg(&socket).stdout(Stdio::piped()).spawn()?;
        Running::new(child, Instant::now(), socket)
    }

    /// How often a supervisor wakes with nothing to do.
    fn watch(&self, who: Who) -> io::Result<f64> {
        let mut running = self.start(who, 100, 100)?;
        thread::sleep(Duration::from_secs(1));
        let before = running.wakes()?;
        thread::sleep(WATCH);
        let wakes = running.wakes()? - before;
        running.end()?;
        Ok(wakes)
    }
}

fn compile(source: &str, output: &Path, flags: &[&str]) -> io::Result<bool> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench").join(source);
    let done = Command::new("cc")
        .arg("-O2")
        .args(flags)
        .arg("-o")
        .arg(output)
        .arg(source)
        .stderr(Stdio::null())
        .status();
    match done {
        Ok(status) => Ok(status.success()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    Ok(kill(Pid::from_raw(pid), signal)?)
}

impl Running {
    fn new(mut child: Child, started: Instant, socket: PathBuf) -> io::Result<Self> {
        let bytes = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, bytes, started, socket })
    }

    /// Waits until that many more workers have said that they run.
    fn await_workers(&mut self, count: usize) -> io::Result<()> {
        let mut missing = count;
        let mut buffer = [0; 4096];
        while missing > 0 {
            let room = buffer.get_mut(..missing.min(4096)).unwrap_or_default();
            match self.bytes.read(room)? {
                0 => return Err(io::Error::other("the supervisor ended")),
                read => missing -= read,
            }
        }
        Ok(())
    }

    fn proc(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))
    }

    fn workers(&self) -> io::Result<Vec<u32>> {
        let list = self.proc(&format!("task/{}/children", self.child.id()))?;
        let all: io::Result<Vec<u32>> =
            list.split_whitespace().map(|word| word.parse().map_err(io::Error::other)).collect();
        Ok(all?.into_iter().filter(|pid| !is_keeper(*pid)).collect())
    }

    /// The supervisor and its keeper.
    fn processes(&self) -> io::Result<Vec<u32>> {
        let own = self.child.id();
        let list = self.proc(&format!("task/{own}/children"))?;
        let all = list.split_whitespace().filter_map(|word| word.parse().ok());
        Ok([own].into_iter().chain(all.filter(|pid| is_keeper(*pid))).collect())
    }

    /// PSS in MiB, with the keeper.
    fn size(&self) -> io::Result<f64> {
        let each = |pid: u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            number(&text, "Pss:")
        };
        Ok(self.processes()?.into_iter().map(each).sum::<io::Result<f64>>()? / 1024.0)
    }

    fn wakes(&self) -> io::Result<f64> {
        self.number("status", "voluntary_ctxt_switches:")
    }

    fn number(&self, file: &str, name: &str) -> io::Result<f64> {
        number(&self.proc(file)?, name)
    }

    fn connect(&self) -> io::Result<UnixStream> {
        let start = Instant::now();
        loop {
            match UnixStream::connect(&self.socket) {
                Err(_) if start.elapsed() < DEADLINE => thread::sleep(Duration::from_millis(1)),
                result => return result,
            }
        }
    }

    fn end(&mut self) -> io::Result<()> {
        send(self.child.id(), Signal::SIGTERM)?;
        self.child.wait().map(drop)
    }
}

impl Drop for Running {
    /// Whatever went wrong, nothing is left behind.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = send(self.child.id(), Signal::SIGSTOP);
            for worker in self.workers().unwrap_or_default() {
                let _ = send(worker, Signal::SIGKILL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = fs::remove_file(&self.socket);
    }
}

/// The number behind a name, in a file of proc(5).
fn number(text: &str, name: &str) -> io::Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).ok_or_else(|| io::Error::other(format!("no {name}")))
}

/// Whether a process is the keeper, which is no worker.
fn is_keeper(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "einhyrn-keeper\n")
}
