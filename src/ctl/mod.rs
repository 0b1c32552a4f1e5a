//! The client: what `einhyrningsinsctl` does once its command line has been read.
//!
//! A [`Client`](client::Client) holds the connection and runs one command at a time, a
//! [`Screen`](render::Screen) shows what comes back, and [`run()`] does that for the commands of the
//! command line, or hands over to the [interactive] session.
//!
//! What a command is and what it takes is known from the [table](crate::protocol::command) that the supervisor
//! reads it by, too: a command that no supervisor would understand is not sent. Words become commands in
//! [`order`](crate::cli::order).
//!
//! Who answers is not taken on trust ([`owner`]), nothing that is answered gives orders to the terminal
//! ([`render`]), and Ctrl-C ends the wait for an answer and nothing else ([`interrupt`]). Nor is the wait without end
//! ([`patience`]): of a supervisor that does not answer it is told what it is doing ([`process`]).
//!
//! [`replay()`] is apart from all that: it needs no supervisor, only what one has recorded.

pub mod bar;
pub mod client;
pub mod clock;
pub mod connection;
pub mod interactive;
pub mod interrupt;
mod outcome;
pub mod owner;
pub mod pace;
pub mod patience;
pub mod process;
pub mod render;
pub mod replay;
pub mod run;
pub mod terminal;
pub mod wait;

#[cfg(test)]
mod fake;

pub use connection::Target;
pub use outcome::Outcome;
pub use owner::Owner;
pub use patience::Patience;
pub use replay::replay;
pub use run::{Format, run, socket_path};
