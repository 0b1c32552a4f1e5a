//! The workers that the README prints, as printed: each is run by a supervisor that waits for its word.

use crate::{
    harness::{CLIENT, Folder, SUPERVISOR, Supervisor},
    readme::blocks,
    tools::{have, python, skip},
};
use nix::sys::signal::Signal;
use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
};

/// The program that the README prints in that language, without its last line break.
#[track_caller]
fn printed(language: &str) -> &'static str {
    let blocks = blocks("Your own program", language);
    assert_eq!(blocks.len(), 1, "programs in {language} in README.md");
    blocks[0]
}

/// Writes that program to a file, and returns its path.
#[track_caller]
fn written(folder: &Folder, language: &str) -> String {
    folder.script(&format!("worker.{language}"), printed(language))
}

/// Builds a program, in silence: a warning is one too many in what people copy.
#[track_caller]
fn build(command: &mut Command) {
    let output = command.output().expect("the compiler can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// A supervisor of two such workers, once the status shows that both have said that they are ready.
#[track_caller]
fn ready(folder: Folder, worker: &[&str]) -> Supervisor {
    let mut args = vec!["-m", "-n", "2", "-b", "127.0.0.1:0,r,n", "--"];
    args.extend(worker);
    let mut supervisor = Supervisor::start_in(folder, &args, |command| {
        let client = Path::new(CLIENT).parent().expect("a folder").display();
        command.env("PATH", format!("{client}:{}", env::var("PATH").unwrap_or_default()));
    });
    supervisor.await_healthy(2);
    let status = supervisor.ctl_ok(&["status"]);
    assert!(status.contains("generation 1, 2/2 workers healthy\n"), "{status}");
    assert_eq!(status.lines().filter(|row| row.contains("  1           healthy  ")).count(), 2, "{status}");
    supervisor
}

/// The same for one that serves: it also answers, is replaced, and goes when it is told to.
#[track_caller]
fn serves(folder: Folder, worker: &[&str]) {
    let mut supervisor = ready(folder, worker);
    let address = supervisor.address(0);
    assert!(ask(address).starts_with("HTTP/1.0 200 OK\r\n\r\nhello from "), "{}", ask(address));
    supervisor.ctl_ok(&["upgrade"]);
    supervisor.signal(Signal::SIGUSR2);
    assert_eq!(supervisor.await_exit(), 0, "{}", supervisor.log());
    assert!(!supervisor.log().contains("[WARN]"), "{}", supervisor.log());
}

fn ask(address: SocketAddr) -> String {
    let mut answer = String::new();
    let mut connection = TcpStream::connect(address).expect("it listens");
    connection.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it reads");
    connection.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn the_worker_in_python_serves() {
    let Some(python) = python() else { return skip("there is no python3") };
    if !have(&python, &["-c", "import sys; sys.exit(sys.version_info < (3, 10))"]) {
        return skip("the README's worker needs Python 3.10");
    }
    let folder = Folder::new();
    let worker = written(&folder, "python");
    serves(folder, &[&python, &worker]);
}

#[test]
fn the_worker_in_rust_serves() {
    // It is built as an example, so that the compiler and its lints see it as everything else.
    let built = include_str!("../workers/hello.rs");
    assert_eq!(printed("rust"), built.trim_end(), "README.md and tests/workers/hello.rs");
    let worker = Path::new(SUPERVISOR).with_file_name("examples").join("hello");
    assert!(worker.exists(), "{} is missing: build the examples", worker.display());
    serves(Folder::new(), &[&worker.display().to_string()]);
}

#[test]
fn the_worker_in_shell_is_ready() {
    let folder = Folder::new();
    let worker = written(&folder, "sh");
    ready(folder, &[&worker]);
}

#[test]
fn the_worker_in_go_is_ready() {
    if !have("go", &["version"]) {
        return skip("there is no Go (`go`) for the README's worker");
    }
    let folder = Folder::new();
    let (source, worker) = (written(&folder, "go"), folder.join("worker").display().to_string());
    // What Go builds on the way stays among what cargo builds, for the next time.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
    fs::create_dir_all(&cache).expect("a folder can be made");
    let mut go = Command::new("go");
    build(go.args(["build", "-o", &worker, &source]).env("GOCACHE", cache).env("CGO_ENABLED", "0"));
    ready(folder, &[&worker]);
}

#[test]
fn the_worker_in_node_is_ready() {
    if !have("node", &["--version"]) {
        return skip("there is no Node (`node`) for the README's worker");
    }
    let folder = Folder::new();
    let worker = written(&folder, "js");
    ready(folder, &["node", &worker]);
}

#[test]
fn the_worker_in_c_is_ready() {
    if !have("cc", &["--version"]) {
        return skip("there is no C compiler (`cc`) for the README's worker");
    }
    let folder = Folder::new();
    let (source, worker) = (written(&folder, "c"), folder.join("worker").display().to_string());
    build(Command::new("cc").args(["-O2", "-Wall", "-Wextra", "-o", &worker, &source]));
    ready(folder, &[&worker]);
}
