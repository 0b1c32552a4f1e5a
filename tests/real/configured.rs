//! Options in a file.

use crate::{
    harness::{Folder, SUPERVISOR, Supervisor, eventually, is_alive},
    probe::{own_address, run_in},
    tools::refusal,
};
use nix::sys::signal::Signal;
use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
};

/// A folder with a file of options, and the word that names it.
fn folder(text: &str) -> (Folder, String) {
    let folder = Folder::new();
    let word = format!("@{}", folder.join("web.conf").display());
    write(&folder, text);
    (folder, word)
}

fn write(folder: &Folder, text: &str) {
    fs::write(folder.join("web.conf"), text).expect("a file can be written");
}

fn sleepers(number: usize, more: &str) -> String {
    format!("# sleepers\n-n {number}\n--ack-after 0\n{more}\n-- sleep\n600 # seconds\n")
}

fn command_line(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it runs").replace('\0', " ")
}

#[test]
fn a_service_is_started_from_a_file_and_a_new_start_puts_an_edited_one_in_force() {
    let (folder, word) = folder(&sleepers(2, "--bind 127.0.0.1:0,name=web"));
    let mut supervisor = Supervisor::start_in(folder, &[&word, "-v"], |_| {});
    let before = supervisor.await_healthy(2);
    let address = supervisor.address(0);
    assert_eq!(command_line(before[0]), "sleep 600 ");
    write(&supervisor.folder, &sleepers(3, "--bind 127.0.0.1:0,name=web"));
    supervisor.kill();
    supervisor.start_again();
    let now = supervisor.await_healthy(3);
    assert_eq!(now[..2], before, "those that were there serve on");
    supervisor.await_log("the command line says 3 workers");
    TcpStream::connect(address).expect("the socket is the same");
    // What was not edited is no difference.
    supervisor.kill();
    supervisor.start_again();
    assert_eq!(supervisor.await_healthy(3), now);
    assert_eq!(supervisor.log().matches("the command line").count(), 1, "{}", supervisor.log());
    // What is in the file is another program now.
    write(&supervisor.folder, &sleepers(3, "--bind 127.0.0.1:0,name=web").replace("600", "601"));
    supervisor.kill();
    supervisor.start_again();
    supervisor.eventually("all are of the other program", |me| {
        let pids = me.healthy();
        (pids.len() == 3 && pids.iter().all(|pid| command_line(*pid) == "sleep 601 ")).then_some(())
    });
}

#[test]
fn a_supervisor_that_is_replaced_puts_an_edited_file_in_force() {
    let (folder, word) = folder(&sleepers(2, ""));
    let (one, two) = (folder.join("one"), folder.join("two"));
    write(&folder, &sleepers(2, &format!("--pidfile {}", one.display())));
    let mut supervisor = Supervisor::start_in(folder, &[&word], |_| {});
    let before = supervisor.await_healthy(2);
    let address = own_address();
    let edited = sleepers(3, &format!("-b {address}\n--pidfile {}", two.display()));
    // One that cannot be put in force as a whole changes nothing.
    let holder = TcpListener::bind(address).expect("an address of our own");
    write(&supervisor.folder, &edited);
    let said = refusal(&supervisor, &["reexec"]);
    assert!(
        said.contains("could not take over: cannot listen on") && said.contains("goes on as before"),
        "{said}"
    );
    assert_eq!(supervisor.await_healthy(2), before);
    assert!(one.exists() && !two.exists());
    drop(holder);
    supervisor.ctl_ok(&["reexec"]);
    supervisor.await_log("the command line says 3 workers");
    let now = supervisor.eventually("all have the other socket", |me| {
        let pids = me.healthy();
        let (all, new) = (me.workers(|_| true).len(), pids.iter().all(|pid| !before.contains(pid)));
        (new && pids.len() == 3 && all == 3).then_some(pids)
    });
    TcpStream::connect(address).expect("it listens there");
    let written = fs::read_to_string(&two).expect("it was written");
    assert_eq!(written, format!("{}\n", supervisor.pid()));
    assert!(!one.exists());
    // Nothing was edited.
    supervisor.ctl_ok(&["reexec"]);
    assert_eq!(supervisor.await_healthy(3), now);
    assert_eq!(supervisor.log().matches("the command line says").count(), 1, "{}", supervisor.log());
}

#[test]
fn where_others_would_look_for_it_a_supervisor_stays_when_it_is_replaced() {
    let (folder, word) = folder("");
    let mut supervisor = Supervisor::start_in(folder, &[&word, "--ack-after", "0", "sleep", "600"], |_| {});
    let pids = supervisor.await_healthy(1);
    let other = supervisor.folder.join("other").display().to_string();
    write(&supervisor.folder, &format!("-d {other}"));
    let said = refusal(&supervisor, &["reexec"]);
    assert!(said.contains(&format!("--socket-path: `{other}` is another than")), "{said}");
    assert_eq!(supervisor.await_healthy(1), pids);
    assert!(!Path::new(&other).exists());
}

