//! No request is lost: workers are replaced, fail to be replaced and are killed under load.

use crate::{
    harness::{Folder, Supervisor, raw, rust_worker, script},
    load::{Load, LoadPlan, Report},
    tools::{BROKEN, Release, err, python, skip, within},
};
use nix::sys::signal::{Signal, kill};
use std::{
    collections::BTreeSet,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const WORKERS: usize = 4;
const PLAN: LoadPlan = LoadPlan { fresh_threads: 3, keepalive_threads: 6, retrying_threads: 0 };

/// A worker program: what to run, and words for it.
#[derive(Clone, Copy, PartialEq)]
enum Worker {
    Rust,
    Python,
}

/// Four HTTP workers behind a release that are healthy. `None` if the worker cannot be run here.
fn start(worker: Worker) -> Option<(Supervisor, Release, Vec<u32>)> {
    start_with(worker, &[])
}

/// The same with more options.
fn start_with(worker: Worker, options: &[&str]) -> Option<(Supervisor, Release, Vec<u32>)> {
    let folder = Folder::new();
    folder.script("broken", BROKEN);
    let (program, words) = match worker {
        Worker::Rust => (rust_worker(), vec![]),
        Worker::Python => (python()?, vec![script("http.py")]),
    };
    let release = Release::new(&folder, &program);
    let number = WORKERS.to_string();
    let mut args = vec!["-n".to_owned(), number, "-m".to_owned()];
    args.extend(["-b", "127.0.0.1:0,r,n", "-r", "2", "-s", "0.01"].map(str::to_owned));
    args.extend(options.iter().map(|option| (*option).to_owned()));
    args.extend(["--".to_owned(), release.path()]);
    args.extend(words);
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    let pids = supervisor.await_healthy(WORKERS);
    Some((supervisor, release, pids))
}

/// Waits until the load has been answered some more times.
fn await_answers(load: &Load, more: u64) {
    let (fresh, kept) = (load.so_far().fresh, load.so_far().keepalive);
    crate::harness::eventually("requests are answered", || {
        let now = load.so_far();
        (now.fresh >= fresh + more && now.keepalive >= kept + more || now.failures > 0).then_some(())
    });
}

fn names(pids: &[u32]) -> impl Iterator<Item = String> {
    pids.iter().map(ToString::to_string)
}

fn print(what: &str, report: &Report) {
    println!(
        "{what}: {} requests ({} fresh, {} on {} kept connections), {} failed; p50 {:?}, p99 {:?}, longest {:?}",
        report.requests,
        report.fresh,
        report.keepalive,
        report.reconnects,
        report.failures,
        report.quantile(0.5),
        report.quantile(0.99),
        report.quantile(1.0),
    );
}

fn five_upgrades(worker: Worker, what: &str) {
    let Some((mut supervisor, _release, old)) = start(worker) else { return skip("there is no python3") };
    let load = Load::start(supervisor.address(0), PLAN);
    await_answers(&load, 50);
    let mut served = BTreeSet::from_iter(old.iter().copied());
    for round in 0..5 {
        // By the client, by signal, and all at once.
        match round {
            0 | 2 => drop(supervisor.ctl_ok(&["-e", "upgrade"])),
            1 | 4 => drop(supervisor.ctl_ok(&["-e", "upgrade_fleet"])),
            _ => supervisor.signal(Signal::SIGHUP),
        }
        let new = supervisor.eventually("all four are new", |me| {
            let now = me.healthy();
            (now.len() == WORKERS && now.iter().all(|pid| !served.contains(pid))).then_some(now)
        });
        served.extend(&new);
        await_answers(&load, 20);
    }
    let last = supervisor.await_healthy(WORKERS);
    await_answers(&load, 50);
    let report = load.stop();
    print(what, &report);
    assert_eq!(report.failures, 0, "{:?}\n{}", report.failed, supervisor.log());
    assert!(names(&old).any(|pid| report.by_pid.contains_key(&pid)), "{:?}", report.by_pid);
    assert!(names(&last).any(|pid| report.by_pid.contains_key(&pid)), "{:?}", report.by_pid);
    assert!(report.by_pid.keys().all(|pid| pid.parse().is_ok_and(|pid: u32| served.contains(&pid))));
}

#[test]
fn five_upgrades_of_the_rust_worker_lose_no_request() {
    five_upgrades(Worker::Rust, "five upgrades, Rust");
}

#[test]
fn five_upgrades_of_the_python_worker_lose_no_request() {
    five_upgrades(Worker::Python, "five upgrades, Python");
}

fn failed_upgrade(worker: Worker, what: &str) {
    let Some((mut supervisor, release, old)) = start(worker) else { return skip("there is no python3") };
    let load = Load::start(supervisor.address(0), PLAN);
    await_answers(&load, 50);
    release.switch(&within(&supervisor, "broken"));
    assert_eq!(supervisor.ctl(&["upgrade"]).status.code(), Some(1));
    assert_eq!(supervisor.await_healthy(WORKERS), old);
    await_answers(&load, 50);
    let report = load.stop();
    print(what, &report);
    assert_eq!(report.failures, 0, "{:?}\n{}", report.failed, supervisor.log());
    assert!(report.by_pid.keys().all(|pid| names(&old).any(|old| old == *pid)), "{:?}", report.by_pid);
}

#[test]
fn a_failed_upgrade_of_the_rust_worker_loses_no_request() {
    failed_upgrade(Worker::Rust, "failed upgrade, Rust");
}

#[test]
fn a_failed_upgrade_of_the_python_worker_loses_no_request() {
    failed_upgrade(Worker::Python, "failed upgrade, Python");
}

#[test]
fn an_upgrade_that_fails_half_way_loses_no_request() {
    let (mut supervisor, release, old) = start(Worker::Rust).expect("it can be run");
    let load = Load::start(supervisor.address(0), PLAN);
    await_answers(&load, 50);
    let half = format!("#!/bin/sh\n[ $EINHORN_CHILD_INDEX -lt 2 ] || exit 9\nexec {}\n", rust_worker());
    release.switch(&supervisor.folder.script("half", &half));
    assert_eq!(supervisor.ctl(&["upgrade"]).status.code(), Some(1));
    let now = supervisor.await_healthy(WORKERS);
    await_answers(&load, 50);
    let report = load.stop();
    print("half an upgrade, Rust", &report);
    assert_eq!(report.failures, 0, "{:?}\n{}", report.failed, supervisor.log());
    assert!(names(&now).chain(names(&old)).any(|pid| report.by_pid.contains_key(&pid)));
}

/// Every kind of bad release there is, each in its own slots, by its own way to end.
#[test]
fn no_bad_release_loses_a_request() {
    let (mut supervisor, release, _) =
        start_with(Worker::Rust, &["--ack-timeout", "2"]).expect("it can be run");
    let good = rust_worker();
    let script = |name: &str, text: &str| supervisor.folder.script(name, &format!("#!/bin/sh\n{text}\n"));
    let mut bad = vec![
        (script("exits", "exit 1"), "exited with status 1"),
        (script("dies", "kill -SEGV $$"), "killed by SIGSEGV (signal 11)"),
        (script("hangs", "exec sleep 600"), "was not ready in time"),
        (supervisor.folder.script("lost", "#!/no/such/interpreter\n"), "No such file or directory (errno 2)"),
        (script("partial", &format!("[ $EINHORN_CHILD_INDEX != 3 ] || exit 9\nexec {good}")), "status 9"),
    ];
    if let Some(python) = python() {
        let rogue = format!("exec {python} {} ack-then-exit 5 after 0.3", crate::harness::script("rogue.py"));
        bad.push((script("rogue", &rogue), "exited with status 5"));
    }
    let address = supervisor.address(0);
    let load = Load::start(address, PLAN);
    await_answers(&load, 50);
    for (program, expected) in bad {
        release.switch(&program);
        for words in [&["upgrade", "--soak", "60"][..], &["upgrade_fleet", "--soak", "60"]] {
            let output = supervisor.ctl(words);
            let said = err(&output);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(expected) && said.contains("rolled back: generation 1 serves"), "{said}");
        }
        await_answers(&load, 20);
    }
    supervisor.await_healthy(WORKERS);
    let report = load.stop();
    print("every bad release, Rust", &report);
    assert_eq!(report.failures, 0, "{:?}\n{}", report.failed, supervisor.log());
}

