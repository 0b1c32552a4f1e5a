//! What the supervisor costs next to a bare loop in C that starts processes and waits for them, measured
//! in turns on the same machine at the same time. Run by `cargo bench --bench shell`; takes a C compiler.
//!
//! Workers say that they run with one byte on their standard output, which is a pipe to here.
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

/// What was measured: the figure, and what it could be on a machine that has nothing else to do.
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
    for (workers, rounds) in [(1, 31), (10, 21), (100, 9), (1_000, 5)] {
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
        show(&Figure { what, unit: "ms", ours, floor, target: Target::Ratio(1.2) });
    }
    let [ours, floor] = in_turns(5, |who| programs.replace_one_by_one(who))?;
    let what = "respawn after one kill".to_owned();
    show(&Figure { what, unit: "ms", ours, floor, target: Target::Ratio(1.2) });
    let [ours, floor] = in_turns(9, |who| Ok(vec![programs.replace_all(who)?]))?;
    let what = "100 replaced after 100 kills".to_owned();
    show(&Figure { what, unit: "ms", ours, floor, target: Target::Ratio(1.2) });
    for (workers, most) in [(1, 1.2), (1_000, 2.0)] {
        let [ours, floor] = in_turns(1, |who| {
            let mut running = programs.start(who, workers, workers)?;
            let size = running.size();
            running.end()?;
            Ok(vec![size?])
        })?;
        let what = format!("PSS with {workers}");
        show(&Figure { what, unit: "MiB", ours, floor, target: Target::Most(most) });
    }
    let [ours, floor] = in_turns(5, |who| programs.round_trips(who))?;
    let what = "control round trip".to_owned();
    show(&Figure { what, unit: "µs", ours, floor, target: Target::Most(40.0) });
    let [ours, floor] = in_turns(1, |who| Ok(vec![programs.watch(who)?]))?;
    let what = format!("wakes in {} s with 100 idle", WATCH.as_secs());
    show(&Figure { what, unit: "", ours, floor, target: Target::Most(0.0) });
    Ok(())
}

fn show(figure: &Figure) {
    let Figure { what, unit, ours, floor, target } = figure;
    let with_unit = |number: f64| format!("{number:.2} {unit:<3}");
    let ratio = |ours: f64, floor: f64| (floor > 0.0).then(|| ours / floor);
    let (typical, best) = (ratio(ours.median, floor.median), ratio(ours.best, floor.best));
    let (met, target) = match target {
        Target::Ratio(most) => (typical.is_some_and(|ratio| ratio <= *most), format!("{most}×")),
        Target::Most(most) => (ours.median <= *most, format!("{most} {unit}")),
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

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Programs {
    /// Compiles what is written in C. `None` without a compiler.
    fn compile() -> io::Result<Option<Self>> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
        fs::create_dir_all(&folder)?;
        let (floor, worker) = (folder.join("floor"), folder.join("worker"));
        // A worker without shared libraries is quicker to start, and hides less of what is measured.
        let done = compile("floor.c", &floor, &[])?
            && (compile("worker.c", &worker, &["-static"])? || compile("worker.c", &worker, &[])?);
        Ok(done.then_some(Self { floor, worker, folder }))
    }

    /// Starts a supervisor and waits until `running` of its workers do.
    fn start(&self, who: Who, workers: usize, running: usize) -> io::Result<Running> {
        let socket = self.folder.join(format!("control-{}", std::process::id()));
        let log = fs::File::create(self.folder.join("log"))?;
        let mut command = match who {
            Who::Ours => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_einhyrningsins"));
                command.args(["--ack-after", "0", "-n", &workers.to_string(), "-d"]).arg(&socket).arg("--");
                command
            }
            Who::Floor => {
                let mut command = Command::new(&self.floor);
                command.arg(workers.to_string());
                command
            }
        };
        command.arg(&self.worker).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let started = Instant::now();
        let mut child = command.spawn()?;
        let bytes = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut running_now = Running { child, bytes, started, socket };
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
        let mut child = Command::new(&self.floor).arg("echo").arg(&socket).stdout(Stdio::piped()).spawn()?;
        let bytes = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Running { child, bytes, started: Instant::now(), socket })
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
        list.split_whitespace().map(|word| word.parse().map_err(io::Error::other)).collect()
    }

    /// PSS in MiB.
    fn size(&self) -> io::Result<f64> {
        Ok(self.number("smaps_rollup", "Pss:")? / 1024.0)
    }

    fn wakes(&self) -> io::Result<f64> {
        self.number("status", "voluntary_ctxt_switches:")
    }

    fn number(&self, file: &str, name: &str) -> io::Result<f64> {
        let text = self.proc(file)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let word = line.and_then(|rest| rest.split_whitespace().next());
        word.and_then(|word| word.parse().ok()).ok_or_else(|| io::Error::other(format!("no {name}")))
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
