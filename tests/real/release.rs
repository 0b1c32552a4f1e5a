//! Releases on trial, given back, given up, and described in the command.

use crate::{
    harness::{
        CLIENT, Connection, Folder, Supervisor, is_alive, is_ok, member, number, raw, rust_worker, script,
        text,
    },
    load::get,
    tools::{Release, ask, command, is_null, list, python, refusal, releases, skip, within},
};
use einhyrningsins::fsm::{
    action::{Action, Notice},
    id::Generation,
    trace::{self, Line},
};
use miniserde::json::Value;
use nix::sys::signal::{Signal, kill};
use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A soak that no test waits for.
const LONG: &str = "600";

/// A worker that never acknowledges.
const HANGS: &str = "#!/bin/sh\nexec sleep 600\n";

/// The last line of the answer to an upgrade with those words.
#[track_caller]
fn answer(supervisor: &Supervisor, name: &str, words: &[&str]) -> Value {
    open(supervisor, name, words).answer().expect("an answer").pop().expect("a line")
}

/// An upgrade under way.
#[track_caller]
fn open(supervisor: &Supervisor, name: &str, words: &[&str]) -> Connection {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    let mut connection = Connection::open(&supervisor.socket()).expect("a connection");
    let line = format!("{{\"command\":\"{name}\",\"args\":[{}]}}", words.join(","));
    connection.send(&line).expect("it is sent");
    connection
}

/// Runs the client, which fails with status 1, and returns what it complained about.
#[track_caller]
fn complaint(supervisor: &Supervisor, words: &[&str]) -> String {
    let output = supervisor.ctl(words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}\n{}", supervisor.log());
    said
}

/// Waits until an upgrade is at that stage, and returns what the status tells of it.
#[track_caller]
fn await_stage(supervisor: &mut Supervisor, stage: &str) -> Value {
    supervisor.eventually(&format!("the upgrade is at {stage}"), |me| {
        let status = me.status();
        let upgrade = member(&status, "upgrade");
        let there = !is_null(&status, "upgrade") && text(upgrade, "stage") == stage;
        there.then(|| upgrade.clone())
    })
}

/// Waits until `count` workers are healthy, all of that generation, and nothing else is there.
#[track_caller]
fn await_generation(supervisor: &mut Supervisor, generation: i64, count: usize) -> Vec<u32> {
    supervisor.eventually(&format!("generation {generation} serves alone"), |me| {
        let all = me.workers(|worker| number(worker, "generation") == generation);
        (all.len() == count && is_null(&me.status(), "upgrade")).then_some(())
    });
    supervisor.await_healthy(count)
}

/// What the supervisor noticed, in its order.
fn notices(supervisor: &Supervisor) -> Vec<Notice> {
    let text = fs::read_to_string(within(supervisor, "trace")).expect("a trace");
    let notice = |line: &str| match trace::parse(line).unwrap_or_else(|why| panic!("{line}: {why:?}")) {
        Line::Action(Action::Notice { notice }) => Some(notice),
        _ => None,
    };
    text.lines().filter_map(notice).collect()
}

/// The version that the service answers with.
#[track_caller]
fn version(supervisor: &mut Supervisor) -> String {
    let response = get(supervisor.address(0)).expect("a response");
    response.word_after("version").expect("a version").to_owned()
}

/// A variable in a process's environment.
fn variable(pid: u32, name: &str) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).expect("a process");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split('\0').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// A worker that serves well, but for the slots in `slots` (a pattern of the shell) it ends by SIGKILL
/// once the file `die` is in the folder.
fn mortal(folder: &Folder, name: &str, slots: &str) -> String {
    let die = folder.join("die").display().to_string();
    let text = format!(
        "#!/bin/sh\ncase $EINHORN_CHILD_INDEX in {slots})\n\
         (while [ ! -e {die} ]; do sleep 0.02; done; kill -KILL $$) &\nesac\nexec {}\n",
        rust_worker()
    );
    folder.script(name, &text)
}

/// Directories of releases behind a link `current`, of which `v1` serves, in a binary or a script.
struct Directories {
    release: Release,
    what: What,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Binary,
    Script,
}

