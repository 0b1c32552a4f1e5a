//! Which invariants there are, and how each is checked.

/// How an invariant is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By [`Monitor::step`](super::Monitor::step).
    Step,
    /// By [`Monitor::state`](super::Monitor::state).
    State,
    /// By tests that look at whole runs.
    Run,
}

/// Every invariant, by number.
pub const ALL: [(u8, Kind); 44] = {
    use Kind::{Run, State, Step};
    [
        (1, Run),
        (2, State),
        (3, Step),
        (4, Step),
        (5, Step),
        (6, State),
        (7, Step),
        (8, Step),
        (9, Step),
        (10, State),
        (11, Step),
        (12, Step),
        (13, Step),
        (14, Step),
        (15, Step),
        (16, Step),
        (17, State),
        (18, Step),
        (19, Step),
        (20, Run),
        (21, State),
        (22, Run),
        (23, Run),
        (24, Run),
        (25, Run),
        (26, Run),
        (27, Run),
        (28, State),
        (29, Step),
        (30, State),
        (31, Step),
        (32, State),
        (33, Step),
        (34, State),
        (35, Run),
        (36, State),
        (37, State),
        (38, Step),
        (39, Step),
        (40, Step),
        (41, Step),
        (42, Run),
        (43, Step),
        (44, Step),
    ]
};
