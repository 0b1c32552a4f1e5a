//! The control client: parse, run, exit status.

use einhyrningsins::{
    cli::client::{COMMAND_LINE, Parsed, parse},
    ctl::{self, Format},
};
use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
};

fn main() -> ExitCode {
    let text = match parse(env::args_os().skip(1)) {
        Ok(Parsed::Run(options)) => {
            let format = if options.json { Format::Json } else { Format::People };
            return ctl::run(&options.socket_path, format, &options.commands).into();
        }
        Ok(Parsed::Replay(trace)) => return ctl::replay(&trace).into(),
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
