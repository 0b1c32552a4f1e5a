//! Metrics, probes and a page for people, over HTTP: `einhyrningsinsctl serve`.
//!
//! The supervisor knows nothing of it. Here is a client that asks it for its `status` when somebody asks here, once
//! for all who ask at the same time, and a server that is small and hard to hold up:
//!
//! - the [`hall`] is one thread in which all [`guest`]s are attended to, a bounded number of them, each for a bounded
//!   time; [`http`] is what is understood of what they say, and how they are answered;
//! - the [`desk`] is a second thread that asks the supervisor, and writes down what it says: as [`metrics`], in the
//!   form that [`exposition`] has, with what [`procfs`](super::procfs) tells of processes; or as [`status`] for the page;
//! - [`events`] is a third that listens to what happens, for as long as somebody looks at the page.
//!
//! Nothing grows with the number of those who ask, and none of them can make another wait. What listens is a
//! [`door`].

mod desk;
mod door;
mod events;
mod exposition;
mod guest;
mod hall;
mod http;
mod metrics;
mod ready;
mod route;
mod status;

use super::{
    connection::Target,
    outcome::Outcome,
    render::{Screen, Style},
};
use crate::{cli::tool::Listen, protocol::words::io_error};
use desk::Desk;
use door::Door;
use hall::Hall;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level::pipe,
};
use std::{io, os::unix::net::UnixStream, time::Duration};

/// How long a question to the supervisor may take, unless `--timeout` says otherwise: who asks here hears within two
/// seconds that it does not answer.
const USUAL: Duration = Duration::from_millis(1_500);

/// Serves here what is known of the service at `target`, until SIGTERM or SIGINT.
#[must_use]
pub fn serve(target: &Target, listen: &Listen) -> Outcome {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut screen = Screen::new(&mut out, &mut err, Style::Plain);
    let door = match Door::open(listen) {
        Ok(door) => door,
        Err(error) => {
            screen.complain(&format_args!("serve: {error}"));
            return Outcome::Failed;
        }
    };
    let mut target = target.clone();
    target.patience.first = target.patience.next.unwrap_or(USUAL);
    let started = || -> io::Result<Hall> {
        let signals = signals()?;
        let (desk, answers) = Desk::start(target)?;
        Hall::new(signals, desk, answers)
    };
    let mut hall = match started() {
        Ok(hall) => hall,
        Err(error) => {
            screen.complain(&format_args!("serve: cannot start: {}", io_error(&error)));
            return Outcome::Failed;
        }
    };
    screen.say(&format!("serving on {}", door.place()));
    ready::tell();
    hall.run(&door);
    screen.conclude(Outcome::Done)
}

/// Has something to be read once it is to end.
fn signals() -> io::Result<UnixStream> {
    let (signals, end) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT] {
        pipe::register(signal, end.try_clone()?)?;
    }
    Ok(signals)
}
