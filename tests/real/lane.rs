//! System calls made to fail, one by one, while a supervisor starts, serves, upgrades, loses a worker and
//! shuts down.
//!
//! A *case* is a scenario, a call, an error and a use of the call: `serve:accept4:EMFILE:3` is the third
//! accept4 from when the serving begins, and it fails with EMFILE; with `3+` so do all that follow, for a
//! moment. In every case the supervisor neither ends nor hangs nor spins, has all its workers in the end,
//! leaks no descriptor, answers, upgrades, ends when told to, and its trace replays. A start may be given
//! up instead, before the first fork, with a reason, leaving nothing behind.
//!
//! By default a spread of the cases is tried, the same each time, with those that have gone wrong; all of
//! them with `FAULT_LANE=full`, and one, as a failure names it, with `FAULT_LANE=serve:accept4:EMFILE:3`.

mod calls;
mod plan;
mod scenario;
mod tracer;

use crate::{
    harness::{CLIENT, Connection, Folder, Supervisor, is_ok, raw, rust_worker},
    probe::{processes_of, start_through},
    tools::{BROKEN, Release, descriptors, skip, state, strace_is_possible, ticks},
};
use calls::{Case, Uses};
use nix::sys::signal::{Signal, kill};
use plan::{every_row, spread};
use scenario::{Scenario, Stage};
use std::{
    collections::BTreeMap,
    env, fs,
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tracer::{Seen, Tracer};

/// How many cases are tried at a time. They wait for most of the time.
const AT_A_TIME: usize = 4;

/// How long a fault lasts that does not go away by itself. Shorter than an acknowledgement may take.
const LASTING: Duration = Duration::from_millis(600);

/// How many more turns of the event loop, system calls and lines of log a fault may cost: a loop that spins
/// makes thousands. A look at all processes, for what a worker left behind, takes some calls for each.
const MORE_TURNS: usize = 100;
const MORE_CALLS: usize = 500;
const CALLS_A_PROCESS: usize = 20;
const MORE_LINES: usize = 100;

/// Processor time that nobody may use in [`IDLE`], in clock ticks, a hundred of which are a second.
const BUSY: u64 = 5;
const IDLE: Duration = Duration::from_millis(100);

/// What a run came to.
#[derive(Debug)]
struct Run {
    seen: Seen,
    lines: usize,
    /// What is open in the end, and how often.
    descriptors: BTreeMap<String, usize>,
}

/// What runs without any fault come to.
type Norms = BTreeMap<Scenario, Run>;

/// A supervisor about to play the scenario, under strace's eyes.
fn set_up(scenario: Scenario, case: Option<&Case>, before: usize) -> (Stage, Tracer) {
    let folder = Folder::new();
    folder.script("broken", BROKEN);
    let release = Release::new(&folder, &rust_worker());
    let (trace, seen, program) =
        (folder.join("trace").display().to_string(), folder.join("seen"), release.path());
    let mut args = vec!["-n", "2", "-m", "-b", "127.0.0.1:0,r,n", "--trace", &trace, "-r", "3"];
    args.extend(["-s", "0.02", "-t", "1", "--ack-timeout", "2", "--", &program]);
    if scenario == Scenario::Start {
        let mut words = tracer::words(&seen, case, before);
        words.insert(1, "-D".to_owned());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let supervisor = start_through(folder, &words, &args);
        return (Stage::new(supervisor, release, case), Tracer::of_start(seen));
    }
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    supervisor.await_healthy(scenario::WORKERS);
    let tracer = Tracer::attach(supervisor.pid(), seen, case);
    (Stage::new(supervisor, release, case), tracer)
}

/// Plays a scenario with or without a fault, and sees what holds in every case.
fn run(scenario: Scenario, case: Option<&Case>, norm: Option<&Run>) -> Result<Run, String> {
    let before = case.zip(norm).and_then(|(case, norm)| norm.seen.before.get(&case.call)).copied();
    let (mut stage, mut tracer) = set_up(scenario, case, before.unwrap_or(0));
    let begun = Instant::now();
    let done = check(scenario, case, norm, &mut stage, &mut tracer, begun);
    done.map_err(|why| {
        let failed = tracer.seen().failed;
        format!("{why}\n{}\n{}", failed.join("\n"), stage.supervisor.log())
    })
}

fn check(
    scenario: Scenario,
    case: Option<&Case>,
    norm: Option<&Run>,
    stage: &mut Stage,
    tracer: &mut Tracer,
    begun: Instant,
) -> Result<Run, String> {
    let played = scenario.play(stage);
    if played.is_ok() && matches!(case, Some(Case { uses: Uses::From(_), .. })) {
        thread::sleep(LASTING.saturating_sub(begun.elapsed()));
    }
    // Amid a call that is about to fail it would see another error, and nobody would know of the fault.
    let rested = stage.await_that("it has nothing to do", |me| me.supervisor.has_exited() || rests(me));
    tracer.release(stage.supervisor.pid());
    if stage.supervisor.has_exited() && scenario == Scenario::Start {
        return refused(stage, tracer);
    }
    played.and(rested)?;
    stage.calm();
    let seen = tracer.seen();
    let lines = stage.supervisor.log().lines().count();
    if let Some(norm) = norm {
        no_spin(&seen, lines, norm)?;
    }
    let mut descriptors = BTreeMap::new();
    if scenario == Scenario::Shutdown {
        stage.await_that("it ends", |me| me.supervisor.has_exited())?;
    } else {
        stage.settle()?;
        // One that could not be had for a moment is tried for again after a pause.
        stage.await_that("its control socket is there", has_socket)?;
        stage.upgrade()?;
        descriptors = settled_descriptors(stage, &seen, norm)?;
        costs_nothing(stage.supervisor.pid())?;
        kill(raw(stage.supervisor.pid()), Signal::SIGTERM).map_err(|error| format!("it is gone: {error}"))?;
        stage.await_that("it ends when told to", |me| me.supervisor.has_exited())?;
    }
    let code = stage.supervisor.await_exit();
    if code != 0 {
        return Err(format!("exit status {code}"));
    }
    nothing_left(stage, &seen)?;
    replays(stage)?;
    Ok(Run { seen, lines, descriptors })
}

/// Whether the control socket is there, and not just being bound: then it may not listen yet, or be given
/// up.
fn has_socket(stage: &mut Stage) -> bool {
    let is_there = || stage.supervisor.socket().exists();
    is_there() && rests(stage) && is_there()
}

/// Whether it waits for something.
fn rests(stage: &Stage) -> bool {
    state(stage.supervisor.pid()).as_deref() == Some("S")
}

/// A start that was given up.
fn refused(stage: &mut Stage, tracer: &Tracer) -> Result<Run, String> {
    let seen = tracer.seen();
    let code = stage.supervisor.await_exit();
    let log = stage.supervisor.log();
    if seen.failed.is_empty() {
        return Err(format!("exit status {code} without any fault of ours"));
    }
    if seen.forked || ![1, 126, 127].contains(&code) || log.trim().is_empty() || log.contains("panicked") {
        return Err(format!("it has ended with status {code}"));
    }
    nothing_left(stage, &seen)?;
    Ok(Run { seen, lines: log.lines().count(), descriptors: BTreeMap::new() })
}

/// It did not do the same over and over again.
fn no_spin(seen: &Seen, lines: usize, norm: &Run) -> Result<(), String> {
    let no_more = |what: &str, count: usize, bound: usize| {
        if count <= bound { Ok(()) } else { Err(format!("it spins: {count} {what}, of {bound} at most")) }
    };
    let processes = fs::read_dir("/proc").expect("/proc").count();
    no_more("turns", seen.turns(), 2 * norm.seen.turns() + MORE_TURNS)?;
    no_more("lines of log", lines, norm.lines + MORE_LINES)?;
    let calls = 2 * norm.seen.total + MORE_CALLS + CALLS_A_PROCESS * processes;
    no_more("system calls", seen.total, calls)
}

/// What is open once everybody has hung up, which must be no more than what is open without a fault. Less
/// it may be: there is a word in the log, and no more, for a watch that could not be had.
fn settled_descriptors(
    stage: &mut Stage,
    seen: &Seen,
    norm: Option<&Run>,
) -> Result<BTreeMap<String, usize>, String> {
    let pid = stage.supervisor.pid();
    let mut open = BTreeMap::new();
    let quiet = stage.await_that("no more is open than without a fault", |_| {
        open = kinds(descriptors(pid));
        for fd in &seen.unclosed {
            let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok();
            let link = link.map(|link| kind(&link.display().to_string())).unwrap_or_default();
            open.entry(link).and_modify(|count| *count -= 1);
        }
        open.retain(|_, count| *count > 0);
        match norm {
            Some(norm) => open.iter().all(|(kind, count)| norm.descriptors.get(kind) >= Some(count)),
            None => state(pid).as_deref() == Some("S") && !open.contains_key("nothing"),
        }
    });
    let usual = norm.map(|norm| &norm.descriptors);
    quiet.map_err(|why| format!("{why}: {open:?}, but {usual:?}"))?;
    Ok(open)
}

/// Descriptors without what differs from run to run: numbers of inodes, and folders.
fn kinds(descriptors: BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for (link, count) in descriptors {
        *kinds.entry(kind(&link)).or_default() += count;
    }
    kinds
}

fn kind(link: &str) -> String {
    let name = link.rsplit('/').next().unwrap_or_default();
    if link.starts_with('/') {
        name.to_owned()
    } else {
        link.split('[').next().unwrap_or_default().to_owned()
    }
}

/// Nobody who has nothing to do is busy.
fn costs_nothing(pid: u32) -> Result<(), String> {
    let before = ticks(pid).ok_or("it is gone")?;
    thread::sleep(IDLE);
    let used = ticks(pid).ok_or("it is gone")?.saturating_sub(before);
    if used < BUSY { Ok(()) } else { Err(format!("it spins when idle: {used} ticks in {IDLE:?}")) }
}

/// It left nothing behind, but what it could not remove.
fn nothing_left(stage: &mut Stage, seen: &Seen) -> Result<(), String> {
    const OURS: [&str; 6] = ["broken", "current", "log", "seen", "seen.said", "trace"];
    let folder = stage.supervisor.folder.join("");
    let names = fs::read_dir(&folder).expect("the folder can be read");
    let names = names.map(|entry| entry.expect("an entry").file_name().display().to_string());
    let left: Vec<String> = names.filter(|name| !OURS.contains(&name.as_str())).collect();
    let removable = !seen.failed.iter().any(|call| call.starts_with("unlink"));
    if !left.is_empty() && removable {
        return Err(format!("it has left behind {}", left.join(", ")));
    }
    stage.await_that("all its processes are gone", |_| processes_of(&folder).is_empty())
}

/// The trace replays, gaps and all.
fn replays(stage: &Stage) -> Result<(), String> {
    let trace = stage.supervisor.folder.join("trace");
    let replay = Command::new(CLIENT).arg("replay").arg(&trace).stdin(Stdio::null()).output();
    let replay = replay.expect("the client can be run");
    if replay.status.success() {
        return Ok(());
    }
    Err(format!("its trace does not replay: {}", String::from_utf8_lossy(&replay.stderr)))
}

/// What came of a case. A failure names it in the form in which it can be tried again.
enum Outcome {
    Well(Seen),
    Unmet,
    Failed(String),
}

/// Tries a case.
fn attempt(case: &Case, norms: &Norms) -> Outcome {
    let run = || run(case.scenario, Some(case), norms.get(&case.scenario)).map(|run| run.seen);
    let panicked = |cause: Box<dyn std::any::Any + Send>| {
        let words = cause.downcast_ref::<String>().cloned();
        Err(words.or_else(|| cause.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
    };
    match catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(panicked) {
        Ok(seen) if seen.failed.is_empty() => Outcome::Unmet,
        Ok(seen) => Outcome::Well(seen),
        Err(why) => Outcome::Failed(format!("FAULT_LANE={case}: {why}")),
    }
}

/// What the scenarios come to without a fault.
fn norms() -> Norms {
    let run = |scenario| run(scenario, None, None).unwrap_or_else(|why| panic!("{scenario:?}: {why}"));
    Scenario::ALL.into_iter().map(|scenario| (scenario, run(scenario))).collect()
}

/// Does `each` with every one of `all`, several at a time, and returns what it makes of them.
fn share_out<T: Sync, R: Send>(all: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, made) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = each(one);
                    made.lock().expect("nobody panics").push(result);
                }
            });
        }
    });
    made.into_inner().expect("nobody panics")
}

