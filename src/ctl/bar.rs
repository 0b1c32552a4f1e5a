//! Progress as a bar, as wide as the terminal allows.

use crate::protocol::Progress;

/// How many cells a bar has where there is room.
const CELLS: usize = 20;

/// What a bar of `cells` has around them: two brackets and a blank.
const FRAME: usize = 3;

/// The bar and the counts behind it, on a terminal of so many columns. The last column stays free: on
/// some terminals the cursor is on the next line once it is written to. What does not fit is left out: cells
/// first, then the counts, from their end. Without any there is no bar: it would not say which way it goes.
#[must_use]
pub fn bar(progress: &Progress, columns: usize) -> String {
    let room = columns.saturating_sub(1);
    let words = progress.in_short().into_iter().find(|words| words.len() <= room).unwrap_or_default();
    let cells = room.saturating_sub(words.len() + FRAME).min(CELLS);
    if cells < 3 || words.is_empty() {
        return words;
    }
    let full = filled(progress, cells);
    format!("[{}{}] {words}", "#".repeat(full), ".".repeat(cells - full))
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
    use crate::fsm::{id::Generation, upgrade::Stage};

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
    fn a_bar_is_never_longer_than_itself() {
        for (healthy, target) in [(0, 0), (5, 4), (u32::MAX, 1), (u32::MAX, u32::MAX)] {
            let bar = bar(&progress(healthy, target), 80);
            assert!(bar.starts_with("[####################] "), "{bar}");
        }
    }
}
