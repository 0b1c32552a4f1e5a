//! The second step for `einhyrningsins`: what its options mean together.

use super::{COMMAND_LINE, Key};
use crate::{
    cli::{
        argument_file::Reader,
        bind::{BindSpec, Endpoint, Family, Host, Inet},
        completions::Shell,
        error::{UsageError, brief},
        parse::Typed,
        service::{Nice, ServiceName, default_socket},
        table::Text,
        value::{BACKLOG, DEFAULT_FOLDER, Value},
    },
    fsm::{
        config::{AckMode, BACKOFF, Config, Patience, RETRIES, SPAN, TARGET},
        signal::Signal,
        time::Millis,
    },
};
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    net::{Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

/// How long a worker may take to report, with `--manual`.
const ACK_TIMEOUT: Millis = Millis(30_000);

/// How long a worker has to stay alive, without.
const ACK_AFTER: Millis = Millis(1_000);

const DEMO_WORKERS: u32 = 4;
const DEMO_PORT: u16 = 8080;

/// A report takes some time.
const ACK_TIMEOUT_RANGE: RangeInclusive<Millis> = Millis(1)..=*SPAN.end();

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// To run.
    Run(Box<Options>),
    /// To say nothing, since nothing is wrong.
    Checked,
    /// To say what a run would be, and whether anything would be in its way.
    CheckConfig(Box<Options>),
    /// To print this.
    Print(Text),
    /// To print what is too long to be kept.
    Tell(String),
}

/// A command line that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Workers to keep running, 1 …= [`TARGET_MAX`](crate::fsm::config::TARGET_MAX).
    pub number: u32,
    /// Sockets to listen on, in the order given. Literals are of the `family` asked for.
    pub binds: Vec<BindSpec>,
    /// Which addresses may be listened on.
    pub family: Family,
    /// When a worker counts as healthy.
    pub ack: AckMode,
    /// Consecutive failed starts before a slot has failed, at least 1.
    pub retries: u32,
    /// Whether a service that was healthy ends once every slot has failed.
    pub exit_on_failure: bool,
    /// What the service is called, if anything.
    pub command_name: Option<ServiceName>,
    /// Where to create the control socket.
    pub socket_path: PathBuf,
    /// Whether each worker inherits a connection of its own to report over.
    pub command_socket_as_fd: bool,
    /// Where to write the supervisor's process id.
    pub pidfile: Option<PathBuf>,
    /// What to hold a lock on.
    pub lockfile: Option<PathBuf>,
    /// The program that is to take over from the supervisor when that is asked for, if it is another than where this one
    /// was started from.
    pub reexec_as: Option<PathBuf>,
    /// Whether workers are told to stop by the kernel if the supervisor ends without having done so.
    pub kill_children_on_exit: bool,
    /// Whether nobody has what is needed to take over if the supervisor is killed.
    pub no_keeper: bool,
    /// Whether a service manager has it in place of a keeper, also if it does not say that it would.
    pub fdstore: bool,
    /// Whether a socket may be taken from workers whose supervisor is gone.
    pub adopt: bool,
    /// How nice the supervisor and its workers are to be, if that was said.
    pub nice: Option<Nice>,
    /// Variables to remove from the workers' environment.
    pub drop_env: Vec<OsString>,
    /// Variables of the supervisor's own environment to remove from that of workers which an upgrade brings.
    pub drop_env_later: Vec<OsString>,
    /// Where workers are to run, if that was said; relative to where the supervisor is started.
    pub chdir: Option<PathBuf>,
    /// How much to log.
    pub verbosity: Verbosity,
    /// Whether to log to syslog, too.
    pub syslog: bool,
    /// How long a draining worker may take after the stop signal.
    pub grace: Millis,
    /// The signal that asks a worker to drain, one that can be caught; without one, what its program is known
    /// to want.
    pub stop_signal: Option<Signal>,
    /// First back-off delay, at most [`BACKOFF_MAX`](crate::fsm::config::BACKOFF_MAX).
    pub backoff: Millis,
    /// The backlog of each socket, at least 1; the kernel's maximum if absent.
    pub backlog: Option<u32>,
    /// How many workers may be starting at once, 1 …= [`TARGET_MAX`](crate::fsm::config::TARGET_MAX); the number of CPUs if absent.
    pub max_unacked: Option<u32>,
    /// How many workers beyond the target a rolling upgrade may have alive and not draining,
    /// 1 …= [`TARGET_MAX`](crate::fsm::config::TARGET_MAX); as `max_unacked` if absent.
    pub max_surge: Option<u32>,
    /// The file to append a trace to.
    pub trace: Option<PathBuf>,
    /// Whether ALRM means what HUP does.
    pub alarm_upgrades: bool,
    /// What to warn of at the start.
    pub remarks: Vec<String>,
    /// The words that come to the same without files, if some of them were in files.
    pub without_files: Option<Vec<OsString>>,
    /// What to run.
    pub workload: Workload,
}