fn a_spread(norms: &Norms) {
    let cases = spread(norms);
    let outcomes = share_out(&cases, |case| attempt(case, norms));
    let unmet = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Unmet)).count();
    report(outcomes);
    assert!(unmet * 10 <= cases.len(), "{unmet} of {} cases have not met their call", cases.len());
}

/// Every error of every call, at its first use, its second, and so on until there is none.
fn all(norms: &Norms) {
    let rows = every_row(norms);
    let outcomes = share_out(&rows, |row| {
        let mut outcomes = Vec::new();
        for case in row.cases() {
            outcomes.push(attempt(&case, norms));
            match outcomes.last() {
                Some(Outcome::Unmet) => break,
                Some(Outcome::Failed(why)) => eprintln!("{why}\n"),
                _ => {}
            }
        }
        outcomes
    });
    report(outcomes.into_iter().flatten().collect());
}

fn report(outcomes: Vec<Outcome>) {
    let tried = outcomes.len();
    let failed = |outcome| if let Outcome::Failed(why) = outcome { Some(why) } else { None };
    let failures: Vec<String> = outcomes.into_iter().filter_map(failed).collect();
    println!("{tried} cases, {} failed", failures.len());
    assert!(failures.is_empty(), "{} of {tried} cases\n{}", failures.len(), failures.join("\n\n"));
}

