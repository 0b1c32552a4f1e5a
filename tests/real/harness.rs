//! Real supervisors for tests: each with a folder, a control socket and a log of its own, and nothing
//! left behind, whatever the test comes to.
//!
//! Everything waits on conditions, with deadlines that only a failure reaches.

use miniserde::json::{self, Value};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// The supervisor's binary.
pub(crate) const SUPERVISOR: &str = env!("CARGO_BIN_EXE_einhyrningsins");
/// The client's binary.
pub(crate) const CLIENT: &str = env!("CARGO_BIN_EXE_einhyrningsinsctl");

/// How long anything may take before the test has failed. Generous: machines are busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The keeper of a supervisor, if it has one.
pub(crate) fn keeper_of(supervisor: u32) -> Option<u32> {
    all_children(supervisor).into_iter().find(|pid| is_keeper(*pid))
}

/// Waits until `ask` has an answer.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::sleep(LOOK);
    }
}

/// An example worker in Rust, built with the tests.
pub(crate) fn rust_worker() -> String {
    let path = Path::new(SUPERVISOR).with_file_name("examples").join("http");
    assert!(path.exists(), "{} is missing: build the examples", path.display());
    path.display().to_string()
}

/// A script in `tests/workers/`.
pub(crate) fn script(name: &str) -> String {
    [env!("CARGO_MANIFEST_DIR"), "tests/workers", name].iter().collect::<PathBuf>().display().to_string()
}

/// A folder of the test's own, removed with everything in it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("einhyrningsins-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes an executable script.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.join(name);
        fs::write(&path, text).expect("a script can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be made executable");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A supervisor under test.
#[derive(Debug)]
pub(crate) struct Supervisor {
    child: Child,
    pub(crate) folder: Folder,
    args: Vec<String>,
    exited: Option<ExitStatus>,
}

impl Supervisor {
    /// Starts `einhyrningsins -d FOLDER/ctl ARGS…`. Standard error and output go to `FOLDER/log`.
    pub(crate) fn start<S: AsRef<str>>(args: &[S]) -> Self {
        Self::start_in(Folder::new(), args, |_| {})
    }

    /// The same in a folder that has been prepared, with a last word on how the process is started.
    pub(crate) fn start_in<S: AsRef<str>>(
        folder: Folder,
        args: &[S],
        tune: impl FnOnce(&mut Command),
    ) -> Self {
        let args: Vec<String> = args.iter().map(|arg| arg.as_ref().to_owned()).collect();
        let mut command = command(&folder, &args);
        tune(&mut command);
        let child = command.spawn().expect("the supervisor can be started");
        Self { child, folder, args, exited: None }
    }

    /// Ends it by KILL, which leaves everything as it is, once somebody has that.
    pub(crate) fn kill(&mut self) {
        self.await_keeper();
        self.kill_at_once();
    }

    /// The same whatever there is.
    pub(crate) fn kill_at_once(&mut self) {
        self.signal(Signal::SIGKILL);
        self.exited = Some(self.child.wait().expect("it can be waited for"));
    }

    /// Starts it again, with the same command line.
    pub(crate) fn start_again(&mut self) {
        self.start_again_as(&self.args.clone());
    }

    /// Starts it again, with another command line.
    pub(crate) fn start_again_as<S: AsRef<str>>(&mut self, args: &[S]) {
        self.args = args.iter().map(|arg| arg.as_ref().to_owned()).collect();
        self.child = command(&self.folder, &self.args).spawn().expect("the supervisor can be started");
        self.exited = None;
    }

    /// Waits until it has a keeper, unless it is to have none.
    #[track_caller]
    pub(crate) fn await_keeper(&mut self) {
        if !self.args.iter().any(|arg| arg == "--no-keeper") {
            self.keeper();
        }
    }

    /// The keeper, as long as there is a supervisor.
    pub(crate) fn keeper(&mut self) -> u32 {
        self.eventually("there is a keeper", |me| keeper_of(me.pid()))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("ctl")
    }

    /// All it has said so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    /// Waits until it has said `text`.
    #[track_caller]
    pub(crate) fn await_log(&mut self, text: &str) {
        self.eventually(&format!("log says {text:?}"), |me| me.log().contains(text).then_some(()));
    }

