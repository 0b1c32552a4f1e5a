//! How long a client waits.

use crate::fsm::time::Millis;
use std::time::Duration;

/// For a connection and the beginning of an answer, unless `--timeout` says otherwise.
const USUAL: Duration = Duration::from_secs(10);

/// So long is waited for one that is asked at the last moment, so that it can answer at all.
const LEAST: Duration = Duration::from_millis(50);

/// How long a supervisor may keep a client waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection, and then for the first line of an answer.
    pub first: Duration,
    /// For each further line, and for what is waited for after an answer; `None` is for ever: an upgrade takes
    /// its time.
    pub next: Option<Duration>,
}

impl Patience {
    /// As `--timeout` says, if it was given.
    #[must_use]
    pub fn of(given: Option<Millis>) -> Self {
        let next = given.map(|Millis(ms)| Duration::from_millis(ms));
        Self { first: next.unwrap_or(USUAL), next }
    }

    /// The same for who has only this much time left: that bounds the beginning of an answer.
    #[must_use]
    pub fn within(self, left: Duration) -> Self {
        Self { first: self.first.min(left.max(LEAST)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_lines_nothing_is_limited_unless_a_time_was_given() {
        let usual = Patience { first: Duration::from_secs(10), next: None };
        assert_eq!(Patience::of(None), usual);
        let given = Duration::from_millis(2_500);
        assert_eq!(Patience::of(Some(Millis(2_500))), Patience { first: given, next: Some(given) });
    }

    #[test]
    fn what_is_left_bounds_an_answer_but_leaves_it_a_moment() {
        let usual = Patience::of(None);
        for (left, first) in [(20_000, 10_000), (300, 300), (0, 50)] {
            let expected = Patience { first: Duration::from_millis(first), next: None };
            assert_eq!(usual.within(Duration::from_millis(left)), expected);
        }
    }
}
