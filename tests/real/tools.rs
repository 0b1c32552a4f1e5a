//! What several themes need besides the harness: worker scripts, and what the kernel knows of a process.

use crate::harness::{Folder, Supervisor, eventually, rust_worker, text};
use miniserde::json::Value;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
};

/// A worker that fails before it is ready.
pub(crate) const BROKEN: &str = "#!/bin/sh\nexit 7\n";

/// A worker that writes the name of every signal it gets to `$1/PID`, and ends with status 0 when it gets
/// one of those named after that. `$1/PID` exists once it can tell one from the other.
pub(crate) const RECORDER: &str = r#"#!/bin/sh
folder=$1
shift
for name in HUP INT QUIT USR1 USR2 PIPE ALRM TERM CONT TTIN TTOU WINCH; do
    trap "echo $name >>$folder/$$" $name
done
for name; do
    trap "echo $name >>$folder/$$; kill \$sleep; exit 0" $name
done
sleep 600 &
sleep=$!
: >"$folder/$$"
while kill -0 $sleep; do wait $sleep; done
"#;

/// The signals that the recorder with that pid has got so far, in their order; `None` before it is ready.
pub(crate) fn recorded(folder: &Path, pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(folder.join(pid.to_string())).ok()?;
    Some(text.lines().map(str::to_owned).collect())
}

/// A supervisor of `count` recorders that end on any of `last`, once all of them record; with their pids,
/// and the folder that they write to.
pub(crate) fn recorders(count: usize, options: &[&str], last: &[&str]) -> (Supervisor, Vec<u32>, PathBuf) {
    recorders_tuned(count, options, last, |_| {})
}

/// The same with a last word on how the supervisor is started.
pub(crate) fn recorders_tuned(
    count: usize,
    options: &[&str],
    last: &[&str],
    tune: impl FnOnce(&mut Command),
) -> (Supervisor, Vec<u32>, PathBuf) {
    let folder = Folder::new();
    let (script, notes) = (folder.script("recorder", RECORDER), folder.join("notes"));
    fs::create_dir(&notes).expect("a folder can be made");
    let (number, place) = (count.to_string(), notes.display().to_string());
    let mut args = vec!["-n", &number, "--ack-after", "0"];
    args.extend(options);
    args.extend(["--", &script, &place]);
    args.extend(last);
    let mut supervisor = Supervisor::start_in(folder, &args, tune);
    let pids = supervisor.await_healthy(count);
    for pid in &pids {
        supervisor.eventually("the worker records", |_| recorded(&notes, *pid));
    }
    (supervisor, pids, notes)
}

/// A supervisor of `count` workers that do nothing, once they are there; with their pids.
pub(crate) fn sleepers(count: usize, options: &[&str]) -> (Supervisor, Vec<u32>) {
    let number = count.to_string();
    let mut args = vec!["-n", &number, "--ack-after", "0"];
    args.extend(options);
    args.extend(["--", "sleep", "600"]);
    let mut supervisor = Supervisor::start(&args);
    let pids = supervisor.await_healthy(count);
    await_sleep(&pids);
    (supervisor, pids)
}

/// Waits until all have become `sleep`. One whose supervisor is killed before that ends by itself, and one that is
/// signalled before that is not that program yet.
#[track_caller]
pub(crate) fn await_sleep(pids: &[u32]) {
    let sleeps = |pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
    eventually("all have become the program", || pids.iter().all(sleeps).then_some(()));
}

/// A release that can be exchanged for another while it is in use.
pub(crate) struct Release {
    link: PathBuf,
}

impl Release {
    /// `FOLDER/current` leads to `program`.
    pub(crate) fn new(folder: &Folder, program: &str) -> Self {
        let release = Self { link: folder.join("current") };
        release.switch(program);
        release
    }

    /// What to run.
    pub(crate) fn path(&self) -> String {
        self.link.display().to_string()
    }

    /// From now on it leads to `program`. At no moment does it lead nowhere.
    pub(crate) fn switch(&self, program: &str) {
        let next = self.link.with_extension("next");
        std::os::unix::fs::symlink(program, &next).expect("a link can be made");
        fs::rename(&next, &self.link).expect("a link can be replaced");
    }

    /// From now on there is none.
    pub(crate) fn remove(&self) {
        fs::remove_file(&self.link).expect("a link can be removed");
    }
}

/// A supervisor of `count` HTTP workers that acknowledge, behind a release, once they are healthy; with
/// their pids. In its folder `broken` is a program that fails to start, and `trace` the trace.
pub(crate) fn releases(count: usize, options: &[&str]) -> (Supervisor, Release, Vec<u32>) {
    let folder = Folder::new();
    let release = Release::new(&folder, &rust_worker());
    folder.script("broken", BROKEN);
    let (number, program) = (count.to_string(), release.path());
    let trace = folder.join("trace").display().to_string();
    let mut args = vec!["-n", &number, "-m", "-b", "127.0.0.1:0,r,n", "--trace", &trace];
    args.extend(options);
    args.extend(["--", &program]);
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    let pids = supervisor.await_healthy(count);
    (supervisor, release, pids)
}

/// The path of something in a supervisor's folder.
pub(crate) fn within(supervisor: &Supervisor, name: &str) -> String {
    supervisor.folder.join(name).display().to_string()
}

/// A list in an answer.
#[track_caller]
pub(crate) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    match crate::harness::member(value, name) {
        Value::Array(list) => list,
        other => panic!("{name} is {other:?}"),
    }
}

/// Whether a member is null.
#[track_caller]
pub(crate) fn is_null(value: &Value, name: &str) -> bool {
    matches!(crate::harness::member(value, name), Value::Null)
}

