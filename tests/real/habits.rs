//! What people type and rely on: other words, quotes, waiting, and whose socket they talk to.

use crate::{
    harness::{CLIENT, Folder, Supervisor, is_ok, number, rust_worker, text},
    probe::{own_address, python},
    progress::{LONG, await_stage, open, variable},
    tools::{ask, command, is_null, list, refusal, releases, skip, sleepers},
};
use nix::unistd::geteuid;
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixListener,
    },
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::Instant,
};

/// A user that is neither root nor us.
const STRANGER: u32 = 65_534;

fn client(args: &[&str], tune: impl FnOnce(&mut Command)) -> (Option<i32>, String, String) {
    let mut client = Command::new(CLIENT);
    client.args(args).stdin(Stdio::null()).env_remove("EINHORN_SOCK_PATH");
    tune(&mut client);
    let Output { status, stdout, stderr } = client.output().expect("the client can be run");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

fn at(path: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    client(args, |client| {
        client.arg("-d").arg(path);
    })
}

#[test]
fn words_from_elsewhere_are_answered_with_the_command_that_does_it() {
    let (mut supervisor, _) = sleepers(1, &[]);
    for (word, meant) in [
        ("staus", "`status`"),
        ("list", "`status`"),
        ("stop", "`die [--wait] [SIG]`"),
        ("restart", "`upgrade [OPTS]`"),
        ("reload", "`upgrade [OPTS]`"),
        ("scale", "`set_workers N`"),
        ("kill", "`signal SIG [PID...]`"),
        ("rollback", "`abort [--wait]`"),
    ] {
        let said = format!("unknown command `{word}`; did you mean {meant}?");
        let (code, out, err) = at(&supervisor.socket(), &[word]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        assert_eq!(err, format!("einhyrningsinsctl: {said}\nTry 'einhyrningsinsctl --help'.\n"));
        assert_eq!(refusal(&supervisor, &[word]), said, "the supervisor says the same");
    }
    supervisor.await_healthy(1);
}

#[test]
fn help_for_one_command_needs_no_supervisor() {
    let nowhere = Path::new("/nowhere");
    for words in [["help", "upgrade"], ["upgrade", "--help"], ["upgrade", "-h"], ["-e", "help upgrade"]] {
        let (code, out, err) = at(nowhere, &words);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{words:?}");
        assert!(out.starts_with("upgrade [OPTS]\n") && out.contains("\n  --canary N "), "{out}");
    }
    let (code, _, err) = at(nowhere, &["help", "nonsense"]);
    assert!(code == Some(2) && err.contains("unknown command `nonsense`"), "{err}");
    let (supervisor, _) = sleepers(1, &[]);
    let told = command(&supervisor, &["help", "die"]);
    assert!(is_ok(&told) && text(&told, "message").starts_with("die [--wait] [SIG]\n"), "{told:?}");
}

#[test]
fn options_of_the_client_stand_on_either_side_of_a_command() {
    let (supervisor, _) = sleepers(1, &[]);
    let socket = supervisor.socket().display().to_string();
    for words in [["version", "--json", "-d", &socket], ["-d", &socket, "version", "--json"]] {
        let (code, out, err) = client(&words, |_| {});
        assert!(code == Some(0) && out.starts_with("{\"message\":"), "{out}{err}");
    }
    let mut supervisor = supervisor;
    supervisor.ctl_ok(&["upgrade", "--", "sh", "-c", "sleep 600", "--json", "-d", "x"]);
    let pid = supervisor.await_healthy(1)[0];
    let expected = b"sh\0-c\0sleep 600\0--json\0-d\0x\0";
    supervisor.eventually("it runs the program", |_| {
        (fs::read(format!("/proc/{pid}/cmdline")).ok()? == expected).then_some(())
    });
}

#[test]
fn without_a_path_the_client_takes_the_one_in_its_environment() {
    let folder = Folder::new();
    let said = folder.join("said");
    let script = format!(
        "#!/bin/sh\n{CLIENT} worker:ack $$ >{0}.new 2>&1; mv {0}.new {0}\nexec sleep 600\n",
        said.display()
    );
    let worker = folder.script("worker", &script);
    let mut supervisor = Supervisor::start_in(folder, &["-m", "--", &worker], |_| {});
    let pid = supervisor.await_healthy(1)[0];
    let said = supervisor.eventually("it was answered", |_| fs::read_to_string(&said).ok());
    assert_eq!(said, format!("worker {pid} is acknowledged\n"));
    for (path, reached) in [("", "/tmp/einhorn.sock"), ("/nowhere/ctl", "/nowhere/ctl")] {
        let (code, _, err) = client(&["version"], |client| {
            client.env("EINHORN_SOCK_PATH", path);
        });
        // Somebody may have a supervisor at the default path.
        assert!(code == Some(0) && path.is_empty() || err.contains(reached), "{path}: {err}");
    }
}

#[test]
fn quotes_are_understood_and_what_is_not_closed_is_refused_as_a_whole() {
    let (mut supervisor, _, _) = releases(1, &[]);
    supervisor.ctl_ok(&["-e", r#"upgrade --env 'X=a;b c' --env "Y=it's"; status"#]);
    let pid = supervisor.await_healthy(1)[0];
    assert_eq!(variable(pid, "X").as_deref(), Some("a;b c"));
    assert_eq!(variable(pid, "Y").as_deref(), Some("it's"));
    let (code, out, err) = at(&supervisor.socket(), &["-e", "inc; upgrade --env 'X=a;b c"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("has a ' that is not closed"), "{err}");
    assert_eq!(supervisor.await_healthy(1), [pid]);
}

#[test]
fn several_workers_more_or_fewer_are_counted_from_those_at_the_moment() {
    let (mut supervisor, _) = sleepers(1, &[]);
    assert_eq!(supervisor.ctl_ok(&["inc", "3"]), "number of workers: 1 → 4\n");
    assert_eq!(
        supervisor.ctl_ok(&["-e", "dec 2; inc"]),
        "number of workers: 4 → 2\nnumber of workers: 2 → 3\n"
    );
    for (words, rest) in [
        (["dec", "3"], "3, as before; it can be from 1 to 10000"),
        (["inc", "9998"], "3, as before; it can be from 1 to 10000"),
        (["inc", "0"], "`0` is not a number of workers; it can be from 1 to 10000"),
        (["inc", "now"], "`now` is not a number of workers; it can be from 1 to 10000"),
    ] {
        let said = refusal(&supervisor, &words);
        assert!(said.ends_with(rest), "{said}");
    }
    // Eight who ask at the same time are all counted.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(is_ok(&command(&supervisor, &["inc", "2"]))));
        }
    });
    assert_eq!(number(&supervisor.status(), "target"), 19);
    supervisor.await_healthy(19);
}

#[test]
fn the_end_of_a_supervisor_is_waited_for_and_its_port_is_free_at_once() {
    let folder = Folder::new();
    let slow = format!(
        "#!/bin/sh\ntrap 'sleep 0.5; kill $!; exit 0' USR2\n{} &\nwhile :; do wait; done\n",
        "sleep 600"
    );
    let (worker, address) = (folder.script("worker", &slow), own_address().to_string());
    let args = ["-b", &address, "--ack-after", "0.1", "--", &worker];
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    supervisor.await_healthy(1);
    let said = supervisor.ctl_ok(&["die", "--wait"]);
    assert!(supervisor.has_exited(), "{said}");
    assert!(said.ends_with(&format!("the supervisor, pid {}, has ended\n", supervisor.pid())), "{said}");
    drop(TcpListener::bind(&address).expect("the port is free"));
    let mut next = Supervisor::start(&args);
    next.await_healthy(1);
    // Nobody can be told of it who reads replies.
    let said = next.ctl_ok(&["--json", "die", "--wait", "KILL"]);
    assert!(next.has_exited() && said.lines().count() == 1 && said.starts_with('{'), "{said}");
}

#[test]
fn going_back_is_waited_for() {
    let (mut supervisor, release, old) = releases(3, &[]);
    release.switch(&rust_worker());
    open(&supervisor, "upgrade", &["--canary", "1", "--soak", LONG]);
    await_stage(&mut supervisor, "canary-soak");
    let said = supervisor.ctl_ok(&["abort", "--wait"]);
    assert!(is_null(&supervisor.status(), "upgrade"), "{said}");
    let last = "generation 2 is taken back: generation 1 serves with 3 of 3 workers healthy";
    assert_eq!(said, format!("taking generation 2 back\n{last}\n"));
    assert_eq!(supervisor.await_healthy(3)[1..], old[1..]);
    let (code, _, err) = at(&supervisor.socket(), &["abort", "--wait"]);
    assert!(code == Some(1) && err.contains("no upgrade is under way"), "{err}");
}

#[test]
fn without_a_terminal_progress_is_a_line_a_second_and_one_a_stage() {
    let (supervisor, _) = sleepers(100, &[]);
    let start = Instant::now();
    let said = supervisor.ctl_ok(&["upgrade"]);
    let seconds = usize::try_from(start.elapsed().as_secs()).expect("a short time");
    let progress = said.lines().filter(|line| line.starts_with("generation 2: ")).count();
    // Begun, on its way, all there.
    assert!((1..=3 + seconds).contains(&progress), "{said}");
    assert!(
        said.lines().last().is_some_and(|line| line.starts_with("generation 2 serves with 100")),
        "{said}"
    );
    let raw = supervisor.ctl_ok(&["upgrade", "--json"]);
    assert!(raw.lines().count() > 50, "for programs nothing is left out");
}

/// Answers one request with a line, and returns the request.
fn answer_once(listener: &UnixListener, line: &str) -> String {
    let (mut stream, _) = listener.accept().expect("a client");
    let mut request = String::new();
    let _ = BufReader::new(stream.try_clone().expect("a copy")).read_line(&mut request);
    let _ = stream.write_all(line.as_bytes());
    request
}

const HOSTILE: &str = "{\"message\":\"\\u001b]0;mine\\u0007\\u009b2J\u{9b}2J\u{202e}evil\",\"ok\":true}\n";

#[test]
fn nothing_that_is_answered_gives_orders_to_a_terminal() {
    let folder = Folder::new();
    let path = folder.join("ctl");
    for (args, shown) in [
        (["status"].as_slice(), "\\u{1b}]0;mine\\u{7}\\u{9b}2J\\u{9b}2J\\u{202e}evil\n"),
        (&["status", "--json"], HOSTILE),
    ] {
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        let out = thread::scope(|scope| {
            scope.spawn(|| answer_once(&listener, HOSTILE));
            at(&path, args).1
        });
        assert_eq!(out, shown, "{args:?}");
    }
}

#[test]
fn no_name_gives_orders_to_a_terminal_or_to_who_reads_the_log() {
    let folder = Folder::new();
    let worker = folder.script("evil\x1b[2J\u{202e}\nname", "#!/bin/sh\nexec sleep 600\n");
    let mut supervisor = Supervisor::start_in(folder, &["--ack-after", "0", "--", &worker], |_| {});
    supervisor.await_healthy(1);
    supervisor.ctl_ok(&["upgrade"]);
    let shown = supervisor.ctl_ok(&["history"]);
    assert!(shown.contains(r"evil\u{1b}[2J\u{202e}\nname"), "{shown}");
    assert_eq!(shown.lines().count(), 2, "one for each generation: {shown}");
    let log = supervisor.log();
    assert!(log.contains(r"evil\u{1b}[2J\u{202e}\nname"), "{log}");
    let raw = ask(&supervisor, r#"{"command":"history"}"#);
    assert!(!text(&raw, "message").contains('\x1b') && !log.contains(['\x1b', '\u{202e}']), "{log}");
    assert!(
        text(&list(&raw, "history")[0], "program").ends_with("evil\x1b[2J\u{202e}\nname"),
        "programs get the name as it is"
    );
}

#[test]
fn a_socket_that_somebody_else_has_made_is_refused() {
    if !geteuid().is_root() {
        return skip("only root can give files away");
    }
    let folder = Folder::new();
    let path = folder.join("ctl");
    let listener = UnixListener::bind(&path).expect("a socket");
    chown(&path, Some(STRANGER), None).expect("it can be given away");
    let told = |args: &[&str]| {
        thread::scope(|scope| {
            let request = scope.spawn(|| answer_once(&listener, HELLO));
            (at(&path, args), request.join().expect("a request"))
        })
    };
    let ((code, out, err), request) = told(&["status"]);
    assert_eq!((code, out.as_str(), request.as_str()), (Some(3), "", ""), "nothing is sent: {err}");
    let socket = format!("refused the control socket {}: the socket", path.display());
    let rest = format!("belongs to user {STRANGER}, not root; --any-owner talks to it all the same");
    assert_eq!(err, format!("einhyrningsinsctl: {socket} {rest}\n"));
    let (answered, request) = told(&["status", "--any-owner"]);
    assert_eq!(answered, (Some(0), "hello\n".to_owned(), String::new()));
    assert!(request.contains("status"), "{request}");
}

const HELLO: &str = "{\"message\":\"hello\",\"ok\":true}\n";

/// Listens on a path as another user, who may not be able to read the interpreter, and answers once.
const LISTENS: &str = r#"
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
os.setuid(int(sys.argv[1]))
listener.bind(sys.argv[2])
listener.listen()
print("there", flush=True)
client, _ = listener.accept()
client.recv(4096)
client.sendall(sys.argv[3].encode())
"#;

#[test]
fn a_stranger_who_listens_on_a_socket_of_ours_is_refused() {
    if !geteuid().is_root() {
        return skip("only root can run a program as somebody else");
    }
    let folder = Folder::new();
    let shared = folder.join("shared");
    fs::create_dir(&shared).expect("a folder can be made");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).expect("it can be opened to all");
    let path = shared.join("ctl");
    let mut stranger = Command::new(python());
    stranger.args(["-c", LISTENS, &STRANGER.to_string()]).arg(&path).arg(HELLO).stdout(Stdio::piped());
    let mut stranger = stranger.spawn().expect("it can be run");
    let mut word = String::new();
    BufReader::new(stranger.stdout.take().expect("its output")).read_line(&mut word).expect("a word");
    chown(&path, Some(0), None).expect("it can be taken");
    let (code, _, err) = at(&path, &["status"]);
    stranger.wait().expect("its end");
    assert_eq!(code, Some(3), "{word}{err}");
    assert!(err.contains(&format!("who listens there is user {STRANGER}, not root; --any-owner")), "{err}");
}
