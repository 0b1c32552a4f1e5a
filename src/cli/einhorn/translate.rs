//! What an einhorn's command line means in our own terms.

use super::{COMMAND_LINE, Key};
use crate::{
    cli::{
        bind::{BindError, BindSpec, Endpoint, Family, Inet},
        daemon::{Options, Verbosity, Workload},
        error::{UsageError, brief},
        parse::Typed,
        service::{Nice, ServiceName, default_path, default_socket},
        table::Text,
        value::{BACKLOG, Value},
    },
    fsm::{
        config::{AckMode, BACKOFF, Config, SPAN, TARGET},
        signal::Signal,
        time::Millis,
    },
};
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
};

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// To run.
    Run(Box<Options>),
    /// To say nothing, since nothing is wrong.
    Checked,
    /// To print the [usage](super::usage), and to end with status 1 all the same.
    Usage,
    /// To print which version this is.
    Version,
}

/// How long a worker has to stay alive.
const ACK_AFTER: Millis = Millis(1_000);

/// The wait after a failed start.
const SECONDS: Millis = Millis(1_000);

/// Connections that may wait.
const CONNECTIONS: u32 = 100;

/// As long as can be said: ten days and more.
const FOR_EVER: Millis = *SPAN.end();

/// Reads a command line, without the program's name at its start. `folder` is where einhorn keeps its files.
///
/// # Errors
/// If anything in it is unknown, malformed or out of range.
pub fn parse<I: IntoIterator<Item = OsString>>(args: I, folder: &Path) -> Result<Parsed, UsageError> {
    let typed = Typed::read(&COMMAND_LINE, args, |_| false)?;
    match typed.prints {
        Some(Text::Help) => return Ok(Parsed::Usage),
        Some(Text::Version) => return Ok(Parsed::Version),
        None => {}
    }
    let mut remarks = Vec::new();
    let mut binds = Vec::new();
    for value in typed.values(Key::Bind) {
        let text = value.text.to_str().unwrap_or_default();
        let Bound { bind, odd } = read_bind(text).map_err(|why| value.refuse(why, BIND))?;
        remarks.extend(odd.map(|flag| format!("--bind {text}: the flag `{flag}` means nothing")));
        binds.push(bind);
    }
    let workload = workload(&typed.words, &mut binds);
    remarks.extend(without_effect(&typed));
    let options = resolve(&typed, folder, binds, remarks)?;
    Ok(match workload {
        _ if typed.has(Key::UpgradeCheck) => Parsed::Checked,
        Some(workload) => Parsed::Run(Box::new(Options { workload, ..options })),
        None => Parsed::Usage,
    })
}

fn resolve(
    typed: &Typed<Key>,
    folder: &Path,
    binds: Vec<BindSpec>,
    remarks: Vec<String>,
) -> Result<Options, UsageError> {
    let defaults = Config::default();
    let workers = |value: Value<'_>| value.number("a number of workers", TARGET);
    let backlog = |value: Value<'_>| value.number("a number of connections", BACKLOG);
    let name = typed.value(Key::CommandName, ServiceName::read)?;
    let named = name.as_ref().zip(typed.values(Key::CommandName).last());
    // Einhorn's own most, too.
    let seconds = |value: Value<'_>| Ok(value.seconds(Millis(1)..=FOR_EVER)?.min(*BACKOFF.end()));
    let pidfile = typed.value(Key::Pidfile, |value| value.path("a file"))?;
    Ok(Options {
        number: typed.value(Key::Number, workers)?.unwrap_or(defaults.target),
        binds,
        family: Family::V4,
        ack: typed.value(Key::AckMode, ack)?.unwrap_or(AckMode::After(ACK_AFTER)),
        retries: defaults.retries,
        exit_on_failure: false,
        socket_path: match typed.value(Key::SocketPath, Value::socket_path)? {
            Some(path) => path,
            None => default_socket(folder, named)?,
        },
        command_socket_as_fd: typed.has(Key::CommandSocketAsFd),
        pidfile: pidfile.or_else(|| Some(default_path(folder, name.as_ref(), "pid"))),
        lockfile: typed.value(Key::Lockfile, |value| value.path("a file"))?,
        command_name: name,
        reexec_as: program_to_reexec(typed).map(|value| value.text.into()),
        no_keeper: false,
        fdstore: false,
        adopt: false,
        kill_children_on_exit: typed.has(Key::KillChildrenOnExit),
        nice: typed.value(Key::Nice, nice)?,
        drop_env: Vec::new(),
        drop_env_later: typed.values(Key::DropEnvVar).map(Value::variable).collect::<Result<_, _>>()?,
        chdir: None,
        verbosity: verbosity(typed),
        syslog: false,
        grace: typed.value(Key::SignalTimeout, |value| value.seconds(SPAN))?.unwrap_or(FOR_EVER),
        stop_signal: Some(Signal::Usr2),
        backoff: typed.value(Key::Seconds, seconds)?.unwrap_or(SECONDS),
        backlog: Some(typed.value(Key::Backlog, backlog)?.unwrap_or(CONNECTIONS)),
        max_unacked: typed.value(Key::MaxUnacked, workers)?,
        max_surge: typed.value(Key::MaxUpgradeAdditional, workers)?,
        trace: None,
        alarm_upgrades: true,
        remarks,
        without_files: None,
        // Not known yet.
        workload: Workload::DemoWorker,
    })
}

/// What `--bind` takes.
const BIND: &str = "ADDR:PORT[,r][,n], with an IPv4 address or a host name";

/// A socket, and a flag of it that nobody knows.
struct Bound {
    bind: BindSpec,
    odd: Option<String>,
}

