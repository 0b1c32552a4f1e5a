//! Options in a file, and `--check-config`.

use crate::{
    harness::{Folder, SUPERVISOR, Supervisor, eventually, is_alive, raw},
    probe::{own_address, run_in},
    progress::complaint,
    readme::blocks,
    tools::{is_null, python, refusal, skip},
};
use nix::sys::signal::{Signal, kill};
use std::{
    collections::BTreeMap,
    fs,
    net::{TcpListener, TcpStream},
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
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
    // One that has not begun to run when its supervisor is killed does not.
    eventually("the third runs", || (command_line(now[2]) == "sleep 600 ").then_some(()));
    // What was not edited is no difference.
    supervisor.kill();
    supervisor.start_again();
    assert_eq!(supervisor.await_healthy(3), now, "{}", supervisor.log());
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
        let done = is_null(&me.status(), "upgrade") && me.workers(|_| true).len() == 3;
        let pids = me.healthy();
        (done && pids.len() == 3 && pids.iter().all(|pid| !before.contains(pid))).then_some(pids)
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
    let program = folder.script("@x", "#!/bin/sh\necho \"this is $*\" >&2\nexec sleep 600\n");
    let place = folder.join("").display().to_string();
    let mut supervisor = Supervisor::start_in(folder, &["--ack-after", "0", "--", "@x", "@y"], |command| {
        command.env("PATH", format!("{place}:{}", std::env::var("PATH").expect("a path")));
    });
    supervisor.await_log("this is @y");
    let checked = Command::new(SUPERVISOR).arg0("einhorn").args(["--upgrade-check", "@none"]).output();
    assert_eq!(checked.expect("it runs").status.code(), Some(0));
    let checked = check(Path::new("/"), &[&program, "@none"]);
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""));
}

/// What a check has said.
struct Checked {
    code: i32,
    stdout: String,
    stderr: String,
}

