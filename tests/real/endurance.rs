//! Many upgrades in a row under load, good and bad ones, in peace and while workers are being killed.
//!
//! `ENDURANCE_ROUNDS` says how many there are to be: without it, a few.

use crate::{
    harness::{Connection, Folder, Supervisor, is_ok, number, raw, rust_worker, text},
    load::{Load, LoadPlan, Report},
    tools::{BROKEN, Release, is_null, quiet, within},
};
use miniserde::json::Value;
use nix::sys::signal::{Signal, kill};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

const WORKERS: usize = 4;
pub(crate) const PLAN: LoadPlan = LoadPlan { fresh_threads: 2, keepalive_threads: 4, retrying_threads: 0 };
/// All connections that the load has at a time.
const CONNECTIONS: u64 = 6;
/// Between two kills, on average.
const KILLS: Duration = Duration::from_millis(50);

/// How many upgrades there are to be: `ENDURANCE_ROUNDS` divided by `part`, else eight.
pub(crate) fn rounds(part: usize) -> usize {
    let asked = env::var("ENDURANCE_ROUNDS").ok().and_then(|rounds| rounds.parse::<usize>().ok());
    asked.map_or(8, |rounds| rounds.div_ceil(part).max(1))
}

/// Four HTTP workers behind a release, once they are healthy, and the address that they serve.
pub(crate) fn start(options: &[&str]) -> (Supervisor, Release, SocketAddr) {
    let folder = Folder::new();
    folder.script("broken", BROKEN);
    let release = Release::new(&folder, &rust_worker());
    let (count, program) = (WORKERS.to_string(), release.path());
    let mut args = vec!["-n", &count, "-m", "-b", "127.0.0.1:0,r,n", "-s", "0.01"];
    args.extend(options);
    args.extend(["--", &program]);
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    supervisor.await_healthy(WORKERS);
    let address = supervisor.address(0);
    (supervisor, release, address)
}

