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
//! What the client does by itself ([`tool`](crate::cli::tool)) asks over a [`Session`](session::Session), and makes
//! something of the [`Report`](report::Report) that comes back: [`check()`] and
//! [`await_upgrade`] a line and an exit status, [`serve()`] metrics, probes and a page for whoever asks over HTTP,
//! [`top()`] a view for people that goes on.
//!
//! [`offer()`] tells a shell what can be typed.
//!
//! [`replay()`] is apart from all that: it needs no supervisor, only what one has recorded.

pub mod bar;
pub mod check;
pub mod client;
pub mod clock;
pub mod connection;
pub mod failing;
pub mod interactive;
pub mod interrupt;
pub mod offer;
mod outcome;
pub mod owner;
pub mod pace;
pub mod patience;
pub mod process;
#[cfg(any(feature = "serve", feature = "top"))]
pub mod procfs;
pub mod render;
pub mod replay;
pub mod report;
pub mod run;
#[cfg(feature = "serve")]
mod serve;
pub mod session;
pub mod terminal;
#[cfg(feature = "top")]
pub mod top;
pub mod wait;
pub mod watch;

#[cfg(test)]
mod fake;

pub use check::check;
pub use connection::Target;
pub use offer::offer;
pub use outcome::Outcome;
pub use owner::Owner;
pub use patience::Patience;
pub use replay::replay;
pub use run::{Format, run, socket_path};
#[cfg(feature = "serve")]
pub use serve::serve;
#[cfg(feature = "top")]
pub use top::top;
pub use watch::await_upgrade;

/// Says that this program cannot serve.
#[cfg(not(feature = "serve"))]
#[must_use]
pub fn serve(_: &Target, _: &crate::cli::tool::Listen) -> Outcome {
    not_built_in("serve")
}

/// Says that this program has no live view.
#[cfg(not(feature = "top"))]
#[must_use]
pub fn top(_: &Target, _: crate::fsm::time::Millis) -> Outcome {
    not_built_in("top")
}

/// What is left of a command whose feature this build has not.
#[cfg(not(all(feature = "serve", feature = "top")))]
fn not_built_in(name: &str) -> Outcome {
    use std::io::Write as _;
    let complaint =
        format!("einhyrningsinsctl: {name}: not built in; a build with the feature `{name}` has it\n");
    // There is nowhere left to complain about that to.
    let _ = std::io::stderr().write_all(complaint.as_bytes());
    Outcome::Failed
}
