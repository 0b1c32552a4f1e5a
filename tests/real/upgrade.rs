//! Upgrades that go well, whatever else goes on meanwhile.

use crate::{
    harness::{Connection, Supervisor, is_alive, is_ok, member, number, text},
    tools::{command, err, is_null, list, recorders, releases, sleepers, within},
};
use einhyrningsins::fsm::{
    action::Action,
    event::EventKind,
    id::{Generation, SlotId, WorkerId},
    notice::Notice,
    reason::Why,
    trace::{self, Line},
};
use nix::sys::signal::Signal;
use std::{collections::BTreeMap, fs};

/// Reads a trace, and sees to it that no healthy worker was asked to go for an upgrade before the one
/// that replaces it was healthy, nor while there were fewer healthy ones than there are to be. Returns
/// the most workers that were up at once, and how many were replaced.
pub(crate) fn judge(supervisor: &Supervisor, target: usize) -> (usize, usize) {
    let text = fs::read_to_string(within(supervisor, "trace")).expect("a trace");
    let (mut up, mut healthy) = (BTreeMap::<WorkerId, ()>::new(), BTreeMap::new());
    let (mut most, mut replaced) = (0, 0);
    for line in text.lines() {
        let line = trace::parse(line).unwrap_or_else(|why| panic!("{line}: {why:?}"));
        if let Line::Event(event) = &line
            && let EventKind::Spawned { worker, .. } = &event.kind
        {
            up.insert(*worker, ());
            most = most.max(up.len());
        }
        let Line::Action(Action::Notice { notice }) = line else { continue };
        match notice {
            Notice::Healthy { worker, slot, generation, .. } => {
                healthy.insert(worker, (slot, generation));
            }
            Notice::Draining { worker, why, slot, .. } => {
                let (_, old) = healthy.remove(&worker).unwrap_or((slot, Generation(0)));
                up.remove(&worker);
                if why == Why::Replaced && old > Generation(0) {
                    replaced += 1;
                    assert!(healthy.len() >= target, "{healthy:?} are left without {worker}");
                    assert!(has_newer(&healthy, slot, old), "{worker} in slot {slot} had no replacement");
                }
            }
            Notice::Crashed { worker, .. } | Notice::StartFailed { worker, .. } => {
                healthy.remove(&worker);
                up.remove(&worker);
            }
            _ => {}
        }
    }
    (most, replaced)
}

fn has_newer(
    healthy: &BTreeMap<WorkerId, (SlotId, Generation)>,
    slot: SlotId,
    generation: Generation,
) -> bool {
    healthy.values().any(|(its, newer)| *its == slot && *newer > generation)
}

/// Waits until all `count` workers are healthy, of that generation, and no other is left.
#[track_caller]
fn await_generation(supervisor: &mut Supervisor, generation: i64, count: usize) -> Vec<u32> {
    supervisor.eventually(&format!("all are of generation {generation}"), |me| {
        let status = me.status();
        let all = list(&status, "workers").iter().all(|worker| number(worker, "generation") == generation);
        (number(&status, "generation") == generation && all && is_null(&status, "upgrade")).then_some(())
    });
    supervisor.await_healthy(count)
}

