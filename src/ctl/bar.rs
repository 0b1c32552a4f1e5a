//! Progress as a bar, as wide as the terminal allows.

use super::failing::Failing;
use crate::{fsm::upgrade::Stage, protocol::Progress};

/// How many cells a bar has where there is room.
const CELLS: usize = 20;

/// How many it keeps for what fails.
const FEW: usize = 10;

/// What a bar of `cells` has around them: two brackets and a blank.
const FRAME: usize = 3;

/// Ways to stand out, as terminals know them (ECMA-48, SGR).
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[m";

/// A bar, the counts behind it, and what fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bar {
    cells: String,
    words: String,
    failing: String,
    is_back: bool,
}

impl Bar {
    /// One for a terminal of so many columns. The last column stays free: on
    /// some terminals the cursor is on the next line once it is written to. What does not fit is left out: why
    /// something fails and that it does first, then cells, then the counts, from their end. Without any there is no
    /// bar: it would not say which way it goes.
    #[must_use]
    pub fn new(progress: &Progress, failing: &Failing, columns: usize) -> Self {
        let room = columns.saturating_sub(1);
        let [long, short] = progress.in_short();
        let for_failing = room.saturating_sub(long.len() + FRAME + FEW);
        let failing = told(failing, for_failing);
        let words = [long, short].into_iter().find(|words| words.len() <= room).unwrap_or_default();
        let cells = room.saturating_sub(words.len() + length(&failing) + FRAME).min(CELLS);
        let cells = if cells < 3 || words.is_empty() {
            String::new()
        } else {
            let full = filled(progress, cells);
            format!("[{}{}] ", "#".repeat(full), ".".repeat(cells - full))
        };
        Self { cells, words, failing, is_back: progress.stage == Stage::Back }
    }

    /// How many columns it takes.
    #[must_use]
    pub fn width(&self) -> usize {
        self.cells.len() + self.words.len() + length(&self.failing)
    }

    /// Without colours.
    #[must_use]
    pub fn plain(&self) -> String {
        let Self { cells, words, failing, .. } = self;
        format!("{cells}{words}{failing}")
    }

    /// With them.
    #[must_use]
    pub fn painted(&self) -> String {
        let Self { cells, words, failing, is_back } = self;
        let paint = |text: &str, colour| {
            if text.is_empty() { String::new() } else { format!("{colour}{text}{PLAIN}") }
        };
        let way = if *is_back { YELLOW } else { GREEN };
        format!("{}{words}{}", paint(cells, way), paint(failing, RED))
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// What fails, in so many columns.
fn told(failing: &Failing, room: usize) -> String {
    if failing.slots == 0 {
        return String::new();
    }
    let short = format!(", {failing}");
    let full = failing.last.as_ref().map(|last| format!("{short}: {last}")).unwrap_or_default();
    // A few letters of a reason are none.
    let least = short.len() + 12;
    match room {
        _ if !full.is_empty() && length(&full) <= room => full,
        _ if !full.is_empty() && least <= room => full.chars().take(room - 3).chain("...".chars()).collect(),
        _ if short.len() <= room => short,
        _ => String::new(),
    }
}

/// How many of the cells are full.
fn filled(progress: &Progress, cells: usize) -> usize {
    let count = |number: u32| u128::from(number);
    let of_all = count(progress.healthy) * cells as u128;
    let full = of_all.checked_div(count(progress.target)).and_then(|full| usize::try_from(full).ok());
    full.unwrap_or(cells).min(cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::id::Generation;

    /// Without anything that fails.
    fn bar(progress: &Progress, columns: usize) -> String {
        let bar = Bar::new(progress, &Failing::default(), columns);
        assert_eq!(bar.width(), bar.plain().len());
        bar.plain()
    }

    fn progress(healthy: u32, target: u32) -> Progress {
        Progress { generation: Generation(2), healthy, target, retired: 1, stage: Stage::Spread }
    }

    #[test]
    fn a_bar_fits_whatever_the_terminal_is() {
        for (columns, shown) in [
            (80, "[##########..........] 5/10 healthy, 1 retired"),
            (47, "[##########..........] 5/10 healthy, 1 retired"),
            (46, "[#########..........] 5/10 healthy, 1 retired"),
            (40, "[######.......] 5/10 healthy, 1 retired"),
            (29, "5/10 healthy, 1 retired"),
            (23, "[#######........] 5/10"),
            (5, "5/10"),
            (4, ""),
            (0, ""),
        ] {
            assert_eq!(bar(&progress(5, 10), columns), shown, "{columns}");
        }
        for columns in 0..100 {
            for progress in [progress(0, 1), progress(9_999, 10_000), progress(u32::MAX, u32::MAX)] {
                assert!(bar(&progress, columns).len() < columns.max(1), "{columns}");
            }
        }
    }

    #[test]
    fn a_bar_that_goes_back_says_so_however_narrow_the_terminal_is() {
        let back = Progress { stage: Stage::Back, generation: Generation(1), ..progress(3, 3) };
        for (columns, shown) in [
            (80, "[####################] going back to generation 1: 3/3 healthy, 1 retired"),
            (38, "[###################] going back: 3/3"),
            (16, "going back: 3/3"),
            (15, ""),
        ] {
            assert_eq!(bar(&back, columns), shown, "{columns}");
        }
    }

    #[test]
    fn what_fails_is_told_with_the_reason_where_there_is_room() {
        let failing = Failing { slots: 2, last: Some("exited with status 1".into()) };
        for (columns, shown) in [
            (80, "[##########..........] 5/10 healthy, 1 retired, 2 failing: exited with status 1"),
            (71, "[#####......] 5/10 healthy, 1 retired, 2 failing: exited with status 1"),
            (69, "[#####.....] 5/10 healthy, 1 retired, 2 failing: exited with stat..."),
            (50, "[######......] 5/10 healthy, 1 retired, 2 failing"),
            (47, "[##########..........] 5/10 healthy, 1 retired"),
            (23, "[#######........] 5/10"),
        ] {
            assert_eq!(Bar::new(&progress(5, 10), &failing, columns).plain(), shown, "{columns}");
        }
        let long = Failing { last: Some("漢".repeat(200)), ..failing };
        for columns in 0..200 {
            assert!(Bar::new(&progress(5, 10), &long, columns).width() < columns.max(1), "{columns}");
        }
    }

    #[test]
    fn colours_add_nothing_to_what_is_said() {
        let failing = Failing { slots: 1, last: None };
        let bar = Bar::new(&progress(1, 2), &failing, 60);
        let stripped = [GREEN, RED, PLAIN].iter().fold(bar.painted(), |text, order| text.replace(order, ""));
        assert_eq!(stripped, bar.plain());
        assert!(bar.painted().ends_with("\x1b[31m, 1 failing\x1b[m"), "{:?}", bar.painted());
        let back = Progress { stage: Stage::Back, ..progress(1, 2) };
        let painted = Bar::new(&back, &Failing::default(), 80).painted();
        assert!(painted.starts_with("\x1b[33m["), "{painted:?}");
    }

    #[test]
    fn a_bar_is_never_longer_than_itself() {
        for (healthy, target) in [(0, 0), (5, 4), (u32::MAX, 1), (u32::MAX, u32::MAX)] {
            let bar = bar(&progress(healthy, target), 80);
            assert!(bar.starts_with("[####################] "), "{bar}");
        }
    }
}