    /// Waits until `ask` has an answer; shows the log if it never has one.
    #[track_caller]
    pub(crate) fn eventually<T>(&mut self, what: &str, mut ask: impl FnMut(&mut Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}\n{}", self.log());
            thread::sleep(LOOK);
        }
    }

    /// The address of the `number`th listener.
    #[track_caller]
    pub(crate) fn address(&mut self, number: usize) -> SocketAddr {
        self.eventually("it listens", |me| {
            let log = me.log();
            let line = log.lines().filter_map(|line| line.split("listening on ").nth(1)).nth(number)?;
            // A name may follow.
            line.split_whitespace().next()?.parse().ok()
        })
    }

    /// The status, as data.
    #[track_caller]
    pub(crate) fn status(&mut self) -> Value {
        // Not a keeper, where one listens.
        let answer = |me: &mut Self| {
            let reply = me.request(r#"{"command":"status"}"#).ok()?.pop().expect("an answer");
            is_ok(&reply).then_some(reply)
        };
        let reply = self.eventually("it answers", answer);
        member(&reply, "status").clone()
    }

    /// The workers of the status for which `chosen` holds.
    #[track_caller]
    pub(crate) fn workers(&mut self, chosen: impl Fn(&Value) -> bool) -> Vec<Value> {
        let status = self.status();
        let Value::Array(workers) = member(&status, "workers") else { panic!("no workers in the status") };
        workers.iter().filter(|worker| chosen(worker)).cloned().collect()
    }

    /// The pids of healthy workers, in the order of their slots.
    #[track_caller]
    pub(crate) fn healthy(&mut self) -> Vec<u32> {
        let mut workers = self.workers(|worker| text(worker, "phase") == "healthy");
        workers.sort_by_key(|worker| number(worker, "slot"));
        workers.iter().map(|worker| u32::try_from(number(worker, "pid")).expect("a pid")).collect()
    }

    /// Waits until exactly `count` workers are healthy and there are no others, and returns their pids.
    #[track_caller]
    pub(crate) fn await_healthy(&mut self, count: usize) -> Vec<u32> {
        self.eventually(&format!("{count} workers are healthy and nothing else is there"), |me| {
            let all = me.workers(|_| true).len();
            let healthy = me.healthy();
            (healthy.len() == count && all == count).then_some(healthy)
        })
    }

    /// Sends one line to the control socket and returns the lines of the answer.
    pub(crate) fn request(&self, line: &str) -> io::Result<Vec<Value>> {
        let mut connection = Connection::open(&self.socket())?;
        connection.send(line)?;
        connection.answer()
    }

    /// Runs the client.
    pub(crate) fn ctl<S: AsRef<str>>(&self, args: &[S]) -> Output {
        Command::new(CLIENT)
            .arg("-d")
            .arg(self.socket())
            .args(args.iter().map(AsRef::as_ref))
            .stdin(Stdio::null())
            .output()
            .expect("the client can be run")
    }

    /// Runs the client and returns what it printed, having seen that it succeeded.
    #[track_caller]
    pub(crate) fn ctl_ok<S: AsRef<str>>(&self, args: &[S]) -> String {
        let output = self.ctl(args);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}{complained}\n{}", self.log());
        said
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(raw(self.pid()), signal).expect("the supervisor can be signalled");
    }

    /// Whether it has ended already.
    pub(crate) fn has_exited(&mut self) -> bool {
        if self.exited.is_none() {
            self.exited = self.child.try_wait().expect("the supervisor can be waited for");
        }
        self.exited.is_some()
    }

    /// Waits for its end and returns its exit status.
    #[track_caller]
    pub(crate) fn await_exit(&mut self) -> i32 {
        self.eventually("the supervisor ends", |me| me.has_exited().then_some(()));
        self.exited.and_then(|status| status.code()).expect("an exit status, not a signal")
    }

    /// Its children, zombies included, straight from the kernel.
    pub(crate) fn children(&self) -> Vec<u32> {
        children(self.pid())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.has_exited() {
            return end_orphans(&self.folder);
        }
        // Stopped first, so that it replaces nobody while its workers are being killed.
        let _ = kill(raw(self.pid()), Signal::SIGSTOP);
        let workers = self.children();
        let _ = kill(raw(self.pid()), Signal::SIGKILL);
        for worker in workers {
            let _ = killpg(raw(worker), Signal::SIGKILL);
            let _ = kill(raw(worker), Signal::SIGKILL);
        }
        let _ = self.child.wait();
        end_orphans(&self.folder);
    }
}

