//! The programs under einhorn's names: its command lines, files and habits, by links as the README has them.

use crate::{
    einhorn_options::{kill_supervisor, niceness},
    harness::{CLIENT, Connection, Folder, SUPERVISOR, Supervisor, eventually, is_alive, rust_worker},
    probe::{Ended, own_address, processes_of, run_in},
    tools::{BROKEN, Release, err, out},
};
use nix::sys::signal::Signal;
use std::{
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

/// A folder with the two links in it.
fn linked() -> Folder {
    let folder = Folder::new();
    symlink(SUPERVISOR, folder.join("einhorn")).expect("a link can be made");
    symlink(CLIENT, folder.join("einhornsh")).expect("a link can be made");
    folder
}

/// Puts an einhorn in the place of what is about to be started, without an option of the harness's. Its own files
/// are in the folder.
fn become_einhorn(command: &mut Command, args: &[&str]) {
    let socket = PathBuf::from(command.get_args().nth(1).expect("-d and the socket"));
    let file = |name| fs::File::options().append(true).create(true).open(socket.with_file_name(name));
    let (stdout, log) = (file("stdout").expect("a file"), file("log").expect("a log"));
    *command = Command::new(socket.with_file_name("einhorn"));
    command.args(args).env("TMPDIR", socket.with_file_name(""));
    command.stdin(Stdio::null()).stdout(stdout).stderr(log);
}

/// Starts `einhorn ARGS…`, whose log goes to `log`.
fn einhorn(folder: Folder, args: &[&str]) -> Supervisor {
    Supervisor::start_in::<&str>(folder, &[], |command| become_einhorn(command, args))
}

/// Runs `einhornsh ARGS…`.
fn einhornsh(supervisor: &Supervisor, args: &[&str]) -> Output {
    let folder = &supervisor.folder;
    let mut command = Command::new(folder.join("einhornsh"));
    command.args(args).env("TMPDIR", folder.join("")).stdin(Stdio::null());
    command.output().expect("the client can be run")
}

/// What `einhorn ARGS…` says, and its end.
#[track_caller]
fn said(args: &[&str]) -> Ended {
    run_in::<&str>(linked(), &[], |command| {
        become_einhorn(command, args);
        let folder = PathBuf::from(command.get_program()).with_file_name("");
        command.stdout(fs::File::create(folder.join("stdout")).expect("a file"));
        command.stderr(fs::File::create(folder.join("stderr")).expect("a file"));
    })
}

/// How the deployment script of a signing server starts, upgrades, signals and stops its service.
#[test]
fn a_deployment_that_was_made_for_einhorn_goes_on_as_it_is() {
    let folder = linked();
    let path = |name: &str| folder.join(name).display().to_string();
    let (socket, pid, lock) = (path("ctl"), path("relic.pid"), path("relic.lock"));
    let release = Release::new(&folder, &rust_worker());
    let broken = folder.script("broken", BROKEN);
    let args = [
        "-c",
        "relic",
        "-d",
        &socket,
        "-e",
        &pid,
        "-f",
        &lock,
        "-m",
        "manual",
        "-q",
        "-b",
        "127.0.0.1:0",
        "-b",
    ];
    let program = release.path();
    let args = [&args[..], &["127.0.0.1:0,r,n", "--", &program]].concat();
    let mut supervisor = einhorn(folder, &args);
    let old = supervisor.await_healthy(1);
    assert_eq!(fs::read_to_string(&pid).ok(), Some(format!("{}\n", supervisor.pid())));

    let upgraded = einhornsh(&supervisor, &["-d", &socket, "-e", "upgrade"]);
    assert!(upgraded.status.success(), "{}{}", out(&upgraded), err(&upgraded));
    let new = supervisor.await_healthy(1);
    assert_ne!(old, new);

    // What the script asks for to have logs opened anew; this worker has no handler, and is left alone.
    let signalled = einhornsh(&supervisor, &["-d", &socket, "-e", "signal CONT; signal USR1"]);
    assert!(out(&signalled).contains("sent CONT to 1 worker"), "{}{}", out(&signalled), err(&signalled));

    supervisor.await_healthy(1);
    release.switch(&broken);
    let failed = einhornsh(&supervisor, &["-d", &socket, "-e", "upgrade"]);
    assert_eq!(failed.status.code(), Some(1), "{}{}", out(&failed), err(&failed));
    assert!(err(&failed).contains("rolled back"), "{}", err(&failed));
    release.switch(&rust_worker());

    let died = einhornsh(&supervisor, &["-d", &socket, "-e", "die"]);
    assert!(died.status.success(), "{}", err(&died));
    assert_eq!(supervisor.await_exit(), 0);
    assert!(!fs::exists(&pid).expect("a folder") && fs::exists(&lock).expect("a folder"));
}

#[test]
fn files_are_below_tmpdir_and_the_shell_finds_them() {
    for (name, found) in
        [(None, vec![vec![]]), (Some("web"), vec![vec!["-c", "web"], vec!["web"], vec!["--command=web"]])]
    {
        let named: Vec<&str> = name.iter().flat_map(|name| ["-c", *name]).collect();
        let mut supervisor =
            einhorn(linked(), &[&named[..], &["-m", "0", "-n", "2", "sleep", "600"]].concat());
        supervisor.await_log("up: ");
        let stem = name.map_or("einhorn".to_owned(), |name| format!("einhorn-{name}"));
        let pid = fs::read_to_string(supervisor.folder.join(&format!("{stem}.pid"))).expect("a pid file");
        assert_eq!(pid, format!("{}\n", supervisor.pid()));
        let path = supervisor.folder.join(&format!("{stem}.sock"));
        Connection::open(&path).expect("its control socket is there");
        for args in found {
            let status = einhornsh(&supervisor, &[&args[..], &["-e", "status"]].concat());
            assert!(out(&status).contains("2/2 workers healthy"), "{}{}", out(&status), err(&status));
        }
        let died = einhornsh(&supervisor, &["-d", &path.display().to_string(), "--execute", "die"]);
        assert!(died.status.success(), "{}", err(&died));
        assert_eq!(supervisor.await_exit(), 0);
        let log = supervisor.folder.join("stdout");
        assert!(!path.exists() && log.exists());
    }
}

#[test]
fn the_shell_reads_commands_from_its_standard_input() {
    let mut supervisor = einhorn(linked(), &["-m", "0", "sleep", "600"]);
    supervisor.await_log("up: ");
    let folder = supervisor.folder.join("");
    let mut shell = Command::new(folder.join("einhornsh"))
        .env("TMPDIR", &folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client can be run");
    shell
        .stdin
        .take()
        .expect("a pipe")
        .write_all(b"inc\nset_workers 3\ndec; quit\ninc\n")
        .expect("it is read");
    let output = shell.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", err(&output));
    let said: Vec<String> = out(&output).lines().map(str::to_owned).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[2].ends_with("3 → 2"), "{said:?}");
}

#[test]
fn without_a_program_there_is_usage_on_standard_output_and_status_1() {
    for args in [&[][..], &["-n", "3"], &["-h"], &["--help"]] {
        let Ended { code, stdout, stderr, supervisor } = said(args);
        assert_eq!((code, stderr.as_str()), (1, ""), "{args:?}");
        assert!(stdout.starts_with("## Usage"), "{args:?}: {stdout}");
        for option in ["-m, --ack-mode MODE", "--reexec-as CMDLINE", "-c, --command-name NAME"] {
            assert!(stdout.contains(option), "{option} is not in: {stdout}");
        }
        assert!(!supervisor.folder.join("einhorn.sock").exists());
    }
    let Ended { code, stdout, .. } = said(&["--version"]);
    assert_eq!((code, stdout), (0, format!("einhyrningsins {}\n", env!("CARGO_PKG_VERSION"))));
    for args in [&["--upgrade-check"][..], &["--upgrade-check", "--", "prog"]] {
        let Ended { code, stdout, stderr, .. } = said(args);
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "", ""), "{args:?}");
    }
    let supervisor = said(&[]).supervisor;
    for (args, code, said) in [
        (&["-h"][..], 1, "Usage: einhornsh [OPTIONS] [NAME]"),
        (&["a", "b"], 2, "einhornsh: NAME: `b` is one word too many"),
        (&["-e", "status"], 3, "einhorn.sock"),
    ] {
        let output = einhornsh(&supervisor, args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", err(&output));
        assert!(err(&output).contains(said) && out(&output).is_empty(), "{args:?}: {}", err(&output));
    }
}

