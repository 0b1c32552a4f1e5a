//! The supervisor is replaced while the service goes on: on command, by itself after a fault, and not at all by what
//! cannot take over.
//!
//! `ENDURANCE_ROUNDS` says how often it is replaced under load: without it, a few times.

use crate::{
    endurance::{PLAN, all, await_answers, replaced_under_load, rounds, settled, start},
    harness::{Connection, Folder, Supervisor, eventually, is_ok, number, raw, text},
    load::{Load, get},
    tools::{command, have, skip, sleepers},
};
use nix::sys::signal::{Signal, kill};
use std::{
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    time::{Duration, Instant},
};

const OURS: &str = env!("CARGO_BIN_EXE_einhyrningsins");

/// Replaced by what is there, which is the same program.
#[track_caller]
fn reexec(supervisor: &Supervisor) {
    let said = supervisor.ctl_ok(&["reexec"]);
    assert!(said.contains(" has taken over from version "), "{said}");
}

#[test]
fn replaced_again_and_again_under_load_it_loses_no_request_no_worker_and_no_command() {
    let settled = |me: &mut Supervisor| settled(me).into_iter().collect();
    let [before, now] = replaced_under_load(start(&["-r", "2"]), rounds(1), |me| reexec(me), settled);
    assert_eq!(all(&now), all(&before), "{before:?}\n{now:?}");
}

/// A service of one worker in Rust, and its address.
fn small(options: &[&str]) -> Supervisor {
    let mut args = vec!["-m", "-b", "127.0.0.1:0,r,n"];
    args.extend(options);
    let worker = crate::harness::rust_worker();
    args.extend(["--", &worker]);
    let mut supervisor = Supervisor::start(&args);
    supervisor.await_healthy(1);
    supervisor
}

