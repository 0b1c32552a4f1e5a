//! The supervisor is killed at a system call of an upgrade, one after the other, by strace(1): between any two things that it
//! does. The next start finds each of them done or not done.
//!
//! `ENDURANCE_ROUNDS` says at how many of them, as far as there are so many: without it, at a few.

use crate::{
    endurance::rounds,
    harness::{Connection, Supervisor, is_alive, is_ok, raw, rust_worker, text, workers_of},
    load::get,
    tools::{skip, strace, strace_is_possible},
};
use nix::sys::signal::{Signal, kill};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Child,
};

const WORKERS: usize = 2;

fn start() -> Supervisor {
    let worker = rust_worker();
    let args = ["-n", "2", "-m", "-b", "127.0.0.1:0,r,n", "-s", "0.01", "--", &worker];
    let mut supervisor = Supervisor::start(&args);
    supervisor.await_healthy(WORKERS);
    supervisor.keeper();
    supervisor
}

/// Has strace look at the supervisor, or do that to it.
fn trace(supervisor: &Supervisor, inject: Option<&str>) -> Child {
    let seen = supervisor.folder.join("seen").display().to_string();
    let mut words = ["strace", "-I2", "-o", &seen].map(str::to_owned).to_vec();
    words.extend(inject.iter().flat_map(|inject| ["-e".to_owned(), format!("inject={inject}")]));
    let (child, is_attached) = strace(&words, supervisor.pid(), &supervisor.folder.join("said"));
    // It ends at once where the call is the one that the supervisor sleeps in.
    assert!(is_attached || inject.is_some(), "strace has ended");
    child
}

fn upgrade(supervisor: &Supervisor) -> Connection {
    let mut waiting = Connection::open(&supervisor.socket()).expect("a connection");
    waiting.send(r#"{"command":"upgrade"}"#).expect("it is sent");
    waiting
}

/// Those who serve, of one generation and each in a slot of its own, and nobody else is there.
fn settled(supervisor: &mut Supervisor, case: &str) -> Vec<u32> {
    let folder_is_well = |me: &mut Supervisor| {
        let all = me.workers(|_| true);
        let generations: BTreeSet<String> =
            all.iter().map(|worker| format!("{:?}", crate::harness::number(worker, "generation"))).collect();
        let healthy = me.healthy();
        (all.len() == WORKERS && healthy.len() == WORKERS && generations.len() == 1).then_some(healthy)
    };
    let healthy = supervisor.eventually(case, folder_is_well);
    let mut there = workers_of(&supervisor.folder);
    there.retain(|pid| is_alive(*pid));
    assert_eq!(there.into_iter().collect::<BTreeSet<_>>(), healthy.iter().copied().collect(), "{case}");
    healthy
}

/// The calls of an upgrade, each with its number among those of its name.
fn calls() -> Vec<(String, usize)> {
    let mut supervisor = start();
    let mut tracer = trace(&supervisor, None);
    upgrade(&supervisor).answer().expect("an answer");
    settled(&mut supervisor, "an upgrade without a fault");
    kill(raw(tracer.id()), Signal::SIGTERM).expect("it is there");
    tracer.wait().expect("it can be waited for");
    let seen = fs::read_to_string(supervisor.folder.join("seen")).expect("what it has seen");
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    let names = seen.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name);
    let names = names.filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    let numbered = names.map(|name| {
        let number = uses.entry(name).or_default();
        *number += 1;
        (name.to_owned(), *number)
    });
    numbered.collect()
}

#[test]
fn at_whichever_system_call_of_an_upgrade_it_is_killed_the_next_start_goes_on() {
    if !strace_is_possible() {
        return skip("there is no strace that can do this, or it may not");
    }
    let calls = calls();
    assert!(calls.len() > 50, "{calls:?}");
    let count = rounds(1).min(calls.len());
    let (mut killed, mut told) = (0, 0);
    for round in 0..count {
        let (call, number) = &calls[round * calls.len() / count];
        let case = format!("{call}:{number}");
        let mut supervisor = start();
        let mut tracer = trace(&supervisor, Some(&format!("{call}:signal=KILL:when={number}")));
        let mut waiting = upgrade(&supervisor);
        let answer = std::thread::spawn(move || waiting.answer());
        // Where it sleeps more often or less, it may not get that far.
        supervisor.eventually("it is killed, or done", |me| {
            (me.has_exited() || answer.is_finished()).then_some(())
        });
        // It may have ended with what it traced.
        let _ = kill(raw(tracer.id()), Signal::SIGTERM);
        tracer.wait().expect("it can be waited for");
        if supervisor.has_exited() {
            killed += 1;
            supervisor.start_again();
        }
        let before = supervisor.address(0);
        if let Ok(lines) = answer.join().expect("no panic") {
            let last = lines.last().expect("a line");
            if is_ok(last) {
                assert_eq!(text(last, "outcome"), "upgraded", "{case}: {last:?}");
            } else {
                // It was not heard yet, or not taken in.
                let said = text(last, "message");
                assert!(
                    ["nobody supervises", "nothing is known"].iter().any(|it| said.contains(it)),
                    "{case}: {said}"
                );
            }
            told += 1;
        }
        settled(&mut supervisor, &case);
        get(before).unwrap_or_else(|error| panic!("{case}: {error}"));
    }
    eprintln!("{count} of {} calls: killed at {killed}, {told} of the clients told", calls.len());
    assert!(killed * 2 >= count, "{killed} of {count}");
}
