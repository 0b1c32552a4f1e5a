//! What a command line comes to when nothing is run: words, and the exit status that goes with them.

use super::{
    error::UsageError,
    table::{CommandLine, Text},
};
use std::{
    io::{self, ErrorKind, Write as _},
    process::ExitCode,
};

impl<K> CommandLine<K> {
    /// Prints what was asked for. If nobody can read it, the program has failed.
    #[must_use]
    pub fn print(&self, text: Text) -> ExitCode {
        let text = match text {
            Text::Help => self.help(),
            Text::Version => self.version(),
        };
        self.tell(&text)
    }

    /// Prints a text of its own. If nobody can read it, the program has failed, and says so unless the reader has
    /// gone away on purpose.
    #[must_use]
    pub fn tell(&self, text: &str) -> ExitCode {
        match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                if error.kind() != ErrorKind::BrokenPipe {
                    let _ = writeln!(io::stderr(), "{}: cannot print: {error}", self.program);
                }
                ExitCode::FAILURE
            }
        }
    }

    /// Complains about a usage error.
    #[must_use]
    pub fn refuse(&self, error: &UsageError) -> ExitCode {
        // Nobody is left to tell if standard error is closed.
        let _ = io::stderr().write_all(self.complaint(error).as_bytes());
        ExitCode::from(2)
    }
}