impl Directories {
    fn start(count: usize, what: What) -> (Supervisor, Self, Vec<u32>) {
        let folder = Folder::new();
        fs::create_dir(folder.join("v1")).expect("a folder can be made");
        match what {
            What::Binary => {
                fs::copy(rust_worker(), folder.join("v1/server")).expect("a program can be copied");
            }
            What::Script => {
                let text = format!("#!/bin/sh\nexport DEMO_VERSION=one\nexec {}\n", rust_worker());
                folder.script("v1/server", &text);
            }
        }
        let release = Release::new(&folder, &folder.join("v1").display().to_string());
        let (number, program) = (count.to_string(), format!("{}/server", release.path()));
        let trace = folder.join("trace").display().to_string();
        let args = ["-n", &number, "-m", "-b", "127.0.0.1:0,r,n", "-s", "0.01", "--trace", &trace];
        let args: Vec<&str> = args.into_iter().chain(["--", &program]).collect();
        let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
        let pids = supervisor.await_healthy(count);
        (supervisor, Self { release, what }, pids)
    }

    /// From now on `current` is a directory `v2`, with `server` as [`mortal`] makes it, and `v1` is no
    /// more.
    fn replace(&self, supervisor: &Supervisor, slots: &str) {
        fs::create_dir(supervisor.folder.join("v2")).expect("a folder can be made");
        mortal(&supervisor.folder, "v2/server", slots);
        self.release.switch(&within(supervisor, "v2"));
    }

    fn remove_first(supervisor: &Supervisor) {
        fs::remove_dir_all(supervisor.folder.join("v1")).expect("a folder can be removed");
    }

    /// Whether a process runs what was in `v1`.
    fn is_first(&self, pid: u32) -> bool {
        match self.what {
            What::Script => variable(pid, "DEMO_VERSION").as_deref() == Some("one"),
            What::Binary => fs::read_link(format!("/proc/{pid}/exe"))
                .is_ok_and(|path| path.display().to_string().ends_with("/v1/server (deleted)")),
        }
    }
}

#[test]
fn a_canary_goes_first_and_the_rest_follows_once_it_has_proved_itself() {
    let (mut supervisor, _, old) = releases(4, &[]);
    let said = supervisor.ctl_ok(&["upgrade", "--canary", "1", "--soak", "0.5"]);
    assert!(said.contains("generation 2 serves with 4 healthy workers"), "{said}");
    let new = await_generation(&mut supervisor, 2, 4);
    assert!(new.iter().all(|pid| !old.contains(pid)));
    let mut told = Vec::new();
    let mut healthy = 0;
    for notice in notices(&supervisor) {
        match notice {
            Notice::Healthy { generation: Generation(2), .. } => healthy += 1,
            Notice::OnTrial { generation, workers, soak } => {
                assert_eq!((generation, soak.0), (Generation(2), 500));
                told.push((healthy, workers));
            }
            _ => {}
        }
    }
    assert_eq!(told, [(1, 1), (4, 4)], "one is on trial, then all are");
    assert_eq!(crate::upgrade::judge(&supervisor, 4).1, 4);

    // As data, with the stages in their order and each trial as long as it was to be.
    let answers = open(&supervisor, "upgrade", &["--canary=1", "--soak=0.2"]).answer().expect("an answer");
    let (last, progress) = answers.split_last().expect("lines");
    assert_eq!((is_ok(last), text(last, "outcome")), (true, "upgraded"));
    assert!(number(last, "took_ms") >= 400, "{last:?}");
    let stages: Vec<&str> = progress.iter().map(|line| text(member(line, "upgrade"), "stage")).collect();
    let order = ["canary", "canary-soak", "spread", "probation", "proven"];
    assert!(stages.is_sorted_by_key(|stage| order.iter().position(|known| known == stage)), "{stages:?}");
    assert!(stages.contains(&"canary-soak") && stages.contains(&"spread"), "{stages:?}");
}

