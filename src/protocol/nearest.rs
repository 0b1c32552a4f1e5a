//! What somebody may have meant who wrote a name that there is not.

/// The most letters that may be wrong.
const SLIPS: usize = 2;

/// The name that starts with `typed`, or else the nearest one: at most two slips away, and not more than
/// half of it.
pub(crate) fn nearest(typed: &str, names: &[&'static str]) -> Option<&'static str> {
    let begun = names.iter().find(|name| typed.len() >= 3 && name.starts_with(typed));
    begun.copied().or_else(|| {
        // Anything of another length is further away, however long it is.
        let close = names.iter().filter(|name| name.len().abs_diff(typed.len()) <= SLIPS);
        let (slips, name) = close.map(|name| (distance(typed, name), *name)).min()?;
        (slips <= SLIPS && slips * 2 <= typed.len()).then_some(name)
    })
}

/// How many bytes must be added, left out or changed to get from one to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.bytes().enumerate() {
        let (mut diagonal, mut left) = (line, line + 1);
        for (cell, b) in row.iter_mut().skip(1).zip(to.bytes()) {
            let cost = (diagonal + usize::from(a != b)).min(left + 1).min(*cell + 1);
            diagonal = core::mem::replace(cell, cost);
            left = cost;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_slips() {
        for (from, to, slips) in
            [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(from, to), slips, "{from} {to}");
        }
    }

    #[test]
    fn what_is_begun_or_nearly_right_is_found_and_nothing_else() {
        let names = ["status", "set_workers", "inc", "die"];
        for (typed, found) in [
            ("staus", Some("status")),
            ("stat", Some("status")),
            ("set", Some("set_workers")),
            ("inx", Some("inc")),
            ("dye", Some("die")),
            ("bye", None),
            ("st", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, &names), found, "{typed}");
        }
    }
}