#[test]
fn after_a_fault_the_same_process_serves_on_and_the_fourth_in_a_minute_is_the_end() {
    let (mut supervisor, _release, address) = start(&[]);
    let load = Load::start(address, PLAN);
    await_answers(&load, 5);
    let workers = settled(&mut supervisor);
    for signal in [Signal::SIGSEGV, Signal::SIGBUS] {
        let mut idle = Connection::open(&supervisor.socket()).expect("a connection");
        idle.send(r#"{"command":"version"}"#).expect("it is sent");
        idle.line().expect("an answer");
        // By the next answer the supervisor knows that this one was sent.
        supervisor.status();
        let begin = Instant::now();
        kill(raw(supervisor.pid()), signal).expect("it is there");
        supervisor.await_log(&format!(
            "the supervisor has failed: {signal}, sent by process {}",
            std::process::id()
        ));
        // It was connected all the time.
        idle.send(r#"{"command":"version"}"#).expect("it is sent");
        assert!(is_ok(&idle.line().expect("an answer")), "{signal}");
        eprintln!("{signal}: answered after {:?}", begin.elapsed());
        assert_eq!(settled(&mut supervisor), workers);
    }
    // Amid an upgrade.
    let mut waiting = Connection::open(&supervisor.socket()).expect("a connection");
    waiting.send(r#"{"command":"upgrade"}"#).expect("it is sent");
    waiting.line().expect("it has begun");
    kill(raw(supervisor.pid()), Signal::SIGABRT).expect("it is there");
    let last = waiting.answer().expect("an answer").pop().expect("a line");
    assert_eq!(text(&last, "outcome"), "upgraded", "{last:?}");
    settled(&mut supervisor);
    let report = load.stop();
    assert_eq!(report.failures, 0, "{:?}\n{}", report.failed, supervisor.log());
    let left = supervisor.children();
    kill(raw(supervisor.pid()), Signal::SIGSEGV).expect("it is there");
    eventually("the end", || supervisor.has_exited().then_some(()));
    // Nobody sees to them any more.
    for pid in left {
        let _ = kill(raw(pid), Signal::SIGKILL);
    }
}

#[test]
fn what_cannot_take_over_is_refused_with_the_reason_and_nothing_changes() {
    let mut supervisor = small(&[]);
    let workers = supervisor.await_healthy(1);
    let folder = Folder::new();
    let says = |name: &str, words: &str| folder.script(name, &format!("#!/bin/sh\n{words}\n"));
    let silent = says("silent", "exit 0");
    let old = says("old", "echo 'einhyrningsins: unknown option `--check-handover`' >&2; exit 2");
    let newer = says(
        "newer",
        "echo 'einhyrningsins: it cannot go on from this journal: its format is version 9'; exit 1",
    );
    let crashes = says("crashes", "kill -SEGV $$");
    for (path, why) in [
        ("/nowhere/at/all", "No such file or directory"),
        ("/etc/passwd", "Permission denied"),
        ("/", "it is a directory"),
        (silent.as_str(), "without a word"),
        (old.as_str(), "unknown option"),
        (newer.as_str(), "version 9"),
        (crashes.as_str(), "without a word"),
        ("/bin/true", "without a word"),
    ] {
        let out = supervisor.ctl(&["reexec", path]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
        assert_eq!(out.status.code(), Some(1), "{path}: {said}");
        assert!(
            said.contains(why) && said.contains(path) && said.contains("nothing was changed"),
            "{path}: {said}"
        );
        assert!(supervisor.log().contains(why), "{path}: {}", supervisor.log());
        assert_eq!(supervisor.await_healthy(1), workers);
    }
    let error = supervisor.ctl(&["reexec", "one", "two"]);
    assert!(!error.status.success());
}

#[test]
fn what_says_that_it_can_and_cannot_leads_back_to_the_program_from_before() {
    let mut supervisor = small(&[]);
    let (workers, folder) = (supervisor.await_healthy(1), Folder::new());
    // As a version would do that has a bug: it does not know an option of those that it was checked with.
    let script = folder.script(
        "forgets",
        &format!("#!/bin/sh\ncase $1 in --check-handover) exec {OURS} \"$@\";; esac\nexec {OURS} --no-such-option\n"),
    );
    for _ in 0..2 {
        let said = command(&supervisor, &["reexec", &script]);
        let message = text(&said, "message");
        let why = "could not take over: unknown option `--no-such-option`";
        assert!(!is_ok(&said) && message.contains(why) && message.contains("goes on as before"), "{message}");
        assert!(supervisor.log().contains(why), "{}", supervisor.log());
        assert_eq!(supervisor.await_healthy(1), workers);
        let exe = fs::read_link(format!("/proc/{}/exe", supervisor.pid())).expect("a program");
        assert_eq!(exe, Path::new(OURS));
    }
    reexec(&supervisor);
}

#[test]
fn what_fails_on_its_way_leads_back_and_nothing_is_lost_by_it() {
    if !have("strace", &["-V"]) {
        return skip("there is no strace");
    }
    let folder = Folder::new();
    let (unix, pidfile) = (folder.join("web"), folder.join("pid"));
    let (at, file) = (format!("unix:{}", unix.display()), pidfile.display().to_string());
    let (mut supervisor, _) = sleepers(1, &["-b", &at, "-e", &file]);
    let workers = supervisor.await_healthy(1);
    let identity = |path: &Path| fs::metadata(path).map(|file| file.ino()).expect("a file");
    let before = (identity(&unix), identity(&pidfile), identity(&supervisor.socket()));
    for call in ["epoll_create1", "signalfd4", "openat"] {
        let mut tracer = std::process::Command::new("strace");
        let inject = format!("inject={call}:error=ENOMEM:when=1");
        tracer.args(["-qq", "-o", "/dev/null", "-e", &format!("trace=execve,{call}"), "-e", &inject]);
        // What the program that runs opens itself for the way back is not to fail.
        let path = if call == "openat" { "/dev/null" } else { "" };
        if !path.is_empty() {
            tracer.args(["-P", path]);
        }
        let mut tracer = tracer.args(["-p", &supervisor.pid().to_string()]).spawn().expect("it runs");
        eventually("it is traced", || {
            (crate::tools::status_field(supervisor.pid(), "TracerPid")? > 0).then_some(())
        });
        let said = command(&supervisor, &["reexec"]);
        let message = text(&said, "message");
        assert!(
            !is_ok(&said) && message.contains("goes on as before"),
            "{call}: {message}\n{}",
            supervisor.log()
        );
        kill(raw(tracer.id()), Signal::SIGTERM).expect("it is there");
        tracer.wait().expect("its end");
        assert_eq!(supervisor.await_healthy(1), workers, "{call}");
        assert_eq!((identity(&unix), identity(&pidfile), identity(&supervisor.socket())), before, "{call}");
        assert!(std::os::unix::net::UnixStream::connect(&unix).is_ok(), "{call}");
    }
    reexec(&supervisor);
    assert!(is_ok(&command(&supervisor, &["die", "KILL"])));
    assert_eq!(supervisor.await_exit(), 0);
    assert!(!unix.exists() && !pidfile.exists());
}

#[test]
fn the_program_that_is_there_by_then_takes_over_with_all_that_was_kept() {
    let folder = Folder::new();
    // Copies, so that they can be told apart.
    for version in ["v1", "v2"] {
        fs::create_dir(folder.join(version)).expect("a folder");
        fs::copy(OURS, folder.join(version).join("einhyrningsins")).expect("a copy");
    }
    let (current, program) = (folder.join("current"), folder.join("current/einhyrningsins"));
    symlink("v1", &current).expect("a link");
    let dump = folder.script("dump", "#!/bin/sh\nenv | sort >>$OUT.$EINHORN_CHILD_INDEX\necho --- >>$OUT.$EINHORN_CHILD_INDEX\nexec sleep 600\n");
    let (out, socket, pidfile, lock, trace) =
        (folder.join("env"), folder.join("s"), folder.join("pid"), folder.join("lock"), folder.join("trace"));
    let mut child = std::process::Command::new(&program)
        .args(["-q", "--ready", "timer", "--ack-after", "0.05", "-b", "127.0.0.1:0,name=web", "-e"])
        .arg(&pidfile)
        .arg("--lockfile")
        .arg(&lock)
        .arg("--trace")
        .arg(&trace)
        .arg("-d")
        .arg(&socket)
        .args(["--", &dump])
        .env("OUT", &out)
        .spawn()
        .expect("it starts");
    let ctl = |args: &[&str]| {
        let client = env!("CARGO_BIN_EXE_einhyrningsinsctl");
        let out =
            std::process::Command::new(client).arg("-d").arg(&socket).args(args).output().expect("it runs");
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr),
        )
    };
    eventually("it is up", || ctl(&["status"]).1.contains("1/1 workers healthy").then_some(()));
    assert_eq!(ctl(&["louder"]).0, Some(0));
    assert_eq!(ctl(&["upgrade"]).0, Some(0));
    let history = ctl(&["history"]).1;
    fs::remove_file(&current).expect("a link");
    symlink("v2", &current).expect("a link");
    let (code, said) = ctl(&["reexec"]);
    assert!(code == Some(0) && said.contains(program.to_str().expect("UTF-8")), "{said}");
    let exe = fs::read_link(format!("/proc/{}/exe", child.id())).expect("a program");
    assert_eq!(exe, folder.join("v2/einhyrningsins"));
    assert_eq!(ctl(&["history"]).1, history);
    assert!(ctl(&["louder"]).1.contains("log level: INFO"), "as loud as before");
    assert_eq!(fs::read_to_string(&pidfile).expect("a file").trim(), child.id().to_string());
    let mut other = std::process::Command::new(OURS);
    other.arg("--lockfile").arg(&lock).arg("-d").arg(folder.join("t")).args(["--", "sleep", "600"]);
    let other = other.output().expect("it runs");
    assert!(String::from_utf8_lossy(&other.stderr).contains("another process holds the lock"), "{other:?}");
    // Workers are told the same as before.
    assert_eq!(ctl(&["upgrade"]).0, Some(0));
    let told = fs::read_to_string(folder.join("env.0")).expect("a file");
    let parts: Vec<String> = told
        .split("---\n")
        .map(|part| {
            let lines = part.lines().filter(|line| {
                !["LISTEN_PID=", "SERVER_STARTER_GENERATION=", "_="].iter().any(|name| line.starts_with(name))
            });
            lines.collect::<Vec<_>>().join("\n")
        })
        .collect();
    assert_eq!(parts.len(), 4, "{told}");
    assert_eq!(parts[1], parts[2]);
    assert!(!told.contains("HANDOVER"), "{told}");
    // The end is as it would have been.
    assert_eq!(ctl(&["die", "--wait"]).0, Some(0));
    assert!(child.wait().expect("its end").success());
    assert!(!pidfile.exists() && !socket.exists());
    let (code, replayed) = ctl(&["replay", trace.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(0), "{replayed}");
    let mode = fs::metadata(&lock).expect("it stays").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_clients_have_said_in_part_is_heard_by_whoever_takes_over() {
    let mut supervisor = small(&[]);
    let mut half = Connection::open(&supervisor.socket()).expect("a connection");
    half.send_bytes(b"{\"command\":\"vers").expect("it is sent");
    // It is read once another was answered that came later.
    assert!(is_ok(&command(&supervisor, &["version"])));
    reexec(&supervisor);
    half.send_bytes(b"ion\",\"id\":3}\n").expect("it is sent");
    let answer = half.line().expect("an answer");
    assert!(is_ok(&answer) && number(&answer, "request_id") == 3, "{answer:?}");
    // After a fault nobody knows what it had begun with.
    half.send_bytes(b"{\"command\":\"vers").expect("it is sent");
    assert!(is_ok(&command(&supervisor, &["version"])));
    kill(raw(supervisor.pid()), Signal::SIGSEGV).expect("it is there");
    supervisor.await_log("the supervisor has failed");
    half.wait_at_most(Duration::from_secs(20)).expect("a connection");
    assert!(half.line().is_err(), "the connection ends");
    assert!(is_ok(&command(&supervisor, &["version"])));
}

#[test]
fn whoever_ends_while_nobody_looks_is_replaced() {
    let mut supervisor = small(&[]);
    for fault in [false, true] {
        let worker = supervisor.await_healthy(1)[0];
        kill(raw(supervisor.pid()), Signal::SIGSTOP).expect("it is there");
        kill(raw(worker), Signal::SIGKILL).expect("it is there");
        if fault {
            kill(raw(supervisor.pid()), Signal::SIGBUS).expect("it is there");
        }
        kill(raw(supervisor.pid()), Signal::SIGCONT).expect("it is there");
        if !fault {
            reexec(&supervisor);
        }
        let next = supervisor.eventually("another is healthy", |me| {
            me.healthy().first().copied().filter(|pid| *pid != worker)
        });
        assert_ne!(next, worker);
        assert_eq!(supervisor.children(), [next]);
    }
    let address = supervisor.address(0);
    assert!(get(address).is_ok());
}

#[test]
fn a_fault_amid_starts_makes_no_worker_twice() {
    for _ in 0..8 {
        let options = ["--ready", "timer", "--ack-after", "0", "--max-unacked", "4"];
        let (mut supervisor, _) = sleepers(24, &options);
        let mut client = Connection::open(&supervisor.socket()).expect("a connection");
        client.send(r#"{"command":"upgrade"}"#).expect("it is sent");
        client.line().expect("it has begun");
        kill(raw(supervisor.pid()), Signal::SIGSEGV).expect("it is there");
        let last = client.answer().expect("an answer").pop().expect("a line");
        assert_eq!(text(&last, "outcome"), "upgraded", "{last:?}");
        supervisor.eventually("only those that are known are there", |me| {
            let (mut told, mut there) = (me.healthy(), me.children());
            told.sort_unstable();
            there.sort_unstable();
            (told.len() == 24 && told == there).then_some(())
        });
        assert!(!supervisor.log().contains("cannot happen"), "{}", supervisor.log());
    }
}

#[test]
fn signals_that_come_meanwhile_are_heard() {
    let mut supervisor = small(&[]);
    for _ in 0..3 {
        let before = number(&supervisor.status(), "generation");
        let mut client = Connection::open(&supervisor.socket()).expect("a connection");
        client.send(r#"{"command":"reexec"}"#).expect("it is sent");
        // At some moment of the hand-over, more or less.
        kill(raw(supervisor.pid()), Signal::SIGHUP).expect("it is there");
        assert!(is_ok(&client.answer().expect("an answer").pop().expect("a line")));
        supervisor.eventually("the next generation serves", |me| {
            (number(&me.status(), "generation") == before + 1).then_some(())
        });
        supervisor.await_healthy(1);
    }
}

/// A file as a supervisor leaves it behind in memory, of the format's first version: a head of words, and the text where
/// that says.
fn journal(folder: &Folder, version: u64, text: &[u8]) -> fs::File {
    const TEXT_AT: u64 = 4096 + 65_536 * 16;
    const SIZE: u64 = TEXT_AT + 2 * (16 << 20);
    let path = folder.join("journal");
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .expect("a file");
    file.set_len(SIZE).expect("room");
    let length = u64::try_from(text.len()).expect("a length");
    for (at, bytes) in [
        (0, b"einhyrnj".as_slice()),
        (8, &version.to_le_bytes()),
        (16, &length.to_le_bytes()),
        (TEXT_AT, text),
    ] {
        file.write_all_at(bytes, at).expect("it is written");
    }
    file
}

/// What the program says of a journal, and whether it could go on from it.
fn checked(journal: fs::File) -> (bool, String) {
    let mut program = std::process::Command::new(OURS);
    program
        .args(["--check-handover", "-n", "2", "-b", "127.0.0.1:0", "--", "/bin/sleep", "600"])
        .stdin(journal);
    let out = program.output().expect("it runs");
    (
        out.status.success(),
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr),
    )
}

#[test]
fn the_journal_of_each_version_is_read_and_what_is_damaged_or_newer_is_refused() {
    let folder = Folder::new();
    let text = include_bytes!("journals/1.journal");
    let (able, said) = checked(journal(&folder, 1, text));
    assert!(able && said.ends_with(" can take over\n"), "{said}");
    let (able, said) = checked(journal(&folder, 2, text));
    assert!(!able && said.contains("its format is version 2; accepted: 1 to 1"), "{said}");
    // Cut short at a line's end it is a shorter story; anywhere else it is refused. A spread of all places.
    let snapshot = text.windows(5).position(|part| part == b"\nend ").expect("a snapshot") + 1;
    let ends = snapshot + text[snapshot..].iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    let writer = ends + text[ends..].iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    for at in (0..text.len()).step_by(97).chain([1, ends - 1, ends, writer, writer + 1]) {
        let (able, said) = checked(journal(&folder, 1, &text[..at]));
        let whole = at >= writer && text[at - 1] == b'\n';
        assert_eq!(able, whole, "{at}: {said}");
        assert!(whole || said.contains("it cannot go on from this journal: "), "{at}: {said}");
    }
    for garbage in [b"hello\n".as_slice(), &[0xff; 100], b"einhyrningsins-snapshot 99\nend lines=1 sum=0\n"] {
        let (able, said) = checked(journal(&folder, 1, garbage));
        assert!(!able && said.contains("it cannot go on"), "{said}");
    }
    let (able, said) = checked(fs::File::open("/dev/null").expect("a file"));
    assert!(!able && said.contains("it is no journal"), "{said}");
}