/// The one line that a request was answered with.
#[track_caller]
pub(crate) fn ask(supervisor: &Supervisor, line: &str) -> Value {
    let mut lines = supervisor.request(line).expect("an answer");
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

/// The same for a command with arguments.
#[track_caller]
pub(crate) fn command(supervisor: &Supervisor, words: &[&str]) -> Value {
    let (name, args) = words.split_first().expect("a command");
    let args: Vec<String> = args.iter().map(|word| format!("{word:?}")).collect();
    ask(supervisor, &format!("{{\"command\":\"{name}\",\"args\":[{}]}}", args.join(",")))
}

/// The same, refused; returns the message.
#[track_caller]
pub(crate) fn refusal(supervisor: &Supervisor, words: &[&str]) -> String {
    let answer = command(supervisor, words);
    assert!(!crate::harness::is_ok(&answer), "{answer:?}");
    text(&answer, "message").to_owned()
}

/// A field of `/proc/PID/status`, without its unit.
pub(crate) fn status_field(pid: u32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The fields of `/proc/PID/stat` from the state on: that is field 3 of proc(5), and the first here.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit(") ").next()?.split_whitespace().map(str::to_owned).collect())
}

/// One letter: R, S, T for stopped, Z …
pub(crate) fn state(pid: u32) -> Option<String> {
    stat(pid)?.into_iter().next()
}

/// Its process group.
pub(crate) fn group(pid: u32) -> Option<u32> {
    stat(pid)?.get(2)?.parse().ok()
}

/// Processor time used so far, in clock ticks, a hundred of which are a second.
pub(crate) fn ticks(pid: u32) -> Option<u64> {
    let stat = stat(pid)?;
    Some(stat.get(11)?.parse::<u64>().ok()? + stat.get(12)?.parse::<u64>().ok()?)
}

/// What its descriptors lead to, and how many lead there.
pub(crate) fn descriptors(pid: u32) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process");
    for path in folder.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()) {
        *found.entry(path.display().to_string()).or_default() += 1;
    }
    found
}

/// What an idle supervisor's descriptors lead to, once nobody is connected to it: a worker may still hold
/// the connection that it has acknowledged over. Whoever has hung up is gone by then: hanging up wakes the
/// supervisor, and it sleeps again only when it has seen to it.
#[track_caller]
pub(crate) fn quiet(supervisor: &mut Supervisor) -> BTreeMap<String, usize> {
    let socket = supervisor.socket().display().to_string();
    supervisor.await_keeper();
    supervisor.eventually("nobody is connected, and it is idle", |me| {
        (connected(&socket) == 0 && state(me.pid())? == "S").then_some(())
    });
    descriptors(supervisor.pid())
}

/// How many connections to the control socket at that path the kernel knows of, see proc_pid_net(5): the
/// last field is the path, and the sixth the state, which is 1 for the one that listens.
fn connected(path: &str) -> usize {
    let table = fs::read_to_string("/proc/net/unix").expect("the kernel tells");
    let is_one = |line: &&str| line.split_whitespace().nth(5) != Some("01") && line.ends_with(path);
    table.lines().filter(is_one).count()
}

/// Lets this process open many files.
pub(crate) fn open_many_files() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most.min(8_192), most).expect("the limit can be raised");
}

/// Says that a test cannot be made here, so that nobody takes it for passed. Written past the test
/// runner, which keeps what is printed to itself unless a test fails.
pub(crate) fn skip(why: &str) {
    let name = thread::current().name().unwrap_or_default().to_owned();
    let _ = writeln!(io::stderr(), "SKIPPED: {name}: {why}");
}

/// Whether a program can be run.
pub(crate) fn have(program: &str, args: &[&str]) -> bool {
    let silent = |command: &mut Command| -> io::Result<bool> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command.status()?.success())
    };
    silent(Command::new(program).args(args)).unwrap_or(false)
}

/// Builds a program, in silence: a warning is one too many in what people copy.
#[track_caller]
pub(crate) fn build(command: &mut Command) {
    let output = command.output().expect("the compiler can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// Builds a program in Go. What Go builds on the way stays among what cargo builds, for the next time.
#[track_caller]
pub(crate) fn go_build(source: &str, program: &str) {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
    fs::create_dir_all(&cache).expect("a folder can be made");
    let mut go = Command::new("go");
    build(go.args(["build", "-o", program, source]).env("GOCACHE", cache).env("CGO_ENABLED", "0"));
}

/// The interpreter behind `python3`, which may be a slow wrapper; `None` if there is none.
pub(crate) fn python() -> Option<String> {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !path.is_empty()).then_some(path)
}

/// What a program has written to standard output.
pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What it has written to standard error.
pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether there is a strace here that can make system calls fail, and may.
pub(crate) fn strace_is_possible() -> bool {
    let inject = "inject=getpid:error=EPERM:when=1";
    have("strace", &["-D", "-o", "/dev/null", "-e", inject, "true"])
}

/// Has strace take hold of a process, with those words, of which its name is the first; what it says goes into a file.
/// Whether it has done so is told as well: it may have ended, with what it was to hold.
pub(crate) fn strace(words: &[String], pid: u32, said: &Path) -> (Child, bool) {
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .args(["-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(said).expect("a file can be made"))
        .spawn()
        .expect("strace can be run");
    let is_attached = eventually("strace is attached", || {
        let ended = child.try_wait().expect("strace can be waited for").is_some();
        let is_attached = fs::read_to_string(said).is_ok_and(|text| text.contains("attached"));
        (ended || is_attached).then_some(is_attached)
    });
    (child, is_attached)
}