#[test]
fn a_canary_that_dies_on_trial_takes_its_release_back() {
    let Some(python) = python() else { return skip("there is no python3") };
    let (mut supervisor, release, old) = releases(4, &[]);
    let text_of = format!("#!/bin/sh\nexec {python} {} ack-then-exit 9 after 0.3\n", script("rogue.py"));
    release.switch(&supervisor.folder.script("rogue", &text_of));
    let said = complaint(&supervisor, &["upgrade", "--canary", "1", "--soak", LONG]);
    assert!(
        said.contains("a worker of generation 2 in slot 0 ended on trial: exited with status 9"),
        "{said}"
    );
    assert!(said.contains("rolled back: generation 1 serves with 4 healthy workers"), "{said}");
    let now = await_generation(&mut supervisor, 1, 4);
    assert_eq!(now[1..], old[1..], "the others were never touched");
    assert!(get(supervisor.address(0)).is_ok_and(|response| response.status == 200));

    let last = answer(&supervisor, "upgrade", &["--canary", "1", "--soak", LONG]);
    assert_eq!((is_ok(&last), text(&last, "outcome"), text(&last, "cause")), (false, "rolled-back", "died"));
    assert_eq!(["slot", "generation", "serving", "healthy"].map(|name| number(&last, name)), [0, 3, 1, 4]);
    let failure = member(&last, "failure");
    assert_eq!((text(failure, "kind"), number(failure, "status")), ("exited", 9));
}

#[test]
fn what_served_comes_back_from_a_release_that_is_no_longer_there() {
    for what in [What::Binary, What::Script] {
        let (mut supervisor, directories, old) = Directories::start(4, what);
        directories.replace(&supervisor, "2");
        let mut client = open(&supervisor, "upgrade", &["--soak", LONG]);
        await_stage(&mut supervisor, "probation");
        supervisor
            .eventually("the old ones are gone", |_| (!old.iter().any(|pid| is_alive(*pid))).then_some(()));
        Directories::remove_first(&supervisor);
        fs::write(within(&supervisor, "die"), "").expect("a file can be written");
        let last = client.answer().expect("an answer").pop().expect("a line");
        assert_eq!((text(&last, "outcome"), text(&last, "cause")), ("rolled-back", "died"), "{last:?}");
        assert_eq!((number(&last, "slot"), number(&last, "healthy")), (2, 4), "{last:?}");
        assert_eq!(text(member(&last, "failure"), "message"), "killed by SIGKILL (signal 9)");
        let now = await_generation(&mut supervisor, 1, 4);
        assert!(now.iter().all(|pid| !old.contains(pid) && directories.is_first(*pid)), "{now:?}");
        assert_eq!(version(&mut supervisor), if what == What::Script { "one" } else { "1" });
    }
}

#[test]
fn a_crashed_worker_comes_back_from_a_release_that_is_no_longer_there() {
    for what in [What::Binary, What::Script] {
        let (mut supervisor, directories, old) = Directories::start(2, what);
        directories.replace(&supervisor, "none");
        Directories::remove_first(&supervisor);
        kill(raw(old[0]), Signal::SIGKILL).expect("a worker");
        let now = supervisor.eventually("it is back", |me| {
            let now = me.healthy();
            (now.len() == 2 && !now.contains(&old[0])).then_some(now)
        });
        assert!(now.contains(&old[1]) && now.iter().all(|pid| directories.is_first(*pid)), "{now:?}");
    }
}

#[test]
fn a_fleet_upgrade_on_trial_keeps_the_old_workers_until_it_has_proved_itself() {
    let (mut supervisor, release, old) = releases(3, &[]);
    let mut client = open(&supervisor, "upgrade_fleet", &["--soak", LONG]);
    await_stage(&mut supervisor, "probation");
    assert_eq!(supervisor.workers(|worker| text(worker, "phase") == "healthy").len(), 6);
    assert!(old.iter().all(|pid| is_alive(*pid)));
    assert!(is_ok(&command(&supervisor, &["abort"])));
    let last = client.answer().expect("an answer").pop().expect("a line");
    assert_eq!((text(&last, "outcome"), text(&last, "cause")), ("rolled-back", "aborted"));
    assert_eq!(supervisor.await_healthy(3), old, "the very same processes");

    // One that dies on trial: the same.
    release.switch(&mortal(&supervisor.folder, "mortal", "1"));
    let mut client = open(&supervisor, "upgrade_fleet", &["--soak", LONG]);
    await_stage(&mut supervisor, "probation");
    fs::write(within(&supervisor, "die"), "").expect("a file can be written");
    let last = client.answer().expect("an answer").pop().expect("a line");
    assert_eq!((text(&last, "cause"), number(&last, "slot")), ("died", 1), "{last:?}");
    assert_eq!(supervisor.await_healthy(3), old, "the very same processes");

    release.switch(&rust_worker());
    let before = notices(&supervisor).len();
    let last = answer(&supervisor, "upgrade_fleet", &["--soak", "0.3"]);
    assert!(is_ok(&last) && number(&last, "took_ms") >= 300, "{last:?}");
    await_generation(&mut supervisor, 4, 3);
    let since = notices(&supervisor).split_off(before);
    let first = |wanted: fn(&Notice) -> bool| since.iter().position(wanted).expect("it is told");
    let trial = first(|notice| matches!(notice, Notice::OnTrial { workers: 3, .. }));
    assert!(trial < first(|notice| matches!(notice, Notice::Draining { .. })), "{since:?}");
}

