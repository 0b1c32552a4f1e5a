//! The one clock: milliseconds since the supervisor's start, monotonic. Only the event loop reads it;
//! everything else gets the time from there.

use crate::fsm::time::Time;
use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime};

/// A running clock. The core has a `Clock` too, which is told the time and reads none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monotonic {
    /// Since when it runs, on the system's clock.
    origin: Duration,
}

impl Monotonic {
    /// Starts a clock at zero.
    pub(crate) fn start() -> Self {
        Self { origin: monotonic() }
    }

    /// The clock that began at `origin`, which goes on.
    pub(crate) fn since(origin: u64) -> Self {
        Self { origin: Duration::from_nanos(origin) }
    }

    /// When it began, in nanoseconds of the system's monotonic clock.
    pub(crate) fn origin(&self) -> u64 {
        u64::try_from(self.origin.as_nanos()).unwrap_or(u64::MAX)
    }

    fn elapsed(&self) -> Duration {
        monotonic().saturating_sub(self.origin)
    }

    /// The present, rounded down: a deadline that it has reached has truly passed.
    pub(crate) fn now(&self) -> Time {
        Time(u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// When that is in milliseconds since the machine was started, or later: time in which it was suspended counts there,
    /// and all of it is taken to have been before.
    pub(crate) fn since_boot(&self, time: Time) -> u64 {
        let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or(Duration::MAX);
        let suspended = boot.saturating_sub(monotonic());
        let since = self.origin.saturating_add(Duration::from_millis(time.0)).saturating_add(suspended);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// How long it is until `deadline`; zero if it has passed. Whoever sleeps that long finds that
    /// [`now`](Self::now) has reached it.
    pub(crate) fn until(&self, deadline: Time) -> Duration {
        Duration::from_millis(deadline.0).saturating_sub(self.elapsed())
    }
}

/// The time of day: milliseconds since 1970, UTC. For people to read; nothing is measured by it.
#[expect(clippy::disallowed_methods, reason = "the place where time is read")]
pub(crate) fn time_of_day() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The system's monotonic clock in microseconds, for those who compare it with what they have read from it
/// themselves.
pub(crate) fn monotonic_micros() -> u64 {
    u64::try_from(monotonic().as_micros()).unwrap_or(u64::MAX)
}

/// The system's monotonic clock.
pub(crate) fn monotonic() -> Duration {
    // Cannot fail: that clock is always there.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
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
