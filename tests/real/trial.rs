//! Releases on trial, and those that do not pass: the service goes back to what served.

use crate::{
    harness::{Folder, Supervisor, is_alive, is_ok, member, number, raw, rust_worker, script, text},
    load::get,
    progress::{
        HANGS, LONG, answer, await_generation, await_stage, complaint, mortal, open, variable, version,
    },
    tools::{Release, ask, command, list, python, releases, skip, within},
};
use einhyrningsins::fsm::{
    action::Action,
    id::Generation,
    notice::Notice,
    trace::{self, Line},
};
use miniserde::json::Value;
use nix::sys::signal::{Signal, kill};
use std::{
    fs,
    time::{Duration, Instant},
};

/// What the supervisor noticed, in its order.
fn notices(supervisor: &Supervisor) -> Vec<Notice> {
    let text = fs::read_to_string(within(supervisor, "trace")).expect("a trace");
    let notice = |line: &str| match trace::parse(line).unwrap_or_else(|why| panic!("{line}: {why:?}")) {
        Line::Action(Action::Notice { notice }) => Some(notice),
        _ => None,
    };
    text.lines().filter_map(notice).collect()
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
    taken_back(&["-r", "1", "--ack-timeout", "0.4"], HANGS, "was not ready in time");
}

#[test]
fn an_upgrade_that_takes_longer_than_it_may_is_taken_back() {
    let (mut supervisor, release, old) = releases(2, &["--ack-timeout", LONG]);
    release.switch(&supervisor.folder.script("bad", HANGS));
    let said = complaint(&supervisor, &["upgrade", "--timeout", "0.4"]);
    assert!(said.contains("the upgrade to generation 2 has taken as long as it may"), "{said}");
    assert!(said.contains("rolled back: generation 1 serves with 2 healthy workers"), "{said}");
    assert_eq!(supervisor.await_healthy(2), old, "the very same processes");
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
    assert!(answer.contains("was not ready in time"), "{answer}");
    let said = fs::read_to_string(said).expect("the child has asked");
    assert!(said.contains("no worker has pid"), "{said}");
    assert_eq!(supervisor.await_healthy(1), old);
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
    let told = complaint(&supervisor, &["upgrade", "--canary", "3", "--soak", "0.2"]);
    assert!(told.contains("--canary: 3 workers cannot go ahead of 1; accepted: 1 to 1"), "{told}");
    assert_eq!(supervisor.await_healthy(1), old);
    supervisor.ctl_ok(&["upgrade", "--canary", "1", "--soak", "0.2"]);
    let new = await_generation(&mut supervisor, 2, 1);
    assert_ne!(new, old);
    release.switch(&within(&supervisor, "broken"));
    complaint(&supervisor, &["upgrade"]);
    complaint(&supervisor, &["upgrade_fleet", "--soak", LONG]);
    assert_eq!(supervisor.await_healthy(1), new);
    assert_eq!(crate::upgrade::judge(&supervisor, 1), (2, 1));
}

/// Half of what serves keeps crashing: a good release replaces it, a bad one changes nothing.
#[test]
fn an_upgrade_comes_to_its_end_while_half_of_the_old_workers_keep_crashing() {
    let (mut supervisor, release, _) = releases(4, &["-r", "2", "-s", "0.01"]);
    let text_of = format!(
        "#!/bin/sh\ncase $EINHORN_CHILD_INDEX in 2|3) (sleep 0.1; kill -KILL $$) & esac\nexec {}\n",
        rust_worker()
    );
    release.switch(&supervisor.folder.script("crashes", &text_of));
    // Without a soak nobody looks after the new workers once all were healthy.
    supervisor.eventually("a release that crashes later serves", |me| {
        is_ok(&answer(me, "upgrade_fleet", &[])).then_some(())
    });
    let steady = |me: &mut Supervisor| {
        let steady = |worker: &Value| number(worker, "slot") < 2 && text(worker, "phase") == "healthy";
        let workers = me.workers(steady);
        workers.iter().map(|worker| number(worker, "pid")).collect::<Vec<_>>()
    };
    let old = steady(&mut supervisor);
    for name in ["upgrade", "upgrade_fleet"] {
        release.switch(&within(&supervisor, "broken"));
        let said = complaint(&supervisor, &[name]);
        assert!(said.contains("rolled back: generation "), "{said}");
        assert_eq!(steady(&mut supervisor), old, "those that did not crash were never touched");
    }
    release.switch(&rust_worker());
    assert!(is_ok(&answer(&supervisor, "upgrade", &["--soak", "0.3"])));
    supervisor.await_healthy(4);
}

/// A shutdown wins at every stage: while a canary starts, while the others do, and on the way back.
#[test]
fn a_shutdown_ends_an_upgrade_in_whatever_stage_it_is() {
    for (stage, words) in [("canary", &["--canary", "1", "--soak", LONG][..]), ("spread", &[]), ("back", &[])]
    {
        let (mut supervisor, release, _) = releases(2, &["--max-unacked", "1"]);
        let slow = within(&supervisor, "slow");
        let gated = |version: &str| {
            let worker = rust_worker();
            format!(
                "#!/bin/sh\nwhile [ -e {slow} ]; do sleep 0.02; done\nDEMO_VERSION={version} exec {worker}\n"
            )
        };
        release.switch(&supervisor.folder.script("gated", &gated("one")));
        supervisor.ctl_ok(&["upgrade"]);
        release.switch(&supervisor.folder.script("next", &gated("two")));
        let mut client = if stage == "back" {
            let client = open(&supervisor, "upgrade", &["--soak", LONG]);
            await_stage(&mut supervisor, "probation");
            fs::write(&slow, "").expect("a file can be written");
            assert!(is_ok(&command(&supervisor, &["abort"])));
            client
        } else {
            fs::write(&slow, "").expect("a file can be written");
            open(&supervisor, "upgrade", words)
        };
        await_stage(&mut supervisor, stage);
        assert!(is_ok(&command(&supervisor, &["die"])));
        let last = client.answer().expect("an answer").pop().expect("a line");
        assert_eq!((is_ok(&last), text(&last, "outcome")), (false, "cancelled"), "{stage}: {last:?}");
        assert_eq!(supervisor.await_exit(), 0, "{stage}");
    }
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