/// How much to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// What an operator wants to know.
    Normal,
    /// Details, too.
    Verbose,
    /// Errors only.
    Quiet,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workload {
    /// A supervisor of this program.
    Program {
        /// The program, as typed.
        program: OsString,
        /// Its arguments.
        args: Vec<OsString>,
    },
    /// A supervisor of the built-in demonstration.
    Demo,
    /// A worker of the built-in demonstration, and no supervisor.
    DemoWorker,
}

/// Reads a command line, without the program's name at its start. `is_program` tells whether a word names a
/// program that can be run, for words that may be something else, and `read` reads a [file with
/// options](crate::cli::argument_file).
///
/// # Errors
/// If anything in it is unknown, malformed, out of range or contradictory, or if PROGRAM is missing.
pub fn parse<I: IntoIterator<Item = OsString>>(
    args: I,
    is_program: impl Fn(&OsStr) -> bool,
    read: Reader<'_>,
) -> Result<Parsed, UsageError> {
    let typed = Typed::read_with(&COMMAND_LINE, args, is_program, Some(read))?;
    if let Some(text) = typed.prints {
        return Ok(Parsed::Print(text));
    }
    if typed.has(Key::Man) {
        return page(&typed.words).map(Parsed::Tell);
    }
    if let Some(shell) = typed.value(Key::Completions, Shell::read)? {
        return Ok(Parsed::Tell(super::completions(shell)));
    }
    match resolve(&typed) {
        resolved if typed.has(Key::CheckConfig) => Ok(Parsed::CheckConfig(Box::new(resolved?))),
        Ok(_) | Err(UsageError::NoProgram) if typed.has(Key::UpgradeCheck) => Ok(Parsed::Checked),
        resolved => Ok(Parsed::Run(Box::new(resolved?))),
    }
}

/// The manual page. There is only one here.
fn page(words: &[OsString]) -> Result<String, UsageError> {
    match words {
        [] => Ok(super::manual()),
        [word, ..] => Err(UsageError::BadValue {
            option: "--man".to_owned(),
            value: brief(word),
            why: "is one word too many".to_owned(),
            accepted: "--man alone; `einhyrningsinsctl --man protocol` has the control protocol".to_owned(),
        }),
    }
}

