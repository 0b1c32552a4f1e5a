//! How an upgrade proceeds: from counts alone to the next thing to do. Knows no worker and no pid.
//!
//! An upgrade brings in the *wanted* generation and goes through [`Stage`]s. Going forward that is the
//! new one; when it is taken back, the same machinery runs with the proven generation as the wanted
//! one. [`rows`] are those of `fsm-spec/rollout.table`, which is edited first, and [`plan`] takes the first
//! that holds. It is asked again after everything that was decided, so nothing it relies on can be out of
//! date.

use crate::fsm::words::{event::Strategy, text::words, upgrade::Stage};

/// What the decision rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Workers there are to be.
    pub target: usize,
    /// Slots of the wanted generation; before the canaries are through, those beyond the target too.
    pub begun: usize,
    /// How many of them may be before they were on trial; all of them without a canary.
    pub canary: usize,
    /// Slots that still run another generation.
    pub untouched: usize,
    /// Those of them that can be taken over now.
    pub open: usize,
    /// Those of the latter without a worker: taking one over adds none beyond the target.
    pub idle: usize,
    /// Slots of the wanted generation without a healthy worker.
    pub unready: usize,
    /// Those of them that were given up, or have failed as often as it takes for that.
    pub gave_up: usize,
    /// Those of them that have had a healthy worker of that generation and were not given up.
    pub lapsed: usize,
    /// Those of them, neither given up nor lapsed, for which the machine has lacked something as often in a row as it
    /// takes to give one up.
    pub short: usize,
    /// Those of them that have not, and may start a worker beyond the target as soon as there is room for one.
    pub reserved: usize,
    /// Slots with a worker being replaced, less those that were given up: each has, or will have, a
    /// worker beyond the target.
    pub replacing: usize,
    /// Slots whose healthy worker replaces a healthy one.
    pub replaced: usize,
    /// The same in slots of other generations, left from an upgrade that was superseded.
    pub replaced_before: usize,
    /// Slots whose healthy worker replaces one that does not serve.
    pub replaced_idle: usize,
}

/// How much may happen at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Slots of the wanted generation that may be without a healthy worker.
    pub unacked: usize,
    /// Workers beyond the target.
    pub surge: usize,
}

impl Limits {
    /// How many workers beyond the target there may be.
    #[must_use]
    pub fn surge(&self, stage: Stage, strategy: Strategy, target: usize) -> usize {
        if stage.is_forward() && strategy == Strategy::Fleet { target } else { self.surge }
    }
}

words! {
    /// What the rows of the table ask for: in terms of slots (S), with W for those of the wanted generation
    /// and O for the others.
    pub enum Condition {
        /// The strategy is rolling.
        "rolling" => Rolling,
        /// A W was given up, or has failed as often as it takes for that.
        "gave-up" => GaveUp,
        /// In some S a healthy worker replaces one that is not healthy.
        "replaced-idle" => ReplacedIdle,
        /// In some W a healthy worker replaces a healthy one.
        "replaced" => Replaced,
        /// In some O a healthy worker replaces a healthy one, left from an earlier upgrade.
        "replaced-before" => ReplacedBefore,
        /// Fewer W are on the way to healthy than may be.
        "slack" => Slack,
        /// There are fewer W than canaries.
        "few" => Few,
        /// Some O has no worker at all.
        "idle" => Idle,
        /// Some O has no worker that is being replaced.
        "open" => Open,
        /// Fewer workers are beyond the target than may be.
        "room" => Room,
        /// There are at least as many W as canaries, or no O.
        "enough" => Enough,
        /// Every W has had a healthy worker since it came to that generation.
        "ready" => Ready,
        /// There is no O.
        "no-others" => NoOthers,
        /// The strategy is fleet, or no S has a worker being replaced, given-up ones left out.
        "nobody-leaves" => NobodyLeaves,
        /// No S has a worker being replaced, given-up ones left out.
        "all-left" => AllLeft,
        /// For a W, neither healthy nor given up, the machine has lacked something as often in a row as it takes to
        /// give one up.
        "short" => Short,
        /// Every W has had a healthy worker since it came to that generation, or was given up, or is short.
        "settled-down" => SettledDown,
    }
}

words! {
    /// The next thing to do.
    pub enum Decision {
        /// A slot was given up: go back.
        "collapse" => Collapse,
        /// Ask one worker to go that does not serve and whose replacement is healthy.
        "retire-idle" => RetireIdle,
        /// Ask one worker to go whose replacement is healthy.
        "retire" => Retire,
        /// The same, in a slot that an earlier upgrade left.
        "retire-before" => RetireBefore,
        /// Take over one slot that has no worker.
        "begin-idle" => BeginIdle,
        /// Take over one slot next to its worker.
        "begin" => Begin,
        /// Go on to the next stage.
        "advance" => Advance,
        /// All is done that can be.
        "finish" => Finish,
        /// Nothing can be done until something happens.
        "wait" => Wait,
    }
}

/// A row of the table: the decision, and what must hold for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row(pub &'static [Condition], pub Decision);

