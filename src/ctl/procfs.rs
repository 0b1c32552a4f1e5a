//! What a process takes of the machine, as the kernel tells from outside: proc_pid_stat(5) and proc_pid_smaps(5).

use std::{fs, sync::OnceLock};

/// Entries of the auxiliary vector; getauxval(3).
const AT_PAGESZ: usize = 6;
const AT_CLKTCK: usize = 17;

/// What a process takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// When it was started, in ticks since the machine was: with its pid this tells it from any other.
    pub started: u64,
    /// The time that it has used of a CPU, in ms.
    pub cpu_ms: u64,
    /// Resident memory, in bytes.
    pub memory: u64,
    /// How many threads it has.
    pub threads: u64,
}

/// What a tick and a page are.
#[derive(Clone, Copy, Debug)]
struct Units {
    ticks_per_second: u64,
    page: u64,
}

impl Stat {
    /// Of the process with this pid; `None` if there is none, or it may not be known.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::read(&String::from_utf8_lossy(&text), units())
    }

    fn read(text: &str, units: Units) -> Option<Self> {
        // Behind the name, which may hold anything.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // The first one is the third by the manual.
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        let ticks = field(14)?.saturating_add(field(15)?);
        Some(Self {
            started: field(22)?,
            cpu_ms: ticks.saturating_mul(1_000) / units.ticks_per_second,
            memory: field(24)?.saturating_mul(units.page),
            threads: field(20)?,
        })
    }
}

/// The memory of a process in bytes, of which it has only its part of what it shares with others. `None` if it may
/// not be known.
#[must_use]
pub fn proportional(pid: u32) -> Option<u64> {
    rollup(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

fn rollup(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1_024)
}

/// How many descriptors a process has open. `None` if that may not be known.
#[must_use]
pub fn descriptors(pid: u32) -> Option<u64> {
    fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count().try_into().ok()
}

fn units() -> Units {
    static UNITS: OnceLock<Units> = OnceLock::new();
    *UNITS.get_or_init(|| {
        let vector = fs::read("/proc/self/auxv").unwrap_or_default();
        let value = |key| auxiliary(&vector, key).filter(|value| *value > 0);
        Units { ticks_per_second: value(AT_CLKTCK).unwrap_or(100), page: value(AT_PAGESZ).unwrap_or(4_096) }
    })
}

fn auxiliary(vector: &[u8], key: usize) -> Option<u64> {
    let word = |bytes: &[u8]| Some(usize::from_ne_bytes(bytes.try_into().ok()?));
    let (size, pair) = (size_of::<usize>(), 2 * size_of::<usize>());
    vector.chunks_exact(pair).find_map(|entry| {
        let (found, value) = entry.split_at_checked(size)?;
        (word(found)? == key).then(|| word(value))??.try_into().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process;

    #[test]
    fn a_stat_is_read_whatever_the_name_is() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194304 90 0 0 0 150 25 9 9 20 0 3 0 8000 5000000 12 18446744073709551615 1\n";
        let units = Units { ticks_per_second: 100, page: 4_096 };
        let stat = Stat { started: 8_000, cpu_ms: 1_750, memory: 12 * 4_096, threads: 3 };
        assert_eq!(Stat::read(line, units), Some(stat));
        assert_eq!(Stat::read("7 (a) S 1 7", units), None);
        assert_eq!(Stat::read("", units), None);
    }

    #[test]
    fn a_part_of_shared_memory_is_read_in_bytes() {
        assert_eq!(
            rollup("0-1 ---p 0 00:00 0 [rollup]\nRss:  10 kB\nPss:   3 kB\nPss_Dirty: 1 kB\n"),
            Some(3_072)
        );
        assert_eq!(rollup("Rss: 10 kB\n"), None);
    }

    #[test]
    fn what_we_take_ourselves_is_known() {
        let us = process::id();
        let stat = Stat::of(us).unwrap();
        assert!(stat.memory > 100_000 && stat.threads >= 1 && stat.started > 0, "{stat:?}");
        assert!(proportional(us).unwrap() <= stat.memory * 2);
        assert!(descriptors(us).unwrap() >= 3);
        assert_eq!((Stat::of(0), proportional(0), descriptors(0)), (None, None, None));
        assert!(units().page >= 4_096 && units().ticks_per_second >= 100);
    }
}
