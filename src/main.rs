//! The supervisor: parse, run, exit status.

use einhyrningsins::{
    cli::daemon::{COMMAND_LINE, Parsed, Workload, parse},
    daemon,
};
use std::{env, ffi::OsStr, path::Path, process::ExitCode};

// The example for authors of workers is the built-in one too, so that it cannot rot.
#[path = "../tests/workers/http.rs"]
mod demo;

fn main() -> ExitCode {
    match parse(env::args_os().skip(1), is_program) {
        Ok(Parsed::Run(options)) if options.workload == Workload::DemoWorker => demo::main(),
        Ok(Parsed::Run(options)) => daemon::run(&options),
        Ok(Parsed::Checked) => ExitCode::SUCCESS,
        Ok(Parsed::Print(text)) => COMMAND_LINE.print(text),
        Err(error) => COMMAND_LINE.refuse(&error),
    }
}

/// Whether a word names a program, as a shell would look for it.
fn is_program(word: &OsStr) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let at = |folder: &Path| folder.join(word).is_file();
    if Path::new(word).components().count() > 1 {
        at(Path::new(""))
    } else {
        env::split_paths(&path).any(|folder| at(&folder))
    }
}
