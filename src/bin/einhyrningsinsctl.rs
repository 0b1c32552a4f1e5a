//! The control client: parse, run, exit status.

use einhyrningsins::{
    cli::{
        Text,
        client::{COMMAND_LINE, Parsed, parse},
    },
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
        Ok(Parsed::Help) => COMMAND_LINE.print(Text::Help),
        Ok(Parsed::Version) => COMMAND_LINE.print(Text::Version),
        Err(error) => COMMAND_LINE.refuse(&error),
    }
}