#[test]
fn a_rolling_upgrade_replaces_every_worker_a_few_at_a_time() {
    let limits = ["--max-unacked", "1", "--max-upgrade-additional", "1"];
    let (mut supervisor, _, old) = releases(4, &limits);
    let answers = supervisor.request(r#"{"command":"upgrade","id":"x"}"#).expect("an answer");
    let (last, progress) = answers.split_last().expect("lines");
    assert_eq!((is_ok(last), text(last, "outcome")), (true, "upgraded"));
    assert_eq!((number(last, "generation"), number(last, "healthy")), (2, 4));
    assert!(text(last, "message").starts_with("generation 2 serves with 4 healthy workers, after "));
    let mut reached = (0, 0);
    for line in progress {
        assert_eq!(text(line, "request_id"), "x");
        let told = member(line, "upgrade");
        assert_eq!((number(told, "generation"), number(told, "target")), (2, 4));
        let now = (number(told, "healthy"), number(told, "retired"));
        assert!(now >= reached && now.1 <= now.0, "{now:?} after {reached:?}");
        reached = now;
    }
    let first = progress.first().map(|line| text(line, "message"));
    assert_eq!(first, Some("generation 2: 0/4 healthy, 0 retired"), "there is something to see at once");
    // Of the last step the last line tells.
    assert!(reached >= (3, 2), "{reached:?}");

    let new = await_generation(&mut supervisor, 2, 4);
    assert!(new.iter().all(|pid| !old.contains(pid)) && !old.iter().any(|pid| is_alive(*pid)));
    let slots: Vec<i64> = supervisor.workers(|_| true).iter().map(|worker| number(worker, "slot")).collect();
    assert_eq!(slots, [0, 1, 2, 3]);
    assert_eq!(judge(&supervisor, 4), (5, 4), "at most one more than the four");
}

#[test]
fn a_fleet_upgrade_starts_all_before_it_retires_any() {
    let (mut supervisor, _, old) = releases(4, &["--max-unacked", "2", "--max-upgrade-additional", "1"]);
    let answers = supervisor.request(r#"{"command":"upgrade_fleet"}"#).expect("an answer");
    let (last, progress) = answers.split_last().expect("lines");
    assert_eq!(text(last, "outcome"), "upgraded");
    for line in progress {
        let told = member(line, "upgrade");
        assert!(number(told, "retired") == 0 || number(told, "healthy") == 4, "{told:?}");
    }
    let new = await_generation(&mut supervisor, 2, 4);
    assert!(new.iter().all(|pid| !old.contains(pid)));
    assert_eq!(judge(&supervisor, 4), (8, 4), "twice as many as the four");
}

#[test]
fn a_hang_up_signal_upgrades() {
    let (mut supervisor, _, old) = releases(2, &[]);
    supervisor.signal(Signal::SIGHUP);
    let new = await_generation(&mut supervisor, 2, 2);
    assert!(new.iter().all(|pid| !old.contains(pid)));
    supervisor.await_log("upgrade to generation 2 is complete");
    assert_eq!(judge(&supervisor, 2).1, 2);
}

#[test]
fn the_client_waits_for_the_end_of_an_upgrade_and_shows_how_it_goes() {
    let (mut supervisor, _, _) = releases(3, &["--max-unacked", "1"]);
    for generation in 2..5 {
        let said = supervisor.ctl_ok(&["-e", "upgrade"]);
        assert_eq!(number(&supervisor.status(), "generation"), generation);
        let lines: Vec<&str> = said.lines().collect();
        assert!(
            lines.contains(&format!("generation {generation}: 0/3 healthy, 0 retired").as_str()),
            "{said}"
        );
        assert!(lines.last().is_some_and(|line| line.contains("serves with 3 healthy workers")), "{said}");
    }
    supervisor.await_healthy(3);
    assert_eq!(judge(&supervisor, 3).1, 9);
}

#[test]
fn an_old_worker_that_takes_its_time_to_go_does_not_hold_an_upgrade_up() {
    let (mut supervisor, old, _) = recorders(2, &["-t", "60"], &["TERM"]);
    supervisor.ctl_ok(&["upgrade"]);
    let status = supervisor.status();
    let phases: Vec<(&str, bool)> = list(&status, "workers")
        .iter()
        .map(|worker| (text(worker, "phase"), old.iter().any(|pid| i64::from(*pid) == number(worker, "pid"))))
        .collect();
    assert_eq!(phases.iter().filter(|found| **found == ("draining", true)).count(), 2, "{phases:?}");
    assert_eq!(phases.iter().filter(|found| **found == ("healthy", false)).count(), 2, "{phases:?}");
    for pid in &old {
        nix::sys::signal::kill(crate::harness::raw(*pid), Signal::SIGTERM).expect("a worker");
    }
    supervisor.await_healthy(2);
}

#[test]
fn a_second_upgrade_supersedes_the_first() {
    let (mut supervisor, release, old) = releases(2, &["--max-unacked", "1"]);
    let fine = fs::read_link(release.path()).expect("a link").display().to_string();
    release.switch(&supervisor.folder.script("hangs", "#!/bin/sh\nexec sleep 600\n"));
    let mut first = Connection::open(&supervisor.socket()).expect("a connection");
    first.send(r#"{"command":"upgrade","id":1}"#).expect("it is sent");
    supervisor.await_log("rolling upgrade to generation 2");
    release.switch(&fine);
    supervisor.ctl_ok(&["upgrade"]);

    let last = first.answer().expect("an answer").pop().expect("a line");
    assert_eq!((is_ok(&last), text(&last, "outcome"), number(&last, "by")), (false, "superseded", 3));
    assert!(text(&last, "message").contains("superseded by the one to generation 3"), "{last:?}");
    let new = await_generation(&mut supervisor, 3, 2);
    assert!(new.iter().all(|pid| !old.contains(pid)));
    judge(&supervisor, 2);
}

#[test]
fn a_client_whose_upgrade_is_superseded_fails() {
    let (mut supervisor, release, _) = releases(1, &[]);
    let fine = fs::read_link(release.path()).expect("a link").display().to_string();
    release.switch(&supervisor.folder.script("hangs", "#!/bin/sh\nexec sleep 600\n"));
    let output = std::thread::scope(|scope| {
        let first = scope.spawn(|| supervisor.ctl(&["-e", "upgrade"]));
        crate::harness::eventually("the first has begun", || {
            supervisor.log().contains("rolling upgrade to generation 2").then_some(())
        });
        release.switch(&fine);
        supervisor.ctl_ok(&["upgrade"]);
        first.join().expect("it ends")
    });
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    assert!(said.contains("was superseded by the one to generation 3"), "{said}");
    await_generation(&mut supervisor, 3, 1);
}

#[test]
fn a_thousand_upgrades_at_once_all_get_an_answer_and_the_fleet_settles() {
    let (mut supervisor, _, old) = releases(3, &[]);
    let upgrade = r#"{"command":"upgrade"}"#;
    let mut clients: Vec<Connection> = (0..500)
        .map(|_| {
            let mut client = Connection::open(&supervisor.socket()).expect("a connection");
            // The second is taken up once the first is answered.
            client.send(&format!("{upgrade}\n{upgrade}")).expect("it is sent");
            client
        })
        .collect();
    let mut outcomes = BTreeMap::<String, usize>::new();
    for client in clients.iter_mut().flat_map(|client| [client.answer(), client.answer()]) {
        let last = client.expect("an answer").pop().expect("a line");
        *outcomes.entry(text(&last, "outcome").to_owned()).or_default() += 1;
    }
    assert_eq!(outcomes.values().sum::<usize>(), 1_000);
    assert!(
        outcomes.keys().all(|outcome| ["upgraded", "superseded"].contains(&outcome.as_str())),
        "{outcomes:?}"
    );
    assert!(outcomes.contains_key("upgraded"), "{outcomes:?}");
    let new = await_generation(&mut supervisor, 1_001, 3);
    assert!(new.iter().all(|pid| !old.contains(pid)));
    judge(&supervisor, 3);
}

#[test]
fn the_number_of_workers_may_change_during_an_upgrade() {
    for (wish, count) in [("6", 6), ("1", 1)] {
        let (mut supervisor, release, _) = releases(3, &["--max-unacked", "1"]);
        let fine = fs::read_link(release.path()).expect("a link").display().to_string();
        let slow = format!("#!/bin/sh\nsleep 0.1\nexec {fine}\n");
        release.switch(&supervisor.folder.script("slow", &slow));
        let mut client = Connection::open(&supervisor.socket()).expect("a connection");
        client.send(r#"{"command":"upgrade"}"#).expect("it is sent");
        supervisor.await_log("rolling upgrade to generation 2");
        assert!(is_ok(&command(&supervisor, &["set_workers", wish])));
        let last = client.answer().expect("an answer").pop().expect("a line");
        assert_eq!(text(&last, "outcome"), "upgraded", "{last:?}");
        await_generation(&mut supervisor, 2, count);
    }
}

#[test]
fn an_upgrade_goes_on_without_the_client_that_asked_for_it() {
    let (mut supervisor, old) = sleepers(3, &[]);
    let mut client = Connection::open(&supervisor.socket()).expect("a connection");
    client.send(r#"{"command":"upgrade"}"#).expect("it is sent");
    drop(client);
    let new = await_generation(&mut supervisor, 2, 3);
    assert!(new.iter().all(|pid| !old.contains(pid)));
}

#[test]
fn a_shutdown_during_an_upgrade_wins() {
    let (mut supervisor, release, _) = releases(2, &[]);
    release.switch(&supervisor.folder.script("hangs", "#!/bin/sh\nexec sleep 600\n"));
    let mut client = Connection::open(&supervisor.socket()).expect("a connection");
    client.send(r#"{"command":"upgrade"}"#).expect("it is sent");
    supervisor.await_log("rolling upgrade to generation 2");
    assert!(is_ok(&command(&supervisor, &["die"])));
    let last = client.answer().expect("an answer").pop().expect("a line");
    assert_eq!((is_ok(&last), text(&last, "outcome"), number(&last, "generation")), (false, "cancelled", 2));
    assert!(text(&last, "message").contains("the supervisor is shutting down"), "{last:?}");
    assert_eq!(supervisor.await_exit(), 0);

    let text = fs::read_to_string(within(&supervisor, "trace")).expect("a trace");
    let lines: Vec<Line> = text.lines().map(|line| trace::parse(line).expect("a line")).collect();
    let stop = lines
        .iter()
        .position(|line| matches!(line, Line::Action(Action::Notice { notice: Notice::Stopping { .. } })));
    let after = lines.iter().skip(stop.expect("it stops"));
    assert!(
        !after.clone().any(|line| matches!(line, Line::Action(Action::Spawn { .. }))),
        "nothing is started"
    );
    let told = |line: &Line| matches!(line, Line::Action(Action::Stop { .. }));
    assert!(after.filter(|line| told(line)).count() >= 2, "all are asked to go");
    let supervisor_log = supervisor.log();
    assert!(!supervisor_log.contains("generation 3"), "{supervisor_log}");
}

#[test]
fn while_it_shuts_down_it_takes_no_other_commands() {
    let (mut supervisor, _, _) = recorders(1, &["-t", "60"], &["TERM"]);
    assert!(is_ok(&command(&supervisor, &["die"])));
    for name in ["upgrade", "upgrade_fleet", "inc", "dec", "retry"] {
        let answer = command(&supervisor, &[name]);
        assert!(!is_ok(&answer) && text(&answer, "message").contains("shutting down"), "{name}: {answer:?}");
    }
    supervisor.signal(Signal::SIGHUP);
    assert_eq!(text(&supervisor.status(), "stopping"), "graceful");
    assert_eq!(number(&supervisor.status(), "generation"), 1);
    assert_eq!(text(&command(&supervisor, &["die", "TERM"]), "shutdown"), "quick", "one step harsher");
    assert_eq!(supervisor.await_exit(), 0);
}
