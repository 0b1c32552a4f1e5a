//! What is said over the control socket, and the words it is said in.
//!
//! One JSON object per line, both ways, or what einhorn's own clients take for that. A [`LineBuffer`] turns what arrives into lines, [`decode`]
//! turns a line into a [`Request`], the [`answer`] room words the machine's answers, and an
//! [`Envelope`] is one line of them. The client reads the same types back.
//!
//! Nothing here does input or output, and nothing here decides: every function is total over any
//! bytes whatsoever, which is what the fuzzers hold it to. The daemon, the client and the command lines
//! use it; it knows the words of the core, which does not know it.

pub mod answer;
pub mod command;
pub mod dialect;
pub mod events;
pub mod history;
pub mod line;
pub mod notification;
pub mod operation;
pub mod progress;
pub mod release;
pub mod reply;
pub mod request;
pub mod state;
pub mod status;
pub mod totals;
pub mod visible;
pub mod words;

mod asked;
pub(crate) mod json;
pub(crate) mod nearest;
pub(crate) mod typed;

pub use dialect::Dialect;
pub use line::{LineBuffer, Overlong};
pub use operation::Operation;
pub use progress::Progress;
pub use release::Release;
pub use reply::{BadReply, Envelope, ReplyTo};
pub use request::{Refusal, Request, decode};
pub use totals::Totals;
