//! The command line of einhornsh, for when the client is started by that name: its table of options, and what they
//! mean in terms of [our own](super::client).

use super::{
    client::{Options, orders},
    error::{UsageError, brief},
    parse::Typed,
    service::{ServiceName, default_socket},
    table::{CommandLine, Opt, OptionsEnd, Section, Text},
    value::Value,
};
use std::{ffi::OsString, path::Path};

/// The name by which the client is called as einhornsh is.
pub const NAME: &str = "einhornsh";

/// The options, one by one. What each does is told in [`COMMAND_LINE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the option of its name")]
pub enum Key {
    CommandName,
    SocketPath,
    Execute,
    Help,
    Version,
}

/// All about the command line of `einhornsh`.
pub static COMMAND_LINE: CommandLine<Key> = CommandLine {
    program: NAME,
    usage: &["[OPTIONS] [NAME]"],
    summary: "This is einhyrningsinsctl, which takes einhornsh's command line when it is called by that name. It tells \
              a running einhorn what to do, and shows what it answers. Without --execute it reads commands from \
              standard input; `help` lists them.",
    sections: &[Section {
        title: "Options",
        options: &[
            Opt::valued(
                Key::CommandName,
                "command-name",
                "NAME",
                "What the service is called: its control socket is einhorn-NAME.sock, in $TMPDIR or else /tmp. NAME \
                 alone, as a word, is the same.",
            )
            .short('c'),
            Opt::valued(
                Key::SocketPath,
                "socket-path",
                "PATH",
                "The control socket. [default: by the name, or else einhorn.sock there]",
            )
            .short('d'),
            Opt::valued(Key::Execute, "execute", "CMDS", "Run these commands, separated by semicolons.").short('e'),
            Opt::flag(Key::Help, "help", "Print this text to standard error and exit, with status 1.")
                .short('h')
                .prints(Text::Help),
            Opt::flag(Key::Version, "version", "Print name and version, and exit.").prints(Text::Version),
        ],
    }],
    topics: &[],
    options_end: OptionsEnd::Dashes { is_theirs: |_, _| false },
    abbreviates: true,
    foreign: |name| {
        let option = super::client::COMMAND_LINE.find(name)?;
        Some(format!("einhyrningsinsctl has --{}, called by its own name", option.long))
    },
};

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// To run.
    Run(Box<Options>),
    /// To print this to standard error, and to end with status 1.
    Usage,
    /// To print which version this is.
    Version,
}

/// Reads a command line, without the program's name at its start. `folder` is where einhorn keeps its files.
///
/// # Errors
/// If anything in it is unknown or malformed.
pub fn parse<I: IntoIterator<Item = OsString>>(args: I, folder: &Path) -> Result<Parsed, UsageError> {
    let typed = Typed::read(&COMMAND_LINE, args, |_| false)?;
    match typed.prints {
        Some(Text::Help) => return Ok(Parsed::Usage),
        Some(Text::Version) => return Ok(Parsed::Version),
        None => {}
    }
    if let [_, word, ..] = typed.words.as_slice() {
        return Err(UsageError::BadValue {
            option: "NAME".to_owned(),
            value: brief(word),
            why: "is one word too many".to_owned(),
            accepted: "the name of one service; commands go behind --execute".to_owned(),
        });
    }
    let word = typed.words.first().map(|text| Value { option: "command-name", text, place: None });
    let value = typed.values(Key::CommandName).last().or(word);
    let name = value.map(ServiceName::read).transpose()?;
    let socket_path = match typed.value(Key::SocketPath, Value::socket_path)? {
        Some(path) => path,
        None => default_socket(folder, name.as_ref().zip(value))?,
    };
    Ok(Parsed::Run(Box::new(Options {
        socket_path: Some(socket_path),
        any_owner: false,
        json: false,
        timeout: None,
        commands: typed.value(Key::Execute, orders)?.unwrap_or_default(),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::order::Order;
    use std::path::PathBuf;

    fn read(words: &[&str]) -> Result<Parsed, UsageError> {
        parse(words.iter().map(OsString::from), Path::new("/run"))
    }

    /// The socket and the names of the commands.
    fn run(words: &[&str]) -> (PathBuf, Vec<&'static str>) {
        let Ok(Parsed::Run(options)) = read(words) else { panic!("{words:?}: {:?}", read(words)) };
        let names = options.commands.iter().map(|order| match order {
            Order::Send(dispatch) => dispatch.name,
            Order::Tell(_) => "tell",
        });
        (options.socket_path.unwrap(), names.collect())
    }

    fn error(words: &[&str]) -> String {
        read(words).unwrap_err().to_string()
    }

    #[test]
    fn the_socket_is_the_one_that_is_said_or_the_named_services() {
        for (words, socket) in [
            (&[][..], "/run/einhorn.sock"),
            (&["-c", "web"], "/run/einhorn-web.sock"),
            (&["--command-name=web"], "/run/einhorn-web.sock"),
            (&["web"], "/run/einhorn-web.sock"),
            (&["web", "-c", "db"], "/run/einhorn-db.sock"),
            (&["--socket", "/x", "web"], "/x"),
            (&["-d", "/x", "-c", "web"], "/x"),
        ] {
            assert_eq!(run(words), (PathBuf::from(socket), vec![]), "{words:?}");
        }
    }

    #[test]
    fn commands_are_those_of_the_last_option() {
        assert_eq!(run(&["-e", "upgrade"]).1, ["upgrade"]);
        assert_eq!(run(&["web", "-e", "inc", "--execute", "signal USR1; die"]).1, ["signal", "die"]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert_eq!(read(&["-h", "--nonsense"]), Ok(Parsed::Usage));
        assert_eq!(read(&["--version"]), Ok(Parsed::Version));
        assert!(
            error(&["web", "db"]).starts_with("NAME: `db` is one word too many; accepted: the name of one")
        );
        assert!(error(&["-c", "a/b"]).starts_with("--command-name: `a/b` cannot be"));
        assert!(error(&["-d", ""]).starts_with("--socket-path: '' cannot be the path of a socket"));
        assert!(error(&["-e", "frob"]).contains("frob"));
        assert!(error(&["-e", "'"]).contains("is not closed"));
        assert!(error(&["-e"]).starts_with("--execute: its value is missing"));
        let rest = "unknown option `--json`; einhyrningsinsctl has --json, called by its own name";
        assert_eq!(error(&["--json"]), rest);
    }
}
