//! What tests look at besides a supervisor's own words: starts that end by themselves, processes,
//! files, reports of workers, traces.

use crate::harness::{Folder, SUPERVISOR, Supervisor, eventually, member, script};
use einhyrningsins::fsm::{
    action::Action,
    event::EventKind,
    notice::Notice,
    trace::{self, Line},
};
use miniserde::json::{self, Value};
use nix::unistd::geteuid;
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    process::{self, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
};

/// A supervisor that has ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) supervisor: Supervisor,
}

/// Starts a supervisor that ends by itself, and waits for that.
#[track_caller]
pub(crate) fn run<S: AsRef<str>>(args: &[S]) -> Ended {
    run_in(Folder::new(), args, |_| {})
}

/// The same in a folder that has been prepared, with a last word on how the process is started.
#[track_caller]
pub(crate) fn run_in<S: AsRef<str>>(folder: Folder, args: &[S], tune: impl FnOnce(&mut Command)) -> Ended {
    let file = |name| File::create(folder.join(name)).expect("a file can be made");
    let (stdout, stderr) = (file("stdout"), file("stderr"));
    let mut supervisor = Supervisor::start_in(folder, args, |command| {
        command.stdout(stdout).stderr(stderr);
        tune(command);
    });
    let code = supervisor.await_exit();
    let read = |name| fs::read_to_string(supervisor.folder.join(name)).expect("it wrote text");
    Ended { code, stdout: read("stdout"), stderr: read("stderr"), supervisor }
}

impl Ended {
    /// Sees that neither the control socket nor a process is left, and nothing bound to `address`.
    #[track_caller]
    pub(crate) fn left_nothing(&self, address: Option<SocketAddr>) {
        let Self { supervisor, stderr, .. } = self;
        assert!(supervisor.socket().symlink_metadata().is_err(), "the control socket is left: {stderr}");
        let left = processes_of(&supervisor.folder.join(""));
        assert!(left.is_empty(), "processes are left: {left:?}: {stderr}");
        if let Some(address) = address {
            TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}: {stderr}"));
        }
    }
}

/// Starts a supervisor by way of another program, which is to become `"$@"`, its last arguments.
pub(crate) fn start_through<S: AsRef<str>>(folder: Folder, starter: &[&str], args: &[S]) -> Supervisor {
    let log = folder.join("log");
    Supervisor::start_in(folder, args, |command| {
        let words: Vec<OsString> = command.get_args().map(OsStr::to_owned).collect();
        let log = OpenOptions::new().append(true).open(log).expect("the log exists");
        let (first, rest) = starter.split_first().expect("a starter");
        *command = Command::new(first);
        command.args(rest).arg(SUPERVISOR).args(words).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a log can be shared")).stderr(log);
    })
}

/// An address that nobody else has: of a loopback network of the test's own, with a port that the
/// kernel gives to nobody by itself.
pub(crate) fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let [_, third, second, first] = process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, third.wrapping_add(1), second, first);
    SocketAddr::new(host.into(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Processes that have a path in this folder in their arguments or their environment: supervisors of
/// the folder, whatever they have forked, and all workers.
pub(crate) fn processes_of(folder: &Path) -> Vec<u32> {
    let needle = folder.as_os_str().as_bytes();
    let mentions = |path: String| {
        fs::read(path).is_ok_and(|text| text.windows(needle.len()).any(|window| window == needle))
    };
    let entries = fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| mentions(format!("/proc/{pid}/cmdline")) || mentions(format!("/proc/{pid}/environ")))
        .collect()
}

/// The children of a process that have ended and were not reaped.
pub(crate) fn zombies(pid: u32) -> Vec<u32> {
    let ended = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
    };
    crate::harness::children(pid).into_iter().filter(ended).collect()
}

/// How many descriptors a process has open.
pub(crate) fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process exists").count()
}

/// Whether permissions mean nothing to us. Says so on behalf of the test that is then left out.
pub(crate) fn skip_as_root(what: &str) -> bool {
    let root = geteuid().is_root();
    if root {
        eprintln!("skipped, since root may do everything: {what}");
    }
    root
}

