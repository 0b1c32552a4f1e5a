//! The control client: parse, run, exit status.

use einhyrningsins::{
    cli::{
        client::{COMMAND_LINE, Options, Parsed, parse},
        einhorn, einhornsh,
        tool::Errand,
    },
    ctl::{self, Format, Outcome, Owner, Patience, Target, socket_path},
};
use std::{
    env,
    ffi::OsString,
    io::{self, Write as _},
    mem,
    path::Path,
    process::ExitCode,
};

fn main() -> ExitCode {
    let mut args = env::args_os();
    let called = args.next().unwrap_or_default();
    if einhorn::is_called(&called, einhornsh::NAME) { as_einhornsh(args) } else { as_ourselves(args) }
}

fn as_ourselves(args: impl Iterator<Item = OsString>) -> ExitCode {
    match parse(args) {
        Ok(Parsed::Run(options)) => run(*options),
        Ok(Parsed::Errand(options, errand)) => go(*options, errand),
        Ok(Parsed::Offer(options, offer)) => ctl::offer(target(*options), offer).into(),
        Ok(Parsed::Print(text)) => written(COMMAND_LINE.print(text)),
        Ok(Parsed::Tell(text)) => written(COMMAND_LINE.tell(&text)),
        Err(error) => COMMAND_LINE.refuse(&error),
    }
}

fn as_einhornsh(args: impl Iterator<Item = OsString>) -> ExitCode {
    let folder = einhorn::folder(|name| env::var_os(name), Path::is_dir);
    match einhornsh::parse(args, &folder) {
        Ok(einhornsh::Parsed::Run(options)) => run(*options),
        Ok(einhornsh::Parsed::Version) => COMMAND_LINE.tell(&COMMAND_LINE.version()),
        Ok(einhornsh::Parsed::Usage) => {
            // Nobody is left to tell if standard error is closed.
            let _ = io::stderr().write_all(einhornsh::COMMAND_LINE.help().as_bytes());
            ExitCode::FAILURE
        }
        Err(error) => einhornsh::COMMAND_LINE.refuse(&error),
    }
}

/// What cannot be printed has a status of its own here.
fn written(printed: ExitCode) -> ExitCode {
    if printed == ExitCode::SUCCESS { printed } else { Outcome::Unwritten.into() }
}

fn run(mut options: Options) -> ExitCode {
    let format = format(&options);
    let commands = mem::take(&mut options.commands);
    ctl::run(target(options), format, &commands).into()
}

fn go(options: Options, errand: Errand) -> ExitCode {
    let format = format(&options);
    let outcome = match errand {
        Errand::Replay(trace) => ctl::replay(&trace),
        Errand::Wait(within) => ctl::await_upgrade(&target(options), within, format),
        Errand::Serve(listen) => ctl::serve(&target(options), &listen),
        Errand::Top(interval) => ctl::top(&target(options), interval),
        Errand::Check(check) => ctl::check(&target(options), &check, format),
    };
    outcome.into()
}

fn format(options: &Options) -> Format {
    if options.json { Format::Json } else { Format::People }
}

fn target(options: Options) -> Target {
    let owner = if options.any_owner { Owner::Anybody } else { Owner::RootOrSelf };
    let path = socket_path(options.socket_path, env::var_os("EINHORN_SOCK_PATH"));
    Target { path, owner, patience: Patience::of(options.timeout) }
}