/// A release of that text is taken back, whatever it was to go through; the same old workers serve.
#[track_caller]
fn taken_back(options: &[&str], text_of: &str, expected: &str) {
    let (mut supervisor, release, old) = releases(3, &[options, &["-s", "0.01"]].concat());
    release.switch(&supervisor.folder.script("bad", text_of));
    for words in
        [&["upgrade"][..], &["upgrade", "--canary", "1", "--soak", LONG], &["upgrade_fleet", "--soak", LONG]]
    {
        let said = complaint(&supervisor, words);
        assert!(said.contains(expected), "{words:?}: {said}");
        assert!(said.contains("rolled back: generation 1 serves with 3 healthy workers"), "{said}");
        assert_eq!(supervisor.await_healthy(3), old, "the very same processes");
        assert!(get(supervisor.address(0)).is_ok_and(|response| response.status == 200));
    }
    assert_eq!(crate::upgrade::judge(&supervisor, 3).1, 0, "nobody was replaced");
}

#[test]
fn a_release_that_is_killed_at_its_start_is_taken_back() {
    taken_back(&["-r", "2"], "#!/bin/sh\nkill -SEGV $$\nsleep 600\n", "killed by SIGSEGV (signal 11)");
}

#[test]
fn a_release_that_hangs_before_it_acknowledges_is_taken_back() {
    taken_back(&["-r", "1", "--ack-timeout", "0.4"], HANGS, "did not acknowledge in time");
}

#[test]
fn a_release_whose_interpreter_is_missing_is_tried_once_and_taken_back() {
    // Were it tried again, that would take longer than the test may.
    let limits = ["-r", "1000", "--max-unacked", "1"];
    taken_back(&limits, "#!/no/such/interpreter\n", "exec failed: No such file or directory (errno 2)");
}

#[test]
fn a_release_that_may_not_be_executed_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let (mut supervisor, release, old) = releases(2, &[]);
    let path = supervisor.folder.script("plain", "text");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("permissions can be set");
    release.switch(&path);
    for words in [&["upgrade", "--canary", "1", "--soak", LONG][..], &["upgrade_fleet", "--soak", LONG]] {
        let said = complaint(&supervisor, words);
        assert!(said.contains("Permission denied (errno 13); no worker was touched"), "{said}");
    }
    assert_eq!(supervisor.await_healthy(2), old);
}

#[test]
fn a_release_that_fails_in_one_slot_of_four_is_taken_back_everywhere() {
    let (mut supervisor, release, old) = releases(4, &["-r", "2", "-s", "0.01"]);
    let text_of = format!("#!/bin/sh\n[ $EINHORN_CHILD_INDEX != 3 ] || exit 9\nexec {}\n", rust_worker());
    release.switch(&supervisor.folder.script("partial", &text_of));
    for words in [&["upgrade"][..], &["upgrade", "--canary", "3", "--soak", "0.2"], &["upgrade_fleet"]] {
        let said = complaint(&supervisor, words);
        assert!(said.contains("failed in slot 3 twice, at last: exited with status 9"), "{words:?}: {said}");
        let now = await_generation(&mut supervisor, 1, 4);
        assert_eq!(now[3], old[3], "where it failed the old one never went");
    }
}

