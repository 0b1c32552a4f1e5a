//! `einhyrningsinsctl replay FILE`.

use crate::harness::{CLIENT, Folder, Supervisor, rust_worker};
use nix::sys::signal::Signal;
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What came of a replay: exit status, standard output, standard error.
fn replay(path: impl AsRef<OsStr>) -> (Option<i32>, String, String) {
    let output = Command::new(CLIENT)
        .arg("replay")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .expect("the client can be run");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn golden() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fsm-spec/traces");
    let entries = fs::read_dir(folder).expect("the traces can be listed");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension() == Some(OsStr::new("trace")));
    paths.sort();
    paths
}

fn events(text: &str) -> usize {
    text.lines().filter(|line| line.starts_with('@')).count()
}

#[test]
fn every_golden_trace_replays() {
    assert!(golden().len() >= 9);
    for path in golden() {
        let text = fs::read_to_string(&path).expect("the trace can be read");
        let (status, out, err) = replay(&path);
        assert_eq!((status, err.as_str()), (Some(0), ""), "{}", path.display());
        let last = format!("{} events, no difference", events(&text));
        assert_eq!(out.lines().last(), Some(last.as_str()), "{}", path.display());
        assert!(out.lines().any(|line| line.trim_start().starts_with("slot 0: worker 1 ")), "{out}");
    }
}

#[test]
fn where_nothing_was_recorded_there_is_nothing_to_replay() {
    let why = "einhyrningsinsctl: /dev/null, in which nothing is recorded: there is nothing to replay\n";
    assert_eq!(replay("/dev/null"), (Some(1), String::new(), why.to_owned()));
}

#[test]
fn a_trace_that_was_tampered_with_is_found_out_at_the_line() {
    let folder = Folder::new();
    let path = folder.join("tampered");
    for golden in golden() {
        let text = fs::read_to_string(&golden).expect("the trace can be read");
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in (1..).zip(&lines).filter(|(_, line)| line.starts_with("> ")) {
            let mut tampered = lines.clone();
            tampered[number - 1] = "> exit code=99";
            fs::write(&path, tampered.join("\n") + "\n").expect("a trace can be written");
            let (status, out, err) = replay(&path);
            let complaint = format!(
                "einhyrningsinsctl: {}, line {number}: the machine decides otherwise today\n  recorded: > exit code=99\n  today:    {line}\n",
                path.display(),
            );
            assert_eq!((status, err), (Some(1), complaint), "{}", golden.display());
            assert!(!out.contains("no difference"), "{out}");
        }
    }
}

#[test]
fn several_runs_may_be_in_one_file() {
    let folder = Folder::new();
    let path = folder.join("all");
    let texts: Vec<String> =
        golden().iter().map(|path| fs::read_to_string(path).expect("the trace can be read")).collect();
    let text = texts.concat();
    let is_config = |line: &str| line.starts_with("config ");
    fs::write(&path, &text).expect("a trace can be written");
    let (status, out, err) = replay(&path);
    assert_eq!((status, err.as_str()), (Some(0), ""));
    assert_eq!(
        out.lines().filter(|line| is_config(line)).count(),
        text.lines().filter(|line| is_config(line)).count()
    );
    assert_eq!(out.lines().last(), Some(format!("{} events, no difference", events(&text)).as_str()));
}

#[test]
fn what_a_supervisor_records_replays() {
    let folder = Folder::new();
    let trace = folder.join("trace");
    let traced = trace.display().to_string();
    let worker = rust_worker();
    let mut supervisor =
        Supervisor::start(&["-n", "2", "-b", "127.0.0.1:0", "-m", "--trace", &traced, "--", &worker]);
    supervisor.await_healthy(2);
    supervisor.ctl_ok(&["upgrade"]);
    supervisor.ctl_ok(&["inc"]);
    supervisor.await_healthy(3);
    supervisor.signal(Signal::SIGINT);
    assert_eq!(supervisor.await_exit(), 0);
    let (status, out, err) = replay(&trace);
    assert_eq!((status, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.ends_with(" events, no difference\n"), "{out}");
    assert!(out.contains(" healthy g2"), "{out}");
}

#[test]
fn a_recording_that_was_cut_short_anywhere_replays_up_to_there() {
    let folder = Folder::new();
    let path = folder.join("cut");
    let text = fs::read_to_string(&golden()[0]).expect("the trace can be read");
    let begin = text.find("@0 start").expect("an event");
    for end in (begin..text.len()).step_by(7) {
        fs::write(&path, &text[..end]).expect("a trace can be written");
        let (status, out, err) = replay(&path);
        assert_eq!((status, err.as_str()), (Some(0), ""), "{}", &text[..end]);
        let torn = out.contains("a torn last line");
        assert_eq!(torn, !text[..end].ends_with('\n'), "{out}");
    }
}

#[test]
fn what_cannot_be_replayed_is_told_with_the_reason() {
    let folder = Folder::new();
    let path = folder.join("trace");
    let name = path.display().to_string();
    assert_eq!(
        replay(&path),
        (
            Some(1),
            String::new(),
            format!("einhyrningsinsctl: cannot read {name}: No such file or directory (errno 2)\n")
        )
    );
    let (status, _, err) = replay(folder.join(""));
    assert_eq!(status, Some(1));
    assert!(err.contains("Is a directory"), "{err}");

    let config =
        "config target=1 listeners=0 ack=after:0 retries=1 backoff=0 grace=0 stop=USR2 unacked=1 surge=1\n";
    for (text, why) in [
        (b"@0 start\n".to_vec(), "line 1: an event before any `config`"),
        (format!("# people\n{config}@0 begin\n").into_bytes(), "line 3: `begin` is none of: start, "),
        (format!("{config}@0 start\n\n@1 wo\n").into_bytes(), "line 4: `wo` is none of: "),
        ([config.as_bytes(), b"\xff\x1b[2J\n"].concat(), r"line 2: `�\u{1b}[2J` is none of: config"),
        (
            config.replace("target=1", "target=4000000000").into_bytes(),
            "line 1: target: 4000000000 is not from ",
        ),
    ] {
        fs::write(&path, text).expect("a trace can be written");
        let (status, out, err) = replay(&path);
        assert_eq!((status, out.as_str()), (Some(1), ""));
        assert!(err.starts_with(&format!("einhyrningsinsctl: {name}, {why}")), "{err}");
    }
}
