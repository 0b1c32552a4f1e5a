//! The client: what `einhyrningsinsctl` does once its command line has been read.
//!
//! A [`Client`](client::Client) holds the connection and runs one command at a time, a
//! [`Screen`](render::Screen) shows what comes back, and [`run()`] does that for the commands of the
//! command line, or hands over to the [interactive] session.
//!
//! The client refuses no command: it sends words and shows answers, so an old client can talk to a new
//! supervisor. The [table](crate::protocol::command) of those that it knows is for help, for completion,
//! and for a word about an upgrade that goes on without it.
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
pub mod render;
pub mod replay;
pub mod run;
pub mod terminal;

#[cfg(test)]
mod fake;

pub use outcome::Outcome;
pub use replay::replay;
pub use run::{Format, run};
