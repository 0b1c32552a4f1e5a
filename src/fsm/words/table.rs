//! What the tables of `fsm-spec/` have in common: a state and an input lead to an outcome.

/// What an input means in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<State: 'static, Effect: 'static> {
    /// On to that state, with these effects, in their order.
    Move(State, &'static [Effect]),
    /// Nothing changes, and that is right.
    Stay,
    /// That cannot happen; nothing changes, and it is reported.
    Reject,
}
