//! Which cases are tried, once it is known what calls a scenario makes.

use super::{
    Norms,
    calls::{Case, Uses, faults},
    scenario::Scenario,
};

/// What is known to go wrong, and why; left out of the spread. The fields are those of a case, `*` is
/// any. With everything tried, or a case by its name, nothing is left out.
const OPEN: &[(&str, &str)] = &[
    ("*:sendto:*:*", "a client that cannot be answered is kept, and a lost wake-up is a lost signal"),
    ("*:flock:*:*", "a lock that cannot be released is a panic, and one that cannot be had stays"),
    ("rebind:epoll_ctl:*:*", "a control socket that is bound again and cannot be listened at is left so"),
    ("rebind:fcntl:*:*", "the same"),
    ("rebind:ioctl:*:*", "what a try leaves and removes is taken for a reason to try again at once"),
    ("rebind:listen:*:*", "the same"),
    ("start:ioctl:*:*", "a control socket that is bound and not usable stays behind"),
    ("start:listen:*:*", "the same"),
    ("*:newfstatat:*:*", "all of that"),
];

/// Calls that most easily make a loop spin when they fail and go on failing.
const TRIED_AGAIN: [&str; 7] = ["accept4", "clone", "epoll_wait", "epoll_pwait", "mmap", "openat", "write"];

/// Why the case is known to go wrong, if it is.
pub(super) fn open(case: &Case) -> Option<&'static str> {
    let name = case.to_string();
    let fits =
        |pattern: &str| pattern.split(':').zip(name.split(':')).all(|(want, is)| want == "*" || want == is);
    OPEN.iter().find(|(pattern, _)| fits(pattern)).map(|(_, why)| *why)
}

/// A way in which a call of a scenario can fail.
#[derive(Debug)]
pub(super) struct Row {
    scenario: Scenario,
    call: String,
    /// How often the call is used without a fault.
    count: usize,
    errno: &'static str,
}

impl Row {
    fn case(&self, uses: Uses) -> Case {
        let (call, errno) = (self.call.clone(), self.errno.to_owned());
        Case { scenario: self.scenario, call, errno, uses }
    }

    /// All uses for a moment, where the error is one that can stay; then each. A fault may bring about
    /// more uses than there are without.
    pub(super) fn cases(&self) -> impl Iterator<Item = Case> {
        let each = (1..=2 * self.count + 10).map(Uses::Only);
        self.can_stay().then_some(Uses::From(1)).into_iter().chain(each).map(|uses| self.case(uses))
    }

    /// Nothing interrupts a call for ever.
    fn can_stay(&self) -> bool {
        self.errno != "EINTR"
    }
}

/// Every call of every scenario, with every error it can fail with.
pub(super) fn every_row(norms: &Norms) -> Vec<Row> {
    let calls = norms.iter().flat_map(|(scenario, run)| run.seen.uses.iter().map(|call| (*scenario, call)));
    let rows = calls.flat_map(|(scenario, (call, count))| {
        let errnos =
            faults(call).unwrap_or_else(|| panic!("in which ways can {call} fail? Add it to calls.rs"));
        errnos.iter().map(move |errno| Row { scenario, call: call.clone(), count: *count, errno })
    });
    rows.collect()
}

/// A spread: every call of every scenario, by turns with each of its errors, now at an early, now at a
/// late use; and what goes on for a moment where a loop would most easily spin.
pub(super) fn spread(norms: &Norms) -> Vec<Case> {
    let mut cases = Vec::new();
    let rows = every_row(norms);
    let same = |one: &Row, other: &Row| one.scenario == other.scenario && one.call == other.call;
    for rows in rows.chunk_by(same) {
        // Whatever else is used or not: the same choice for the same call.
        let turn = rows[0].call.bytes().map(usize::from).sum::<usize>() + rows[0].scenario as usize;
        let row = &rows[turn % rows.len()];
        cases.push(row.case(Uses::Only(1 + (turn * 5) % row.count)));
        if TRIED_AGAIN.contains(&row.call.as_str()) {
            cases.extend(rows.iter().find(|row| row.can_stay()).map(|row| row.case(Uses::From(1))));
        }
    }
    cases
}