/// The rows of a stage, in their order. The last one asks for nothing.
#[must_use]
pub fn rows(stage: Stage) -> &'static [Row] {
    use Condition as C;
    use Decision as D;

    match stage {
        Stage::Settled => &[
            Row(&[C::ReplacedIdle], D::RetireIdle),
            Row(&[C::Replaced], D::Retire),
            Row(&[C::ReplacedBefore], D::RetireBefore),
            Row(&[C::Slack, C::Idle], D::BeginIdle),
            Row(&[C::Slack, C::Room, C::Open], D::Begin),
            Row(&[], D::Wait),
        ],
        Stage::Canary => &[
            Row(&[C::GaveUp], D::Collapse),
            Row(&[C::ReplacedIdle], D::RetireIdle),
            Row(&[C::Rolling, C::Replaced], D::Retire),
            Row(&[C::ReplacedBefore], D::RetireBefore),
            Row(&[C::Slack, C::Few, C::Idle], D::BeginIdle),
            Row(&[C::Slack, C::Few, C::Room, C::Open], D::Begin),
            Row(&[C::Enough, C::Ready], D::Advance),
            Row(&[], D::Wait),
        ],
        Stage::CanarySoak => &[
            Row(&[C::GaveUp], D::Collapse),
            Row(&[C::ReplacedIdle], D::RetireIdle),
            Row(&[C::Rolling, C::Replaced], D::Retire),
            Row(&[C::ReplacedBefore], D::RetireBefore),
            Row(&[], D::Wait),
        ],
        Stage::Spread => &[
            Row(&[C::GaveUp], D::Collapse),
            Row(&[C::ReplacedIdle], D::RetireIdle),
            Row(&[C::Rolling, C::Replaced], D::Retire),
            Row(&[C::ReplacedBefore], D::RetireBefore),
            Row(&[C::Slack, C::Idle], D::BeginIdle),
            Row(&[C::Slack, C::Room, C::Open], D::Begin),
            Row(&[C::NoOthers, C::Ready, C::NobodyLeaves], D::Advance),
            Row(&[], D::Wait),
        ],
        Stage::Probation => &[
            Row(&[C::GaveUp], D::Collapse),
            Row(&[C::ReplacedIdle], D::RetireIdle),
            Row(&[C::Rolling, C::Replaced], D::Retire),
            Row(&[C::ReplacedBefore], D::RetireBefore),
            Row(&[C::Slack, C::Idle], D::BeginIdle),
            Row(&[C::Slack, C::Room, C::Open], D::Begin),
            Row(&[], D::Wait),
        ],
        Stage::Proven => &[
            Row(&[C::ReplacedIdle], D::RetireIdle),
            Row(&[C::Replaced], D::Retire),
            Row(&[C::ReplacedBefore], D::RetireBefore),
            Row(&[C::Slack, C::Idle], D::BeginIdle),
            Row(&[C::Slack, C::Room, C::Open], D::Begin),
            Row(&[C::NoOthers, C::SettledDown, C::AllLeft], D::Finish),
            Row(&[], D::Wait),
        ],
        Stage::Back => &[
            Row(&[C::ReplacedIdle], D::RetireIdle),
            Row(&[C::Replaced], D::Retire),
            Row(&[C::ReplacedBefore], D::RetireBefore),
            Row(&[C::Slack, C::Idle], D::BeginIdle),
            Row(&[C::Slack, C::Room, C::Open], D::Begin),
            Row(&[C::SettledDown, C::GaveUp], D::Finish),
            Row(&[C::SettledDown, C::Short], D::Finish),
            Row(&[C::SettledDown, C::NoOthers], D::Finish),
            Row(&[], D::Wait),
        ],
    }
}

/// What the conditions are about.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// How far the upgrade is.
    pub stage: Stage,
    /// In which order it replaces workers.
    pub strategy: Strategy,
    /// What there is.
    pub counts: &'a Counts,
    /// What there may be.
    pub limits: &'a Limits,
}

impl Situation<'_> {
    /// Whether a condition holds.
    #[must_use]
    pub fn holds(&self, condition: Condition) -> bool {
        let Self { stage, strategy, counts, limits } = *self;
        match condition {
            Condition::Rolling => strategy == Strategy::Rolling,
            Condition::GaveUp => counts.gave_up > 0,
            Condition::ReplacedIdle => counts.replaced_idle > 0,
            Condition::Replaced => counts.replaced > 0,
            Condition::ReplacedBefore => counts.replaced_before > 0,
            Condition::Slack => self.in_flight() < limits.unacked,
            Condition::Few => counts.begun < counts.canary,
            Condition::Idle => counts.idle > 0,
            Condition::Open => counts.open > 0,
            Condition::Room => counts.replacing < limits.surge(stage, strategy, counts.target),
            Condition::Enough => counts.begun >= counts.canary || counts.untouched == 0,
            Condition::Ready => counts.unready <= counts.lapsed,
            Condition::NoOthers => counts.untouched == 0,
            Condition::NobodyLeaves => self.is_all_at_once() || counts.replacing == 0,
            Condition::AllLeft => counts.replacing == 0,
            Condition::Short => counts.short > 0,
            Condition::SettledDown => counts.unready <= counts.lapsed + counts.gave_up + counts.short,
        }
    }

    /// Slots of the wanted generation on the way to healthy. One that was given up waits for nobody, one that
    /// waits for room only for others to finish; and one that has served has shown all it can: it is filled again
    /// like any other, or workers that keep ending would hold the upgrade up for ever. On the way back what the
    /// machine lacks holds nothing up either.
    fn in_flight(&self) -> usize {
        let counts = self.counts;
        let short = if self.stage == Stage::Back { counts.short } else { 0 };
        counts.unready.saturating_sub(counts.gave_up + counts.reserved + counts.lapsed + short)
    }

    fn is_all_at_once(&self) -> bool {
        self.stage.is_forward() && self.strategy == Strategy::Fleet
    }
}

/// Decides: the first row that holds.
#[must_use]
pub fn plan(situation: Situation<'_>) -> Decision {
    let holds = |row: &&Row| row.0.iter().all(|condition| situation.holds(*condition));
    rows(situation.stage).iter().find(holds).map_or(Decision::Wait, |row| row.1)
}
