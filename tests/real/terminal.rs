//! The client on a terminal.

use crate::{
    harness::{CLIENT, Supervisor},
    tools::{have, python, releases, skip, sleepers},
};
use std::{
    fs,
    io::Write as _,
    process::{Command, Output, Stdio},
};

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a program on a terminal of its own: waits for text, or types some, and prints all that was shown.
const TERMINAL: &str = r#"
import os, pty, select, signal, sys, time
pid, screen = pty.fork()
if pid == 0:
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
    text = text.encode().decode("unicode_escape").encode()
    if what == "type":
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
    let python = python()?;
    if !have(&python, &["-c", "import pty; pty.openpty()"]) {
        return None;
    }
    let mut terminal = Command::new(python)
        .args(["-c", TERMINAL, CLIENT, "-d"])
        .arg(supervisor.socket())
        .args(args)
        .env("TERM", "xterm")
        .env("USER", "ada")
        .env("HOME", "/nowhere")
        .env("XDG_STATE_HOME", supervisor.folder.join("state"))
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
fn on_a_terminal_progress_is_a_bar() {
    let (supervisor, _, _) = releases(2, &["--max-unacked", "1", "--max-upgrade-additional", "1"]);
    let Some(output) = on_a_terminal(&supervisor, &["upgrade"], &[]) else { return skip("there is no pty") };
    let shown = out(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}{}", err(&output));
    assert!(shown.contains("\r[##########..........] 1/2 healthy, "), "{shown:?}");
    assert!(shown.trim_end().contains("\rgeneration 2 serves with 2 healthy workers"), "{shown:?}");
}
