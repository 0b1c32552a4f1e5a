//! The client's one clock. Nothing is decided by it but how often something is shown.

use std::time::{Duration, Instant};

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
