//! From options to a running loop. What can fail is tried before anything is touched that others see.

use super::{
    called,
    claim::Claim,
    clock::Monotonic,
    control::Control,
    handed,
    journal::{Journal, STARTS_AT},
    listen::Handed,
    lockfile::Lockfile,
    log,
    manager::Manager,
    notify::Notify,
    pidfile::Pidfile,
    process::{self, FileLimit, Hangup, Spawner, Waiting},
    recorder::Recorder,
    release::Releases,
    resume,
    shell::{Parts, Shell},
    signals,
    sockets::{Sockets, Unusable},
    succession,
};
use crate::{
    cli::{
        Nice,
        daemon::{COMMAND_LINE, Options, Workload},
    },
    fsm::Supervisor,
    protocol::{visible::visible, words},
};
use ::log::{LevelFilter, debug, error, info, warn};
use mio::Poll;
use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

/// How many descriptors the supervisor has at the least beside those for sockets and workers: its own, those
/// kept back for upgrades, a few clients.
const OWN_FILES: u64 = 64;

/// Runs a service to its end. The exit status is 0 after a clean shutdown, 1 if the service could not
/// be brought up or kept up, 2 for an option that makes no sense on this system, 126 or 127 if the
/// program cannot be executed or does not exist.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    if let Some(journal) = called::announced() {
        return resume::run(options, journal);
    }
    let hangup = process::reset_signals_at_start(Waiting::LetIn);
    signals::prepare();
    if let Err(errno) = process::open_standard_fds() {
        return say(format_args!("/dev/null cannot be opened: {}", words::errno(errno)), 1);
    }
    // First of all that opens anything.
    match succession::find(&options.socket_path) {
        Ok(None) => {}
        Ok(Some(legacy)) => return resume::inherit(options, legacy, hangup),
        Err(why) => return say(format_args!("{why}"), 1),
    }
    let handed = match handed::take() {
        Ok(handed) => handed,
        Err(why) => return say(format_args!("{why}"), 1),
    };
    let files = FileLimit::raise();
    let sockets = match sockets(options, handed, files) {
        Ok(sockets) => sockets,
        Err(Unusable::Option(why)) => {
            // Paths may have anything in them.
            let hint = format!("{}\nTry '{} --help'.", visible(&why), COMMAND_LINE.program);
            return say(format_args!("{hint}"), 2);
        }
        Err(Unusable::ForNow(why)) => return say(format_args!("{why}"), 1),
    };
    let level = called::level(options.verbosity);
    log::init(level, options.syslog);
    if let Some(name) = &options.command_name {
        process::call_itself(name.as_str());
        info!("this is {name}, {} {}", COMMAND_LINE.program, env!("CARGO_PKG_VERSION"));
    }
    options.remarks.iter().for_each(|remark| warn!("{remark}"));
    if sockets.count() == 0 {
        info!("no --bind: workers inherit no socket");
    }
    if hangup == Hangup::Ignored {
        debug!("SIGHUP was ignored at the start, as by nohup, and stays so: it asks for no upgrade");
    }
    match assemble(options, files, sockets, level, hangup) {
        Ok(shell) => ExitCode::from(shell.run(None)),
        Err(why) => {
            error!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Whether this program could take over from the supervisor whose journal is on standard input. The exit status is 0 if
/// so.
#[must_use]
pub fn check_handover() -> ExitCode {
    resume::check()
}

/// The sockets to be bound, of which the program's arguments name none that there is not.
pub(super) fn sockets(options: &Options, handed: Vec<Handed>, files: FileLimit) -> Result<Sockets, Unusable> {
    let count = handed.len().saturating_add(options.binds.len());
    connections_fit(options, count, files).map_err(Unusable::Option)?;
    let sockets = Sockets::resolve(options, handed, files.soft())?;
    if let Workload::Program { args, .. } = &options.workload {
        sockets.roster().check(args).map_err(|error| Unusable::Option(error.to_string()))?;
    }
    Ok(sockets)
}

/// Whether the supervisor may have a descriptor for each worker, where it needs one.
///
/// # Errors
/// A line that names the option, the limit and what is accepted.
fn connections_fit(options: &Options, sockets: usize, files: FileLimit) -> Result<(), String> {
    let sockets = u64::try_from(sockets).unwrap_or(u64::MAX);
    let own = sockets.saturating_add(OWN_FILES);
    let most = files.hard().saturating_sub(own);
    if !options.command_socket_as_fd || u64::from(options.number) <= most {
        return Ok(());
    }
    let accepted = if most == 0 {
        // No number of workers would do.
        format!("a limit of at least {}", own.saturating_add(options.number.into()))
    } else {
        format!("--number up to {most}")
    };
    Err(format!(
        "--command-socket-as-fd: it takes a descriptor of the supervisor's for each worker beside {own} for all \
         else, and it may have {} (`ulimit -Hn`); accepted: {accepted}",
        files.hard()
    ))
}

fn say(what: fmt::Arguments<'_>, code: u8) -> ExitCode {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(io::stderr(), "{}: {what}", COMMAND_LINE.program);
    ExitCode::from(code)
}

// Not part of its caller's frame, which is there for as long as the service is: what is put together here is
// moved about, and takes pages of the stack.
#[inline(never)]
fn assemble(
    options: &Options,
    files: FileLimit,
    mut sockets: Sockets,
    level: LevelFilter,
    hangup: Hangup,
) -> Result<Box<Shell<'_>>, String> {
    let config = called::config(options, sockets.count());
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    // First: whoever has not got it must not leave a trace either.
    let lockfile = options.lockfile.as_deref().map(Lockfile::lock).transpose()?;
    options.nice.map(renice).transpose()?;
    let pidfile = options.pidfile.as_deref().map(Pidfile::write).transpose()?;
    let recorder = match &options.trace {
        Some(path) => Some(
            Recorder::open(path, &config)
                .map_err(|error| format!("--trace: `{}` cannot be opened: {error}", path.display()))?,
        ),
        None => None,
    };
    let nice = options.nice.and_then(|nice| nice.worker);
    let clock = Monotonic::start();
    let journal = Journal::new(clock.origin()).map_err(|errno| format!("no memory: {}", errno.desc()))?;
    if let Some(why) = journal.trouble() {
        warn!("{why}; nobody can take over from this supervisor (reexec), and if it fails, it ends");
    }
    process::arm(&journal.memory(), Vec::new());
    let spawner = Spawner::new(files, nice, (journal.memory(), STARTS_AT))
        .map_err(|errno| format!("/dev/null cannot be opened: {}", words::errno(errno)))?;
    let poll = Poll::new().map_err(failed("cannot wait for events"))?;
    let registry = poll.registry().try_clone().map_err(failed("cannot wait for events"))?;
    let claim = Claim::new(&options.socket_path).map_err(|error| error.to_string())?;
    sockets.watch(poll.registry().try_clone().map_err(failed("cannot wait for events"))?);
    let control = Control::new(claim, registry, journal.clone()).map_err(failed("control socket"))?;
    sockets.note_in(journal.clone());
    let notify = Notify::new(poll.registry());
    let notify = notify.inspect_err(|error| warn!("workers cannot notify (NOTIFY_SOCKET): {error}")).ok();
    let parts = Parts {
        options,
        clock,
        files,
        poll,
        control,
        notify,
        releases: Releases::new(options, sockets.roster(), journal.clone()),
        manager: Manager::of_environment(),
        statuses: BTreeMap::new(),
        sockets,
        supervisor: Supervisor::new(config),
        spawner,
        recorder,
        level,
        hangup,
        lockfile,
        keeper: None,
        journal,
    };
    let mut shell = Shell::new(parts).map(Box::new).map_err(failed("signals cannot be caught"))?;
    // Now the path of the control socket is ours, and no other supervisor's whose number is in the file; and a signal
    // to that number is an order, and no end.
    if let Some(mut pidfile) = pidfile {
        pidfile.publish()?;
        shell.keep_pidfile(pidfile);
    }
    Ok(shell)
}

/// Makes us as nice as we are to be.
///
/// # Errors
/// A line that names the option, the value, and what is accepted.
pub(super) fn renice(nice: Nice) -> Result<(), String> {
    process::renice(nice).map_err(|(niceness, errno)| {
        format!(
            "--nice: `{nice}` is not allowed, no process of this user's can have niceness {niceness} (`ulimit -e`): {}; \
             accepted: a higher one, or start it as root",
            words::errno(errno)
        )
    })
}
