//! The client on a terminal: its prompt, its bar, its Ctrl-C.

use crate::{
    harness::{CLIENT, Supervisor, rust_worker},
    tools::{Release, err, have, is_null, out, python, releases, skip, sleepers, within},
};
use std::{
    fs,
    io::Write as _,
    process::{Command, Output, Stdio},
};

/// Runs a program on a terminal of its own: waits for text, or types some, and prints all that was shown.
pub(crate) const TERMINAL: &str = r#"
import fcntl, os, pty, select, signal, struct, sys, termios, time
pid, screen = pty.fork()
if pid == 0:
    size = struct.pack("HHHH", 24, int(os.environ.get("TEST_COLUMNS", "80")), 0, 0)
    fcntl.ioctl(1, termios.TIOCSWINSZ, size)
    os.execv(sys.argv[1], sys.argv[1:])
shown, seen = b"", 0
end = time.monotonic() + 60
def more():
    global shown
    if not select.select([screen], [], [], max(0, end - time.monotonic()))[0]:
        os.kill(pid, signal.SIGKILL)
        sys.exit(f"not within the time: {shown!r}")
    try:
        data = os.read(screen, 4096)
    except OSError:
        data = b""
    shown += data
    return data
for step in sys.stdin.read().splitlines():
    what, _, text = step.partition(" ")
    text = text.encode().decode("unicode_escape").encode("latin-1" if what == "bytes" else "utf-8")
    if what in ("type", "bytes"):
        os.write(screen, text)
        continue
    while text not in shown[seen:]:
        if not more():
            sys.exit(f"ended before {text!r}: {shown!r}")
    seen = shown.index(text, seen) + len(text)
while more():
    pass
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

/// Plays `steps` on a terminal; `None` if that cannot be done here.
fn on_a_terminal(supervisor: &Supervisor, args: &[&str], steps: &[&str]) -> Option<Output> {
    on_a_terminal_like(&[], supervisor, args, steps)
}

/// The same on one of another kind, as variables tell it; `TEST_COLUMNS` is its width.
fn on_a_terminal_like(
    variables: &[(&str, &str)],
    supervisor: &Supervisor,
    args: &[&str],
    steps: &[&str],
) -> Option<Output> {
    let python = python()?;
    if !have(&python, &["-c", "import pty; pty.openpty()"]) {
        return None;
    }
    let mut terminal = Command::new(python)
        .args(["-c", TERMINAL, CLIENT, "-d"])
        .arg(supervisor.socket())
        .args(args)
        .env("TERM", "xterm")
        .env("NO_COLOR", "1")
        .env("USER", "ada")
        .env("HOME", "/nowhere")
        .env("XDG_STATE_HOME", supervisor.folder.join("state"))
        .env_remove("COLUMNS")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python can be run");
    let script = steps.join("\n");
    terminal.stdin.take().expect("its standard input").write_all(script.as_bytes()).expect("it reads");
    Some(terminal.wait_with_output().expect("it ends"))
}

#[test]
fn on_a_terminal_there_is_a_prompt_completion_and_a_way_out() {
    let (mut supervisor, _) = sleepers(1, &[]);
    let greeting = format!("expect Hello ada, this is einhyrningsins {}", env!("CARGO_PKG_VERSION"));
    let steps = [
        &greeting,
        "expect > ",
        r"type inc\r",
        "expect number of workers: 1 ",
        "expect > ",
        // A name is completed, also behind a semicolon; a failed command is no reason to leave.
        r"type vers\t\r",
        "expect einhyrningsins ",
        "expect > ",
        r"type inc;vers\t\r",
        "expect number of workers: 2 ",
        "expect einhyrningsins ",
        "expect > ",
        r"type frobnicate\r",
        "expect unknown command `frobnicate`",
        "expect > ",
        // Ctrl-C gives a line up, and nothing else.
        r"type die\x03",
        "expect > ",
        // The line before the last two, from the history.
        r"type \x1b[A\x1b[A\x1b[A\r",
        "expect einhyrningsins ",
        "expect > ",
        r"type quit\r",
    ];
    let Some(output) = on_a_terminal(&supervisor, &[], &steps) else { return skip("there is no pty") };
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
    supervisor.await_healthy(3);
    let history = supervisor.folder.join("state/einhyrningsinsctl_history");
    let kept = fs::read_to_string(history).expect("a history");
    assert!(
        kept.lines().any(|line| line == "inc") && kept.lines().any(|line| line == "frobnicate"),
        "{kept}"
    );
}

#[test]
fn on_a_terminal_the_end_of_input_leaves_too() {
    let (supervisor, _) = sleepers(1, &[]);
    let steps = ["expect > ", r"type version\r", "expect einhyrningsins ", "expect > ", r"type \x04"];
    let Some(output) = on_a_terminal(&supervisor, &[], &steps) else { return skip("there is no pty") };
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
    let steps = ["expect > ", r"type exit\r"];
    let output = on_a_terminal(&supervisor, &[], &steps).expect("as before");
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
}

#[test]
fn of_lines_that_are_pasted_at_once_each_is_run() {
    let (supervisor, _) = sleepers(1, &[]);
    let steps = [
        "expect > ",
        r"type inc\rinc\rdec\rversion\r",
        "expect number of workers: 1 ",
        "expect number of workers: 2 ",
        "expect number of workers: 3 ",
        "expect einhyrningsins ",
        "expect > ",
        r"type quit\r",
    ];
    let Some(output) = on_a_terminal(&supervisor, &[], &steps) else { return skip("there is no pty") };
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
}

