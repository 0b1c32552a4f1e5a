//! Upgrades that fail: the service outlives a bad release.

use crate::{
    harness::{is_ok, member, number, raw, text},
    tools::{ask, err, is_null, releases, within},
    upgrade::judge,
};
use nix::sys::signal::{Signal, kill};
use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};

fn answers(address: SocketAddr) -> bool {
    crate::load::get(address).is_ok_and(|response| response.status == 200)
}

#[test]
fn a_release_that_fails_to_start_leaves_the_old_one_serving() {
    for name in ["upgrade", "upgrade_fleet"] {
        let (mut supervisor, release, old) = releases(3, &["-r", "2", "-s", "0.01"]);
        let address = supervisor.address(0);
        release.switch(&within(&supervisor, "broken"));
        let output = supervisor.ctl(&["-e", name]);
        let said = err(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("generation 2 failed in slot ")
                && said.contains("twice, at last: exited with status 7")
        );
        assert!(said.contains("rolled back: generation 1 serves with 3 healthy workers"), "{said}");
        assert_eq!(supervisor.await_healthy(3), old, "the very same processes");
        assert!(answers(address));
        let status = supervisor.status();
        assert!(number(&status, "generation") == 1 && is_null(&status, "upgrade"));
        assert_eq!(judge(&supervisor, 3).1, 0, "nobody was replaced");
        supervisor.await_log("failed in slot");
        supervisor.await_log("rolled back: generation 1, 3 of 3 workers are healthy");

        // A repaired release can be tried at once.
        release.switch(&crate::harness::rust_worker());
        supervisor.ctl_ok(&[name]);
        let new = supervisor.await_healthy(3);
        assert!(new.iter().all(|pid| !old.contains(pid)));
        assert_eq!(number(&supervisor.status(), "generation"), 3);
    }
}