#[test]
fn what_is_wrong_is_one_line_and_nothing_is_done() {
    let address = own_address();
    let bind = address.to_string();
    for (args, what) in [
        (
            &["-m", "prog"][..],
            "--ack-mode: `prog` is no way to tell that a worker is up; accepted: manual, or",
        ),
        (&["-b", "[::1]:80"], "--bind: `[::1]:80` does not start with an IPv4 address"),
        (&["--nice", "99"], "--nice: `99` is not how nice processes can be"),
        (&["--retries", "3"], "unknown option `--retries`; einhyrningsins has --retries"),
    ] {
        let ended = said(&[&["-b", &bind], args, &["--", "sleep", "600"]].concat());
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.starts_with(&format!("einhorn: {what}")), "{}", ended.stderr);
        assert!(ended.stderr.ends_with("\nTry 'einhorn --help'.\n"), "{}", ended.stderr);
        ended.left_nothing(Some(address));
        assert!(!ended.supervisor.folder.join("einhorn.pid").exists());
    }
}

#[test]
fn of_two_einhorns_with_one_lock_file_the_second_ends() {
    let lock = Folder::new();
    let path = lock.join("lock").display().to_string();
    let args = ["-f", &path, "-m", "0", "sleep", "600"];
    let mut first = einhorn(linked(), &args);
    first.await_log("up: ");
    let second = said(&args);
    assert_eq!(second.code, 1, "{}", second.stderr);
    assert!(second.stderr.contains("--lockfile: another process holds the lock on "), "{}", second.stderr);
    assert!(!second.supervisor.folder.join("einhorn.pid").exists());
    assert!(!second.supervisor.folder.join("einhorn.sock").exists());
}

