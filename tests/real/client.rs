//! The client program: its ways to take commands, what it shows, its exit status.

use crate::{
    harness::{CLIENT, Folder, Supervisor, is_ok, number, rust_worker, text},
    tools::{err, out, releases, sleepers, within},
};
use miniserde::json::{self, Value};
use nix::sys::{
    signal::Signal,
    socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
};
use std::{
    fs,
    io::{self, Write as _},
    os::fd::{AsRawFd as _, OwnedFd},
    process::{Command, Output, Stdio},
};

/// Runs the client with something on its standard input.
fn fed(supervisor: &Supervisor, args: &[&str], input: &str) -> Output {
    let mut client = Command::new(CLIENT)
        .arg("-d")
        .arg(supervisor.socket())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client can be run");
    // It may be gone before it has read all.
    let _ = client.stdin.take().expect("its standard input").write_all(input.as_bytes());
    client.wait_with_output().expect("it ends")
}

#[test]
fn a_command_may_be_words_or_one_word_and_several_are_separated_by_semicolons() {
    let (mut supervisor, _) = sleepers(1, &[]);
    assert_eq!(supervisor.ctl_ok(&["set_workers", "3"]), "number of workers: 1 → 3\n");
    assert_eq!(supervisor.ctl_ok(&["-e", "set_workers 2"]), "number of workers: 3 → 2\n");
    let said = supervisor.ctl_ok(&["-e", "inc; inc ;;dec;", "--execute=set-workers 1"]);
    assert_eq!(
        said,
        "number of workers: 2 → 3\nnumber of workers: 3 → 4\nnumber of workers: 4 → 3\nnumber of workers: 3 → 1\n"
    );
    supervisor.await_healthy(1);
}

#[test]
fn a_refused_command_is_exit_status_1_and_those_after_it_are_not_run() {
    let (mut supervisor, _) = sleepers(1, &[]);
    let output = supervisor.ctl(&["-e", "inc; signal HUP 1; inc"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(out(&output), "number of workers: 1 → 2\n");
    assert!(err(&output).starts_with("einhyrningsinsctl: no worker has pid 1"), "{}", err(&output));
    supervisor.await_healthy(2);
}

#[test]
fn a_wrong_command_line_is_exit_status_2_and_nothing_is_done() {
    let (mut supervisor, _) = sleepers(1, &[]);
    for args in [
        ["-e", "inc", "dec"].as_slice(),
        &["--frob"],
        &["-e", " ; "],
        &["-e"],
        &["--json=1", "inc"],
        &["-e", "inc; frobnicate"],
        &["-e", "inc; set_workers abc"],
        &["-e", "inc; dec 1 2"],
        &["-e", "inc; upgrade --env 'X=a;b"],
        &["staus"],
    ] {
        let output = supervisor.ctl(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
        assert!(out(&output).is_empty() && err(&output).starts_with("einhyrningsinsctl: "), "{args:?}");
        assert!(err(&output).contains("--help"), "{}", err(&output));
    }
    supervisor.await_healthy(1);
}

#[test]
fn nobody_there_is_exit_status_3_with_the_path_and_why() {
    let folder = Folder::new();
    let run = |path: &std::path::Path, args: &[&str], input: Stdio| {
        let mut client = Command::new(CLIENT);
        client.arg("-d").arg(path).args(args).stdin(input).output().expect("the client can be run")
    };
    let missing = folder.join("missing");
    let stale = folder.join("stale");
    drop(std::os::unix::net::UnixListener::bind(&stale).expect("a socket"));
    let file = folder.join("file");
    fs::write(&file, "").expect("a file");
    for (path, why) in [
        (&missing, "No such file"),
        (&stale, "Connection refused"),
        (&file, "what is there is a regular file, not a socket"),
        (&folder.join(""), "what is there is a directory, not a socket"),
    ] {
        for args in [["status"].as_slice(), &["-e", "status;inc"], &["--json", "upgrade"]] {
            let output = run(path, args, Stdio::null());
            assert_eq!(output.status.code(), Some(3), "{args:?}: {}", err(&output));
            let expected =
                format!("einhyrningsinsctl: cannot reach a supervisor at {}: {why}", path.display());
            assert!(err(&output).starts_with(&expected) && out(&output).is_empty(), "{}", err(&output));
        }
    }
    let output = run(&missing, &[], Stdio::null());
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""), "nothing was asked for");
}

#[test]
fn help_and_version_need_no_supervisor() {
    for (args, expected) in [
        (["--help"], "Usage: einhyrningsinsctl"),
        (["-h"], "Usage: einhyrningsinsctl"),
        (["--version"], concat!("einhyrningsinsctl ", env!("CARGO_PKG_VERSION"), "\n")),
    ] {
        let output = Command::new(CLIENT).args(args).output().expect("the client can be run");
        assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
        assert!(out(&output).contains(expected), "{}", out(&output));
    }
}

#[test]
fn json_is_the_reply_lines_as_they_came() {
    let (supervisor, release, _) = releases(2, &["-r", "1"]);
    let said = supervisor.ctl_ok(&["--json", "-e", "status; upgrade"]);
    let lines: Vec<Value> = said.lines().map(|line| json::from_str(line).expect("JSON")).collect();
    let (status, upgrade) = lines.split_first().expect("lines");
    assert_eq!(number(crate::harness::member(status, "status"), "pid"), i64::from(supervisor.pid()));
    let (last, progress) = upgrade.split_last().expect("lines");
    assert!(!progress.is_empty() && text(last, "outcome") == "upgraded", "{said}");
    assert!(
        progress
            .iter()
            .all(|line| is_ok(line) && number(crate::harness::member(line, "upgrade"), "target") == 2)
    );

    release.switch(&within(&supervisor, "broken"));
    let output = supervisor.ctl(&["--json", "upgrade"]);
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(1), ""));
    let last: Value = json::from_str(out(&output).lines().last().expect("a line")).expect("JSON");
    assert_eq!((is_ok(&last), text(&last, "outcome")), (false, "rolled-back"));
}

