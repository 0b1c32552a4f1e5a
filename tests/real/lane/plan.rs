//! Which cases are tried, once it is known what calls a scenario makes.

use super::{
    Norms,
    calls::{Case, Uses, faults},
    scenario::Scenario,
};

/// One case of each kind that has gone wrong; part of every spread.
const REGRESSIONS: [&str; 10] = [
    // Its own tries to bind the control socket again wake it to the next.
    "rebind:listen:EADDRINUSE:1+",
    "serve:newfstatat:EIO:1+",
    // A control socket is bound again, and nobody listens at it.
    "rebind:epoll_ctl:ENOMEM:1",
    // A client that cannot be answered is not hung up on.
    "serve:sendto:EPIPE:1",
    // A lost wake-up is a lost signal.
    "shutdown:sendto:ENOMEM:1",
    // What a step has made before the next one fails stays behind.
    "start:flock:ENOLCK:1",
    "start:newfstatat:EIO:2",
    "start:listen:EADDRINUSE:1",
    "start:newfstatat:EIO:4",
    // So does what cannot be looked at in the end.
    "shutdown:newfstatat:EIO:1+",
];

/// Calls that most easily make a loop spin when they fail and go on failing.
const TRIED_AGAIN: [&str; 7] = ["accept4", "clone", "epoll_wait", "epoll_pwait", "mmap", "openat", "write"];

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
/// late use; what goes on for a moment where a loop would most easily spin; and what has gone wrong.
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
    for case in REGRESSIONS.map(|name| name.parse::<Case>().expect("a case")) {
        // Another C library may make another call of it.
        let is_made = rows.iter().any(|row| row.scenario == case.scenario && row.call == case.call);
        if is_made && !cases.contains(&case) {
            cases.push(case);
        }
    }
    cases
}