#[test]
fn a_variable_that_is_dropped_is_gone_from_the_first_upgrade_on() {
    let folder = linked();
    let script =
        folder.script("worker", "#!/bin/sh\necho \"it is '$SECRET'\" >>\"$TMPDIR/notes\"\nexec sleep 600\n");
    let notes = folder.join("notes");
    let args = ["-m", "0", "--drop-env-var=SECRET", &script];
    let mut supervisor = Supervisor::start_in::<&str>(folder, &[], |command| {
        become_einhorn(command, &args);
        command.env("SECRET", "known");
    });
    let read = || fs::read_to_string(&notes).unwrap_or_default();
    supervisor.eventually("the first has said it", |_| (read() == "it is 'known'\n").then_some(()));
    let path = supervisor.folder.join("einhorn.sock").display().to_string();
    assert!(einhornsh(&supervisor, &["-d", &path, "-e", "upgrade"]).status.success());
    supervisor.eventually("the second too", |_| (read() == "it is 'known'\nit is ''\n").then_some(()));
    // So it is with those that replace a worker, and with all that follow.
    supervisor.signal(Signal::SIGHUP);
    supervisor.eventually("the third", |_| (read().lines().count() == 3).then_some(()));
    assert!(read().ends_with("it is ''\nit is ''\n"), "{}", read());
}

#[test]
fn alrm_asks_for_an_upgrade_under_this_name_alone() {
    let mut supervisor = einhorn(linked(), &["-m", "0", "sleep", "600"]);
    supervisor.await_log("up: ");
    supervisor.signal(Signal::SIGALRM);
    supervisor.await_log("upgrade to generation 2 is complete");

    let (mut ours, pids) = crate::tools::sleepers(1, &[]);
    ours.signal(Signal::SIGALRM);
    ours.ctl_ok(&["inc"]);
    assert_eq!(ours.await_healthy(2)[0], pids[0]);
}

#[test]
fn an_einhorn_that_is_killed_takes_its_workers_with_it_if_it_is_to() {
    let folder = linked();
    let args = ["-k", "-n", "2", "-m", "0", "--nice", "11:13:/usr/bin/renice", "sleep", "600"];
    let mut supervisor = einhorn(folder, &args);
    supervisor.await_log("up: ");
    let workers = supervisor.children();
    assert_eq!((workers.len(), niceness(supervisor.pid())), (2, Some(11)));
    // Healthy at once, they may be on their way.
    let nice = || workers.iter().all(|pid| niceness(*pid) == Some(13)).then_some(());
    eventually("workers are as nice as they are to be", nice);
    kill_supervisor(&mut supervisor);
    eventually("workers are gone", || workers.iter().all(|pid| !is_alive(*pid)).then_some(()));
    let folder = supervisor.folder.join("");
    eventually("nobody is left", || processes_of(&folder).is_empty().then_some(()));
    // The keeper has seen to its files.
    assert!(!supervisor.folder.join("einhorn.pid").exists());
}

#[test]
fn what_has_no_effect_is_warned_of_once() {
    let args = ["-m", "0", "--reexec-as=bundle exec einhorn", "--preload", "app.rb", "sleep", "600"];
    let mut supervisor = einhorn(linked(), &args);
    supervisor.await_log("up: ");
    supervisor.signal(Signal::SIGHUP);
    supervisor.await_log("upgrade to generation 2 is complete");
    let log = supervisor.log();
    let warned: Vec<&str> = log.lines().filter(|line| line.contains("no effect")).collect();
    let [reexec, preload] = warned.as_slice() else { panic!("{log}") };
    assert!(reexec.contains("--reexec-as `bundle exec einhorn` has no effect"), "{reexec}");
    assert!(preload.contains("--preload `app.rb` has no effect"), "{preload}");
}