#[test]
fn progress_is_shown_as_it_comes() {
    let (mut supervisor, release, _) = releases(2, &["--max-unacked", "1", "--max-upgrade-additional", "1"]);
    let gate = supervisor.folder.join("gate");
    let fine = fs::read_link(release.path()).expect("a link").display().to_string();
    let waits = format!(
        "#!/bin/sh\nwhile [ $EINHORN_CHILD_INDEX = 1 ] && ! [ -e {} ]; do sleep 0.02; done\nexec {fine}\n",
        gate.display()
    );
    release.switch(&supervisor.folder.script("waits", &waits));
    let said = supervisor.folder.join("said");
    let mut client = Command::new(CLIENT)
        .arg("-d")
        .arg(supervisor.socket())
        .arg("upgrade")
        .stdout(fs::File::create(&said).expect("a file"))
        .spawn()
        .expect("the client can be run");
    supervisor.eventually("the first line is there before the upgrade is complete", |_| {
        fs::read_to_string(&said).ok()?.contains("generation 2: 1/2 healthy, ").then_some(())
    });
    fs::write(&gate, "").expect("a file");
    assert_eq!(client.wait().expect("it ends").code(), Some(0));
    let said = fs::read_to_string(&said).expect("a file");
    assert!(said.lines().last().is_some_and(|line| line.starts_with("generation 2 serves with 2")), "{said}");
}

#[test]
fn a_supervisor_that_ends_amid_a_command_leaves_that_unanswered() {
    let (supervisor, release, _) = releases(1, &[]);
    release.switch(&supervisor.folder.script("hangs", "#!/bin/sh\nexec sleep 600\n"));
    let output = std::thread::scope(|scope| {
        let client = scope.spawn(|| supervisor.ctl(&["upgrade"]));
        crate::harness::eventually("the upgrade has begun", || {
            supervisor.log().contains("rolling upgrade to generation 2").then_some(())
        });
        let workers = supervisor.children();
        supervisor.signal(nix::sys::signal::Signal::SIGKILL);
        for worker in workers {
            let _ = nix::sys::signal::kill(crate::harness::raw(worker), nix::sys::signal::Signal::SIGKILL);
        }
        client.join().expect("it ends")
    });
    assert_eq!(output.status.code(), Some(3));
    let said = err(&output);
    assert!(said.contains("before its last word; whether `upgrade` is carried out is not known"), "{said}");
}

#[test]
fn commands_from_a_pipe_are_run_line_by_line_to_the_end() {
    let (mut supervisor, _) = sleepers(1, &[]);
    let output =
        fed(&supervisor, &[], "# a comment;\ninc\n\n  \r\n # inc\ninc; \\\ndec # inc\nset_workers 2");
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
    let expected = "number of workers: 1 → 2\nnumber of workers: 2 → 3\nnumber of workers: 3 → 2\n\
                    number of workers: 2, as before\n";
    assert_eq!(out(&output), expected, "no prompt, no echo");

    let output = fed(&supervisor, &[], "version\ninc; frobnicate \r\ninc\n");
    assert_eq!(output.status.code(), Some(2), "there is no such command as one of them");
    assert!(out(&output).starts_with("einhyrningsins ") && out(&output).lines().count() == 1);
    let said = "einhyrningsinsctl: line 2: unknown command `frobnicate`; ";
    assert!(err(&output).starts_with(said), "{}", err(&output));

    let output = fed(&supervisor, &[], "inc\nquit\ninc\n");
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(0), "number of workers: 2 → 3\n"));
    let output = fed(&supervisor, &[], "signal HUP 1\nversion\n");
    assert_eq!(output.status.code(), Some(1), "one of them was refused");
    let output = fed(&supervisor, &["--json"], "version\n");
    assert!(is_ok(&json::from_str(&out(&output)).expect("JSON")));
    supervisor.await_healthy(3);
}