#[test]
fn a_release_whose_child_acknowledges_for_itself_is_not_acknowledged() {
    let Some(python) = python() else { return skip("there is no python3") };
    let (mut supervisor, release, old) = releases(1, &["-r", "1", "--ack-timeout", "4"]);
    let (child, said) = (supervisor.folder.join("child.py"), supervisor.folder.join("said"));
    let text_of = format!(
        "import os, socket, time\nif os.fork() == 0:\n    s = socket.socket(socket.AF_UNIX)\n    \
         s.connect(os.environ['EINHORN_SOCK_PATH'])\n    \
         s.sendall(b'{{\"command\":\"worker:ack\",\"pid\":%d}}\\n' % os.getpid())\n    \
         open({said:?}, 'w').write(s.makefile().readline())\n    os._exit(0)\ntime.sleep(600)\n"
    );
    fs::write(&child, text_of).expect("a script can be written");
    release.switch(
        &supervisor.folder.script("forks", &format!("#!/bin/sh\nexec {python} {}\n", child.display())),
    );
    let answer = complaint(&supervisor, &["upgrade"]);
    assert!(answer.contains("did not acknowledge in time"), "{answer}");
    let said = fs::read_to_string(said).expect("the child has asked");
    assert!(said.contains("no worker has pid"), "{said}");
    assert_eq!(supervisor.await_healthy(1), old);
}

#[test]
fn an_upgrade_can_be_aborted_and_who_asked_for_it_is_told() {
    let (mut supervisor, release, old) = releases(3, &[]);
    release.switch(&supervisor.folder.script("hangs", HANGS));
    let first = std::thread::scope(|scope| {
        let first = scope.spawn(|| supervisor.ctl(&["upgrade"]));
        crate::harness::eventually("it has begun", || {
            supervisor.log().contains("rolling upgrade to generation 2").then_some(())
        });
        supervisor.ctl_ok(&["abort"]);
        first.join().expect("it ends")
    });
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert_eq!(first.status.code(), Some(1), "{said}");
    assert!(said.contains("the upgrade to generation 2 was aborted"), "{said}");
    assert!(said.contains("rolled back: generation 1 serves with 3 healthy workers"), "{said}");
    assert_eq!(supervisor.await_healthy(3), old, "the very same processes");

    // On trial, with some replaced already.
    release.switch(&rust_worker());
    let mut client = open(&supervisor, "upgrade", &["--canary", "1", "--soak", LONG]);
    await_stage(&mut supervisor, "canary-soak");
    let said = supervisor.ctl_ok(&["abort"]);
    assert!(said.contains("taking generation 3 back"), "{said}");
    let last = client.answer().expect("an answer").pop().expect("a line");
    assert_eq!(
        (is_ok(&last), text(&last, "outcome"), text(&last, "cause")),
        (false, "rolled-back", "aborted")
    );
    assert!(is_null(&last, "slot") && is_null(&last, "failure"), "{last:?}");
    assert_eq!(await_generation(&mut supervisor, 1, 3)[1..], old[1..]);
}

#[test]
fn where_no_upgrade_is_under_way_there_is_nothing_to_abort() {
    let (mut supervisor, _, old) = releases(1, &[]);
    let said = complaint(&supervisor, &["abort"]);
    assert!(said.contains("no upgrade is under way; nothing changed"), "{said}");
    supervisor.ctl_ok(&["upgrade"]);
    complaint(&supervisor, &["abort"]);
    assert_ne!(await_generation(&mut supervisor, 2, 1), old);
}

#[test]
fn variables_belong_to_a_generation_are_kept_by_the_next_and_go_when_it_is_taken_back() {
    let (mut supervisor, release, old) = releases(2, &["-r", "1"]);
    let all_have = |pids: &[u32], name: &str, value: Option<&str>| {
        assert!(pids.iter().all(|pid| variable(*pid, name).as_deref() == value), "{name} is not {value:?}");
    };
    // Taken back: never seen again.
    release.switch(&within(&supervisor, "broken"));
    complaint(&supervisor, &["upgrade", "--env", "V=0"]);
    release.switch(&rust_worker());
    supervisor.ctl_ok(&["upgrade"]);
    let now = await_generation(&mut supervisor, 3, 2);
    all_have(&now, "V", None);

    supervisor.ctl_ok(&["upgrade", "--env", "V=2", "--env=DEMO_VERSION=two"]);
    let now = await_generation(&mut supervisor, 4, 2);
    all_have(&now, "V", Some("2"));
    assert_eq!(version(&mut supervisor), "two");

    // Kept, by whatever asks; also by who comes back after a crash.
    supervisor.ctl_ok(&["upgrade", "--env", "W=3"]);
    supervisor.signal(Signal::SIGHUP);
    let now = await_generation(&mut supervisor, 6, 2);
    all_have(&now, "V", Some("2"));
    all_have(&now, "W", Some("3"));
    kill(raw(now[0]), Signal::SIGKILL).expect("a worker");
    supervisor.eventually("it is back", |me| {
        let healthy = me.healthy();
        (healthy.len() == 2 && !healthy.contains(&now[0])).then_some(())
    });
    all_have(&supervisor.healthy(), "V", Some("2"));

    // One that had come into use, and is taken back.
    release.switch(&mortal(&supervisor.folder, "mortal", "0"));
    fs::write(within(&supervisor, "die"), "").expect("a file can be written");
    let last = answer(&supervisor, "upgrade_fleet", &["--env", "V=9", "--soak", LONG]);
    assert!(!is_ok(&last), "{last:?}");
    let now = await_generation(&mut supervisor, 6, 2);
    all_have(&now, "V", Some("2"));
    release.switch(&rust_worker());
    supervisor.ctl_ok(&["upgrade"]);
    let now = await_generation(&mut supervisor, 8, 2);
    all_have(&now, "V", Some("2"));
    assert!(now.iter().all(|pid| !old.contains(pid)));
}

