//! The client's one clock, and the one on the wall. Nothing is decided by them but how often something is shown or
//! asked for.

use std::time::{Duration, Instant};
#[cfg(feature = "serve")]
use std::time::{SystemTime, UNIX_EPOCH};

/// What the clock on the wall shows: the time since the beginning of 1970.
#[cfg(feature = "serve")]
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the clock of the client")]
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A clock that only goes forward.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the clock of the client")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time since its start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }
}