/// The Python interpreter itself: what is called `python3` may be a script that looks for it.
pub(crate) fn python() -> String {
    static PATH: OnceLock<String> = OnceLock::new();
    let ask = || {
        let mut command = Command::new("python3");
        command.args(["-c", "import os, sys; sys.stdout.write(os.path.realpath(sys.executable))"]);
        let output = command.stdin(Stdio::null()).output().expect("python3 can be run");
        String::from_utf8(output.stdout).expect("a path")
    };
    PATH.get_or_init(ask).clone()
}

/// The words that start workers which take [orders](puppet).
pub(crate) fn puppet_args(options: &[&str], words: &[&str]) -> Vec<String> {
    let (python, script) = (python(), script("puppet.py"));
    [options, &[&python, &script], words].concat().into_iter().map(str::to_owned).collect()
}

/// A supervisor of such workers.
pub(crate) fn puppets(options: &[&str], words: &[&str]) -> Supervisor {
    Supervisor::start(&puppet_args(options, words))
}

/// Has the worker of a slot run some Python; returns the `answer` that this has set.
#[track_caller]
pub(crate) fn puppet(supervisor: &Supervisor, slot: u32, code: &str) -> String {
    let order = supervisor.folder.join(&format!("order.{slot}"));
    let (part, done) = (order.with_extension("part"), supervisor.folder.join(&format!("order.{slot}.done")));
    fs::write(&part, code).expect("an order can be written");
    fs::rename(&part, &order).expect("it can be given");
    let answer = eventually("the order is done", || fs::read_to_string(&done).ok());
    fs::remove_file(&done).expect("the answer is taken");
    answer
}

/// What a worker has written with `rogue.py report`.
#[track_caller]
pub(crate) fn report(supervisor: &mut Supervisor, name: &str) -> Value {
    let path = supervisor.folder.join(name);
    supervisor.eventually("a worker reports", |_| json::from_str(&fs::read_to_string(&path).ok()?).ok())
}

/// A member that is true or false.
#[track_caller]
pub(crate) fn flag(value: &Value, name: &str) -> bool {
    let Value::Bool(flag) = member(value, name) else { panic!("{name} is no flag in {value:?}") };
    *flag
}

/// The members of a member that is an object.
#[track_caller]
pub(crate) fn members<'a>(value: &'a Value, name: &str) -> &'a json::Object {
    let Value::Object(object) = member(value, name) else { panic!("{name} is no object in {value:?}") };
    object
}

/// Something in a trace, and when it happened in milliseconds.
pub(crate) struct Traced<T> {
    pub(crate) at: u64,
    pub(crate) what: T,
}

/// A trace, in the order of its lines.
pub(crate) struct Trace {
    pub(crate) text: String,
    pub(crate) events: Vec<Traced<EventKind>>,
    pub(crate) actions: Vec<Traced<Action>>,
}

impl Trace {
    /// Reads a trace whose supervisor has ended.
    #[track_caller]
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a trace was written");
        let (mut at, mut events, mut actions) = (0, Vec::new(), Vec::new());
        for line in text.lines() {
            match trace::parse(line).unwrap_or_else(|error| panic!("{line}: {error:?}")) {
                Line::Event(event) => {
                    at = event.at.0;
                    events.push(Traced { at, what: event.kind });
                }
                Line::Action(what) => actions.push(Traced { at, what }),
                Line::Config(_) | Line::State(_) | Line::Gap(_) | Line::Comment => {}
            }
        }
        Self { text, events, actions }
    }

    /// What `choose` makes of the actions, with their times.
    pub(crate) fn actions<T>(&self, choose: impl Fn(&Action) -> Option<T>) -> Vec<Traced<T>> {
        let chosen = |action: &Traced<Action>| Some(Traced { at: action.at, what: choose(&action.what)? });
        self.actions.iter().filter_map(chosen).collect()
    }

    /// The same of what people were told.
    pub(crate) fn notices<T>(&self, choose: impl Fn(&Notice) -> Option<T>) -> Vec<Traced<T>> {
        self.actions(|action| match action {
            Action::Notice { notice } => choose(notice),
            _ => None,
        })
    }
}