#[test]
fn a_file_that_is_broken_keeps_nobody_from_going_on() {
    let (folder, word) = folder(&sleepers(2, ""));
    let mut supervisor = Supervisor::start_in(folder, &[&word], |_| {});
    let pids = supervisor.await_healthy(2);
    write(&supervisor.folder, "-n 1\n--bogus\n");
    let said = refusal(&supervisor, &["reexec"]);
    assert!(said.contains("web.conf:2: unknown option `--bogus`; nothing was changed"), "{said}");
    // After a fault of its own it does not even look.
    supervisor.signal(Signal::SIGSEGV);
    supervisor.await_log("the supervisor has failed: SIGSEGV");
    assert_eq!(supervisor.await_healthy(2), pids);
    fs::remove_file(supervisor.folder.join("web.conf")).expect("it is there");
    supervisor.signal(Signal::SIGSEGV);
    supervisor.eventually("it has failed twice", |me| {
        (me.log().matches("the supervisor has failed").count() == 2).then_some(())
    });
    assert_eq!(supervisor.await_healthy(2), pids);
    // And what comes back is read again when it is asked for.
    write(&supervisor.folder, &sleepers(3, ""));
    supervisor.ctl_ok(&["reexec"]);
    supervisor.await_healthy(3);
    // Nor does the keeper, which is told to stop the service.
    fs::remove_file(supervisor.folder.join("web.conf")).expect("it is there");
    supervisor.kill();
    supervisor.ctl_ok(&["die", "--wait"]);
    eventually("the workers have ended", || pids.iter().all(|pid| !is_alive(*pid)).then_some(()));
    eventually("its socket has gone", || (!supervisor.socket().exists()).then_some(()));
}

/// Starts with a file like that, which is refused.
#[track_caller]
fn refused(text: &[u8], said: &str) {
    let folder = Folder::new();
    let path = folder.join("web.conf");
    fs::write(&path, text).expect("a file can be written");
    let ended = run_in(folder, &[&format!("@{}", path.display()), "sleep", "600"], |_| {});
    let whole = format!(
        "einhyrningsins: {}\nTry 'einhyrningsins --help'.\n",
        said.replace("FILE", &path.display().to_string())
    );
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (2, "", whole.as_str()));
    ended.left_nothing(None);
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_file_and_line() {
    let line = "accepted: an option as on the command line, with its dashes, or `-- PROGRAM [ARGS...]`";
    let one = "accepted: one option in a line; a value with blanks in quotes; `-- PROGRAM [ARGS...]` in a line of its own";
    refused(b"\n--numbr 3\n", "FILE:2: unknown option `--numbr`; did you mean `--number`?");
    refused(b"-m\n--number\n", "FILE:2: --number: its value is missing; accepted: --number COUNT");
    refused(b"-n 0\n", "FILE:1: --number: `0` is not a number of workers; accepted: 1 to 10000");
    refused(b"server\n", &format!("FILE:1: `server` is no option; {line}"));
    refused(b"# x\n@other\n", &format!("FILE:2: `@other` would be a file within a file; {line}"));
    refused(b"--chdir /srv/my app\n", &format!("FILE:1: --chdir: `app` is one word too many; {one}"));
    refused(
        b"--chdir '/srv\n",
        "FILE:1: `--chdir '/srv` has a ' that is not closed; accepted: words as in a shell, each closed in its own line",
    );
    refused(b"-d /\xff\n", "FILE:1: `-d /\u{fffd}` is not UTF-8; accepted: text in UTF-8");
    refused(
        b"-d a\0b",
        "FILE:1: `-d a\\0b` has a zero byte in it, which no argument can have; accepted: text in UTF-8",
    );
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_the_reason() {
    let folder = Folder::new();
    fs::write(folder.join("large"), vec![b'\n'; 2 << 20]).expect("a file can be written");
    let large = folder.join("large").display().to_string();
    for (path, said) in [
        (
            "/no/such/file",
            "cannot be read: No such file or directory (errno 2); accepted: @ and the path of a file",
        ),
        ("/", "cannot be read: it is a directory; accepted: "),
        ("/dev/zero", "cannot be read: it is a device; accepted: "),
        ("", "names no file; accepted: @ and the path of a file with options"),
        (large.as_str(), "is too long; accepted: a file with options, up to 1048576 bytes"),
    ] {
        let ended = run_in(Folder::new(), &[&format!("@{path}"), "sleep", "600"], |_| {});
        let start = format!("einhyrningsins: `@{path}` {said}");
        assert!(ended.code == 2 && ended.stderr.starts_with(&start), "{}", ended.stderr);
        ended.left_nothing(None);
    }
}

#[test]
fn a_sign_among_the_programs_words_and_under_einhorns_name_is_no_file() {
    let folder = Folder::new();
    folder.script("@x", "#!/bin/sh\necho \"this is $*\" >&2\nexec sleep 600\n");
    let place = folder.join("").display().to_string();
    let mut supervisor = Supervisor::start_in(folder, &["--ack-after", "0", "--", "@x", "@y"], |command| {
        command.env("PATH", format!("{place}:{}", std::env::var("PATH").expect("a path")));
    });
    supervisor.await_log("this is @y");
    let checked = Command::new(SUPERVISOR).arg0("einhorn").args(["--upgrade-check", "@none"]).output();
    assert_eq!(checked.expect("it runs").status.code(), Some(0));
}