#[test]
fn the_answer_tells_programs_what_failed() {
    let (mut supervisor, release, old) = releases(2, &["-r", "1", "--max-unacked", "1"]);
    release.switch(&within(&supervisor, "broken"));
    let last = supervisor.request(r#"{"command":"upgrade"}"#).expect("an answer").pop().expect("a line");
    assert!(!is_ok(&last) && text(&last, "outcome") == "rolled-back", "{last:?}");
    let numbers = ["generation", "serving", "slot", "failures", "healthy"].map(|name| number(&last, name));
    assert_eq!(numbers, [2, 1, 0, 1, 2]);
    let failure = member(&last, "failure");
    assert_eq!((text(failure, "kind"), number(failure, "status")), ("exited", 7));
    assert_eq!(supervisor.await_healthy(2), old);
}

#[test]
fn a_release_that_never_acknowledges_leaves_the_old_one_serving() {
    let (mut supervisor, release, old) = releases(2, &["-r", "2", "-s", "0.01", "--ack-timeout", "0.5"]);
    release.switch(&supervisor.folder.script("hangs", "#!/bin/sh\nexec sleep 600\n"));
    let last = supervisor.request(r#"{"command":"upgrade"}"#).expect("an answer").pop().expect("a line");
    assert!(!is_ok(&last) && text(&last, "outcome") == "rolled-back", "{last:?}");
    assert!(text(&last, "message").contains("at last: was not ready in time"), "{last:?}");
    assert_eq!(supervisor.await_healthy(2), old);
    assert_eq!(judge(&supervisor, 2).1, 0);
}

#[test]
fn a_release_that_fails_half_way_is_taken_back_with_the_old_one_from_where_it_was() {
    let limits = ["-r", "1", "--max-unacked", "1", "--max-upgrade-additional", "1"];
    let (mut supervisor, release, old) = releases(4, &limits);
    let address = supervisor.address(0);
    // Good in the first two slots it comes to.
    let fine = fs::read_link(release.path()).expect("a link").display().to_string();
    let text_of = format!("#!/bin/sh\n[ $EINHORN_CHILD_INDEX -lt 2 ] || exit 9\nexec {fine}\n");
    release.switch(&supervisor.folder.script("half", &text_of));
    let last = supervisor.request(r#"{"command":"upgrade"}"#).expect("an answer").pop().expect("a line");
    assert_eq!((is_ok(&last), text(&last, "outcome"), number(&last, "slot")), (false, "rolled-back", 2));
    assert!(text(&last, "message").contains("exited with status 9"), "{last:?}");
    let now = supervisor.await_healthy(4);
    assert_eq!(now[2..], old[2..], "those that were not touched yet");
    assert!(now[..2].iter().all(|pid| !old.contains(pid)), "{now:?} {old:?}");
    assert!(supervisor.workers(|worker| number(worker, "generation") != 1).is_empty());
    // The old generation is what it was, though its link leads elsewhere now.
    for pid in &now {
        let program = fs::read_link(format!("/proc/{pid}/exe")).expect("a program");
        assert_eq!(program, fs::canonicalize(&fine).expect("a path"));
    }
    assert!(answers(address));
}

#[test]
fn a_worker_that_dies_after_a_failed_upgrade_comes_back_as_the_old_release() {
    let (mut supervisor, release, old) = releases(2, &["-r", "1"]);
    release.switch(&within(&supervisor, "broken"));
    assert_eq!(supervisor.ctl(&["upgrade"]).status.code(), Some(1));
    nix::sys::signal::kill(crate::harness::raw(old[0]), Signal::SIGKILL).expect("a worker");
    supervisor.eventually("it is back", |me| {
        let now = me.healthy();
        (now.len() == 2 && !now.contains(&old[0]) && now.contains(&old[1])).then_some(())
    });
    assert!(answers(supervisor.address(0)));
}

#[test]
fn a_program_that_has_vanished_refuses_the_upgrade_before_anything_is_touched() {
    for name in ["upgrade", "upgrade_fleet"] {
        let (mut supervisor, release, old) = releases(2, &[]);
        release.remove();
        let last = ask(&supervisor, &format!("{{\"command\":\"{name}\"}}"));
        assert_eq!(
            (is_ok(&last), text(&last, "outcome"), number(&last, "generation")),
            (false, "refused", 2)
        );
        let message = text(&last, "message");
        assert!(message.contains("No such file or directory (errno 2); no worker was touched"), "{message}");
        let output = supervisor.ctl(&[name]);
        assert_eq!(output.status.code(), Some(1));
        supervisor.signal(Signal::SIGHUP);
        supervisor.await_log("cannot run ");
        assert_eq!(supervisor.await_healthy(2), old);
        assert_eq!(judge(&supervisor, 2), (2, 0), "nothing was started or stopped");
    }
}

#[test]
fn a_program_that_may_not_be_executed_or_cannot_be_fails_the_upgrade_at_its_first_try() {
    use std::os::unix::fs::PermissionsExt as _;
    let (mut supervisor, release, old) = releases(2, &["-r", "100", "-s", "30"]);
    for (name, text_of, mode, expected) in [
        ("plain", "text", 0o644, "Permission denied (errno 13); no worker was touched"),
        ("lost", "#!/no/such/interpreter\n", 0o755, "exec failed: No such file or directory (errno 2)"),
        ("garbled", "\u{1}\u{2}\u{3}", 0o755, "exec failed: Exec format error (errno 8)"),
    ] {
        let path = supervisor.folder.script(name, text_of);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions can be set");
        release.switch(&path);
        let output = supervisor.ctl(&["upgrade"]);
        let said = err(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{name}: {said}");
        assert_eq!(supervisor.await_healthy(2), old);
    }
}

#[test]
fn an_old_worker_that_is_killed_while_a_release_hangs_is_replaced_at_once() {
    let (mut supervisor, release, old) =
        releases(2, &["--ack-timeout", "60", "--max-unacked", "2", "--max-upgrade-additional", "2"]);
    let address = supervisor.address(0);
    release.switch(&supervisor.folder.script("hangs", "#!/bin/sh\nexec sleep 600\n"));
    let mut client = Command::new(env!("CARGO_BIN_EXE_einhyrningsinsctl"));
    client.arg("-d").arg(supervisor.socket()).arg("upgrade").stdout(Stdio::null()).stderr(Stdio::null());
    let mut upgrade = client.spawn().expect("the client can be run");
    supervisor.eventually("both hang", |supervisor| {
        let begun = supervisor.workers(|worker| number(worker, "generation") == 2);
        (begun.len() == 2).then_some(())
    });
    for pid in &old {
        kill(raw(*pid), Signal::SIGKILL).expect("it is there");
    }
    let new = supervisor.eventually("both are replaced", |supervisor| {
        let healthy = supervisor.healthy();
        (healthy.len() == 2 && healthy.iter().all(|pid| !old.contains(pid))).then_some(healthy)
    });
    assert!(answers(address));
    let generations = supervisor.workers(|worker| text(worker, "phase") == "healthy");
    assert!(generations.iter().all(|worker| number(worker, "generation") == 1), "{generations:?}");
    supervisor.ctl_ok(&["abort", "--wait"]);
    assert_eq!(supervisor.await_healthy(2), new);
    assert_eq!(upgrade.wait().expect("an end").code(), Some(1));
}
