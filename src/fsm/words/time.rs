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

impl Millis {
    /// Reads a number of seconds as people type it: digits with at most one point among them. A
    /// fraction of a millisecond counts as a whole one: rounding must not turn a short time into none.
    /// `None` if it is anything else, or more than a span can hold.
    #[must_use]
    pub fn from_decimal_seconds(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
            return None;
        }
        let seconds: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let mut decimals = fraction.bytes().map(|byte| u64::from(byte.saturating_sub(b'0')));
        let millis = (0..3).fold(0, |sum, _| sum * 10 + decimals.next().unwrap_or(0));
        let more = u64::from(decimals.any(|digit| digit > 0));
        seconds.checked_mul(1_000)?.checked_add(millis + more).map(Self)
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
    ///
    /// For each deadline, and those before it, that is done once: if it is missed by as much again, it is the
    /// supervisor that gets to run too rarely, and the workers may run all the time. Or no deadline would ever come.
    #[derive(Copy, Default)]
    pub opaque struct Clock {
        /// The present, on the core's own clock.
        now: Time,
        /// All the time left out so far.
        skipped: Millis,
        /// The latest deadline for which a gap was left out.
        excused: Option<Time>,
    }
}

impl Clock {
    /// Moves to the shell's time `at`; `deadline` is the nearest one, on this clock. Returns the
    /// length of the gap left out, if there was one.
    pub fn advance(&mut self, at: Time, deadline: Option<Time>) -> Option<Millis> {
        let at = at - self.skipped;
        // One that was missed before, and is still the nearest, says nothing of the time since.
        let late = |deadline: Time| at.since(deadline.max(self.now)) > LATE;
        let missed = deadline.filter(|deadline| late(*deadline) && Some(*deadline) > self.excused);
        self.excused = self.excused.max(missed);
        let gap = missed.map(|deadline| {
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
    fn a_gap_is_left_out_once_for_each_deadline() {
        let mut clock = Clock::default();
        assert_eq!(clock.advance(Time(10_000), Some(Time(2_000))), Some(Millis(9_000)));
        assert_eq!(clock.now(), Time(1_000));
        // In time, and then late again.
        assert_eq!(clock.advance(Time(10_500), Some(Time(2_000))), None);
        assert_eq!(clock.advance(Time(14_500), Some(Time(2_000))), None);
        assert_eq!(clock.now(), Time(5_500));
        // So for those before it, and not for one behind it.
        assert_eq!(clock.advance(Time(18_000), Some(Time(1_500))), None);
        assert_eq!(clock.advance(Time(30_000), Some(Time(10_000))), Some(Millis(12_000)));
        assert_eq!(clock.now(), Time(9_000));
    }

    #[test]
    fn what_was_missed_already_is_no_gap() {
        let mut clock = Clock::default();
        clock.advance(Time(5_000), None);
        assert_eq!(clock.advance(Time(5_000), Some(Time(1_000))), None);
        assert_eq!(clock.advance(Time(5_001), Some(Time(1_000))), None);
        assert_eq!(clock.advance(Time(7_002), Some(Time(1_000))), Some(Millis(2_001)));
    }

    #[test]
    fn a_gap_after_a_near_deadline_resumes_no_earlier_than_the_present() {
        let mut clock = Clock::default();
        clock.advance(Time(1_000), None);
        clock.advance(Time(9_000), Some(Time(1_200)));
        assert_eq!(clock.now(), Time(1_000));
        assert_eq!(clock.outside(Time(1_200)), Time(9_200));
    }

    #[test]
    fn seconds_are_read_to_the_millisecond() {
        let read = [
            ("0", 0),
            ("30", 30_000),
            ("0.5", 500),
            (".5", 500),
            ("5.", 5_000),
            ("1.1", 1_100),
            ("0.123", 123),
            ("007.0", 7_000),
        ];
        for (text, millis) in read {
            assert_eq!(Millis::from_decimal_seconds(text), Some(Millis(millis)), "{text}");
        }
    }

    #[test]
    fn a_fraction_of_a_millisecond_is_rounded_up() {
        assert_eq!(Millis::from_decimal_seconds("0.0001"), Some(Millis(1)));
        assert_eq!(Millis::from_decimal_seconds("0.1230"), Some(Millis(123)));
        assert_eq!(Millis::from_decimal_seconds("0.9999"), Some(Millis(1_000)));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let long = "9".repeat(400);
        for text in [
            "",
            ".",
            "-1",
            "-0",
            "+1",
            "1e3",
            "nan",
            "inf",
            "1s",
            "1,5",
            "1.2.3",
            " 1",
            "٣",
            "18446744073709552",
            &long,
        ] {
            assert_eq!(Millis::from_decimal_seconds(text), None, "{text}");
        }
    }
}