#[test]
fn output_that_nobody_reads_or_that_fails_does_not_stop_a_command() {
    let (mut supervisor, _) = sleepers(1, &[]);
    let run = |supervisor: &Supervisor, redirection: &str| {
        let line = format!("\"$0\" -d \"$1\" -e 'inc; status; inc' {redirection}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &line, CLIENT]).arg(supervisor.socket()).output().expect("a shell")
    };
    assert_eq!(run(&supervisor, "| true").status.code(), Some(0));
    supervisor.await_healthy(3);
    if std::path::Path::new("/dev/full").exists() {
        let output = run(&supervisor, ">/dev/full");
        let (said, full) = (err(&output), "cannot write to standard output: No space left on device");
        assert_eq!(output.status.code(), Some(4), "{said}");
        let [first, last] = said.lines().collect::<Vec<_>>()[..] else { panic!("two lines: {said}") };
        assert!(first.contains(full) && first.ends_with("; what was asked for goes on"), "{said}");
        assert!(last.contains("everything was done"), "{said}");
        supervisor.await_healthy(5);
    }
}

#[test]
fn a_supervisor_that_does_not_answer_is_told_with_what_it_is_doing() {
    let (supervisor, _) = sleepers(1, &[]);
    supervisor.signal(Signal::SIGSTOP);
    let pid = supervisor.pid();
    for args in [["--timeout", "0.2", "status"].as_slice(), &["-e", "status; inc", "--timeout=0.2"]] {
        let output = supervisor.ctl(args);
        let said = err(&output);
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(3), ""), "{said}");
        let lost = "the supervisor does not answer: no line came for 200 ms";
        assert!(
            said.starts_with(&format!("einhyrningsinsctl: status: pid {pid}: {lost}; it is stopped")),
            "{said}"
        );
        // Nothing is left open of a question.
        assert!(said.contains(&format!("`kill -CONT {pid}` continues it\n")), "{said}");
    }
    for (args, name) in [(&["upgrade"][..], "upgrade"), (&["abort", "--wait"], "abort")] {
        let said = err(&supervisor.ctl(&[&["--timeout", "0.2"], args].concat()));
        assert!(said.contains(&format!("; whether `{name}` is carried out is not known")), "{said}");
    }
    // A backlog that is full takes no connection at all.
    let crowd: Vec<_> = std::iter::from_fn(|| try_connect(&supervisor)).collect();
    assert!(!crowd.is_empty());
    let output = supervisor.ctl(&["--timeout", "0.2", "status"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(err(&output).contains("has taken no connection for 200 ms"), "{}", err(&output));
    drop(crowd);
    supervisor.signal(Signal::SIGCONT);
    supervisor.ctl_ok(&["status"]);
}

/// A connection that is not waited for.
fn try_connect(supervisor: &Supervisor) -> Option<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).expect("a socket");
    let address = UnixAddr::new(&supervisor.socket()).expect("an address");
    connect(fd.as_raw_fd(), &address).ok().map(|()| fd)
}

#[test]
fn an_upgrade_may_take_longer_than_its_first_line_unless_a_time_is_given() {
    let (mut supervisor, release, _) = releases(1, &[]);
    let slow = format!("#!/bin/sh\nsleep 1\nexec {}\n", rust_worker());
    release.switch(&supervisor.folder.script("slow", &slow));
    let output = supervisor.ctl(&["--timeout", "0.3", "upgrade"]);
    assert_eq!(output.status.code(), Some(3));
    let said = err(&output);
    assert!(said.contains("does not go on with its answer: no further line came for 300 ms; it "), "{said}");
    assert!(said.contains("; the upgrade goes on: `status` shows it"), "{said}");
    supervisor.await_log("upgrade to generation 2 is complete");
}

#[test]
fn a_reader_who_has_seen_enough_ends_the_client_without_a_word() {
    let (supervisor, _) = sleepers(1, &[]);
    for args in [["status"].as_slice(), &["upgrade"], &["--json", "status"], &["help"]] {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let mut client = Command::new(CLIENT);
        client.arg("-d").arg(supervisor.socket()).args(args).stdin(Stdio::null()).stdout(writer);
        let output = client.stderr(Stdio::piped()).output().expect("the client can be run");
        assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""), "{args:?}");
    }
}
