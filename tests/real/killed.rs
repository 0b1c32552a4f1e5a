//! The supervisor is killed, and a new start takes everything over; and what the keeper does meanwhile.
//!
//! `ENDURANCE_ROUNDS` says how often it is killed under load: without it, a few times.

use crate::{
    endurance::{PLAN, all, alone, await_answers, replaced_under_load, rounds, start},
    harness::{
        CLIENT, Connection, Folder, Supervisor, eventually, is_alive, is_ok, keeper_of, raw, workers_of,
    },
    load::{Load, get},
    probe::own_address,
    tools::{command, descriptors, quiet, refusal, sleepers},
};
use nix::sys::signal::{Signal, kill};
use std::{
    collections::BTreeSet,
    fs,
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

/// Killed, and started again by whoever has started it.
#[track_caller]
fn killed(supervisor: &mut Supervisor) {
    supervisor.kill();
    supervisor.start_again();
}

/// The workers of one generation that serves alone, and no others are there.
#[track_caller]
fn settled(supervisor: &mut Supervisor) -> BTreeSet<u32> {
    let pids: BTreeSet<u32> = alone(supervisor).into_iter().collect();
    let there: BTreeSet<u32> = workers_of(&supervisor.folder).into_iter().collect();
    assert_eq!(there, pids, "what the kernel knows and what it tells");
    pids
}

#[track_caller]
fn taken_over(supervisor: &mut Supervisor) {
    supervisor.await_log(&format!("this one (pid {}) goes on from there", supervisor.pid()));
}

#[test]
fn killed_again_and_again_under_load_it_loses_no_request_no_worker_and_no_command() {
    let [before, now] = replaced_under_load(start(&["-r", "2"]), rounds(2), killed, settled);
    // A worker that was taken over is held by a descriptor.
    assert!(all(&now) <= all(&before) + 8, "{before:?}\n{now:?}");
}

#[test]
fn workers_that_were_taken_over_stay_when_the_supervisor_is_replaced_and_when_it_fails() {
    let (mut supervisor, pids) = sleepers(2, &[]);
    killed(&mut supervisor);
    taken_over(&mut supervisor);
    assert_eq!(supervisor.await_healthy(2), pids);
    supervisor.ctl_ok(&["reexec"]);
    assert_eq!(supervisor.await_healthy(2), pids, "{}", supervisor.log());
    supervisor.signal(Signal::SIGSEGV);
    supervisor.await_log("it goes on as before");
    assert_eq!(supervisor.await_healthy(2), pids, "{}", supervisor.log());
    // The end of each is still seen, and no other is there.
    kill(raw(pids[0]), Signal::SIGKILL).expect("it is there");
    let now = supervisor.eventually("it is replaced", |me| {
        Some(me.healthy()).filter(|now| now.len() == 2 && now[0] != pids[0])
    });
    assert_eq!(now[1], pids[1]);
    let now: BTreeSet<u32> = now.into_iter().collect();
    eventually("these and no others are there", || {
        let there: BTreeSet<u32> = workers_of(&supervisor.folder).into_iter().collect();
        (there == now).then_some(())
    });
}

#[test]
fn while_nobody_supervises_the_keeper_says_so() {
    let mut supervisor = Supervisor::start(&["-n", "2", "-m", "sleep", "600"]);
    supervisor.eventually("two are started", |me| (me.children().len() == 2).then_some(()));
    let keeper = supervisor.keeper();
    let dead = supervisor.pid();
    supervisor.kill();
    supervisor.await_log(&format!("the supervisor (pid {dead}) is gone, and 2 workers serve on without one"));
    for words in [&["status"][..], &["upgrade"], &["version"], &["reexec"], &["inc"]] {
        let said = refusal(&supervisor, words);
        let hint = format!("nobody supervises this service: the supervisor (pid {dead}) is gone since ");
        assert!(said.starts_with(&hint) && said.contains("2 workers serve on without it"), "{said}");
        assert!(said.contains("start it again") && said.contains("`die` stops the service"), "{said}");
    }
    let out = supervisor.ctl(&["status"]);
    assert_eq!(out.status.code(), Some(1));
    let nonsense = supervisor.request("nonsense").expect("an answer");
    assert!(!is_ok(&nonsense[0]));
    assert!(is_alive(keeper));
    supervisor.start_again();
    taken_over(&mut supervisor);
    eventually("the old keeper has gone", || (!is_alive(keeper)).then_some(()));
    assert_ne!(supervisor.keeper(), keeper);
}

#[test]
fn what_workers_report_meanwhile_is_noted_for_whoever_comes() {
    let folder = Folder::new();
    let (go, done) = (folder.join("go"), folder.join("done."));
    let worker = folder.script(
        "worker",
        &format!(
            "#!/bin/sh\nwhile [ ! -e {} ]; do sleep 0.02; done\n\
             {CLIENT} -d \"$EINHORN_SOCK_PATH\" worker:ack $$ >/dev/null && : >{}$$ && exec sleep 600\n",
            go.display(),
            done.display()
        ),
    );
    let mut supervisor = Supervisor::start_in(folder, &["-n", "2", "-m", "--", &worker], |_| {});
    let pids =
        supervisor.eventually("two are started", |me| Some(me.children()).filter(|pids| pids.len() == 2));
    supervisor.keeper();
    supervisor.kill();
    supervisor.await_log("is gone, and 2 workers serve on");
    fs::write(&go, "").expect("a file can be written");
    let reported = |pid: &u32| fs::exists(format!("{}{pid}", done.display())).unwrap_or(false);
    eventually("both have reported, and were answered", || pids.iter().all(reported).then_some(()));
    supervisor.start_again();
    assert_eq!(supervisor.await_healthy(2), pids);
}

#[test]
fn the_files_of_another_command_line_are_made_and_those_of_the_one_before_are_gone() {
    let folder = Folder::new();
    let file = |name: &str| folder.join(name).display().to_string();
    let (one, two, lock) = (file("one"), file("two"), file("lock"));
    let (mut supervisor, pids) = sleepers(1, &["-e", &one]);
    supervisor.keeper();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    killed(&mut supervisor);
    taken_over(&mut supervisor);
    assert_eq!(read(&one), format!("{}\n", supervisor.pid()));
    supervisor.kill();
    supervisor.start_again_as(&["--ack-after", "0", "-e", &two, "-f", &lock, "sleep", "600"]);
    taken_over(&mut supervisor);
    assert_eq!(read(&two), format!("{}\n", supervisor.pid()));
    eventually("the one before is gone", || (!fs::exists(&one).expect("the folder is there")).then_some(()));
    let mut other = Supervisor::start(&["-f", &lock, "sleep", "600"]);
    assert_eq!(other.await_exit(), 1);
    assert!(other.log().contains("holds the lock"), "{}", other.log());
    assert_eq!(supervisor.healthy().len(), pids.len());
    // One that is held by another is a reason not to take over.
    supervisor.kill();
    let held = file("held");
    let mut holder = Supervisor::start(&["-f", &held, "sleep", "600"]);
    holder.await_healthy(1);
    supervisor.start_again_as(&["--ack-after", "0", "-f", &held, "sleep", "600"]);
    assert_eq!(supervisor.await_exit(), 1);
    supervisor.start_again_as(&["--ack-after", "0", "sleep", "600"]);
    supervisor.await_healthy(1);
}

#[test]
fn whoever_waits_for_the_end_waits_for_that_of_the_one_that_has_taken_over() {
    let (mut supervisor, _) = sleepers(1, &[]);
    supervisor.keeper();
    killed(&mut supervisor);
    supervisor.await_healthy(1);
    let said = supervisor.ctl_ok(&["die", "--wait"]);
    assert!(said.contains(&format!("pid {}", supervisor.pid())), "{said}");
    assert_eq!(supervisor.await_exit(), 0);
}

#[test]
fn whoever_ends_meanwhile_is_replaced_and_no_other_process_is_taken_for_it() {
    let (mut supervisor, pids) = sleepers(3, &[]);
    supervisor.kill();
    kill(raw(pids[1]), Signal::SIGKILL).expect("it is there");
    eventually("it is gone", || (!is_alive(pids[1])).then_some(()));
    supervisor.start_again();
    let now = supervisor.await_healthy(3);
    assert_eq!((now[0], now[2]), (pids[0], pids[2]));
    assert_ne!(now[1], pids[1]);
    // One that was taken over is watched, too, and told to go as any other.
    kill(raw(pids[0]), Signal::SIGKILL).expect("it is there");
    supervisor.eventually("it is replaced", |me| {
        let now = me.healthy();
        (now.len() == 3 && !now.contains(&pids[0])).then_some(())
    });
    supervisor.ctl_ok(&["upgrade"]);
    assert!(!supervisor.await_healthy(3).contains(&pids[2]));
    eventually("the last of them has gone", || (!is_alive(pids[2])).then_some(()));
}

#[test]
fn with_the_last_worker_the_keeper_goes_and_the_port_is_free() {
    let folder = Folder::new();
    let (unix, file) = (folder.join("web"), folder.join("pid"));
    let bind = format!("unix:{}", unix.display());
    let (mut supervisor, pids) =
        sleepers(1, &["-b", "127.0.0.1:0", "-b", &bind, "-e", &file.display().to_string()]);
    let (address, keeper) = (supervisor.address(0), supervisor.keeper());
    supervisor.kill();
    TcpStream::connect(address).expect("somebody listens");
    assert!(unix.exists() && file.exists() && supervisor.socket().exists());
    kill(raw(pids[0]), Signal::SIGKILL).expect("it is there");
    eventually("the keeper has gone", || (!is_alive(keeper)).then_some(()));
    assert!(!unix.exists() && !file.exists() && !supervisor.socket().exists());
    TcpStream::connect(address).expect_err("nobody listens");
    supervisor.start_again();
    supervisor.await_healthy(1);
}

#[test]
fn whichever_way_it_ends_in_order_nothing_is_left() {
    for how in ["INT", "TERM", "die"] {
        let (mut supervisor, pids) = sleepers(2, &["-b", "127.0.0.1:0"]);
        let keeper = supervisor.keeper();
        match how {
            "INT" => supervisor.signal(Signal::SIGINT),
            "TERM" => supervisor.signal(Signal::SIGTERM),
            _ => assert!(is_ok(&command(&supervisor, &["die"]))),
        }
        assert_eq!(supervisor.await_exit(), 0);
        assert!(!is_alive(keeper) && pids.iter().all(|pid| !is_alive(*pid)), "{how}");
        assert!(!supervisor.socket().exists(), "{how}");
    }
    // What was never up ends as well.
    let mut supervisor = Supervisor::start(&["-s", "0.01", "-r", "2", "false"]);
    assert_eq!(supervisor.await_exit(), 1);
    assert!(!supervisor.socket().exists());
}

#[test]
fn without_a_supervisor_it_can_be_stopped_by_command_and_by_signal() {
    for how in ["die", "TERM"] {
        let (mut supervisor, pids) = sleepers(2, &["-b", "127.0.0.1:0"]);
        let keeper = supervisor.keeper();
        supervisor.kill();
        if how == "die" {
            let said = command(&supervisor, &["die"]);
            assert!(is_ok(&said), "{said:?}");
        } else {
            supervisor.await_log("is gone, and");
            kill(raw(keeper), Signal::SIGTERM).expect("it is there");
        }
        eventually("all have gone", || {
            (!is_alive(keeper) && pids.iter().all(|pid| !is_alive(*pid))).then_some(())
        });
        assert!(!supervisor.socket().exists(), "{}", supervisor.log());
    }
}

#[test]
fn what_is_meant_for_the_supervisor_alone_does_not_end_the_keeper() {
    let (mut supervisor, pids) = sleepers(1, &[]);
    let keeper = supervisor.keeper();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
        kill(raw(keeper), signal).expect("it is there");
    }
    killed(&mut supervisor);
    assert_eq!(supervisor.await_healthy(1), pids);
}

