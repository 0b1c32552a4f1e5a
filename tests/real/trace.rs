//! What `--trace` writes, and that it tells the same story again.

use crate::{
    harness::{CLIENT, Connection, Folder, Supervisor, raw, rust_worker},
    probe::Trace,
    tools::{have, skip},
};
use einhyrningsins::fsm::trace::{recording, retell};
use nix::{
    fcntl::{OFlag, open},
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::mkfifo,
};
use std::{fs, io::Read as _, path::Path, process::Command};

/// Sees that the machine, told what happened, decides the same again.
#[track_caller]
fn retold(path: &Path) -> Trace {
    let trace = Trace::read(path);
    let again = retell(&trace.text).expect("it can be read");
    for (number, (before, after)) in (1..).zip(trace.text.lines().zip(again.lines())) {
        assert_eq!(before, after, "line {number}");
    }
    assert_eq!(trace.text, again);
    trace
}

/// Puts a release in the program's place as a whole, since what runs cannot be written.
fn release(supervisor: &Supervisor, text: &str) {
    let next = supervisor.folder.script("next", text);
    fs::rename(next, supervisor.folder.join("program")).expect("it takes the place");
}

/// Kills the worker of a slot and waits for the next.
#[track_caller]
fn crash(supervisor: &mut Supervisor, slot: usize) {
    let before = supervisor.healthy();
    let old = before.get(slot).copied().expect("a worker in every slot");
    kill(raw(old), Signal::SIGKILL).expect("the worker is there");
    supervisor.eventually("it is replaced", |me| {
        Some(me.healthy()).filter(|after| after.len() == before.len() && !after.contains(&old))
    });
}

#[test]
fn a_recorded_run_with_crashes_upgrades_and_commands_replays_identically() {
    let folder = Folder::new();
    let file = folder.join("trace");
    let path = file.display().to_string();
    let good = format!("#!/bin/sh\nexec {}\n", rust_worker());
    let program = folder.script("program", &good);
    let options = ["--trace", &path, "-n", "3", "-m", "-r", "2", "-s", "0.02", "-t", "5"];
    let args = [&options[..], &["-b", "127.0.0.1:0,r,n", &program]].concat();
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    supervisor.await_healthy(3);
    crash(&mut supervisor, 1);
    crash(&mut supervisor, 1);
    supervisor.ctl_ok(&["-e", "upgrade"]);
    supervisor.ctl_ok(&["-e", "upgrade_fleet"]);
    crash(&mut supervisor, 2);
    supervisor.ctl_ok(&["-e", "inc"]);
    supervisor.await_healthy(4);
    supervisor.ctl_ok(&["set_workers", "2"]);
    supervisor.await_healthy(2);
    supervisor.ctl_ok(&["-e", "status"]);

    // A release that fails, one that cannot even be executed, and a good one again.
    release(&supervisor, "#!/bin/sh\nexit 5\n");
    assert_eq!(supervisor.ctl(&["-e", "upgrade"]).status.code(), Some(1));
    release(&supervisor, "#!/no/such/interpreter\n");
    assert_eq!(supervisor.ctl(&["-e", "upgrade"]).status.code(), Some(1));
    release(&supervisor, &good);
    supervisor.eventually("things calm down", |me| (me.workers(|_| true).len() == 2).then_some(()));
    supervisor.ctl_ok(&["-e", "upgrade"]);
    supervisor.await_healthy(2);
    supervisor.signal(Signal::SIGUSR1);
    supervisor.signal(Signal::SIGINT);
    assert_eq!(supervisor.await_exit(), 0);

    let trace = retold(&file);
    for word in ["crashed", "upgraded", "rolled-back", "start-failed", "gone", "> exit code=0"] {
        assert!(trace.text.contains(word), "no {word} in {}", trace.text);
    }
}

#[test]
fn a_second_run_is_appended_and_both_replay() {
    let folder = Folder::new();
    let file = folder.join("trace");
    let path = file.display().to_string();
    let mut folder = Some(folder);
    for program in ["/bin/false", "/no/such/program"] {
        let args = ["--trace", &path, "-r", "2", "-s", "0", "-n", "2", program];
        // The file outlives the supervisor, so it has to be in a folder that does.
        let (kept, own) = (folder.take(), Folder::new());
        let mut supervisor = Supervisor::start_in(own, &args, |_| {});
        assert!([1, 127].contains(&supervisor.await_exit()), "{}", supervisor.log());
        folder = kept;
    }
    let trace = retold(&file);
    assert_eq!(trace.text.lines().filter(|line| line.starts_with("config ")).count(), 2);
}

