//! The supervisor: parse, run, exit status.

use einhyrningsins::{
    cli::daemon::{COMMAND_LINE, Parsed, Program, parse},
    daemon,
};
use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
};

// The example for authors of workers is the built-in one too, so that it cannot rot.
#[path = "../tests/workers/http.rs"]
mod demo;

fn main() -> ExitCode {
    let text = match parse(env::args_os().skip(1)) {
        Ok(Parsed::Run(options)) if options.program == Program::DemoWorker => return demo::main(),
        Ok(Parsed::Run(options)) => return daemon::run(&options),
        Ok(Parsed::Help) => COMMAND_LINE.help(),
        Ok(Parsed::Version) => COMMAND_LINE.version(),
        Err(error) => {
            // Nobody is left to tell if standard error is closed.
            let _ = io::stderr().write_all(COMMAND_LINE.complaint(&error).as_bytes());
            return ExitCode::from(2);
        }
    };
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
