//! `--check-config`: what a start would come to, told without one. What a start finds out before it does anything that
//! others see is found out in the same way. The rest is looked at, and left as it is: nothing is bound, locked, made or
//! asked, so that it can be said of a service that runs. Whether an address can be had shows at a start only.

use super::{
    called,
    claim::Claim,
    given::FIRST_FD,
    handed,
    listen::{Address, Maker},
    lockfile, pidfile, place,
    process::FileLimit,
    program::Program,
    recorder,
    reference::Roster,
    release,
    sockets::{Planned, Sockets, Unusable},
    start,
};
use crate::{
    cli::{
        daemon::{COMMAND_LINE, Options, Workload},
        drain::by_process,
    },
    fsm::event::SpawnError,
    protocol::{
        json::{list, text},
        state,
        visible::{visible, visible_lines},
        words,
    },
};
use miniserde::json;
use std::{
    ffi::{OsStr, OsString},
    io::{self, Write as _},
    os::{fd::RawFd, unix::ffi::OsStrExt as _},
    path::Path,
    process::ExitCode,
};

/// Something that would be in the way of a start, and the status that this would end with.
struct Obstacle {
    code: u8,
    why: String,
}

impl Obstacle {
    fn new(code: u8) -> impl Fn(String) -> Self {
        move |why| Self { code, why }
    }
}

impl From<Unusable> for Obstacle {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Option(why) => Self { code: 2, why },
            Unusable::ForNow(why) => Self { code: 1, why },
        }
    }
}

/// Says what would be run, and what would be in the way, in the order in which a start comes upon it. The exit status is
/// that of the first of those, or 0.
#[must_use]
pub fn check_config(options: &Options) -> ExitCode {
    let mut obstacles = Vec::new();
    let sockets = sockets(options, &mut obstacles);
    obstacles.extend(files(options, sockets.as_ref()).into_iter().map(Obstacle::new(1)));
    let roster = sockets.as_ref().map(Sockets::roster).unwrap_or_default();
    let program = release::at_start(options, &roster);
    obstacles.extend(match &program {
        Err(failed) => Some(cannot_run(&failed.path, &failed.error, failed.why.as_deref())),
        Ok(program) => program.foreseen().map(|(error, why)| cannot_run(program.path(), &error, Some(&why))),
    });
    let program = program.ok();
    let printed =
        COMMAND_LINE.tell(&visible_lines(&report(options, sockets.as_ref(), program.as_ref(), &roster)));
    let name = COMMAND_LINE.program;
    let mut complaint: String =
        obstacles.iter().map(|it| format!("{name}: {}\n", visible(&it.why))).collect();
    let remarks = options.remarks.iter().map(|remark| format!("{name}: {}\n", visible(remark)));
    complaint.extend(remarks);
    // Nobody is left to tell if standard error is closed.
    let _ = io::stderr().write_all(complaint.as_bytes());
    obstacles.first().map_or(printed, |first| ExitCode::from(first.code))
}

fn cannot_run(path: &Path, error: &SpawnError, why: Option<&str>) -> Obstacle {
    let more = why.map(|why| format!("; {why}")).unwrap_or_default();
    let why = format!("cannot run {}: {}{more}", path.display(), words::spawn_error(error));
    Obstacle { code: error.exit_code().unwrap_or(1), why }
}

/// The sockets there would be; none if that cannot be told of each.
fn sockets(options: &Options, obstacles: &mut Vec<Obstacle>) -> Option<Sockets> {
    let handed = handed::take().map_err(Obstacle::new(1)).map_err(|it| obstacles.push(it)).ok()?;
    let files = FileLimit::raise();
    // Each for itself, so that all are told of which something is wrong.
    let alone = |bind| Options { binds: vec![bind], ..options.clone() };
    let before = obstacles.len();
    for bind in &options.binds {
        let tried = Sockets::resolve(&alone(bind.clone()), Vec::new(), u64::MAX);
        obstacles.extend(tried.err().map(Obstacle::from));
    }
    if obstacles.len() > before {
        return None;
    }
    start::sockets(options, handed, files).map_err(|why| obstacles.push(why.into())).ok()
}

/// What is wrong with the places of the files that there would be.
fn files(options: &Options, sockets: Option<&Sockets>) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(options.lockfile.as_deref().and_then(|path| lockfile::look(path).err()));
    // That is ours only, and this process does nothing else.
    wrong.extend(options.nice.and_then(|nice| start::renice(nice).err()));
    wrong.extend(options.pidfile.as_deref().and_then(|path| pidfile::look(path).err()));
    wrong.extend(options.trace.as_deref().and_then(|path| recorder::look(path).err()));
    wrong.extend(Claim::look(&options.socket_path).err().map(|why| why.to_string()));
    for Planned { address, maker, .. } in sockets.into_iter().flat_map(Sockets::planned) {
        if let (Address::Path(path), Maker::Us) = (address, maker) {
            wrong.extend(place::look(path).err().map(|why| format!("cannot listen on {address}: {why}")));
        }
    }
    wrong
}

/// What would be run, a line for each thing.
fn report(
    options: &Options,
    sockets: Option<&Sockets>,
    program: Option<&Program>,
    roster: &Roster,
) -> String {
    let count = sockets.map_or(options.binds.len(), Sockets::count);
    let config = called::config(options, count);
    let mut lines = vec![state::config(options.in_effect(&config, options.number)).message, String::new()];
    let mut line = |name: &str, value: String| lines.push(format!("{name}: {value}"));
    if let Some(program) = program {
        let arguments = arguments(options, roster);
        line("executable", quoted(program.path().as_os_str()));
        line("arguments", json::to_string(&list(arguments.iter().map(|word| text(&word.to_string_lossy())))));
        line("directory", quoted(program.working_directory().as_os_str()));
        line("drains by", drains_by(options, program, &arguments));
    }
    for (number, Planned { address, name, maker }) in
        sockets.into_iter().flat_map(Sockets::planned).enumerate()
    {
        let fd = FIRST_FD.saturating_add(RawFd::try_from(number).unwrap_or(RawFd::MAX));
        let from = match maker {
            Maker::Us => "",
            Maker::Other => ", from the service manager",
        };
        let called = words::called(name);
        line(&format!("socket {{fd:{number}}}"), format!("{address}{called}, descriptor {fd}{from}"));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn quoted(word: &OsStr) -> String {
    json::to_string(&text(&word.to_string_lossy()))
}

/// The program's arguments, with descriptors in place of references.
fn arguments(options: &Options, roster: &Roster) -> Vec<OsString> {
    match &options.workload {
        Workload::Program { args, .. } => {
            args.iter().map(|word| roster.fill(word).unwrap_or_else(|_| word.clone())).collect()
        }
        Workload::Demo | Workload::DemoWorker => vec!["--demo-worker".into()],
    }
}

/// The signal that would make workers drain, as far as that can be told of a program that does not run.
fn drains_by(options: &Options, program: &Program, arguments: &[OsString]) -> String {
    if let Some(signal) = options.stop_signal {
        return signal.word().to_owned();
    }
    let name = program.path().file_name().unwrap_or_default();
    let words = [name].into_iter().chain(arguments.iter().map(OsString::as_os_str));
    let words = words.map(OsStr::as_bytes).collect::<Vec<_>>().join(&0);
    match by_process(name.as_bytes(), &words) {
        Some(known) => format!("{}, which makes {} drain", known.signal.word(), known.program),
        None => "USR2 if it has a handler for that, else TERM".to_owned(),
    }
}
