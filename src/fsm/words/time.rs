//! Points and spans of time, in whole milliseconds.
//!
//! The core has no clock. Time enters with each [`Event`](super::event::Event), as milliseconds since an
//! arbitrary start, and must come from a monotonic source.

use super::text::record;
use core::ops::{Add, Sub};

/// A point in time: milliseconds since the supervisor's start, monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

/// A span of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Time {
    /// The span since `earlier`, or zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Millis> for Time {
    type Output = Self;

    /// Saturates at the end of time.
    fn add(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Millis> for Time {
    type Output = Self;

    /// Saturates at the start of time.
    fn sub(self, span: Millis) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

/// How late an event may come before the difference counts as a gap: the machine was suspended, or
/// the supervisor stopped or starved.
pub const LATE: Millis = Millis(2_000);

/// What workers get after a gap before a deadline that fell into it takes effect.
pub const CATCH_UP: Millis = Millis(1_000);

record! {
    /// The core's own clock: the shell's time less the gaps in it.
    ///
    /// The shell wakes at every deadline, so an event more than [`LATE`] past the nearest deadline means
    /// that nothing ran in between, quite possibly the workers neither. Holding that time against them
    /// would kill a whole fleet at once. The clock therefore leaves the gap out and resumes [`CATCH_UP`]
    /// before the nearest deadline. It never goes backwards.
    #[derive(Copy, Default)]
    pub opaque struct Clock {
        /// The present, on the core's own clock.
        now: Time,
        /// All the time left out so far.
        skipped: Millis,
    }
}

impl Clock {
    /// Moves to the shell's time `at`; `deadline` is the nearest one, on this clock. Returns the
    /// length of the gap left out, if there was one.
    pub fn advance(&mut self, at: Time, deadline: Option<Time>) -> Option<Millis> {
        let at = at - self.skipped;
        let gap = deadline.filter(|deadline| at.since(*deadline) > LATE).map(|deadline| {
            let resume = (deadline - CATCH_UP).max(self.now);
            at.since(resume)
        });
        if let Some(gap) = gap {
            self.skipped = Millis(self.skipped.0.saturating_add(gap.0));
        }
        self.now = self.now.max(at - gap.unwrap_or_default());
        gap
    }

    /// When, on the shell's time, this clock will show `time`.
    #[must_use]
    pub fn outside(&self, time: Time) -> Time {
        time + self.skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_backwards() {
        let mut clock = Clock::default();
        clock.advance(Time(500), None);
        clock.advance(Time(400), None);
        assert_eq!(clock.now(), Time(500));
    }

    #[test]
    fn a_late_wake_within_the_limit_is_taken_as_it_is() {
        let mut clock = Clock::default();
        assert_eq!(clock.advance(Time(3_000), Some(Time(1_000))), None);
        assert_eq!(clock.now(), Time(3_000));
    }

    #[test]
    fn a_gap_is_left_out_and_the_nearest_deadline_is_still_to_come() {
        let mut clock = Clock::default();
        clock.advance(Time(100), None);
        assert_eq!(clock.advance(Time(3_600_100), Some(Time(30_000))), Some(Millis(3_571_100)));
        assert_eq!(clock.now(), Time(29_000));
        assert_eq!(clock.outside(Time(30_000)), Time(3_601_100));
        clock.advance(Time(3_601_100), Some(Time(30_000)));
        assert_eq!(clock.now(), Time(30_000));
    }

    #[test]
    fn a_gap_after_a_near_deadline_resumes_no_earlier_than_the_present() {
        let mut clock = Clock::default();
        clock.advance(Time(1_000), None);
        clock.advance(Time(9_000), Some(Time(1_200)));
        assert_eq!(clock.now(), Time(1_000));
        assert_eq!(clock.outside(Time(1_200)), Time(9_200));
    }
}
