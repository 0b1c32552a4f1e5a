//! What workers take of the machine, from one look to the next.

use crate::ctl::procfs::{Stat, proportional};
use std::{collections::BTreeMap, time::Duration};

/// What a process takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Of one processor, in percent, since the last look; `None` at the first.
    pub cpu: Option<f32>,
    /// Memory that is there for it, in KiB; what it shares with others counts in full.
    pub rss: u64,
    /// The same with its part of what is shared. It takes the kernel some time to say, and it says so to root and the
    /// process's own user only; so it is known of those alone that are on the screen.
    pub pss: Option<u64>,
}

/// What all of them take, by pid.
pub type Usages = BTreeMap<u32, Usage>;

/// Looks again and again.
#[derive(Debug, Default)]
pub struct Meter {
    last: BTreeMap<u32, Seen>,
}

/// A process as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// When it began: whoever has another beginning is another process.
    start: u64,
    /// What it has used of processors, in ms.
    used: u64,
    at: Duration,
}

impl Meter {
    /// What those processes take now. Of `closely` it is told in full.
    pub fn look(&mut self, pids: impl Iterator<Item = u32>, closely: &[u32], now: Duration) -> Usages {
        let mut seen = BTreeMap::new();
        let mut usages = Usages::new();
        for pid in pids {
            let Some(Stat { started, cpu_ms, memory, .. }) = Stat::of(pid) else { continue };
            let current = Seen { start: started, used: cpu_ms, at: now };
            let before = self.last.get(&pid).filter(|before| before.start == started);
            let cpu = before.and_then(|before| share(*before, current));
            let pss = closely.contains(&pid).then(|| proportional(pid)).flatten().map(|bytes| bytes / 1_024);
            usages.insert(pid, Usage { cpu, rss: memory / 1_024, pss });
            seen.insert(pid, current);
        }
        self.last = seen;
        usages
    }
}

fn share(before: Seen, now: Seen) -> Option<f32> {
    let time = now.at.checked_sub(before.at)?.as_secs_f32();
    let used = now.used.saturating_sub(before.used) as f32 / 1_000.0;
    (time > 0.0).then(|| 100.0 * used / time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_take_something_ourselves_and_nobody_takes_nothing() {
        let us = std::process::id();
        let mut meter = Meter::default();
        let first = meter.look([us, 0].into_iter(), &[us], Duration::from_secs(1));
        assert_eq!(first.len(), 1);
        assert!(first[&us].cpu.is_none() && first[&us].rss > 100);
        assert!(first[&us].pss.is_some_and(|pss| pss > 0 && pss <= 2 * first[&us].rss));
        let second = meter.look([us].into_iter(), &[], Duration::from_secs(2));
        assert!(second[&us].cpu.is_some_and(|cpu| cpu >= 0.0) && second[&us].pss.is_none());
    }

    #[test]
    fn another_process_of_the_same_number_starts_from_nothing() {
        let us = std::process::id();
        let mut meter = Meter::default();
        meter.last.insert(us, Seen { start: 0, used: 0, at: Duration::ZERO });
        assert_eq!(meter.look([us].into_iter(), &[], Duration::from_secs(1))[&us].cpu, None);
    }
}
