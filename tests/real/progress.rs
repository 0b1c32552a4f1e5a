//! Upgrades for the tests of several themes: begun, waited for, and seen in what serves.

use crate::{
    harness::{Connection, Folder, Supervisor, member, number, rust_worker, text},
    load::get,
    tools::{err, is_null},
};
use miniserde::json::Value;
use std::fs;

/// A soak that no test waits for.
pub(crate) const LONG: &str = "600";

/// A worker that never acknowledges.
pub(crate) const HANGS: &str = "#!/bin/sh\nexec sleep 600\n";

/// The last line of the answer to an upgrade with those words.
#[track_caller]
pub(crate) fn answer(supervisor: &Supervisor, name: &str, words: &[&str]) -> Value {
    open(supervisor, name, words).answer().expect("an answer").pop().expect("a line")
}

/// An upgrade under way.
#[track_caller]
pub(crate) fn open(supervisor: &Supervisor, name: &str, words: &[&str]) -> Connection {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    let mut connection = Connection::open(&supervisor.socket()).expect("a connection");
    let line = format!("{{\"command\":\"{name}\",\"args\":[{}]}}", words.join(","));
    connection.send(&line).expect("it is sent");
    connection
}

/// Runs the client, which fails with status 1, and returns what it complained about.
#[track_caller]
pub(crate) fn complaint(supervisor: &Supervisor, words: &[&str]) -> String {
    let output = supervisor.ctl(words);
    let said = err(&output);
    assert_eq!(output.status.code(), Some(1), "{said}\n{}", supervisor.log());
    said
}

/// Waits until an upgrade is at that stage, and returns what the status tells of it.
#[track_caller]
pub(crate) fn await_stage(supervisor: &mut Supervisor, stage: &str) -> Value {
    supervisor.eventually(&format!("the upgrade is at {stage}"), |me| {
        let status = me.status();
        let upgrade = member(&status, "upgrade");
        let there = !is_null(&status, "upgrade") && text(upgrade, "stage") == stage;
        there.then(|| upgrade.clone())
    })
}

/// Waits until `count` workers are healthy, all of that generation, and nothing else is there.
#[track_caller]
pub(crate) fn await_generation(supervisor: &mut Supervisor, generation: i64, count: usize) -> Vec<u32> {
    supervisor.eventually(&format!("generation {generation} serves alone"), |me| {
        let all = me.workers(|worker| number(worker, "generation") == generation);
        (all.len() == count && is_null(&me.status(), "upgrade")).then_some(())
    });
    supervisor.await_healthy(count)
}

/// The version that the service answers with.
#[track_caller]
pub(crate) fn version(supervisor: &mut Supervisor) -> String {
    let response = get(supervisor.address(0)).expect("a response");
    response.word_after("version").expect("a version").to_owned()
}

/// A variable in a process's environment.
pub(crate) fn variable(pid: u32, name: &str) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).expect("a process");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split('\0').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// A worker that serves well, but for the slots in `slots` (a pattern of the shell) it ends by SIGKILL
/// once the file `die` is in the folder.
pub(crate) fn mortal(folder: &Folder, name: &str, slots: &str) -> String {
    let die = folder.join("die").display().to_string();
    let text = format!(
        "#!/bin/sh\ncase $EINHORN_CHILD_INDEX in {slots})\n\
         (while [ ! -e {die} ]; do sleep 0.02; done; kill -KILL $$) &\nesac\nexec {}\n",
        rust_worker()
    );
    folder.script(name, &text)
}
