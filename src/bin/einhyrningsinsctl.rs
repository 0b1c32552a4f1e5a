//! The control client: parse, run, exit status.

use einhyrningsins::{
    cli::client::{COMMAND_LINE, Parsed, parse},
    ctl::{self, Format},
};
use std::{env, process::ExitCode};

fn main() -> ExitCode {
    match parse(env::args_os().skip(1)) {
        Ok(Parsed::Run(options)) => {
            let format = if options.json { Format::Json } else { Format::People };
            ctl::run(&options.socket_path, format, &options.commands).into()
        }
        Ok(Parsed::Replay(trace)) => ctl::replay(&trace).into(),
        Ok(Parsed::Print(text)) => COMMAND_LINE.print(text),
        Err(error) => COMMAND_LINE.refuse(&error),
    }
}