#[test]
fn a_keeper_that_is_killed_is_replaced() {
    let (mut supervisor, pids) = sleepers(1, &[]);
    for _ in 0..2 {
        let keeper = supervisor.keeper();
        kill(raw(keeper), Signal::SIGKILL).expect("it is there");
        eventually("it is gone", || (!is_alive(keeper)).then_some(()));
        supervisor.eventually("there is another", |me| keeper_of(me.pid()).filter(|other| *other != keeper));
    }
    killed(&mut supervisor);
    assert_eq!(supervisor.await_healthy(1), pids);
}

#[test]
fn where_both_are_killed_the_next_start_names_who_has_the_port() {
    let address = own_address().to_string();
    let (mut supervisor, pids) = sleepers(1, &["-b", &address]);
    let keeper = supervisor.keeper();
    supervisor.signal(Signal::SIGSTOP);
    kill(raw(keeper), Signal::SIGKILL).expect("it is there");
    supervisor.kill_at_once();
    supervisor.start_again();
    assert_eq!(supervisor.await_exit(), 1);
    let log = supervisor.log();
    assert!(log.contains(&format!("pid {} (sleep) has it", pids[0])), "{log}");
}

#[test]
fn without_a_keeper_there_is_none() {
    let (mut supervisor, pids) = sleepers(1, &["--no-keeper"]);
    assert_eq!(crate::harness::children(supervisor.pid()), pids);
    assert!(!supervisor.log().contains("keeper"));
    supervisor.kill();
    assert!(supervisor.request(r#"{"command":"status"}"#).is_err());
}

#[test]
fn of_two_that_start_at_once_one_takes_over_and_the_other_says_so() {
    let (mut supervisor, pids) = sleepers(2, &["-b", "127.0.0.1:0"]);
    for _ in 0..5 {
        supervisor.kill();
        let folder = supervisor.folder.join("ctl");
        let mut other = Command::new(env!("CARGO_BIN_EXE_einhyrningsins"))
            .arg("-d")
            .arg(folder)
            .args(["-n", "2", "--ack-after", "0", "-b", "127.0.0.1:0", "sleep", "600"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it can be started");
        supervisor.start_again();
        // One of them is gone soon.
        let mut ended = None;
        supervisor.eventually("one of the two ends", |me| {
            ended = other.try_wait().expect("it can be waited for");
            (ended.is_some() || me.has_exited()).then_some(())
        });
        if supervisor.has_exited() {
            // The other one serves.
            let said = supervisor.log();
            assert!(said.contains("listens there"), "{said}");
            assert!(supervisor.request(r#"{"command":"status"}"#).is_ok());
            kill(raw(other.id()), Signal::SIGKILL).expect("it is there");
            other.wait().expect("it can be waited for");
            supervisor.start_again();
        } else {
            let out = other.wait_with_output().expect("its words");
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(
                ended.is_some_and(|status| status.code() == Some(1)) && said.contains("listens there"),
                "{said}"
            );
        }
        assert_eq!(supervisor.await_healthy(2), pids);
    }
}

#[test]
fn another_command_line_is_put_in_force() {
    let (one, two) = (own_address(), own_address());
    let worker = crate::harness::rust_worker();
    let line = |number: &'static str, binds: &[String], program: &[&str]| {
        let mut args = vec!["-m".to_owned(), "-n".into(), number.into()];
        for bind in binds {
            args.extend(["-b".to_owned(), bind.clone()]);
        }
        args.push("--".into());
        args.extend(program.iter().map(|word| (*word).to_owned()));
        args
    };
    let bind = |address: std::net::SocketAddr| format!("{address},r,n");
    let mut supervisor = Supervisor::start(&line("2", &[bind(one)], &[&worker]));
    let first = supervisor.await_healthy(2);
    let load = Load::start(one, PLAN);
    await_answers(&load, 3);

    // More workers, the same otherwise: those that run stay.
    supervisor.kill();
    supervisor.start_again_as(&line("3", &[bind(one)], &[&worker]));
    let now = supervisor.await_healthy(3);
    assert!(first.iter().all(|pid| now.contains(pid)), "{first:?} {now:?}");

    // Another argument: an upgrade.
    supervisor.kill();
    supervisor.start_again_as(&line("3", &[bind(one)], &[&worker, "other"]));
    supervisor.eventually("all are replaced", |me| {
        let pids = me.healthy();
        (pids.len() == 3 && pids.iter().all(|pid| !now.contains(pid))).then_some(())
    });
    await_answers(&load, 3);

    // One socket more, before the other.
    supervisor.kill();
    supervisor.start_again_as(&line("3", &[bind(two), bind(one)], &[&worker, "other"]));
    supervisor.await_log("upgrade to generation 3 is complete");
    await_answers(&load, 3);
    let report = load.stop();
    assert_eq!(report.failures, 0, "{:?}\n{}", report.failed, supervisor.log());
    get(two).expect("it is served");

    // That cannot be had: everything stays as it is.
    supervisor.kill();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let third = taken.local_addr().expect("an address");
    let before = supervisor.log().len();
    supervisor.start_again_as(&line("3", &[bind(two), bind(one), third.to_string()], &[&worker, "other"]));
    assert_eq!(supervisor.await_exit(), 1);
    assert!(supervisor.log()[before..].contains("Address already in use"), "{}", supervisor.log());
    get(one).expect("it is served");

    // And one fewer, which nobody listens on then.
    supervisor.start_again_as(&line("3", &[bind(two)], &[&worker, "other"]));
    supervisor.await_log(&format!("not listening on {one} any more"));
    supervisor.await_healthy(3);
    get(two).expect("it is served");
    supervisor.eventually("the port is closed", |_| TcpStream::connect(one).is_err().then_some(()));
}

#[test]
fn a_bad_release_on_another_command_line_is_taken_back() {
    let (mut supervisor, pids) = sleepers(2, &["-s", "0.01", "-r", "2"]);
    supervisor.kill();
    supervisor.start_again_as(&["-n", "2", "--ack-after", "0.2", "-s", "0.01", "-r", "2", "false"]);
    supervisor.await_log("rolled back");
    assert_eq!(supervisor.await_healthy(2), pids);
}

#[test]
fn killed_while_it_was_stopping_that_is_finished_and_the_service_begins_anew() {
    let script = "trap '' USR2 TERM; trap 'exit 0' INT; while :; do sleep 0.05; done";
    let args =
        ["--ack-after", "0.3", "--stop-signal", "USR2", "-t", "60", "-b", "127.0.0.1:0", "sh", "-c", script];
    let mut supervisor = Supervisor::start(&args);
    let worker = supervisor.await_healthy(1)[0];
    supervisor.signal(Signal::SIGINT);
    supervisor.await_log("graceful shutdown");
    killed(&mut supervisor);
    taken_over(&mut supervisor);
    assert!(is_alive(worker));
    kill(raw(worker), Signal::SIGINT).expect("it is there");
    supervisor.await_log("is started");
    let now = supervisor.await_healthy(1);
    assert_ne!(now, [worker]);
    kill(raw(now[0]), Signal::SIGKILL).expect("it is there");
}

#[test]
fn killed_amid_a_hand_over_nothing_is_lost() {
    let (mut supervisor, pids) = sleepers(2, &["-b", "127.0.0.1:0"]);
    let folder = Folder::new();
    let mark = folder.join("mark");
    // It is executed, and does not get on.
    let script = folder.script(
        "hangs",
        &format!(
            "#!/bin/sh\ncase $1 in --check-handover) exec {} \"$@\";; esac\n: >{}\nexec sleep 600\n",
            env!("CARGO_BIN_EXE_einhyrningsins"),
            mark.display()
        ),
    );
    let mut waiting = Connection::open(&supervisor.socket()).expect("a connection");
    waiting.send(&format!(r#"{{"command":"reexec","args":["{script}"]}}"#)).expect("it is sent");
    eventually("it is executed", || mark.exists().then_some(()));
    killed(&mut supervisor);
    let answer = waiting.line().expect("an answer");
    assert!(!is_ok(&answer), "{answer:?}");
    assert_eq!(supervisor.await_healthy(2), pids);
}

#[test]
fn with_workers_that_end_with_it_the_keeper_sees_to_that() {
    let script = "trap '' USR2 HUP; (trap '' USR2 TERM HUP; exec sleep 611) & exec sleep 600";
    let args = ["-k", "-n", "2", "--ack-after", "0.3", "-b", "127.0.0.1:0", "sh", "-c", script];
    let mut supervisor = Supervisor::start(&args);
    let workers = supervisor.await_healthy(2);
    let (address, keeper) = (supervisor.address(0), supervisor.keeper());
    let families: Vec<u32> = workers.iter().flat_map(|pid| crate::harness::children(*pid)).collect();
    supervisor.kill();
    for worker in &workers {
        // It ignores what the kernel sends; whoever heeds it is quicker.
        let _ = kill(raw(*worker), Signal::SIGTERM);
    }
    eventually("all have gone", || {
        let gone = |pid: &u32| !is_alive(*pid);
        (gone(&keeper) && workers.iter().all(gone) && families.iter().all(gone)).then_some(())
    });
    assert!(!supervisor.socket().exists());
    TcpStream::connect(address).expect_err("nobody listens");
}

#[test]
fn neither_does_anything_while_nothing_happens() {
    let (mut supervisor, _) = sleepers(1, &["-b", "127.0.0.1:0"]);
    let keeper = supervisor.keeper();
    let wakes = |pid: u32| crate::tools::status_field(pid, "voluntary_ctxt_switches");
    quiet(&mut supervisor);
    let both = [supervisor.pid(), keeper];
    let before = both.map(wakes);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(both.map(wakes), before);
    assert!(descriptors(keeper).values().sum::<usize>() < 20);
    assert!(fs::read_to_string(format!("/proc/{keeper}/comm")).is_ok_and(|name| name == "einhyrn-keeper\n"));
}