fn command(folder: &Folder, args: &[String]) -> Command {
    let log = fs::File::options().append(true).create(true).open(folder.join("log"));
    let log = log.expect("a log can be made");
    let mut command = Command::new(SUPERVISOR);
    command.arg("-d").arg(folder.join("ctl")).args(args).stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a log can be shared")).stderr(log);
    command
}

/// Ends workers that are nobody's children any more.
fn end_orphans(folder: &Folder) {
    for pid in workers_of(folder) {
        let _ = kill(raw(pid), Signal::SIGKILL);
    }
}

/// The workers of a supervisor in that folder, whoever has made them, by what they were given.
pub(crate) fn workers_of(folder: &Folder) -> Vec<u32> {
    let given = format!("EINHORN_SOCK_PATH={}", folder.join("ctl").display()).into_bytes();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pid = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        environment.split(|byte| *byte == 0).any(|variable| variable == given).then_some(pid)
    };
    entries.filter_map(pid).collect()
}

/// The children of a process, but for a keeper.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    all_children(pid).into_iter().filter(|pid| !is_keeper(*pid)).collect()
}

fn all_children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Whether a process is the keeper of a supervisor, which is no worker. One that was just made has still to become what it
/// is to be.
fn is_keeper(pid: u32) -> bool {
    let is = || {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "einhyrn-keeper")
    };
    let is_new = || fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == Path::new(SUPERVISOR));
    let begin = Instant::now();
    while !is() && is_new() && begin.elapsed() < Duration::from_millis(200) {
        thread::sleep(LOOK);
    }
    is()
}

/// Whether a process exists and is no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| !['Z', 'X'].contains(&state))
}

/// What a process does, as a letter of proc_pid_stat(5); `None` if there is none.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next())
}

/// A process for nix.
pub(crate) fn raw(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("a pid"))
}

/// A connection to a control socket.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<UnixStream>,
}

impl Connection {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Changes how long it waits for anything to come or to be taken.
    pub(crate) fn wait_at_most(&mut self, patience: Duration) -> io::Result<()> {
        self.stream.get_mut().set_read_timeout(Some(patience))?;
        self.stream.get_mut().set_write_timeout(Some(patience))
    }

    pub(crate) fn send(&mut self, line: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes())
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The next line; an error if the connection ends instead.
    pub(crate) fn line(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        json::from_str(&line).map_err(|_| io::Error::other(format!("not JSON: {line}")))
    }

    /// The lines up to and with the one that does not say that more follow.
    pub(crate) fn answer(&mut self) -> io::Result<Vec<Value>> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            let more = matches!(&line, Value::Object(object) if object.contains_key("wait"));
            lines.push(line);
            if !more {
                return Ok(lines);
            }
        }
    }
}

/// A member of a JSON object.
#[track_caller]
pub(crate) fn member<'a>(value: &'a Value, name: &str) -> &'a Value {
    let Value::Object(object) = value else { panic!("not an object: {value:?}") };
    object.get(name).unwrap_or_else(|| panic!("no {name} in {value:?}"))
}

/// A member that is text.
#[track_caller]
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    let Value::String(text) = member(value, name) else { panic!("{name} is no text in {value:?}") };
    text
}

/// A member that is a whole number.
#[track_caller]
pub(crate) fn number(value: &Value, name: &str) -> i64 {
    match member(value, name) {
        Value::Number(json::Number::U64(number)) => i64::try_from(*number).expect("a small number"),
        Value::Number(json::Number::I64(number)) => *number,
        _ => panic!("{name} is no number in {value:?}"),
    }
}

/// Whether a reply says that it went well.
#[track_caller]
pub(crate) fn is_ok(reply: &Value) -> bool {
    matches!(member(reply, "ok"), Value::Bool(true))
}
