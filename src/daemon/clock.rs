//! The one clock: milliseconds since the supervisor's start, monotonic. Only the event loop reads it;
//! everything else gets the time from there.

use crate::fsm::time::Time;
use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant, SystemTime};

/// A running clock. The core has a `Clock` too, which is told the time and reads none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monotonic {
    start: Instant,
}

impl Monotonic {
    /// Starts a clock at zero.
    #[expect(clippy::disallowed_methods, reason = "the place where time is read")]
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The present, rounded down: a deadline that it has reached has truly passed.
    pub(crate) fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// How long it is until `deadline`; zero if it has passed. Whoever sleeps that long finds that
    /// [`now`](Self::now) has reached it.
    pub(crate) fn until(&self, deadline: Time) -> Duration {
        Duration::from_millis(deadline.0).saturating_sub(self.start.elapsed())
    }
}

/// The time of day: seconds since 1970, UTC. For people to read; nothing is measured by it.
#[expect(clippy::disallowed_methods, reason = "the place where time is read")]
pub(crate) fn time_of_day() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The system's monotonic clock in microseconds, for those who compare it with what they have read from it
/// themselves.
pub(crate) fn monotonic_micros() -> u64 {
    // Cannot fail: that clock is always there.
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::time::Millis;

    #[test]
    fn sleeping_until_a_deadline_reaches_it() {
        let clock = Monotonic::start();
        let deadline = clock.now() + Millis(5);
        assert!(clock.until(deadline) <= Duration::from_millis(5));
        std::thread::sleep(clock.until(deadline));
        assert!(clock.now() >= deadline);
        assert_eq!(clock.until(deadline), Duration::ZERO);
    }
}
