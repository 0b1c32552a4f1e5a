//! How often progress is worth a line of its own, where it cannot be drawn over.

use crate::{
    fsm::{id::Generation, upgrade::Stage},
    protocol::Progress,
};
use std::{mem, time::Duration};

/// Between two lines of the same stage.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets the first line of each stage through at once, and of the others one a second: the newest.
/// All times are of one clock.
#[derive(Debug, Default)]
pub struct Pace {
    shown: Option<Shown>,
    held_back: Option<String>,
}

#[derive(Debug)]
struct Shown {
    at: Duration,
    generation: Generation,
    stage: Stage,
}

impl Pace {
    /// Takes the next line in. Returns it if it is to be shown at once.
    pub fn take(&mut self, progress: &Progress, line: String, now: Duration) -> Option<String> {
        let Progress { generation, stage, .. } = *progress;
        let waits = self.shown.as_ref().is_some_and(|shown| {
            (shown.generation, shown.stage) == (generation, stage) && now < shown.at + PAUSE
        });
        if waits {
            self.held_back = Some(line);
            return None;
        }
        self.shown = Some(Shown { at: now, generation, stage });
        self.held_back = None;
        Some(line)
    }

    /// How long until the line that is held back is due; `None` if none is.
    #[must_use]
    pub fn patience(&self, now: Duration) -> Option<Duration> {
        let shown = self.shown.as_ref().filter(|_| self.held_back.is_some())?;
        Some((shown.at + PAUSE).saturating_sub(now))
    }

    /// The line that was held back, if it is due.
    pub fn due(&mut self, now: Duration) -> Option<String> {
        let shown = self.shown.as_mut().filter(|shown| now >= shown.at + PAUSE)?;
        let line = self.held_back.take()?;
        shown.at = now;
        Some(line)
    }

    /// Forgets everything: what comes next has nothing to do with what came.
    pub fn reset(&mut self) {
        let _ = mem::take(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn progress(healthy: u32, stage: Stage) -> Progress {
        Progress { generation: Generation(2), healthy, target: 100, retired: 0, stage }
    }

    #[test]
    fn a_hundred_workers_in_a_hundred_milliseconds_are_one_line() {
        let mut pace = Pace::default();
        let shown: Vec<String> = (0..100)
            .filter_map(|healthy| {
                pace.take(&progress(healthy, Stage::Spread), healthy.to_string(), ms(healthy.into()))
            })
            .collect();
        assert_eq!(shown, ["0"]);
        assert_eq!(pace.patience(ms(99)), Some(ms(901)));
        assert_eq!(pace.due(ms(999)), None);
        assert_eq!(pace.due(ms(1_000)), Some("99".to_owned()), "the newest");
        assert_eq!((pace.due(ms(5_000)), pace.patience(ms(5_000))), (None, None));
    }

    #[test]
    fn in_a_long_upgrade_there_is_a_line_a_second() {
        let mut pace = Pace::default();
        let mut shown = 0;
        for at in (0..10_000).step_by(100) {
            shown += usize::from(pace.take(&progress(1, Stage::Spread), String::new(), ms(at)).is_some());
        }
        assert_eq!(shown, 10);
    }

    #[test]
    fn a_stage_is_told_at_once_and_what_was_held_back_before_it_is_not() {
        let mut pace = Pace::default();
        let mut take =
            |healthy, stage, at| pace.take(&progress(healthy, stage), format!("{healthy}"), ms(at));
        assert!(take(1, Stage::Spread, 0).is_some());
        assert!(take(2, Stage::Spread, 1).is_none());
        assert!(take(2, Stage::Back, 2).is_some());
        assert_eq!(pace.due(ms(60_000)), None);
        pace.reset();
        assert!(pace.take(&progress(1, Stage::Back), String::new(), ms(3)).is_some());
    }
}
