//! Options that einhorn has, too: a name, a pid file, a lock, niceness, and an end for orphans.

use crate::{
    another::{OTHER, can_be_another, for_another},
    harness::{CLIENT, Folder, SUPERVISOR, Supervisor, eventually, is_alive, raw, rust_worker, text},
    probe::{Ended, own_address, run, run_in},
    tools::{ask, out, recorded, recorders, sleepers},
};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill, killpg},
};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio, id},
};

/// The niceness of a process, proc(5).
pub(crate) fn niceness(pid: u32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 19; the third follows the name.
    stat.rsplit(") ").next()?.split_whitespace().nth(16)?.parse().ok()
}

/// Whether nobody holds the lock on a file.
pub(crate) fn is_free(path: &Path) -> bool {
    let file = fs::File::open(path).expect("the lock file is there");
    Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok()
}

/// Waits until a supervisor that was killed is gone.
#[track_caller]
pub(crate) fn kill_supervisor(supervisor: &mut Supervisor) {
    supervisor.await_keeper();
    supervisor.signal(Signal::SIGKILL);
    supervisor.eventually("it is gone", |me| me.has_exited().then_some(()));
}

#[track_caller]
fn refused(folder: Folder, args: &[&str], said: &[&str]) {
    let address = own_address();
    let trace = folder.join("trace").display().to_string();
    let bind = address.to_string();
    let started = folder.join("started");
    let touch = format!("touch {}; sleep 600", started.display());
    let options = ["-b", &bind, "--trace", &trace];
    let args = [&options[..], args, &["--", "/bin/sh", "-c", &touch]].concat();
    let ended = run_in(folder, &args, |_| {});
    let Ended { code, stderr, .. } = &ended;
    assert_eq!(*code, 1, "{stderr}");
    for word in said {
        assert!(stderr.contains(word), "no {word} in: {stderr}");
    }
    assert!(!started.exists(), "a worker was started");
    assert!(!Path::new(&trace).exists(), "a trace was begun");
    ended.left_nothing(Some(address));
}

#[test]
fn of_two_supervisors_with_one_lock_file_the_second_touches_nothing() {
    let lock = Folder::new();
    let path = lock.join("lock");
    let shown = path.display().to_string();
    let (mut first, _) = sleepers(1, &["-f", &shown]);
    let said = format!("--lockfile: another process holds the lock on `{shown}`; stop that");
    refused(Folder::new(), &["--lockfile", &shown], &[&said]);
    first.ctl_ok(&["die"]);
    assert_eq!(first.await_exit(), 0);
    assert!(is_free(&path), "it ends with its holder, and the file stays");
    sleepers(1, &["-f", &shown]);
}

#[test]
fn no_worker_has_the_lock() {
    let lock = Folder::new();
    let path = lock.join("lock");
    let (mut supervisor, pids) = sleepers(2, &["--no-keeper", "-f", &path.display().to_string()]);
    assert!(!is_free(&path));
    kill_supervisor(&mut supervisor);
    assert!(pids.iter().all(|pid| is_alive(*pid)), "without -k workers stay");
    let free = is_free(&path);
    for pid in pids {
        let _ = killpg(raw(pid), Signal::SIGKILL);
    }
    assert!(free);
}

#[test]
fn a_lock_that_cannot_be_had_is_told_of() {
    let folder = Folder::new();
    fs::create_dir(folder.join("dir")).expect("a folder");
    for (name, why) in [("none/lock", "No such file or directory"), ("dir", "Is a directory")] {
        let path = folder.join(name).display().to_string();
        refused(
            Folder::new(),
            &["-f", &path],
            &[&format!("--lockfile: `{path}` cannot be opened: {why}; acc")],
        );
    }
}