/// A connection that is kept, and the worker at its other end.
struct Kept {
    stream: TcpStream,
    pid: u32,
}

impl Kept {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut kept = Self { stream, pid: 0 };
        kept.pid = kept.ask()?;
        Ok(kept)
    }

    /// Asks who is there.
    fn ask(&mut self) -> io::Result<u32> {
        self.stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut said = Vec::new();
        while !said.ends_with(b"version 1\n") {
            let mut buffer = [0; 512];
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => said.extend_from_slice(&buffer[..count]),
            }
        }
        let said = String::from_utf8_lossy(&said).into_owned();
        let pid = said.split_whitespace().skip_while(|word| *word != "pid").nth(1);
        pid.and_then(|pid| pid.parse().ok()).ok_or_else(|| io::Error::other(said))
    }
}

fn killed(worker: Worker, what: &str) {
    let Some((mut supervisor, _release, old)) = start(worker) else { return skip("there is no python3") };
    let address = supervisor.address(0);
    // Enough connections that at least two workers have some.
    let mut kept: Vec<Kept> = Vec::new();
    crate::harness::eventually("two workers have connections", || {
        kept.push(Kept::open(address).expect("an answer"));
        (kept.len() > 10 && kept.iter().any(|it| it.pid != kept[0].pid)).then_some(())
    });
    let victim = kept[0].pid;
    let load = Load::start(address, PLAN);
    await_answers(&load, 50);
    kill(raw(victim), Signal::SIGKILL).expect("a worker");
    supervisor.eventually("it is replaced", |me| {
        let now = me.healthy();
        (now.len() == WORKERS && !now.contains(&victim)).then_some(())
    });
    let (fresh, keepalive) = (load.so_far().fresh, load.so_far().keepalive);
    crate::harness::eventually("the load goes on", || {
        let now = load.so_far();
        (now.fresh >= fresh + 50 && now.keepalive >= keepalive + 50).then_some(())
    });
    for connection in &mut kept {
        match connection.ask() {
            Ok(pid) => assert!(pid == connection.pid && pid != victim),
            Err(error) => assert_eq!(connection.pid, victim, "{error}"),
        }
    }
    let report = load.stop();
    print(what, &report);
    // A thread of the load has one connection at a time, and each is lost at most once.
    let of = |kind: &str| report.failed.iter().filter(|reason| reason.starts_with(kind)).count();
    assert!(
        of("Fresh") <= PLAN.fresh_threads && of("KeepAlive") <= PLAN.keepalive_threads,
        "{:?}",
        report.failed
    );
    assert_eq!(
        u64::try_from(of("Fresh") + of("KeepAlive")).ok(),
        Some(report.failures),
        "{:?}",
        report.failed
    );
    assert!(!report.failed.iter().any(|reason| reason.contains("connect: ")), "{:?}", report.failed);
    assert_eq!(supervisor.healthy().iter().filter(|pid| old.contains(pid)).count(), WORKERS - 1);
}

#[test]
fn a_rust_worker_that_is_killed_takes_its_own_connections_with_it_and_no_other() {
    killed(Worker::Rust, "one killed, Rust");
}

#[test]
fn a_python_worker_that_is_killed_takes_its_own_connections_with_it_and_no_other() {
    killed(Worker::Python, "one killed, Python");
}