#[test]
fn another_program_can_be_named_and_stays_until_it_is_taken_back() {
    let (mut supervisor, _, _) = releases(2, &["-r", "1"]);
    let worker = rust_worker();
    supervisor.ctl_ok(&["upgrade", "--", "env", "DEMO_VERSION=two", &worker, "--canary"]);
    let now = await_generation(&mut supervisor, 2, 2);
    assert_eq!(version(&mut supervisor), "two");
    let words = fs::read(format!("/proc/{}/cmdline", now[0])).expect("a process");
    assert_eq!(words, format!("{worker}\0--canary\0").into_bytes());
    supervisor.ctl_ok(&["upgrade"]);
    await_generation(&mut supervisor, 3, 2);
    assert_eq!(version(&mut supervisor), "two", "what is not said stays as it is");

    let said = complaint(&supervisor, &["upgrade", "--", "/no/such/program"]);
    assert!(said.contains("/no/such/program") && said.contains("no worker was touched"), "{said}");
    let said = complaint(&supervisor, &["upgrade", "--", "sh", "-c", "exit 4"]);
    assert!(said.contains("exited with status 4"), "{said}");
    supervisor.ctl_ok(&["upgrade"]);
    await_generation(&mut supervisor, 6, 2);
    assert_eq!(version(&mut supervisor), "two");
}