fn only(case: &Case) {
    let norm = run(case.scenario, None, None).expect("all is well without a fault");
    match attempt(case, &BTreeMap::from([(case.scenario, norm)])) {
        Outcome::Well(seen) => println!("{case}: all is well; {}", seen.failed.join("; ")),
        Outcome::Unmet => panic!("{case}: there is no such use of the call"),
        Outcome::Failed(why) => panic!("{why}"),
    }
}

#[test]
fn whatever_system_call_fails_the_service_goes_on() {
    if !strace_is_possible() {
        return skip("there is no strace that can make system calls fail, or it may not");
    }
    match env::var("FAULT_LANE").ok().as_deref() {
        None => a_spread(&norms()),
        Some("full") => all(&norms()),
        Some(named) => only(&named.parse().unwrap_or_else(|why: String| panic!("FAULT_LANE: {why}"))),
    }
}

/// A supervisor that answers nobody, as the case has it, and what a client has asked it.
fn asked_in_vain(case: &str) -> (Stage, Tracer, Connection) {
    let case: Case = case.parse().expect("a case");
    let (stage, tracer) = set_up(case.scenario, Some(&case), 0);
    let mut connection = Connection::open(&stage.supervisor.socket()).expect("a connection");
    connection.send(r#"{"command":"version"}"#).expect("it is sent");
    (stage, tracer, connection)
}

#[test]
fn an_answer_that_cannot_be_sent_is_sent_when_there_is_memory_again() {
    if !strace_is_possible() {
        return skip("there is no strace that can make system calls fail, or it may not");
    }
    for case in ["serve:sendto:ENOBUFS:1", "serve:sendto:ENOMEM:1+"] {
        let (mut stage, mut tracer, mut connection) = asked_in_vain(case);
        let tries = if case.ends_with('+') { 3 } else { 1 };
        stage.supervisor.eventually("it has tried", |_| (tracer.seen().failed.len() >= tries).then_some(()));
        tracer.release(stage.supervisor.pid());
        assert!(is_ok(&connection.line().expect("an answer")), "{case}");
    }
}

#[test]
fn a_client_to_which_nothing_can_be_sent_for_long_is_hung_up_on() {
    if !strace_is_possible() {
        return skip("there is no strace that can make system calls fail, or it may not");
    }
    let (_stage, tracer, mut connection) = asked_in_vain("serve:sendto:ENOMEM:1+");
    let end = connection.line().expect_err("nothing can be sent");
    assert_eq!(end.kind(), ErrorKind::UnexpectedEof, "{end}");
    let tries = tracer.seen().failed.len();
    assert!((10..50).contains(&tries), "{tries} tries");
}