fn read_bind(text: &str) -> Result<Bound, BindError> {
    let mut parts = text.split(',');
    let inet = Inet::read(parts.next().unwrap_or_default())?;
    let (mut reuse_address, mut nonblocking, mut odd) = (false, false, None);
    for flag in parts {
        match flag.to_ascii_lowercase().as_str() {
            "r" | "so_reuseaddr" => reuse_address = true,
            "n" | "o_nonblock" => nonblocking = true,
            word if !word.is_empty() && word.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_') => {
                odd = Some(flag.to_owned());
            }
            _ => return Err(BindError::UnknownFlag(flag.to_owned())),
        }
    }
    let bind = BindSpec { endpoint: Endpoint::Tcp { inet, reuse_address }, nonblocking, name: None };
    // Einhorn has IPv4 only.
    if bind.fits(Family::V4) { Ok(Bound { bind, odd }) } else { Err(BindError::BadIpv4) }
}

/// What to run. Sockets that its arguments name, as einhorn's once did, come behind those of `--bind`.
fn workload(words: &[OsString], binds: &mut Vec<BindSpec>) -> Option<Workload> {
    let (program, args) = words.split_first()?;
    let args = args.iter().map(|word| with_socket(word, binds).unwrap_or_else(|| literal(word))).collect();
    Some(Workload::Program { program: program.clone(), args })
}

/// An argument that is `srv:ADDR:PORT[,OPT...]`, or ends in that behind a `=`: with the descriptor in its place.
fn with_socket(word: &OsStr, binds: &mut Vec<BindSpec>) -> Option<OsString> {
    const SOCKET: &str = "srv:";
    let word = word.to_str()?;
    let begin = if word.starts_with(SOCKET) { 0 } else { word.rfind("=srv:")?.checked_add(1)? };
    let (before, socket) = word.split_at_checked(begin)?;
    let Bound { bind, .. } = read_bind(socket.strip_prefix(SOCKET)?).ok()?;
    let is_it = |known: &&BindSpec| known.name.is_some() && known.inet() == bind.inet();
    let name = match binds.iter().find(is_it).and_then(|known| known.name.clone()) {
        Some(name) => name,
        None => {
            let name = format!("srv{}", binds.len()).parse().ok()?;
            binds.push(BindSpec { name: Some(name), ..bind });
            binds.last()?.name.clone()?
        }
    };
    let mut filled = literal(OsStr::new(before));
    filled.push(format!("{{fd:{name}}}"));
    Some(filled)
}

/// A word in which `{fd:...}`, of which einhorn knows nothing, stays what it is.
fn literal(word: &OsStr) -> OsString {
    const OPEN: &[u8] = b"{fd:";
    let (mut out, mut rest) = (Vec::new(), word.as_bytes());
    while let Some(begin) = rest.windows(OPEN.len()).position(|window| window == OPEN)
        && let Some((before, reference)) = rest.split_at_checked(begin)
        && let Some(end) = reference.iter().position(|byte| *byte == b'}')
        && let Some((reference, behind)) = reference.split_at_checked(end.saturating_add(1))
    {
        out.extend([before, b"{", reference, b"}"].concat());
        rest = behind;
    }
    out.extend_from_slice(rest);
    OsString::from_vec(out)
}

/// What is to take over from the supervisor: a program, where einhorn has a command line.
fn program_to_reexec(typed: &Typed<Key>) -> Option<Value<'_>> {
    let is_program = |value: &Value<'_>| {
        let text = value.text.as_encoded_bytes();
        !text.is_empty() && !text.iter().any(u8::is_ascii_whitespace)
    };
    typed.values(Key::ReexecAs).last().filter(is_program)
}

/// Words on the options that change nothing.
fn without_effect(typed: &Typed<Key>) -> Vec<String> {
    let words = typed.values(Key::ReexecAs).last().filter(|_| program_to_reexec(typed).is_none());
    let reexec = words.map(|value| {
        format!(
            "--reexec-as `{}` has no effect: it is not the path of a program; `reexec` replaces the supervisor by the \
             program that is where it was started from",
            brief(value.text)
        )
    });
    let preload = typed.values(Key::Preload).last().map(|value| {
        let path = brief(value.text);
        format!("--preload `{path}` has no effect: each worker executes the program, and loads its own code")
    });
    let collect = typed.has(Key::GcBeforeFork);
    let collect = collect.then(|| "--gc-before-fork has no effect: nothing is preloaded".to_owned());
    [reexec, preload, collect].into_iter().flatten().collect()
}

fn ack(value: Value<'_>) -> Result<AckMode, UsageError> {
    if value.text == "manual" {
        return Ok(AckMode::Manual(FOR_EVER));
    }
    let accepted = "manual, or a time in seconds";
    value
        .seconds(SPAN)
        .map(AckMode::After)
        .map_err(|_| value.refuse("is no way to tell that a worker is up", accepted))
}

/// `SUPERVISOR[:WORKER[:RENICE]]`, where RENICE is a program that einhorn takes to do it.
fn nice(value: Value<'_>) -> Result<Nice, UsageError> {
    let text = value.text();
    let end = text.match_indices(':').nth(1).map_or(text.len(), |(end, _)| end);
    Nice::read_from(value, text.get(..end).unwrap_or_default())
}

/// Each option is a step from where those before have led to.
fn verbosity(typed: &Typed<Key>) -> Verbosity {
    typed.keys().fold(Verbosity::Normal, |level, key| match (key, level) {
        (Key::Quiet, Verbosity::Verbose) | (Key::Verbose, Verbosity::Quiet) => Verbosity::Normal,
        (Key::Quiet, Verbosity::Normal) => Verbosity::Quiet,
        (Key::Verbose, Verbosity::Normal) => Verbosity::Verbose,
        (_, level) => level,
    })
}