fn resolve(typed: &Typed<Key>) -> Result<Options, UsageError> {
    let defaults = Config::default();
    let workload = workload(typed)?;
    let demo = workload == Some(Workload::Demo);
    let number = if demo { DEMO_WORKERS } else { defaults.target };
    let family = family(typed)?;
    let mut binds = binds(typed, family)?;
    if demo && binds.is_empty() {
        binds.push(demo_bind(family));
    }
    let workers = |value: Value<'_>| value.number("a number of workers", TARGET);
    let failures = |value: Value<'_>| value.number("a number of failed starts", RETRIES);
    let backlog = |value: Value<'_>| value.number("a number of connections", BACKLOG);
    let name = typed.value(Key::CommandName, ServiceName::read)?;
    let named = name.as_ref().zip(typed.values(Key::CommandName).last());
    Ok(Options {
        number: typed.value(Key::Number, workers)?.unwrap_or(number),
        binds,
        family,
        ack: ack(typed)?,
        retries: typed.value(Key::Retries, failures)?.unwrap_or(defaults.retries),
        exit_on_failure: typed.has(Key::ExitOnFailure),
        socket_path: match typed.value(Key::SocketPath, Value::socket_path)? {
            Some(path) => path,
            None => default_socket(Path::new(DEFAULT_FOLDER), named)?,
        },
        command_name: name.clone(),
        command_socket_as_fd: typed.has(Key::CommandSocketAsFd),
        pidfile: typed.value(Key::Pidfile, |value| value.path("a file"))?,
        lockfile: typed.value(Key::Lockfile, |value| value.path("a file"))?,
        reexec_as: typed.value(Key::ReexecAs, |value| value.path("a program"))?,
        kill_children_on_exit: typed.has(Key::KillChildrenOnExit),
        no_keeper: typed.has(Key::NoKeeper),
        fdstore: typed.has(Key::Fdstore),
        adopt: typed.has(Key::Adopt),
        nice: typed.value(Key::Nice, Nice::read)?,
        drop_env: typed.values(Key::DropEnvVar).map(Value::variable).collect::<Result<_, _>>()?,
        drop_env_later: Vec::new(),
        chdir: typed.value(Key::Chdir, |value| value.path("a directory"))?,
        verbosity: verbosity(typed)?,
        syslog: typed.has(Key::Syslog),
        grace: typed.value(Key::GracePeriod, |value| value.seconds(SPAN))?.unwrap_or(defaults.grace),
        stop_signal: typed.value(Key::StopSignal, stop_signal)?.flatten(),
        backoff: typed.value(Key::Seconds, |value| value.seconds(BACKOFF))?.unwrap_or(defaults.backoff),
        backlog: typed.value(Key::Backlog, backlog)?,
        max_unacked: typed.value(Key::MaxUnacked, workers)?,
        max_surge: typed.value(Key::MaxUpgradeAdditional, workers)?,
        trace: typed.value(Key::Trace, |value| value.path("a file"))?,
        alarm_upgrades: false,
        remarks: Vec::new(),
        without_files: typed.without_files(),
        // Last: who asks what an option takes has not thought of the program yet.
        workload: workload.ok_or(UsageError::NoProgram)?,
    })
}

/// What to run, if the command line says.
fn workload(typed: &Typed<Key>) -> Result<Option<Workload>, UsageError> {
    let built_in = match (typed.has(Key::Demo), typed.has(Key::DemoWorker)) {
        (true, true) => return Err(conflict("--demo", "--demo-worker", "the one starts the other")),
        (true, false) => Some(("--demo", Workload::Demo)),
        (false, true) => Some(("--demo-worker", Workload::DemoWorker)),
        (false, false) => None,
    };
    let mut words = typed.words.iter().cloned();
    match (built_in, words.next()) {
        (None, None) => Ok(None),
        (None, Some(program)) if program.is_empty() => Err(UsageError::BadValue {
            option: "PROGRAM".to_owned(),
            value: String::new(),
            why: "has no name".to_owned(),
            accepted: "a program to run".to_owned(),
        }),
        (None, Some(program)) => Ok(Some(Workload::Program { program, args: words.collect() })),
        (Some((_, workload)), None) => Ok(Some(workload)),
        (Some((option, _)), Some(word)) => Err(UsageError::BadValue {
            option: option.to_owned(),
            value: brief(&word),
            why: "cannot be run besides the built-in program".to_owned(),
            accepted: format!("either {option} or a PROGRAM"),
        }),
    }
}

fn family(typed: &Typed<Key>) -> Result<Family, UsageError> {
    match (typed.has(Key::Ipv4Only), typed.has(Key::Ipv6Only)) {
        (true, true) => Err(conflict("--ipv4-only", "--ipv6-only", "leave out both to accept either")),
        (true, false) => Ok(Family::V4),
        (false, true) => Ok(Family::V6),
        (false, false) => Ok(Family::Any),
    }
}

