//! When a slot may try again.

use crate::fsm::words::{
    config::{BACKOFF_MAX, DELAY_MIN, FREE_ENDS, SPACING, TURNS},
    id::SlotId,
    time::{Millis, Time},
};

/// The delay before the next try after `failures` failed starts in a row, of which there is one at least:
/// `first` × 1.5^(failures − 1), from [`DELAY_MIN`] to [`BACKOFF_MAX`], less a part that depends on the slot.
///
/// The spread (up to an eighth) keeps many slots that failed together from waking together. It is a
/// function of the slot alone, so a replay finds the same delays, and a slot's delays never shrink
/// from one failure to the next. Slot 0 waits the exact time.
#[must_use]
pub fn delay(first: Millis, failures: u32, slot: SlotId) -> Millis {
    spread_out(grown(first, failures, BACKOFF_MAX), slot)
}

/// How long the next start of a slot must come after the last one, when `ends` healthy workers of it in a row
/// have ended early: zero for the first [`FREE_ENDS`], then as for failed starts, but at most [`SPACING`].
#[must_use]
pub fn spacing(first: Millis, ends: u32, slot: SlotId) -> Millis {
    match ends.checked_sub(FREE_ENDS) {
        Some(1..) => spread_out(grown(first, ends - FREE_ENDS, SPACING), slot),
        Some(0) | None => Millis(0),
    }
}

/// `first` × 1.5^(times − 1), within bounds.
fn grown(first: Millis, times: u32, most: Millis) -> Millis {
    // In 1024ths of a millisecond, so that the shortest delays grow too.
    let most = most.0 * 1024;
    let mut nominal = first.max(DELAY_MIN).0.saturating_mul(1024).min(most);
    for _ in 1..times.min(GROWN) {
        nominal = (nominal * 3 / 2).min(most);
    }
    Millis(nominal / 1024)
}

/// The turn of the last worker of several that ends early, one of those of all slots together: each takes a part of a
/// second, and a second's worth may be taken in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// How long its replacement waits.
    pub wait: Millis,
    /// Until when all that was taken lasts.
    pub until: Time,
}

impl Turn {
    /// The next turn, where those that were taken before last `until` then, if there were any.
    #[must_use]
    pub fn next(until: Option<Time>, now: Time) -> Self {
        let second = Millis(1_000);
        let from = until.map_or(now, |until| until.max(now));
        let until = from + Millis(second.0 / u64::from(TURNS));
        Self { wait: until.since(now + second), until }
    }
}

/// A delay less a part that depends on the slot, up to an eighth.
#[must_use]
pub fn spread_out(Millis(nominal): Millis, slot: SlotId) -> Millis {
    Millis(nominal - nominal * spread(slot) / 1024)
}

/// By so many failures in a row the shortest delay has grown to the longest.
const GROWN: u32 = 27;

/// A number below 128 that differs between neighbouring slots.
fn spread(slot: SlotId) -> u64 {
    u64::from(slot.0) * 37 % 128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_delay_is_half_as_long_again_up_to_the_limit() {
        let delays: alloc::vec::Vec<u64> =
            (1..6).map(|failures| delay(Millis(100), failures, SlotId(0)).0).collect();
        assert_eq!(delays, [100, 150, 225, 337, 506]);
        let shortest = [1, 2, 3, 4, 5, 20, 21, 22].map(|failures| delay(Millis(1), failures, SlotId(0)).0);
        assert_eq!(shortest, [10, 15, 22, 33, 50, 22_168, 30_000, 30_000]);
        assert_eq!(delay(Millis(100), u32::MAX, SlotId(0)), BACKOFF_MAX);
        assert_eq!(delay(Millis(u64::MAX), 1, SlotId(0)), BACKOFF_MAX);
        assert_eq!(delay(Millis(0), 1, SlotId(0)), DELAY_MIN);
    }

    #[test]
    fn early_ends_are_free_at_first_and_never_cost_more_than_a_fifth_of_a_second() {
        let spaces: alloc::vec::Vec<u64> =
            (0..9).map(|ends| spacing(Millis(100), ends, SlotId(0)).0).collect();
        assert_eq!(spaces, [0, 0, 0, 0, 0, 100, 150, 200, 200]);
        assert_eq!(spacing(Millis(100), u32::MAX, SlotId(0)), SPACING);
        assert_eq!(spacing(BACKOFF_MAX, FREE_ENDS + 1, SlotId(0)), SPACING);
        assert_eq!(spacing(Millis(0), FREE_ENDS + 1, SlotId(0)), DELAY_MIN);
    }

    #[test]
    fn a_hundred_turns_are_free_and_then_a_hundred_a_second() {
        let (mut until, now) = (None, Time(5_000));
        let mut wait = || {
            let turn = Turn::next(until, now);
            until = Some(turn.until);
            turn.wait.0
        };
        let waits: alloc::vec::Vec<u64> = (0..103).map(|_| wait()).collect();
        assert_eq!(waits[..100], [0; 100]);
        assert_eq!(waits[100..], [10, 20, 30]);
    }

    #[test]
    fn turns_come_back_with_time() {
        let taken = Some(Time(6_000));
        assert_eq!(Turn::next(taken, Time(5_000)), Turn { wait: Millis(10), until: Time(6_010) });
        assert_eq!(Turn::next(taken, Time(5_010)), Turn { wait: Millis(0), until: Time(6_010) });
        assert_eq!(Turn::next(taken, Time(9_000)).until, Time(9_010));
        assert_eq!(Turn::next(None, Time(9_000)).until, Time(9_010));
    }

    #[test]
    fn a_hundred_slots_that_fail_together_wake_apart() {
        let delays: alloc::collections::BTreeSet<Millis> =
            (0..100).map(|slot| delay(Millis(3_000), 1, SlotId(slot))).collect();
        assert!(delays.len() >= 90, "{} different delays", delays.len());
        assert!(delays.iter().all(|delay| (2_625..=3_000).contains(&delay.0)));
    }

    #[test]
    fn a_slots_delays_never_shrink() {
        for slot in (0..200).map(SlotId) {
            for failures in 1..40 {
                assert!(delay(Millis(100), failures, slot) <= delay(Millis(100), failures + 1, slot));
            }
        }
    }
}