#[test]
fn a_full_disk_costs_the_trace_and_nothing_else() {
    let args = ["--trace", "/dev/full", "--ack-after", "0", "sleep", "1000"];
    let mut supervisor = Supervisor::start(&args);
    supervisor.await_healthy(1);
    crash(&mut supervisor, 0);
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
    let log = supervisor.log();
    assert_eq!(log.matches("/dev/full cannot be written").count(), 1, "said once: {log}");
}

/// Has the supervisor take so many steps, each of which leaves a few hundred bytes of trace.
#[track_caller]
fn steps(supervisor: &Supervisor, count: usize) {
    let mut connection = Connection::open(&supervisor.socket()).expect("it listens");
    for _ in 0..count {
        connection.send(r#"{"command":"retry"}"#).expect("it reads");
        connection.answer().expect("it answers");
    }
}

/// The last line of a replay that found no difference.
#[track_caller]
fn replayed(path: &Path) -> String {
    let output = Command::new(CLIENT).arg("replay").arg(path).output().expect("the client can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    text(&output.stdout)
}

#[test]
fn a_trace_says_where_the_disk_was_full_and_the_rest_of_it_still_replays() {
    if !have("prlimit", &["--version"]) {
        return skip("there is no prlimit");
    }
    let folder = Folder::new();
    let file = folder.join("trace");
    let path = file.display().to_string();
    let args = ["--trace", &path, "--ack-after", "0", "sleep", "1000"];
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    supervisor.await_healthy(1);
    steps(&supervisor, 10);
    // A file at its limit is to its writer what a full disk is.
    let limit = |limit: String| {
        let limit = format!("--fsize={limit}:unlimited");
        assert!(have("prlimit", &["--pid", &supervisor.pid().to_string(), &limit]), "prlimit {limit}");
    };
    let size = fs::metadata(&file).expect("a trace").len();
    limit((size + 333).to_string());
    steps(&supervisor, 10);
    let full = fs::read_to_string(&file).expect("a trace");
    assert!(full.ends_with('\n'), "no line is torn: {full}");
    limit("unlimited".into());
    steps(&supervisor, 10);
    let recording = recording(&fs::read_to_string(&file).expect("a trace")).expect("it can be read");
    let lost: u64 = recording.gaps[0].lost;
    assert!((5..=12).contains(&lost), "{lost}");
    let said = replayed(&file);
    assert!(said.contains(&format!("a gap: {lost} steps lost; not replayed: ")), "{said}");
    assert!(said.ends_with(" events, no difference; the rest is not replayed\n"), "{said}");
}

#[test]
fn a_trace_to_a_pipe_that_nobody_reads_is_not_waited_for() {
    let folder = Folder::new();
    let pipe = folder.join("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).expect("a pipe can be made");
    let path = pipe.display().to_string();
    let args = ["--trace", &path, "--ack-after", "0", "sleep", "1000"];
    let refused = crate::probe::run(&args);
    assert!(refused.code == 1 && refused.stderr.contains("a pipe that nobody reads"), "{}", refused.stderr);

    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut reader = fs::File::from(open(&pipe, flags, Mode::empty()).expect("it can be read"));
    let mut supervisor = Supervisor::start(&args);
    supervisor.await_healthy(1);
    steps(&supervisor, 1_000);
    crash(&mut supervisor, 0);
    let mut text = Vec::new();
    let _ = reader.read_to_end(&mut text);
    // From here on it is read.
    steps(&supervisor, 10);
    let _ = reader.read_to_end(&mut text);
    let file = folder.join("trace");
    fs::write(&file, text).expect("a file can be written");
    assert!(replayed(&file).contains("a gap: "));
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
}

#[test]
fn a_trace_is_readable_while_it_is_written() {
    let folder = Folder::new();
    let file = folder.join("trace");
    let path = file.display().to_string();
    let args = ["--trace", &path, "--ack-after", "0", "sleep", "1000"];
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    supervisor.await_healthy(1);
    supervisor.eventually("it tells of the worker", |_| {
        fs::read_to_string(&file).ok()?.contains("healthy").then_some(())
    });
    retold(&file);
}