fn demo_bind(family: Family) -> BindSpec {
    let host = match family {
        Family::Any | Family::V4 => Host::V4(Ipv4Addr::LOCALHOST),
        Family::V6 => Host::V6(Ipv6Addr::LOCALHOST),
    };
    let endpoint = Endpoint::Tcp { inet: Inet { host, port: DEMO_PORT }, reuse_address: true };
    BindSpec { endpoint, nonblocking: true, name: None }
}

fn binds(typed: &Typed<Key>, family: Family) -> Result<Vec<BindSpec>, UsageError> {
    let mut names = BTreeSet::new();
    let bind = |value: Value<'_>| {
        let bind = bind(value, family)?;
        if typed.has(Key::Demo) && !matches!(bind.endpoint, Endpoint::Tcp { .. }) {
            return Err(value.refuse("is nothing that --demo can serve", "ADDR:PORT, with --demo"));
        }
        if bind.name.as_ref().is_some_and(|name| !names.insert(name.clone())) {
            return Err(value.refuse("has the name of another socket", "a name for each"));
        }
        Ok(bind)
    };
    typed.values(Key::Bind).map(bind).collect()
}

/// What `--bind` takes.
const BIND: &str = "ADDR:PORT[,r][,n][,name=NAME], udp:ADDR:PORT[,n][,name=NAME], \
                    unix:PATH[,mode=MODE][,user=USER][,group=GROUP][,n][,name=NAME]";

fn bind(value: Value<'_>, family: Family) -> Result<BindSpec, UsageError> {
    // A path must not become another on the way.
    let text = value.text.to_str().ok_or_else(|| value.refuse("is not UTF-8", BIND))?;
    let bind: BindSpec = text.parse().map_err(|why| value.refuse(why, BIND))?;
    let accepted = match family {
        _ if bind.fits(family) => return Ok(bind),
        Family::Any | Family::V4 => "IPv4 addresses and host names, with --ipv4-only",
        Family::V6 => "IPv6 addresses and host names, with --ipv6-only",
    };
    Err(value.refuse("is of the other family", accepted))
}

/// What leaves the choice to the supervisor.
const AUTO: &str = "auto";

/// What einhorn takes behind its `-m`.
const MANUAL: &str = "manual";

/// Whether a word is a mode of acknowledgement in einhorn's terms: `manual`, or a time in seconds; or a time
/// with its unit, which is refused as one more clearly than as a program that there is not.
pub(super) fn is_ack_mode(word: &OsStr) -> bool {
    let Some(word) = word.to_str() else { return false };
    let unit = |unit: &&str| word.ends_with(unit);
    let unit = ["ms", "sec", "min", "s", "m"].into_iter().find(unit).unwrap_or_default();
    let number = word.strip_suffix(unit).unwrap_or(word);
    word == MANUAL || Millis::from_decimal_seconds(number).is_some()
}

/// How long a worker must have stayed alive, by `--ack-after` or by einhorn's name for it.
fn ack_after(typed: &Typed<Key>) -> Result<Option<Millis>, UsageError> {
    let einhorn = typed.values(Key::Manual).filter(|mode| !mode.text.is_empty() && mode.text != MANUAL);
    typed.values(Key::AckAfter).chain(einhorn).last().map(|value| value.seconds(SPAN)).transpose()
}

/// What `--ready` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    Auto,
    Accepting,
    Manual,
    Timer,
}

const READY: [(&str, Ready); 4] = [
    ("auto", Ready::Auto),
    ("accepting", Ready::Accepting),
    ("manual", Ready::Manual),
    ("timer", Ready::Timer),
];

fn ready(value: Value<'_>) -> Result<Ready, UsageError> {
    let found = READY.iter().find(|(word, _)| value.text == *word);
    found
        .map(|(_, ready)| *ready)
        .ok_or_else(|| value.refuse("is no way to tell that a worker is ready", ready_modes().join(", ")))
}

