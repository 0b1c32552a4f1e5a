//! The supervisor: parse, run, exit status.

use einhyrningsins::{
    cli::daemon::{COMMAND_LINE, Parsed, Workload, parse},
    daemon,
};
use std::{env, process::ExitCode};

// The example for authors of workers is the built-in one too, so that it cannot rot.
#[path = "../tests/workers/http.rs"]
mod demo;

fn main() -> ExitCode {
    match parse(env::args_os().skip(1)) {
        Ok(Parsed::Run(options)) if options.workload == Workload::DemoWorker => demo::main(),
        Ok(Parsed::Run(options)) => daemon::run(&options),
        Ok(Parsed::Print(text)) => COMMAND_LINE.print(text),
        Err(error) => COMMAND_LINE.refuse(&error),
    }
}
