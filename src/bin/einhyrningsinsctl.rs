//! The control client: parse, run, exit status.

use einhyrningsins::{
    cli::client::{COMMAND_LINE, Parsed, parse},
    ctl::{self, Format, Owner, Patience, Target, socket_path},
};
use std::{env, process::ExitCode};

fn main() -> ExitCode {
    match parse(env::args_os().skip(1)) {
        Ok(Parsed::Run(options)) => {
            let format = if options.json { Format::Json } else { Format::People };
            let owner = if options.any_owner { Owner::Anybody } else { Owner::RootOrSelf };
            let path = socket_path(options.socket_path, env::var_os("EINHORN_SOCK_PATH"));
            let patience = Patience::of(options.timeout);
            ctl::run(Target { path, owner, patience }, format, &options.commands).into()
        }
        Ok(Parsed::Replay(trace)) => ctl::replay(&trace).into(),
        Ok(Parsed::Print(text)) => COMMAND_LINE.print(text),
        Ok(Parsed::Tell(text)) => COMMAND_LINE.tell(&text),
        Err(error) => COMMAND_LINE.refuse(&error),
    }
}