/// By which option workers are to report, if by any.
fn manual(typed: &Typed<Key>, ready: Option<Ready>) -> Result<Option<&'static str>, UsageError> {
    let reports = typed.values(Key::Manual).any(|mode| mode.text.is_empty() || mode.text == MANUAL);
    let manual = match (reports, typed.has(Key::Demo)) {
        (true, _) => Some("--manual"),
        (false, true) => Some("--demo"),
        (false, false) => None,
    };
    match (manual, ready) {
        (Some(manual), Some(Ready::Auto | Ready::Accepting | Ready::Timer)) => {
            Err(conflict("--ready", manual, "workers report themselves, which is --ready manual"))
        }
        (None, Some(Ready::Manual)) => Ok(Some("--ready manual")),
        (manual, _) => Ok(manual),
    }
}

fn ack(typed: &Typed<Key>) -> Result<AckMode, UsageError> {
    let (after, ready) = (ack_after(typed)?, typed.value(Key::Ready, ready)?);
    let timeout = typed.value(Key::AckTimeout, |value| value.seconds(ACK_TIMEOUT_RANGE))?;
    if let Some(manual) = manual(typed, ready)? {
        return match after {
            Some(_) => Err(conflict(
                "--ack-after",
                manual,
                "workers report themselves, and --ack-timeout limits when",
            )),
            None => Ok(AckMode::Manual(timeout.unwrap_or(ACK_TIMEOUT))),
        };
    }
    let patience = Patience { after: after.unwrap_or(ACK_AFTER), timeout: timeout.unwrap_or(ACK_TIMEOUT) };
    match (ready, after, timeout) {
        (Some(Ready::Timer), _, Some(_)) | (None, Some(_), Some(_)) => Err(UsageError::Without {
            option: "--ack-timeout",
            needs: "--ready auto, accepting or manual",
            why: "with --ack-after alone, a worker that is alive for so long is ready",
        }),
        (Some(Ready::Accepting), ..) => Ok(AckMode::Accepting(patience)),
        (Some(Ready::Timer), ..) | (None, Some(_), None) => Ok(AckMode::After(patience.after)),
        (Some(Ready::Auto | Ready::Manual), ..) | (None, None, _) => Ok(AckMode::Auto(patience)),
    }
}

fn verbosity(typed: &Typed<Key>) -> Result<Verbosity, UsageError> {
    match (typed.has(Key::Verbose), typed.has(Key::Quiet)) {
        (true, true) => Err(conflict("--verbose", "--quiet", "leave out both for the usual messages")),
        (true, false) => Ok(Verbosity::Verbose),
        (false, true) => Ok(Verbosity::Quiet),
        (false, false) => Ok(Verbosity::Normal),
    }
}

/// Whether a worker cannot handle it.
fn is_uncatchable(signal: Signal) -> bool {
    matches!(signal, Signal::Kill | Signal::Stop)
}

/// The words for `--stop-signal`.
pub(in crate::cli) fn stop_signals() -> Vec<&'static str> {
    let catchable = Signal::ALL.iter().filter(|signal| !is_uncatchable(**signal)).map(|signal| signal.word());
    [AUTO].into_iter().chain(catchable).collect()
}

/// The words for `--ready`.
pub(in crate::cli) fn ready_modes() -> Vec<&'static str> {
    READY.iter().map(|(word, _)| *word).collect()
}

/// A signal that a worker can catch, for otherwise it could not finish its connections.
/// No signal stands for that which the program is known to want.
fn stop_signal(value: Value<'_>) -> Result<Option<Signal>, UsageError> {
    if value.text == AUTO {
        return Ok(None);
    }
    let why = match Signal::from_name(&value.text()) {
        Some(signal) if !is_uncatchable(signal) => return Ok(Some(signal)),
        Some(_) => "is a signal that no worker can catch",
        None => "is not the name of a signal",
    };
    Err(value.refuse(why, stop_signals().join(", ")))
}

fn conflict(one: &'static str, other: &'static str, why: &'static str) -> UsageError {
    UsageError::Conflict { one, other, why }
}
