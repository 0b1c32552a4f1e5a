//! What workers take of the machine, as proc(5) tells from outside.

use std::{collections::BTreeMap, fs, time::Duration};

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
#[derive(Debug)]
pub struct Meter {
    /// How many ticks of processor time are a second.
    ticks: u64,
    /// The size of a page, in bytes.
    page: u64,
    last: BTreeMap<u32, Seen>,
}

/// A process as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// When it began: whoever has another beginning is another process.
    start: u64,
    /// What it has used of processors, in ticks.
    used: u64,
    at: Duration,
}

impl Meter {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let auxiliary = fs::read("/proc/self/auxv").unwrap_or_default();
        let told = |key| auxiliary_value(&auxiliary, key).filter(|value| *value > 0);
        Self {
            ticks: told(CLOCK_TICKS).unwrap_or(100),
            page: told(PAGE_SIZE).unwrap_or(4_096),
            last: BTreeMap::new(),
        }
    }

    /// What those processes take now. Of `closely` it is told in full.
    pub fn look(&mut self, pids: impl Iterator<Item = u32>, closely: &[u32], now: Duration) -> Usages {
        let mut seen = BTreeMap::new();
        let mut usages = Usages::new();
        for pid in pids {
            let Some(stat) = fs::read(format!("/proc/{pid}/stat")).ok().as_deref().and_then(Stat::read)
            else {
                continue;
            };
            let current = Seen { start: stat.start, used: stat.used, at: now };
            let before = self.last.get(&pid).filter(|before| before.start == stat.start);
            let cpu = before.and_then(|before| self.share(*before, current));
            let pss = closely.contains(&pid).then(|| pss(pid)).flatten();
            usages.insert(pid, Usage { cpu, rss: stat.pages * self.page / 1_024, pss });
            seen.insert(pid, current);
        }
        self.last = seen;
        usages
    }

    fn share(&self, before: Seen, now: Seen) -> Option<f32> {
        let time = now.at.checked_sub(before.at)?.as_secs_f32();
        let used = now.used.saturating_sub(before.used) as f32 / self.ticks as f32;
        (time > 0.0).then(|| 100.0 * used / time)
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

/// Keys of the auxiliary vector, getauxval(3).
const PAGE_SIZE: usize = 6;
const CLOCK_TICKS: usize = 17;

/// What the kernel has told this process at its start: pairs of a key and a value, a word each.
fn auxiliary_value(vector: &[u8], key: usize) -> Option<u64> {
    let words = vector.chunks_exact(size_of::<usize>()).map(|word| word.try_into().map(usize::from_ne_bytes));
    let words: Vec<usize> = words.collect::<Result<_, _>>().ok()?;
    let pair = words.chunks_exact(2).find(|pair| pair.first() == Some(&key))?;
    u64::try_from(*pair.last()?).ok()
}

/// What matters of proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    used: u64,
    start: u64,
    pages: u64,
}

impl Stat {
    fn read(line: &[u8]) -> Option<Self> {
        // The name may hold anything, also blanks and brackets.
        let end = line.windows(2).rposition(|pair| pair == b") ")?;
        let rest = std::str::from_utf8(line.get(end + 2..)?).ok()?;
        // The first field here is the third of all.
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { used: field(14)? + field(15)?, start: field(22)?, pages: field(24)? })
    }
}

fn pss(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_name_is_read_whatever_the_name_is() {
        let line = b"42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 7 5 0 0 20 0 1 0 999 1000000 250 18446744073709551615 1";
        assert_eq!(Stat::read(line), Some(Stat { used: 12, start: 999, pages: 250 }));
        assert_eq!(Stat::read(b"42 (a"), None);
        assert_eq!(Stat::read(b""), None);
    }

    #[test]
    fn we_take_something_ourselves_and_nobody_takes_nothing() {
        let us = std::process::id();
        let mut meter = Meter::new();
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
        let mut meter = Meter { ticks: 100, page: 4_096, last: BTreeMap::new() };
        meter.last.insert(us, Seen { start: 0, used: 0, at: Duration::ZERO });
        assert_eq!(meter.look([us].into_iter(), &[], Duration::from_secs(1))[&us].cpu, None);
    }

    #[test]
    fn the_kernel_says_how_long_a_tick_is() {
        let vector: Vec<u8> =
            [PAGE_SIZE, 4_096, CLOCK_TICKS, 100, 0, 0].into_iter().flat_map(usize::to_ne_bytes).collect();
        assert_eq!(auxiliary_value(&vector, CLOCK_TICKS), Some(100));
        assert_eq!(auxiliary_value(&vector, 99), None);
        assert!(Meter::new().page >= 4_096);
    }
}
