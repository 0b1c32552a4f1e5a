//! The command lines of both programs.
//!
//! One table of options per program ([`daemon::COMMAND_LINE`], [`client::COMMAND_LINE`]) is all there
//! is to know about them: the parser, `--help` and whatever else describes the options read it, so
//! that none of them can disagree. The commands that the client lists are the protocol's, by its
//! [table](crate::protocol::command).
//!
//! A command line is taken in two steps. Reading finds out *what was typed*: which options, with which
//! values, and which words follow. Resolving finds out *what it means*: typed [`daemon::Options`] or
//! [`client::Options`], with defaults filled in and contradictions refused.
//!
//! Neither step touches the system: no file is opened, no name resolved, no environment read, nothing
//! printed; files that a command line names are read by a function that is passed in. The two `main`s pass in their arguments, and what there is to say without a run they leave to
//! [`CommandLine::print`] and [`CommandLine::refuse`], which alone write. Anything wrong with a command
//! line is a [`UsageError`], one line long whatever was typed.
//!
//! | Room | For |
//! |---|---|
//! | `table` | what an option is |
//! | `parse` | words to options, by a table |
//! | [`argument_file`] | the words in a file that a command line names |
//! | `value` | the text of a value to a number, a time, a path |
//! | `service` | the same for a service's name and how nice it is |
//! | `help` | the words of `--help`, `--version` and the answer to a usage error |
//! | `man` | manual pages |
//! | [`completions`] | scripts by which shells complete command lines |
//! | `print` | printing them, and the exit status |
//! | [`bind`] | what `--bind` takes |
//! | [`order`] | the commands that the client takes, in its arguments and elsewhere |
//! | [`tool`] | the commands of the client's own, each with its table |
//! | [`drain`] | which signal makes which program drain |
//! | [`daemon`], [`client`] | the tables, and what their options mean together |
//! | [`einhorn`], [`einhornsh`] | the same for einhorn's own command lines, by which both programs can be called |

pub mod argument_file;
pub mod bind;
pub mod client;
pub mod completions;
pub mod daemon;
pub mod drain;
pub mod einhorn;
pub mod einhornsh;
pub mod order;
pub mod tool;

#[cfg(test)]
mod any;
mod error;
mod help;
mod man;
mod parse;
mod print;
mod service;
mod table;
mod value;

pub use error::UsageError;
#[cfg(feature = "daemon")]
pub(crate) use error::brief;
pub use service::{Nice, ServiceName};
pub use table::{CommandLine, Opt, Rows, Section, Text, Topic};
pub use value::{DEFAULT_SOCKET_PATH, LONGEST_SOCKET_PATH};