#[test]
fn the_pid_file_is_there_with_the_control_socket_and_gone_at_the_end() {
    let folder = Folder::new();
    let path = folder.join("pid");
    fs::write(&path, "of an earlier one, which was killed").expect("a file");
    let shown = path.display().to_string();
    let args = ["-e", &shown, "-m", "-b", "127.0.0.1:0,r,n", "--", &rust_worker()];
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    // Whoever is answered finds it, so this does not wait.
    supervisor.eventually("it answers", |me| me.request(r#"{"command":"version"}"#).ok());
    let pid = format!("{}\n", supervisor.pid());
    assert_eq!(fs::read_to_string(&path).ok(), Some(pid.clone()));

    // One that is refused since the control socket is taken leaves the file alone.
    let socket = supervisor.socket().display().to_string();
    let second = run(&["-d", &socket, "-e", &shown, "sleep", "600"]);
    assert_eq!(second.code, 1, "{}", second.stderr);
    assert_eq!(fs::read_to_string(&path).ok(), Some(pid));

    supervisor.await_healthy(1);
    let number = fs::read_to_string(&path).expect("it is there").trim().parse().expect("a number");
    kill(raw(number), Signal::SIGINT).expect("whom it names can be signalled");
    assert_eq!(supervisor.await_exit(), 0);
    assert!(!path.exists());
    let left = fs::read_dir(supervisor.folder.join("")).expect("a folder").count();
    assert_eq!(left, 1, "the log alone");
}

#[test]
fn a_pid_file_of_somebody_else_is_not_removed() {
    let folder = Folder::new();
    let path = folder.join("pid");
    let (mut supervisor, _) = sleepers(1, &["-e", &path.display().to_string()]);
    fs::write(folder.join("other"), "1\n").expect("a file");
    fs::rename(folder.join("other"), &path).expect("it takes the place");
    supervisor.ctl_ok(&["die"]);
    assert_eq!(supervisor.await_exit(), 0);
    assert_eq!(fs::read_to_string(&path).ok().as_deref(), Some("1\n"));
}

#[test]
fn a_pid_file_that_cannot_be_written_ends_the_start_before_anything_is_bound() {
    for (path, why) in [
        ("/nowhere/pid", "cannot be written: No such file or directory; accepted: a path in a folder"),
        ("/dev/null", "is a device; accepted: the path of a file"),
    ] {
        refused(Folder::new(), &["-e", path], &[&format!("--pidfile: `{path}` {why}")]);
    }
}

#[test]
fn a_start_that_fails_later_leaves_no_pid_file() {
    let folder = Folder::new();
    let path = folder.join("pid");
    let ended = run(&["-e", &path.display().to_string(), "/nowhere/program"]);
    assert_eq!(ended.code, 127, "{}", ended.stderr);
    assert_eq!(fs::read_dir(folder.join("")).expect("a folder").count(), 0);
}

#[test]
fn orphans_are_told_to_go_by_the_signal_that_means_it_to_them() {
    for (options, signal) in
        [(&["-k"][..], "USR2"), (&["--kill-children-on-exit", "--stop-signal", "QUIT"], "QUIT")]
    {
        let (mut supervisor, pids, notes) = recorders(2, options, &["QUIT", "USR2"]);
        kill_supervisor(&mut supervisor);
        for pid in pids {
            eventually("it is told", || (recorded(&notes, pid)? == [signal]).then_some(()));
            eventually("it is gone", || (!is_alive(pid)).then_some(()));
        }
    }
}

#[test]
fn an_orphan_that_does_not_listen_is_ended_by_the_signal() {
    let (mut supervisor, pids) = sleepers(3, &["-k"]);
    supervisor.ctl_ok(&["upgrade"]);
    let all = [pids, supervisor.await_healthy(3)].concat();
    kill_supervisor(&mut supervisor);
    eventually("they are gone", || all.iter().all(|pid| !is_alive(*pid)).then_some(()));
}

#[test]
fn a_worker_that_is_killed_with_its_supervisor_is_no_other_matter_than_its_end() {
    let (mut supervisor, pids) = sleepers(1, &["-k"]);
    kill(raw(pids[0]), Signal::SIGKILL).expect("a worker");
    supervisor
        .eventually("another is there", |me| me.healthy().iter().any(|pid| *pid != pids[0]).then_some(()));
    supervisor.ctl_ok(&["die"]);
    assert_eq!(supervisor.await_exit(), 0);
}

#[test]
fn supervisor_and_workers_are_as_nice_as_they_are_to_be() {
    let own = niceness(id()).expect("a number");
    // Lower takes a right.
    for (value, supervisors, workers) in [("15", 15, 15), ("12:14", 12, 14)] {
        let (mut supervisor, pids) = sleepers(1, &["--nice", value]);
        assert_eq!(niceness(supervisor.pid()), Some(supervisors), "{value}");
        // Healthy at once, they may be on their way.
        let nice = |pid| move || (niceness(pid) == Some(workers)).then_some(());
        eventually("a worker is as nice as it is to be", nice(pids[0]));
        supervisor.ctl_ok(&["upgrade"]);
        eventually("one of an upgrade, too", nice(supervisor.await_healthy(1)[0]));
        let config = ask(&supervisor, r#"{"command":"config"}"#);
        assert!(text(&config, "message").contains(&format!("nice: \"{value}\"")), "{config:?}");
    }
    let (supervisor, pids) = sleepers(1, &[]);
    assert_eq!((niceness(supervisor.pid()), niceness(pids[0])), (Some(own), Some(own)));
}

#[test]
fn niceness_that_is_not_allowed_ends_the_start() {
    if !can_be_another() {
        return;
    }
    let own = niceness(id()).expect("a number");
    for (value, denied) in [(format!("{}", own - 1), own - 1), (format!("{}:{}", own + 2, own + 1), own + 1)]
    {
        let (folder, program) = for_another();
        let ended = run_in(folder, &["--nice", &value, "--", "sleep", "600"], |command| {
            let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
            let stderr = fs::File::create(Path::new(&words[1]).with_file_name("stderr")).expect("a file");
            *command = Command::new("setpriv");
            command.args(["--reuid", OTHER, "--clear-groups"]).arg(&program).args(words);
            command.stdin(Stdio::null()).stderr(stderr);
        });
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        let said =
            format!("--nice: `{value}` is not allowed, no process of this user's can have niceness {denied}");
        assert!(ended.stderr.contains(&said), "{}", ended.stderr);
        ended.left_nothing(None);
    }
}

#[test]
fn a_check_runs_nothing_and_says_nothing() {
    for (args, code) in [
        (&["--upgrade-check"][..], 0),
        (&["-n", "2", "--upgrade-check", "--", "/nowhere/program"], 0),
        (&["--upgrade-check", "-n", "0", "prog"], 2),
        (&["--upgrade-check", "--reexec-as", "x", "prog"], 0),
        (&["--upgrade-check", "--gc-before-fork", "prog"], 2),
    ] {
        let ended = run(args);
        assert_eq!(ended.code, code, "{args:?}: {}", ended.stderr);
        assert_eq!((ended.stdout.as_str(), ended.stderr.is_empty()), ("", code == 0), "{args:?}");
        ended.left_nothing(None);
    }
}

#[test]
fn a_service_is_called_by_its_name() {
    let name = format!("test {}", id());
    let mut supervisor = Supervisor::start_in(Folder::new(), &[""; 0], |command| {
        let log =
            fs::File::create(Path::new(command.get_args().nth(1).expect("the socket")).with_file_name("log"));
        *command = Command::new(SUPERVISOR);
        command.args(["-c", &name, "--ack-after", "0", "sleep", "600"]).stdin(Stdio::null());
        command.stderr(log.expect("a log"));
    });
    supervisor.await_log("up: ");
    let socket = format!("/tmp/einhorn-{name}.sock");
    let ctl = |word: &str| {
        out(&Command::new(CLIENT).args(["-d", &socket, word]).output().expect("the client can be run"))
    };
    assert!(
        ctl("status").starts_with(&format!("einhyrningsins {} ({name}), pid ", env!("CARGO_PKG_VERSION")))
    );
    assert!(ctl("ehlo").contains(&format!(" (pid {}, {name});", supervisor.pid())));
    let comm = fs::read_to_string(format!("/proc/{}/comm", supervisor.pid())).expect("it runs");
    assert!(name.starts_with(comm.trim_end()) && comm.len() > 5, "{comm}");
    assert!(supervisor.log().contains(&format!("this is {name}, einhyrningsins ")), "{}", supervisor.log());
    ctl("die");
    assert_eq!(supervisor.await_exit(), 0);
    assert!(!Path::new(&socket).exists());
}
