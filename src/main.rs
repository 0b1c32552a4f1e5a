//! The supervisor: parse, run, exit status.

use einhyrningsins::{
    cli::{
        UsageError,
        daemon::{COMMAND_LINE, Options, Parsed, Workload},
        einhorn,
    },
    daemon,
};
use std::{env, ffi::OsString, path::Path, process::ExitCode};

// The example for authors of workers is the built-in one too, so that it cannot rot.
#[path = "../tests/workers/http.rs"]
mod demo;

fn main() -> ExitCode {
    let mut args = env::args_os().peekable();
    let called = args.next().unwrap_or_default();
    // What comes behind it is the command line of the supervisor that asks, which is to make sense to this version.
    let is_checked = args.next_if(|first| first == daemon::CHECK_HANDOVER).is_some();
    let run = if is_checked { |_: &Options| daemon::check_handover() } else { run };
    if einhorn::is_called(&called, einhorn::NAME) {
        as_einhorn(args, run)
    } else {
        as_ourselves(daemon::read(args.collect(), is_checked), run)
    }
}

fn as_ourselves(parsed: Result<Parsed, UsageError>, run: fn(&Options) -> ExitCode) -> ExitCode {
    match parsed {
        Ok(Parsed::Run(options)) => run(&options),
        Ok(Parsed::CheckConfig(options)) => daemon::check_config(&options),
        Ok(Parsed::Checked) => ExitCode::SUCCESS,
        Ok(Parsed::Print(text)) => COMMAND_LINE.print(text),
        Ok(Parsed::Tell(text)) => COMMAND_LINE.tell(&text),
        Err(error) => {
            daemon::give_back(&error.to_string());
            COMMAND_LINE.refuse(&error)
        }
    }
}

fn as_einhorn(args: impl Iterator<Item = OsString>, run: fn(&Options) -> ExitCode) -> ExitCode {
    let folder = einhorn::folder(|name| env::var_os(name), Path::is_dir);
    match einhorn::parse(args, &folder) {
        Ok(einhorn::Parsed::Run(options)) => run(&options),
        Ok(einhorn::Parsed::Checked) => ExitCode::SUCCESS,
        Ok(einhorn::Parsed::Version) => COMMAND_LINE.tell(&COMMAND_LINE.version()),
        Ok(einhorn::Parsed::Usage) => {
            // The status is the same, whether somebody reads it or not.
            let _ = COMMAND_LINE.tell(&einhorn::usage());
            ExitCode::FAILURE
        }
        Err(error) => {
            daemon::give_back(&error.to_string());
            einhorn::COMMAND_LINE.refuse(&error)
        }
    }
}

fn run(options: &Options) -> ExitCode {
    if options.workload == Workload::DemoWorker { demo::main() } else { daemon::run(options) }
}