fn check<S: AsRef<str>>(directory: &Path, args: &[S]) -> Checked {
    let mut command = Command::new(SUPERVISOR);
    command.arg("--check-config").args(args.iter().map(AsRef::as_ref)).current_dir(directory);
    let output = command.env_remove("PWD").stdin(Stdio::null()).output().expect("it can be run");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("a status");
    Checked { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// All files in a folder, and what a change of them would show in.
fn files(folder: &Path) -> BTreeMap<String, (u64, i64, i64, u64)> {
    let entries = fs::read_dir(folder).expect("it is there").flatten();
    let file = |entry: fs::DirEntry| {
        let it = entry.metadata().expect("it is there");
        (
            entry.file_name().to_string_lossy().into_owned(),
            (it.ino(), it.mtime_nsec(), it.ctime_nsec(), it.size()),
        )
    };
    entries.map(file).collect()
}

#[test]
fn a_check_says_what_would_be_run_and_changes_nothing_while_the_service_runs() {
    let address = own_address();
    let (folder, word) = folder("");
    let place = |name: &str| folder.join(name).display().to_string();
    let (web, pid, lock, ctl) = (place("web"), place("pid"), place("lock"), place("ctl"));
    write(
        &folder,
        &format!(
            "-d {ctl}\n-b {address},name=web\n-b unix:{web},mode=600\n-n 2\n-e {pid}\n-f {lock}\n--ack-after 0\n\
             -- sh -c 'exec sleep 600' {{fd:web}} {{fd:1}}\n"
        ),
    );
    let mut supervisor = Supervisor::start_in(folder, &[&word], |_| {});
    let pids = supervisor.await_healthy(2);
    supervisor.keeper();
    let (before, log) = (files(&supervisor.folder.join("")), supervisor.log());
    let Checked { code, stdout, stderr } = check(&supervisor.folder.join(""), &[&word]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    for line in [
        format!("bind: [\"{address},name=web\",\"unix:{web},mode=0600\"]"),
        "number: 2".to_owned(),
        format!("pidfile: \"{pid}\""),
        "program: [\"sh\",\"-c\",\"exec sleep 600\",\"{fd:web}\",\"{fd:1}\"]".to_owned(),
        "arguments: [\"-c\",\"exec sleep 600\",\"3\",\"4\"]".to_owned(),
        "drains by: USR2 if it has a handler for that, else TERM".to_owned(),
        format!("socket {{fd:0}}: {address} (web), descriptor 3"),
        format!("socket {{fd:1}}: unix:{web}, descriptor 4"),
    ] {
        assert!(stdout.lines().any(|found| found == line), "no {line} in:\n{stdout}");
    }
    let directory = fs::canonicalize(supervisor.folder.join("")).expect("it is there");
    assert!(stdout.contains(&format!("directory: \"{}\"", directory.display())), "{stdout}");
    assert!(stdout.contains("executable: \"/"), "{stdout}");
    assert_eq!(files(&supervisor.folder.join("")), before);
    assert_eq!(supervisor.log(), log, "it was not asked anything");
    assert_eq!(supervisor.await_healthy(2), pids);
    // The options are those that the service tells of.
    let told = supervisor.ctl_ok(&["config"]);
    for line in told.lines() {
        assert!(stdout.lines().any(|found| found == line), "no {line} in:\n{stdout}");
    }
    // Nobody but a worker has the port when the supervisor has ended: the check has not.
    kill(raw(supervisor.pid()), Signal::SIGINT).expect("it is there");
    supervisor.await_exit();
    let checked = check(&supervisor.folder.join(""), &[&word]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    TcpListener::bind(address).expect("nothing is bound");
    let left: Vec<String> = files(&supervisor.folder.join("")).into_keys().collect();
    assert_eq!(left, ["lock", "log", "web.conf"]);
}

#[test]
fn a_check_ends_as_the_start_would_and_tells_all_that_is_in_the_way() {
    let folder = Folder::new();
    let here = folder.join("");
    let ctl = folder.join("ctl").display().to_string();
    let plain = folder.join("plain").display().to_string();
    fs::write(&plain, "").expect("a file can be written");
    let orphan = folder.script("orphan", "#!/no/such/interpreter\n");
    let garbage = folder.script("garbage", "");
    for (args, code, all) in [
        (&["-n", "0", "sleep"][..], 2, &["--number: `0` is not"][..]),
        (&[], 2, &["PROGRAM is missing"]),
        (&["sleep", "{fd:0}"], 2, &["`{fd:0}`, which is no socket"]),
        (
            &["-b", "unix:/x,user=no-such-user", "-b", "unix:/x,group=no-such-group", "sleep"],
            2,
            &["no user `no-such-user`", "no group `no-such-group`"],
        ),
        (&["-b", "[fe80::1%no-link]:80", "sleep"], 2, &["no link `no-link`"]),
        (
            &["no-such-program"],
            127,
            &["cannot run no-such-program: finding the program failed: No such file"],
        ),
        (&[&plain], 126, &["is not marked as executable: chmod +x"]),
        (&[&orphan], 127, &["asks for /no/such/interpreter, and there is no /no"]),
        (&[&garbage], 126, &["Exec format error", "is empty"]),
        (&["--chdir", "/no/such", "sleep"], 1, &["workers are to run in /no/such, and there is no /no"]),
        (
            &["-b", "unix:/no/web", "-e", "/no/pid", "-f", "/no/lock", "--trace", "/no/trace", "nothing"],
            1,
            &[
                "--lockfile: `/no/lock` cannot be opened: No such file",
                "--pidfile: `/no/pid` cannot be written: No such file",
                "--trace: `/no/trace` cannot be opened: No such file",
                "cannot listen on unix:/no/web: there is no directory `/no`",
                "cannot run nothing",
            ],
        ),
        (
            &["-b", &format!("unix:{plain}"), "-e", "/", "-f", "/", "--trace", "/", "sleep"],
            1,
            &[
                "what is there is a regular file, not a socket",
                "--lockfile: `/` is a directory",
                "--pidfile: `/` is a directory",
                "--trace: `/` cannot be opened: Is a directory",
            ],
        ),
    ] {
        let Checked { code: found, stderr, .. } = check(&here, &[&["-d", &ctl], args].concat());
        assert_eq!(found, code, "{args:?}: {stderr}");
        for said in all {
            assert!(stderr.contains(said), "{args:?}: no {said} in: {stderr}");
        }
        // A start ends with the same.
        let started = run_in(Folder::new(), args, |_| {});
        assert_eq!(started.code, code, "{args:?}: {}", started.stderr);
    }
    let Checked { code, stderr, .. } = check(&here, &["-d", "/no/ctl", "sleep"]);
    assert!(code == 1 && stderr.contains("cannot use `/no/ctl` as the control socket"), "{stderr}");
}

#[test]
fn the_file_in_the_readme_is_one() {
    let blocks = blocks("Options of `einhyrningsins`", "conf");
    let [text] = blocks.as_slice() else { panic!("{blocks:?}") };
    let (folder, word) = folder(text);
    let Checked { stdout, .. } = check(&folder.join(""), &[&word]);
    for line in [
        "number: 4",
        "chdir: \"/srv/my app\"",
        "program: [\"/srv/web/current/server\",\"--listen-fd\",\"{fd:web}\",\"--log-level\",\"info\"]",
        "socket {fd:0}: 0.0.0.0:8080 (web), descriptor 3",
    ] {
        assert!(stdout.lines().any(|found| found == line), "no {line} in:\n{stdout}");
    }
}

#[test]
fn a_check_names_the_sockets_of_a_service_manager() {
    let Some(python) = python() else { return skip("there is no python3") };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let code = "import os, sys\nos.dup2(int(sys.argv[1]), 3)\nos.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()), \
                LISTEN_FDNAMES='web')\nos.execv(sys.argv[2], sys.argv[2:])";
    let fd = {
        use std::os::fd::AsRawFd as _;
        nix::fcntl::fcntl(&listener, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))
            .expect("a flag");
        listener.as_raw_fd().to_string()
    };
    let words = ["-c", code, &fd, SUPERVISOR, "--check-config", "sleep", "{fd:web}"];
    let output = Command::new(python).args(words).output().expect("python3 can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    let line = format!("socket {{fd:0}}: {address} (web), descriptor 3, from the service manager");
    assert!(
        said.lines().any(|found| found == line),
        "no {line} in: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("arguments: [\"3\"]"), "{said}");
}

#[test]
fn a_program_in_an_edited_file_that_does_not_come_up_is_what_the_next_upgrade_runs() {
    let (folder, word) = folder(&sleepers(1, ""));
    let mut supervisor = Supervisor::start_in(folder, &[&word], |_| {});
    let before = supervisor.await_healthy(1);
    let program = supervisor.folder.join("new");
    write(&supervisor.folder, &format!("-n 1\n--ack-after 0.1\n--retries 1\n-- {}\n", program.display()));
    // There is no such program, and then one that fails: the one before serves on.
    supervisor.ctl_ok(&["reexec"]);
    supervisor.await_log("cannot run");
    assert_eq!(supervisor.await_healthy(1), before);
    supervisor.folder.script("new", "#!/bin/sh\nexit 7\n");
    let said = complaint(&supervisor, &["upgrade"]);
    assert!(said.contains("exited with status 7"), "{said}");
    // Whoever takes over knows that it has yet to serve.
    supervisor.kill();
    supervisor.start_again();
    supervisor.eventually("it was tried again", |me| {
        let tried = me.log().matches("rolled back").count() > 1 && is_null(&me.status(), "upgrade");
        tried.then_some(())
    });
    assert_eq!(supervisor.await_healthy(1), before);
    supervisor.folder.script("new", "#!/bin/sh\nexec sleep 601\n");
    supervisor.ctl_ok(&["upgrade"]);
    let now = supervisor.await_healthy(1);
    assert_ne!(now, before);
    eventually("it runs that", || (command_line(now[0]) == "sleep 601 ").then_some(()));
    // From here on it is nothing new.
    supervisor.ctl_ok(&["reexec"]);
    assert_eq!(supervisor.await_healthy(1), now);
}