/// Has the supervisor replaced that often under load, by `replace`, every fifth time amid an upgrade whose client waits.
/// No request fails, the workers stay the same ones but for the upgrades, and those are told. Returns how many
/// descriptors lead where, before and after. `settled` waits for the workers of one generation that serves alone.
#[track_caller]
pub(crate) fn replaced_under_load(
    (mut supervisor, _release, address): (Supervisor, Release, SocketAddr),
    rounds: usize,
    replace: impl Fn(&mut Supervisor),
    settled: impl Fn(&mut Supervisor) -> BTreeSet<u32>,
) -> [BTreeMap<String, usize>; 2] {
    replace(&mut supervisor);
    let before = quiet(&mut supervisor);
    let load = Load::start(address, PLAN);
    await_answers(&load, 5);
    let (mut workers, mut upgrades) = (settled(&mut supervisor), 0);
    for round in 0..rounds {
        if round % 5 != 1 {
            replace(&mut supervisor);
            assert_eq!(settled(&mut supervisor), workers, "round {round}");
            continue;
        }
        // Amid an upgrade, whose client waits.
        let mut waiting = Connection::open(&supervisor.socket()).expect("a connection");
        waiting.send(r#"{"command":"upgrade","id":7}"#).expect("it is sent");
        waiting.line().expect("it has begun");
        replace(&mut supervisor);
        let last = waiting.answer().expect("an answer").pop().expect("a line");
        assert_eq!((text(&last, "outcome"), number(&last, "request_id")), ("upgraded", 7), "{last:?}");
        let now = settled(&mut supervisor);
        assert!(now.is_disjoint(&workers), "round {round}");
        (workers, upgrades) = (now, upgrades + 1);
        await_answers(&load, 2);
    }
    await_answers(&load, 5);
    let report = load.stop();
    assert_eq!(report.failures, 0, "{:?}\n{}", report.failed, supervisor.log());
    eprintln!("{rounds} times, {upgrades} amid an upgrade: {} requests, none failed", report.requests);
    [before, quiet(&mut supervisor)]
}

/// How many descriptors that are.
pub(crate) fn all(descriptors: &BTreeMap<String, usize>) -> usize {
    descriptors.values().sum()
}

/// The outcome of an upgrade, whether it went well, and how long it took.
#[track_caller]
fn upgrade(supervisor: &Supervisor, line: &str) -> (String, bool, Duration) {
    let mut connection = Connection::open(&supervisor.socket()).expect("a connection");
    let begin = Instant::now();
    connection.send(line).expect("it is sent");
    let last = connection.answer().expect("an answer").pop().expect("a line");
    (text(&last, "outcome").to_owned(), is_ok(&last), begin.elapsed())
}

/// Waits until the load has been answered some more times, on either kind of connection.
pub(crate) fn await_answers(load: &Load, more: u64) {
    let before = load.so_far();
    crate::harness::eventually("requests are answered", || {
        let now = load.so_far();
        (now.fresh >= before.fresh + more && now.keepalive >= before.keepalive + more).then_some(())
    });
}

/// The latency that 99 of a hundred of some answers did not exceed.
fn p99(latencies: &[Duration]) -> Duration {
    Report { latencies: latencies.to_vec(), ..Report::default() }.quantile(0.99)
}

/// The median time that a worker needs to become healthy.
fn start_up(supervisor: &mut Supervisor) -> Duration {
    let mut spans: Vec<Duration> = (0..5)
        .map(|_| {
            let old = supervisor.await_healthy(WORKERS);
            let begin = Instant::now();
            assert!(is_ok(&crate::tools::command(supervisor, &["inc"])));
            supervisor.eventually("one more is healthy", |me| (me.healthy().len() > old.len()).then_some(()));
            let took = begin.elapsed();
            assert!(is_ok(&crate::tools::command(supervisor, &["dec"])));
            took
        })
        .collect();
    supervisor.await_healthy(WORKERS);
    spans.sort_unstable();
    spans[spans.len() / 2]
}

/// The median of some spans, and the longest.
fn spread(spans: &mut [Duration]) -> (Duration, Duration) {
    spans.sort_unstable();
    (spans.get(spans.len() / 2).copied().unwrap_or_default(), spans.last().copied().unwrap_or_default())
}

/// One generation serves with four workers and nothing is under way.
#[track_caller]
pub(crate) fn settled(supervisor: &mut Supervisor) -> Vec<u32> {
    let pids = alone(supervisor);
    let (mut children, mut told) = (supervisor.children(), pids.clone());
    children.sort_unstable();
    told.sort_unstable();
    assert_eq!(children, told, "what the kernel knows and what it tells");
    pids
}

/// The workers of one generation that serves alone, whoever has made them.
pub(crate) fn alone(supervisor: &mut Supervisor) -> Vec<u32> {
    supervisor.eventually("one generation serves alone", |me| {
        let status = me.status();
        let serving = number(&status, "generation");
        let all = me.workers(|_| true);
        let well =
            |worker: &Value| text(worker, "phase") == "healthy" && number(worker, "generation") == serving;
        (is_null(&status, "upgrade") && all.len() == WORKERS && all.iter().all(well)).then_some(())
    });
    supervisor.await_healthy(WORKERS)
}

#[test]
fn good_and_bad_upgrades_in_turn_lose_no_request_and_leave_nothing_behind() {
    let (mut supervisor, release, address) = start(&["-r", "2"]);
    // The first of either kind sets up what is kept from then on.
    assert!(upgrade(&supervisor, r#"{"command":"upgrade"}"#).1);
    settled(&mut supervisor);
    let own = start_up(&mut supervisor);
    let before = quiet(&mut supervisor);
    let load = Load::start(address, PLAN);
    await_answers(&load, 500);
    let steady = load.so_far().latencies.len();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for round in 0..rounds(1) {
        let command = if round % 4 < 2 { "upgrade" } else { "upgrade_fleet" };
        let words = if round % 3 == 0 { r#""--canary","1","--soak","0.05""# } else { "" };
        let line = format!("{{\"command\":\"{command}\",\"args\":[{words}]}}");
        let (outcome, ok, took) = upgrade(&supervisor, &line);
        assert!(ok && outcome == "upgraded", "{outcome}\n{}", supervisor.log());
        if words.is_empty() && command == "upgrade" {
            good.push(took);
        }
        release.switch(&within(&supervisor, "broken"));
        let (outcome, ok, took) = upgrade(&supervisor, &line);
        assert!(!ok && outcome == "rolled-back", "{outcome}\n{}", supervisor.log());
        bad.push(took);
        release.switch(&rust_worker());
    }
    let during = load.so_far().latencies.len();
    settled(&mut supervisor);
    let report = load.stop();
    let ((median, longest), (bad_median, _)) = (spread(&mut good), spread(&mut bad));
    eprintln!(
        "{} good and as many bad upgrades: {} requests, {} failed; p99 {:?} steady, {:?} during upgrades; from \
         the command to the last replacement {median:?} (longest {longest:?}), {:.1} times one worker's own \
         start of {own:?}; to the end of a bad one {bad_median:?}",
        rounds(1),
        report.requests,
        report.failures,
        p99(&report.latencies[..steady]),
        p99(&report.latencies[steady..during]),
        median.as_secs_f64() / own.as_secs_f64(),
    );
    assert_eq!(report.failures, 0, "{:?}\n{}", report.failed, supervisor.log());
    supervisor.eventually("as many descriptors as before", |me| {
        let now = crate::tools::descriptors(me.pid());
        (now.values().sum::<usize>() == before.values().sum::<usize>()).then_some(())
    });
    assert_eq!(settled(&mut supervisor).len(), WORKERS);
}

/// Kills a random worker every now and then until told to stop; returns how many.
fn havoc(supervisor_pid: u32, stop: &AtomicBool) -> u64 {
    let (mut killed, mut seed) = (0, 0x9e37_79b9_7f4a_7c15_u64);
    while !stop.load(Ordering::Relaxed) {
        // xorshift64: what matters is only that there is no rhythm.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let pause = KILLS.as_micros() * u128::from(seed % 2_000) / 1_000;
        thread::sleep(Duration::from_micros(u64::try_from(pause).expect("a short pause")));
        let children = crate::harness::children(supervisor_pid);
        let chosen = usize::try_from(seed >> 32).expect("a number").checked_rem(children.len());
        let victim = chosen.and_then(|at| children.get(at)).filter(|pid| crate::harness::is_alive(**pid));
        if victim.is_some_and(|pid| kill(raw(*pid), Signal::SIGKILL).is_ok()) {
            killed += 1;
        }
    }
    killed
}

#[test]
fn whatever_is_killed_meanwhile_every_upgrade_ends_and_the_service_is_well_afterwards() {
    let (mut supervisor, release, address) = start(&["-r", "20", "-s", "0"]);
    // Slow enough to start for some to be killed before they are healthy.
    let slow = supervisor.folder.script("slow", &format!("#!/bin/sh\nsleep 0.1\nexec {}\n", rust_worker()));
    let load = Load::start(address, PLAN);
    await_answers(&load, 200);
    let (stop, mut outcomes) = (AtomicBool::new(false), BTreeMap::<String, usize>::new());
    let pid = supervisor.pid();
    let begin = Instant::now();
    let killed = thread::scope(|scope| {
        let havoc = scope.spawn(|| havoc(pid, &stop));
        let watched = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..rounds(2) {
                let bad = round % 4 == 3;
                release.switch(&if bad { within(&supervisor, "broken") } else { slow.clone() });
                let line = match round % 3 {
                    0 => r#"{"command":"upgrade"}"#,
                    1 => r#"{"command":"upgrade_fleet"}"#,
                    _ => r#"{"command":"upgrade","args":["--canary","1","--soak","0.02"]}"#,
                };
                let (outcome, ok, _) = upgrade(&supervisor, line);
                assert_eq!(ok, outcome == "upgraded", "{outcome}");
                assert!(!(bad && ok), "a bad release cannot do well");
                *outcomes.entry(outcome).or_insert(0) += 1;
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let killed = havoc.join().expect("it ends");
        watched.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        killed
    });
    let took = begin.elapsed();
    release.switch(&rust_worker());
    supervisor.ctl_ok(&["retry"]);
    settled(&mut supervisor);
    await_answers(&load, 100);
    let report = load.stop();
    eprintln!(
        "{} upgrades while {killed} workers were killed in {took:?}: {outcomes:?}; {} requests, {} failed",
        rounds(2),
        report.requests,
        report.failures
    );
    assert_eq!(outcomes.values().sum::<usize>(), rounds(2));
    assert!(killed > 0 && report.failures <= killed * CONNECTIONS, "{:?}", report.failed);
    assert!(!report.failed.iter().any(|why| why.contains("connect: ")), "{:?}", report.failed);
    assert!(upgrade(&supervisor, r#"{"command":"upgrade"}"#).1, "and it can be upgraded");
    settled(&mut supervisor);
}