#[test]
fn what_an_upgrade_does_not_understand_it_refuses_with_what_it_accepts() {
    let (mut supervisor, _, old) = releases(1, &[]);
    let accepted = "accepted: --canary N, --soak SECS, --env VAR=VALUE (repeats), -- PROGRAM ARGS...";
    for (words, named) in [
        (&["now"][..], accepted),
        (&["--fast"], accepted),
        (&["--canary"], accepted),
        (&["--"], accepted),
        (&["--canary", "1"], "--canary needs --soak"),
        (&["--canary", "0", "--soak", "1"], "accepted: 1 or more"),
        (&["--soak", "-1"], "accepted: 0 to 86400, decimals allowed"),
        (&["--env", "V"], "`V` is not VAR=VALUE"),
    ] {
        for name in ["upgrade", "upgrade_fleet"] {
            let said = refusal(&supervisor, &[&[name], words].concat());
            assert!(said.contains(named), "{words:?}: {said}");
        }
    }
    assert_eq!(supervisor.await_healthy(1), old);
    assert_eq!(number(&supervisor.status(), "generation"), 1);
    assert_eq!(list(&ask(&supervisor, r#"{"command":"history"}"#), "history").len(), 1, "none was begun");
}

#[test]
fn a_hang_up_signal_with_a_bad_release_changes_nothing() {
    let (mut supervisor, release, old) = releases(2, &["-r", "1"]);
    release.switch(&within(&supervisor, "broken"));
    supervisor.signal(Signal::SIGHUP);
    supervisor.await_log("rolled back: generation 1, 2 of 2 workers are healthy");
    assert_eq!(supervisor.await_healthy(2), old);
    let told = ask(&supervisor, r#"{"command":"history"}"#);
    let last = list(&told, "history").last().expect("an entry");
    assert_eq!((text(last, "by"), text(last, "result")), ("SIGHUP", "rolled back"), "{last:?}");
}

#[test]
fn a_single_worker_is_replaced_and_restored_as_well() {
    let (mut supervisor, release, old) = releases(1, &["-r", "1"]);
    supervisor.ctl_ok(&["upgrade", "--canary", "3", "--soak", "0.2"]);
    let new = await_generation(&mut supervisor, 2, 1);
    assert_ne!(new, old);
    release.switch(&within(&supervisor, "broken"));
    complaint(&supervisor, &["upgrade"]);
    complaint(&supervisor, &["upgrade_fleet", "--soak", LONG]);
    assert_eq!(supervisor.await_healthy(1), new);
    assert_eq!(crate::upgrade::judge(&supervisor, 1), (2, 1));
}

#[test]
fn the_number_of_workers_may_double_and_halve_during_an_upgrade() {
    let (mut supervisor, release, _) = releases(4, &["--max-unacked", "1"]);
    let gate = supervisor.folder.join("gate").display().to_string();
    let slow = format!("#!/bin/sh\nwhile [ ! -e {gate} ]; do sleep 0.02; done\nexec {}\n", rust_worker());
    release.switch(&supervisor.folder.script("slow", &slow));
    let mut client = open(&supervisor, "upgrade", &["--soak", "0.3"]);
    supervisor.await_log("rolling upgrade to generation 2");
    assert!(is_ok(&command(&supervisor, &["set_workers", "8"])));
    fs::write(&gate, "").expect("a file can be written");
    supervisor.eventually("more than four are healthy", |me| (me.healthy().len() > 4).then_some(()));
    assert!(is_ok(&command(&supervisor, &["set_workers", "2"])));
    let last = client.answer().expect("an answer").pop().expect("a line");
    assert_eq!((text(&last, "outcome"), number(&last, "healthy")), ("upgraded", 2), "{last:?}");
    await_generation(&mut supervisor, 2, 2);
}

#[test]
fn an_upgrade_whose_client_is_interrupted_comes_to_its_end() {
    let (mut supervisor, release, old) = releases(3, &["--max-unacked", "1"]);
    let gate = supervisor.folder.join("gate").display().to_string();
    let slow = format!("#!/bin/sh\nwhile [ ! -e {gate} ]; do sleep 0.02; done\nexec {}\n", rust_worker());
    release.switch(&supervisor.folder.script("slow", &slow));
    let mut client = Command::new(CLIENT);
    client.arg("-d").arg(supervisor.socket()).args(["upgrade", "--soak", "0.3"]).stdin(Stdio::null());
    let mut client =
        client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the client can be run");
    supervisor.await_log("rolling upgrade to generation 2");
    kill(raw(client.id()), Signal::SIGINT).expect("the client");
    assert!(!client.wait().expect("its end").success());
    fs::write(&gate, "").expect("a file can be written");
    let new = await_generation(&mut supervisor, 2, 3);
    assert!(new.iter().all(|pid| !old.contains(pid)));
    supervisor.await_log("upgrade to generation 2 is complete");
}

#[test]
fn the_history_tells_of_every_generation_who_asked_for_it_and_what_came_of_it() {
    let (mut supervisor, release, _) = releases(2, &["-r", "1"]);
    supervisor.ctl_ok(&["upgrade"]);
    release.switch(&within(&supervisor, "broken"));
    complaint(&supervisor, &["upgrade_fleet"]);
    release.remove();
    complaint(&supervisor, &["upgrade"]);
    release.switch(&rust_worker());
    let mut first = open(&supervisor, "upgrade", &["--soak", LONG]);
    await_stage(&mut supervisor, "probation");
    supervisor.ctl_ok(&["upgrade"]);
    assert_eq!(text(&first.answer().expect("an answer").pop().expect("a line"), "outcome"), "superseded");
    open(&supervisor, "upgrade", &["--canary", "1", "--soak", LONG]);
    await_stage(&mut supervisor, "canary-soak");
    let shown = supervisor.ctl_ok(&["history"]);
    assert!(shown.lines().last().is_some_and(|line| line.ends_with(": begun")), "{shown}");
    supervisor.ctl_ok(&["abort"]);
    supervisor.await_log("rolled back: generation 6");

    let told = ask(&supervisor, r#"{"command":"history"}"#);
    let me = format!("uid {}, pid ", nix::unistd::getuid());
    let expected = [
        ("the start", None, "serves", ""),
        (&me, Some("rolling"), "upgraded", "after "),
        (&me, Some("fleet"), "rolled back", "exited with status 7"),
        (&me, None, "refused", "No such file or directory (errno 2)"),
        (&me, Some("rolling"), "superseded", "by generation 6"),
        (&me, Some("rolling"), "upgraded", "after "),
        (&me, Some("rolling"), "rolled back", "the upgrade to generation 7 was aborted"),
    ];
    let entries = list(&told, "history");
    assert_eq!(entries.len(), expected.len(), "{entries:?}");
    let shown = supervisor.ctl_ok(&["history"]);
    for (at, (entry, (by, strategy, result, reason))) in entries.iter().zip(expected).enumerate() {
        assert_eq!(number(entry, "generation"), i64::try_from(at).expect("a number") + 1);
        assert!(text(entry, "by").starts_with(by), "{entry:?}");
        let found = (!is_null(entry, "strategy")).then(|| text(entry, "strategy"));
        assert_eq!((found, text(entry, "result")), (strategy, result), "{entry:?}");
        assert!(text(entry, "reason").contains(reason), "{entry:?}");
        assert!(number(entry, "asked_at") > 1_600_000_000, "{entry:?}");
        let line = shown.lines().nth(at).expect("a line for each");
        assert!(line.starts_with(&format!("generation {} at 2", at + 1)), "{line}");
        for word in [by, result, reason, strategy.unwrap_or_default(), text(entry, "program")] {
            assert!(line.contains(word), "{word} is not in {line}");
        }
    }
}

#[test]
fn the_status_tells_the_stage_of_an_upgrade_and_what_it_is_waiting_for() {
    let (mut supervisor, release, _) = releases(3, &["--max-unacked", "1"]);
    for (words, stage, waiting, retired) in [
        (&["--canary", "1", "--soak", LONG][..], "canary-soak", "the canaries' trial to end, ", 1),
        (&["--soak", LONG], "probation", "the trial of all workers to end, ", 3),
    ] {
        open(&supervisor, "upgrade", words);
        let told = await_stage(&mut supervisor, stage);
        assert!(text(&told, "waiting_for").starts_with(waiting), "{told:?}");
        let left = number(&told, "trial_left_ms");
        assert!((1..=600_000).contains(&left) && number(&told, "retired") == retired, "{told:?}");
        let shown = supervisor.ctl_ok(&["status"]);
        assert!(shown.contains(&format!("waiting for {waiting}")), "{shown}");
        supervisor.ctl_ok(&["abort"]);
        await_generation(&mut supervisor, 1, 3);
    }
    release.switch(&supervisor.folder.script("hangs", HANGS));
    open(&supervisor, "upgrade", &["--canary", "1", "--soak", LONG]);
    let told = supervisor.eventually("a worker is awaited", |me| {
        let status = me.status();
        let told = member(&status, "upgrade");
        (!is_null(&status, "upgrade") && number(told, "unready") == 1).then(|| told.clone())
    });
    assert_eq!((text(&told, "stage"), text(&told, "waiting_for")), ("canary", "1 worker to become healthy"));
    assert!(is_null(&told, "trial_left_ms"), "{told:?}");
    supervisor.ctl_ok(&["abort"]);
    supervisor.eventually("it is settled", |me| is_null(&me.status(), "upgrade").then_some(()));
}

#[test]
fn a_shutdown_ends_a_trial_at_once() {
    for (name, words, stage) in [
        ("upgrade", &["--canary", "1", "--soak", LONG][..], "canary-soak"),
        ("upgrade", &["--soak", LONG], "probation"),
        ("upgrade_fleet", &["--soak", LONG], "probation"),
    ] {
        let (mut supervisor, _, _) = releases(2, &[]);
        let mut client = open(&supervisor, name, words);
        await_stage(&mut supervisor, stage);
        let begin = Instant::now();
        assert!(is_ok(&command(&supervisor, &["die"])));
        let last = client.answer().expect("an answer").pop().expect("a line");
        assert_eq!((is_ok(&last), text(&last, "outcome")), (false, "cancelled"), "{last:?}");
        assert_eq!(supervisor.await_exit(), 0);
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
}