#[test]
fn what_is_not_utf_8_is_refused_and_no_reason_to_leave() {
    let (supervisor, _) = sleepers(1, &[]);
    let steps = [
        "expect > ",
        r"bytes inc\xff\r",
        "expect nothing was done: the line is not UTF-8",
        "expect > ",
        r"type inc\r",
        "expect number of workers: 1 ",
        "expect > ",
        r"type quit\r",
    ];
    let Some(output) = on_a_terminal(&supervisor, &[], &steps) else { return skip("there is no pty") };
    let shown = out(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}{}", err(&output));
}

#[test]
fn on_a_terminal_progress_is_a_bar() {
    let (supervisor, _, _) = releases(2, &["--max-unacked", "1", "--max-upgrade-additional", "1"]);
    let Some(output) = on_a_terminal(&supervisor, &["upgrade"], &[]) else { return skip("there is no pty") };
    let shown = out(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}{}", err(&output));
    assert!(shown.contains("\r[##########..........] 1/2 healthy, "), "{shown:?}");
    assert!(shown.trim_end().contains("\rgeneration 2 serves with 2 healthy workers"), "{shown:?}");
}

#[test]
fn the_bar_of_a_release_that_fails_is_never_full_but_on_the_way_back() {
    let (supervisor, release, _) = releases(2, &["-r", "2"]);
    release.switch(&within(&supervisor, "broken"));
    let Some(output) = on_a_terminal(&supervisor, &["upgrade"], &[]) else { return skip("there is no pty") };
    let shown = out(&output);
    assert_eq!(output.status.code(), Some(1), "{shown}{}", err(&output));
    assert!(shown.starts_with("\r[....................] 0/2 healthy, 0 retired"), "{shown:?}");
    for bar in shown.split('\r').filter(|drawn| drawn.starts_with("[#")) {
        assert!(bar.contains("] going back to generation 1: "), "{shown:?}");
    }
}

#[test]
fn a_bar_fits_the_terminal_and_a_dumb_one_has_none() {
    let (supervisor, _, _) = releases(3, &["--max-unacked", "1", "--max-upgrade-additional", "1"]);
    let narrow = [("TEST_COLUMNS", "40")];
    let Some(output) = on_a_terminal_like(&narrow, &supervisor, &["upgrade"], &[]) else {
        return skip("there is no pty");
    };
    let shown = out(&output);
    let bars: Vec<&str> = shown.split('\r').filter(|drawn| drawn.starts_with('[')).collect();
    assert!(!bars.is_empty() && bars.iter().all(|bar| bar.chars().count() < 40), "{shown:?}");
    assert!(shown.contains("\rgeneration 2 serves with 3 healthy workers"), "{shown:?}");
    let told = [("COLUMNS", "20"), ("TEST_COLUMNS", "80")];
    let shown = out(&on_a_terminal_like(&told, &supervisor, &["upgrade"], &[]).expect("as before"));
    assert!(shown.contains("\r[#############] 3/3\r"), "{shown:?}");
    let shown =
        out(&on_a_terminal_like(&[("TERM", "dumb")], &supervisor, &["upgrade"], &[]).expect("as before"));
    assert!(shown.starts_with("generation 4: ") && !shown.contains('['), "{shown:?}");
}

/// A release of which the second worker waits for a file.
fn gated(supervisor: &Supervisor, release: &Release) -> std::path::PathBuf {
    let gate = supervisor.folder.join("gate");
    let waits = format!(
        "#!/bin/sh\nwhile [ $EINHORN_CHILD_INDEX = 1 ] && ! [ -e {} ]; do sleep 0.02; done\nexec {}\n",
        gate.display(),
        rust_worker()
    );
    release.switch(&supervisor.folder.script("waits", &waits));
    gate
}

#[test]
fn ctrl_c_amid_an_upgrade_leads_back_to_the_prompt_and_the_upgrade_goes_on() {
    let (mut supervisor, release, _) = releases(2, &["--max-unacked", "1", "--max-upgrade-additional", "1"]);
    let gate = gated(&supervisor, &release);
    let steps = [
        "expect > ",
        r"type upgrade\r",
        "expect 1/2 healthy, ",
        r"type \x03",
        "expect the upgrade goes on: `status` shows it, `abort` gives it up",
        "expect > ",
        // The next answer is the next command's.
        r"type status\r",
        "expect generation 1, ",
        "expect upgrading to generation 2 (rolling)",
        "expect > ",
        r"type abort --wait\r",
        "expect taking generation 2 back",
        "expect generation 2 is taken back: generation 1 serves with 2 of 2 workers healthy",
        "expect > ",
        r"type quit\r",
    ];
    let Some(output) = on_a_terminal(&supervisor, &[], &steps) else { return skip("there is no pty") };
    let shown = out(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}{}", err(&output));
    assert!(!shown.contains("was aborted"), "a late answer is nobody's: {shown}");

    // Of a client that was told the command by its arguments it is the end.
    let steps = ["expect 1/2 healthy, ", r"type \x03", "expect the upgrade goes on"];
    let output = on_a_terminal(&supervisor, &["upgrade"], &steps).expect("as before");
    assert_eq!(output.status.code(), Some(130), "{}{}", out(&output), err(&output));
    fs::write(gate, "").expect("a file can be written");
    supervisor
        .eventually("the upgrade has come to its end", |me| is_null(&me.status(), "upgrade").then_some(()));
    assert!(supervisor.log().contains("upgrade to generation 3 is complete"), "{}", supervisor.log());
}
