//! When a slot may try again.

use crate::fsm::words::{config::BACKOFF_MAX, id::SlotId, time::Millis};

/// The delay before the next try after `strikes` failures in a row: `first` × 1.5^(strikes − 1), at
/// most [`BACKOFF_MAX`], less a part that depends on the slot. Zero after none.
///
/// The spread (up to an eighth) keeps many slots that failed together from waking together. It is a
/// function of the slot alone, so a replay finds the same delays, and a slot's delays never shrink
/// from one failure to the next. Slot 0 waits the exact time.
#[must_use]
pub fn delay(first: Millis, strikes: u32, slot: SlotId) -> Millis {
    if strikes == 0 {
        return Millis(0);
    }
    // In 1024ths of a millisecond, so that the shortest delays grow too.
    let most = BACKOFF_MAX.0 * 1024;
    let mut nominal = first.0.saturating_mul(1024).min(most);
    for _ in 1..strikes.min(GROWN) {
        nominal = (nominal * 3 / 2).min(most);
    }
    spread_out(Millis(nominal / 1024), slot)
}

/// A delay less a part that depends on the slot, up to an eighth.
#[must_use]
pub fn spread_out(Millis(nominal): Millis, slot: SlotId) -> Millis {
    Millis(nominal - nominal * spread(slot) / 1024)
}

/// By so many failures in a row a delay of one millisecond has grown to [`BACKOFF_MAX`].
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
            (0..6).map(|strikes| delay(Millis(100), strikes, SlotId(0)).0).collect();
        assert_eq!(delays, [0, 100, 150, 225, 337, 506]);
        let shortest = [1, 2, 3, 4, 5, 9, 26, 27].map(|strikes| delay(Millis(1), strikes, SlotId(0)).0);
        assert_eq!(shortest, [1, 1, 2, 3, 5, 25, 25_250, 30_000]);
        assert_eq!(delay(Millis(100), u32::MAX, SlotId(0)), BACKOFF_MAX);
        assert_eq!(delay(Millis(u64::MAX), 1, SlotId(0)), BACKOFF_MAX);
        assert_eq!(delay(Millis(0), u32::MAX, SlotId(7)), Millis(0));
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
            for strikes in 1..40 {
                assert!(delay(Millis(100), strikes, slot) <= delay(Millis(100), strikes + 1, slot));
            }
        }
    }
}
