//! The words and numbers of the view.

use crate::{
    ctl::report::{Report, Slot, Worker},
    fsm::time::Millis,
    protocol::{
        visible::visible,
        words::{count, span, times},
    },
};
use std::time::Duration;

/// A span of time.
#[must_use]
pub fn time(time: Duration) -> String {
    span(Millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}

/// An amount of memory, given in KiB, in five letters at most.
#[must_use]
pub fn memory(kib: u64) -> String {
    const UNITS: [&str; 4] = ["K", "M", "G", "T"];
    let mut size = kib as f64;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while size >= 1_000.0
        && let Some(next) = units.next()
    {
        size /= 1_024.0;
        unit = Some(next);
    }
    let unit = unit.copied().unwrap_or_default();
    if size < 99.95 && unit != "K" { format!("{size:.1}{unit}") } else { format!("{size:.0}{unit}") }
}

/// A part of a processor, in percent.
#[must_use]
pub fn percent(percent: f32) -> String {
    if percent < 99.95 { format!("{percent:.1}") } else { format!("{percent:.0}") }
}

/// The time of day, in UTC, of a time in ms since 1970.
#[must_use]
pub fn clock(at_ms: u64) -> String {
    let seconds = at_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// A text of whoever on one line, fit for a terminal.
#[must_use]
pub fn one_line(text: &str) -> String {
    let lines: Vec<_> =
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(visible).collect();
    lines.join(" / ")
}

/// Where a worker is, in a word.
#[must_use]
pub fn phase(worker: &Worker) -> String {
    match (worker.stopped, worker.detail.as_deref()) {
        (true, _) => "stopped".into(),
        (false, Some(detail)) if worker.phase == "draining" => visible(&format!("draining/{detail}")),
        (false, _) => visible(&worker.phase),
    }
}

/// Why there is no worker in a slot, in a word.
#[must_use]
pub fn vacancy(slot: &Slot) -> &'static str {
    match slot {
        Slot { gave_up: true, .. } => "given up",
        Slot { lacks: Some(1..), .. } => "lacking",
        Slot { failures: 1.., .. } => "failing",
        Slot { retry_in_ms: Some(_), .. } => "waiting",
        Slot { .. } => "vacant",
    }
}

/// Whether starts fail there.
#[must_use]
pub fn fails(slot: &Slot) -> bool {
    slot.gave_up || slot.failures > 0 || slot.lacks.unwrap_or_default() > 0
}

/// What there is to know about a slot that fails, or waits.
#[must_use]
pub fn trouble(slot: &Slot) -> Option<String> {
    let Slot { failures, gave_up, retry_in_ms, .. } = slot;
    let lacks = slot.lacks.unwrap_or_default();
    let why = slot.last_failure.as_ref().map(|why| one_line(&why.message)).unwrap_or_default();
    let why = if why.is_empty() { why } else { format!(": {why}") };
    let next = retry_in_ms.map(|delay| format!("; next try in {}", span(Millis(delay)))).unwrap_or_default();
    Some(match (gave_up, lacks, failures) {
        (true, ..) => format!("given up after {}{why}; r tries again", count(*failures, "failed start")),
        (false, 1.., _) => format!("the machine lacks something{why}{next}"),
        (false, 0, 1..) => format!("failed {}{why}{next}", times(*failures)),
        (false, 0, 0) => format!("next start in {}", span(Millis((*retry_in_ms)?))),
    })
}

/// What there is to know about the slots that fail, with the worst of them.
#[must_use]
pub fn troubles(report: &Report) -> Option<String> {
    let failing: Vec<&Slot> = report.slots.iter().filter(|slot| fails(slot)).collect();
    let worst = failing.iter().max_by_key(|slot| (slot.gave_up, slot.failures))?;
    let often = match failing.len() {
        1 => String::new(),
        many => format!("{many} slots fail; "),
    };
    Some(format!("{often}slot {}: {}", worst.slot, trouble(worst)?))
}

/// What has to be said first: that nobody serves, and what is known of the reason.
#[must_use]
pub fn alarm(report: &Report) -> Option<String> {
    if report.healthy > 0 || report.stopping.is_some() {
        return None;
    }
    let ended = || {
        let slot = report.slots.iter().find(|slot| slot.last_exit.is_some())?;
        let how = one_line(&slot.last_exit.as_ref()?.message);
        Some(format!("slot {}: the last one ended, {how}", slot.slot))
    };
    let why = troubles(report).or_else(ended).map(|why| format!("{why}; ")).unwrap_or_default();
    let is_starting = |worker: &&Worker| ["spawning", "pending-ack"].contains(&worker.phase.as_str());
    let starting = match report.workers.iter().filter(is_starting).count() {
        0 => "none is starting".into(),
        1 => "1 is starting".into(),
        many => format!("{many} are starting"),
    };
    Some(format!("NO WORKER IS HEALTHY: {why}{starting}"))
}

/// How many serve of those that are wanted.
#[must_use]
pub fn serving(report: &Report) -> String {
    let Report { healthy, target, healthy_of_generation: own, .. } = report;
    match healthy.saturating_sub(*own) {
        others @ 1.. if report.upgrade.is_none() => {
            format!("{own}/{target} healthy, {others} of another generation")
        }
        _ => format!("{healthy}/{target} healthy"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::report::Ending;

    #[test]
    fn memory_is_short_and_has_the_unit_that_fits_it() {
        for (kib, words) in [
            (0, "0K"),
            (812, "812K"),
            (1_000, "1.0M"),
            (12_595, "12.3M"),
            (200 * 1_024, "200M"),
            (1_258_291, "1.2G"),
            (5 << 30, "5.0T"),
        ] {
            assert_eq!(memory(kib), words);
        }
        for power in 0..40 {
            assert!(memory((1 << power) - 1).len() <= 5, "{}", memory((1 << power) - 1));
        }
    }

    #[test]
    fn parts_of_processors_and_times_of_day_are_short() {
        assert_eq!([0.0, 0.26, 99.9, 99.96, 800.0].map(percent), ["0.0", "0.3", "99.9", "100", "800"]);
        assert_eq!(clock(1_798_761_599_999), "23:59:59");
    }

    #[test]
    fn what_comes_from_anybody_is_one_harmless_line() {
        assert_eq!(one_line("a\r\n\n\u{1b}[2Jb\n"), r"a / \u{1b}[2Jb");
    }

    #[test]
    fn a_slot_says_why_it_fails_and_when_it_is_tried_next() {
        let slot = Slot {
            slot: 3,
            failures: 0,
            lacks: None,
            last_failure: None,
            last_exit: None,
            restarts: 0,
            gave_up: false,
            retry_in_ms: None,
        };
        let why = || Some(Ending { message: "exited with status 1".into() });
        let failing = Slot { failures: 2, last_failure: why(), retry_in_ms: Some(225), ..slot.clone() };
        for (slot, word, words) in [
            (slot.clone(), "vacant", None),
            (Slot { retry_in_ms: Some(5), ..slot.clone() }, "waiting", Some("next start in 5 ms")),
            (failing.clone(), "failing", Some("failed twice: exited with status 1; next try in 225 ms")),
            (
                Slot { gave_up: true, retry_in_ms: None, ..failing },
                "given up",
                Some("given up after 2 failed starts: exited with status 1; r tries again"),
            ),
            (Slot { lacks: Some(1), ..slot }, "lacking", Some("the machine lacks something")),
        ] {
            assert_eq!((vacancy(&slot), trouble(&slot).as_deref()), (word, words));
        }
    }
}
