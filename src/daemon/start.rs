//! From options to a running loop. What can fail is tried before anything is touched that others see.

use super::{
    claim::Claim,
    control::Control,
    log,
    process::{self, Spawner},
    program::{PinError, Program},
    recorder::Recorder,
    shell::{Parts, Shell},
    sockets::Sockets,
    token::CONTROL,
    watch::Watch,
};
use crate::{
    cli::daemon::{COMMAND_LINE, Options, Verbosity, Workload},
    fsm::{Supervisor, config::Config},
    protocol::{Release, words},
};
use ::log::{LevelFilter, error, warn};
use mio::Poll;
use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fmt,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    thread,
};

/// Runs a service to its end. The exit status is 0 after a clean shutdown, 1 if the service could not
/// be brought up or kept up, 2 for an option that makes no sense on this system, 126 or 127 if the
/// program cannot be executed or does not exist.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    process::reset_signals_at_start();
    if let Err(errno) = process::open_standard_fds() {
        return say(format_args!("/dev/null cannot be opened: {}", words::errno(errno)), 1);
    }
    let sockets = match Sockets::resolve(options) {
        Ok(sockets) => sockets,
        Err(why) => {
            let hint = format!("{why}\nTry '{} --help'.", COMMAND_LINE.program);
            return say(format_args!("{hint}"), 2);
        }
    };
    let level = level(options.verbosity);
    log::init(level, options.syslog);
    match assemble(options, sockets, level) {
        Ok(shell) => ExitCode::from(shell.run()),
        Err(why) => {
            error!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn say(what: fmt::Arguments<'_>, code: u8) -> ExitCode {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(io::stderr(), "{}: {what}", COMMAND_LINE.program);
    ExitCode::from(code)
}

fn level(verbosity: Verbosity) -> LevelFilter {
    match verbosity {
        Verbosity::Normal => LevelFilter::Info,
        Verbosity::Verbose => LevelFilter::Debug,
        Verbosity::Quiet => LevelFilter::Error,
    }
}

fn assemble(options: &Options, sockets: Sockets, level: LevelFilter) -> Result<Shell<'_>, String> {
    let config = config(options);
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let recorder = match &options.trace {
        Some(path) => Some(
            Recorder::open(path, &config)
                .map_err(|error| format!("--trace: `{}` cannot be opened: {error}", path.display()))?,
        ),
        None => None,
    };
    let spawner =
        Spawner::new().map_err(|errno| format!("/dev/null cannot be opened: {}", words::errno(errno)))?;
    let poll = Poll::new().map_err(failed("cannot wait for events"))?;
    let registry = poll.registry().try_clone().map_err(failed("cannot wait for events"))?;
    let claim = Claim::new(&options.socket_path).map_err(|error| error.to_string())?;
    let watch = Watch::new(claim.path(), poll.registry())
        .inspect_err(|error| {
            warn!("the control socket is not watched, its removal would go unnoticed: {error}")
        })
        .ok();
    let control = Control::new(claim, registry, CONTROL).map_err(failed("control socket"))?;
    let supervisor = Supervisor::new(config);
    let parts = Parts { options, poll, control, watch, sockets, supervisor, spawner, recorder, level };
    Shell::new(parts).map_err(failed("signals cannot be caught"))
}

fn config(options: &Options) -> Config {
    // Asked only if needed: it takes a dozen system calls.
    let processors = || thread::available_parallelism().map_or(1, usize::from);
    let unacked = options.max_unacked.unwrap_or_else(|| u32::try_from(processors()).unwrap_or(u32::MAX));
    Config {
        target: options.number,
        listeners: u32::try_from(options.binds.len()).unwrap_or(u32::MAX),
        ack: options.ack,
        retries: options.retries,
        backoff: options.backoff,
        grace: options.grace,
        stop_signal: options.stop_signal,
        max_unacked: unacked,
        max_surge: options.max_surge.unwrap_or(unacked),
    }
}

/// What a generation is captured from.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    command: OsString,
    arguments: Vec<OsString>,
    /// Set on top of the supervisor's own environment.
    variables: BTreeMap<OsString, OsString>,
}

impl Spec {
    /// What the command line says.
    pub(super) fn of(options: &Options) -> Self {
        let (command, arguments) = match &options.workload {
            Workload::Program { program, args } => (program.clone(), args.clone()),
            Workload::Demo | Workload::DemoWorker => {
                let this = env::current_exe().unwrap_or_else(|_| COMMAND_LINE.program.into());
                (this.into_os_string(), vec!["--demo-worker".into()])
            }
        };
        Self { command, arguments, variables: BTreeMap::new() }
    }

    /// The same with what an upgrade changes.
    pub(super) fn with(mut self, release: Release) -> Self {
        if let Some(mut program) = release.program.filter(|program| !program.is_empty()) {
            self.command = program.remove(0).into();
            self.arguments = program.into_iter().map(OsString::from).collect();
        }
        let variables = release.variables.into_iter();
        self.variables.extend(variables.map(|(name, value)| (name.into(), value.into())));
        self
    }
}

/// Captures the program as it is now: executable, arguments, environment, directory.
pub(super) fn pin(options: &Options, spec: &Spec) -> Result<Program, PinError> {
    let ours = |name: &OsString| !options.drop_env.contains(name) && !spec.variables.contains_key(name);
    let own = env::vars_os().filter(|(name, _)| ours(name));
    let set = spec.variables.iter().map(|(name, value)| (name.clone(), value.clone()));
    Program::pin(&spec.command, &spec.arguments, own.chain(set), Path::new("."))
}

/// Tells a newcomer what there is to try. Only `--demo` says anything.
pub(super) fn welcome(options: &Options, addresses: &[String]) {
    if options.workload != Workload::Demo {
        return;
    }
    let address = addresses.first().map_or("?", String::as_str);
    // Under `cargo run` the client is neither built nor on the path.
    let client = if env::var_os("CARGO").is_some() {
        "cargo run --release --bin einhyrningsinsctl --"
    } else {
        "einhyrningsinsctl"
    };
    let path = options.socket_path.display();
    let default = options.socket_path == Path::new(crate::cli::DEFAULT_SOCKET_PATH);
    let socket = if default { String::new() } else { format!(" -d {path}") };
    let text = format!(
        "\nThe demo serves on http://{address}/ with {} workers. Try, in another terminal:\n\n  \
         # which worker answers?\n  curl http://{address}/\n  \
         # how do things stand?\n  {client}{socket} status\n  \
         # replace every worker, drop no request\n  {client}{socket} upgrade\n  \
         # shut down (or press Ctrl-C here)\n  {client}{socket} die\n\n",
        options.number
    );
    // The demo goes on without its words if nobody can read them.
    let _ = io::stdout().write_all(text.as_bytes());
}
