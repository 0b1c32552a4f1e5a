//! The generations of the program: which one is proven, which was named last, whose program is captured,
//! and the upgrade from one to the next. The only writer of all that. What an upgrade is to do next is
//! decided in [`rollout`](super::rollout), from counts.

use crate::fsm::words::{
    id::{Generation, RequestId, SlotId},
    reason::{Cause, Failure},
    text::record,
    time::{Millis, Time},
    upgrade::{Stage, Terms},
};
use alloc::collections::BTreeSet;
use core::mem;

record! {
    /// An upgrade whose program is being captured.
    #[derive(Copy)]
    pub struct Pinning {
        /// The generation it will be.
        pub generation: Generation,
        /// Who waits for it.
        pub request: Option<RequestId>;
        /// What it is to be like.
        pub terms: Terms,
    }
}

record! {
    /// An upgrade under way.
    #[derive(Copy)]
    pub struct Rollout {
        /// The new generation.
        pub generation: Generation,
        /// When it began.
        pub since: Time,
        /// Who waits for its end.
        pub request: Option<RequestId>,
        /// Healthy workers that were asked to go for it.
        pub retired: u32,
        /// How far it is.
        pub stage: Stage,
        /// When that stage began.
        pub stage_since: Time,
        /// Whether any worker of the new generation was ever healthy.
        pub has_served: bool,
        /// Whether any worker of it has said that it is ready, or was seen waiting for connections.
        pub shows: bool,
        /// Whether it has only just been asked for: it touches nothing before the shell has told all it
        /// knows, so that of many requests that come together only the last starts anything.
        pub fresh: bool;
        /// What it was asked to be like.
        pub terms: Terms,
        /// What the last progress line told.
        pub told: Told,
        /// Why it goes back, if it does.
        pub setback: Option<Setback>,
    }
}

record! {
    /// What a progress line tells.
    #[derive(Copy, Default)]
    pub struct Told {
        /// Healthy workers of the generation that comes.
        pub healthy: u32 = "told_healthy",
        /// Workers that were asked to go.
        pub retired: u32 = "told_retired",
        /// How far the upgrade is; none before the first line.
        pub stage: Option<Stage> = "told_stage",
    }
}

record! {
    /// Why an upgrade goes back.
    #[derive(Copy)]
    pub struct Setback {
        /// What kind of reason.
        pub cause: Cause,
        /// The slot that failed, if one did.
        pub slot: Option<SlotId>,
        /// How often it was tried, if one failed.
        pub failures: Option<u32>,
        /// How it failed the last time.
        pub failure: Option<Failure>,
    }
}

record! {
    /// The generations there are.
    pub struct Named {
        /// The one that is proven.
        pub stable: Generation,
        /// Whether any worker of it was ever healthy.
        pub served: bool,
        /// Whether any worker of it has said that it is ready, or was seen waiting for connections.
        pub shows: bool,
        /// The one that was named last.
        pub newest: Generation,
        /// Those whose program is captured.
        pub pinned: BTreeSet<Generation>,
    }
}

/// All that is known of generations.
#[derive(Clone, Debug)]
pub struct Releases {
    named: Named,
    pinning: Option<Pinning>,
    rollout: Option<Rollout>,
}

impl Releases {
    /// No generation yet.
    pub(super) fn new() -> Self {
        let (stable, newest, pinned) = (Generation(0), Generation(0), BTreeSet::new());
        let named = Named { stable, served: false, shows: false, newest, pinned };
        Self { named, pinning: None, rollout: None }
    }

    /// Put together again.
    ///
    /// # Errors
    /// If that is nothing that there can be.
    pub(in crate::fsm) fn from_parts(
        named: Named,
        pinning: Option<Pinning>,
        rollout: Option<Rollout>,
    ) -> Result<Self, &'static str> {
        let coming = rollout.map(|rollout| rollout.generation);
        let captured = pinning.map(|pinning| pinning.generation);
        let known = named.pinned.iter().copied().chain(coming).chain(captured).chain([named.stable]);
        if known.max() > Some(named.newest) {
            return Err("a generation is newer than the newest");
        }
        let consistent = rollout.is_none_or(|rollout| {
            rollout.stage != Stage::Settled && rollout.setback.is_some() == (rollout.stage == Stage::Back)
        });
        if !consistent {
            return Err("an upgrade goes back without a reason, or forward with one");
        }
        Ok(Self { named, pinning, rollout })
    }

    /// The generations there are.
    #[must_use]
    pub fn named(&self) -> &Named {
        &self.named
    }

    /// The upgrade whose program is being captured.
    #[must_use]
    pub fn pinning(&self) -> Option<&Pinning> {
        self.pinning.as_ref()
    }

    /// The upgrade under way.
    #[must_use]
    pub fn rollout(&self) -> Option<&Rollout> {
        self.rollout.as_ref()
    }

    /// The generation that is proven.
    #[must_use]
    pub fn stable(&self) -> Generation {
        self.named.stable
    }

    /// The generation slots are brought to.
    #[must_use]
    pub fn wanted(&self) -> Generation {
        match &self.rollout {
            Some(rollout) if rollout.stage.is_forward() => rollout.generation,
            Some(_) | None => self.named.stable,
        }
    }

    /// How far the upgrade is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.rollout.as_ref().map_or(Stage::Settled, |rollout| rollout.stage)
    }

    /// Whether an upgrade under way must pass a trial.
    #[must_use]
    pub fn soaks(&self) -> bool {
        self.rollout.as_ref().is_some_and(|rollout| rollout.terms.soak > Millis(0))
    }

    /// Whether an upgrade is under way that has touched nothing yet.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.rollout.as_ref().is_some_and(|rollout| rollout.fresh)
    }

    /// When the trial of the new generation is over, if it is on trial.
    #[must_use]
    pub fn trial_end(&self) -> Option<Time> {
        let rollout = self.rollout.as_ref().filter(|rollout| rollout.stage.is_trial())?;
        Some(rollout.stage_since + rollout.terms.soak)
    }

    /// When the upgrade under way has taken as long as it may, if that is bounded and it is not trusted yet.
    #[must_use]
    pub fn timeout(&self) -> Option<Time> {
        let coming = self.rollout.as_ref().filter(|rollout| self.is_coming(rollout.generation))?;
        Some(coming.since + coming.terms.timeout?)
    }

    /// Whether a generation's program may just have been captured, or not.
    #[must_use]
    pub fn is_expected(&self, generation: Generation) -> bool {
        (Generation(1)..=self.named.newest).contains(&generation) && !self.named.pinned.contains(&generation)
    }

    /// Names the next generation.
    pub(super) fn name_next(&mut self) -> Generation {
        self.named.newest = Generation(self.named.newest.0.saturating_add(1));
        self.named.newest
    }

    /// The first program is captured: there is nothing else it could be compared with.
    pub(super) fn capture_first(&mut self, generation: Generation) {
        self.named.pinned.insert(generation);
        self.named.stable = generation;
    }

    /// An upgrade waits for its program. Returns the one that did until now.
    pub(super) fn await_capture(&mut self, pinning: Pinning) -> Option<Pinning> {
        self.pinning.replace(pinning)
    }

    /// The program that an upgrade waits for is captured.
    pub(super) fn captured(&mut self, generation: Generation) -> Option<Pinning> {
        let pinning = self.not_captured(generation)?;
        self.named.pinned.insert(generation);
        Some(pinning)
    }

    /// The program that an upgrade waits for cannot be run.
    pub(super) fn not_captured(&mut self, generation: Generation) -> Option<Pinning> {
        self.pinning.take_if(|pinning| pinning.generation == generation)
    }

    /// Nobody waits for a program any more.
    pub(super) fn drop_pinning(&mut self) -> Option<Pinning> {
        self.pinning.take()
    }

    /// The upgrade under way is none any more.
    pub(super) fn drop_rollout(&mut self) -> Option<Rollout> {
        self.rollout.take()
    }

    /// An upgrade begins.
    pub(super) fn begin(&mut self, pinning: Pinning, now: Time) {
        let Pinning { generation, request, terms } = pinning;
        self.rollout = Some(Rollout {
            generation,
            terms,
            since: now,
            request,
            retired: 0,
            told: Told::default(),
            stage: if terms.canary > 0 { Stage::Canary } else { Stage::Spread },
            stage_since: now,
            has_served: false,
            shows: false,
            fresh: true,
            setback: None,
        });
    }

    /// The shell has told all it knew when the upgrade was asked for.
    pub(super) fn unseal(&mut self) {
        if let Some(rollout) = &mut self.rollout {
            rollout.fresh = false;
        }
    }

    /// A worker of that generation is healthy. Returns whether it is the first of the proven one.
    pub(super) fn note_healthy(&mut self, generation: Generation) -> bool {
        if let Some(rollout) = self.rollout.as_mut().filter(|rollout| rollout.generation == generation) {
            rollout.has_served = true;
        }
        generation == self.named.stable && !mem::replace(&mut self.named.served, true)
    }

    /// A worker of that generation has said that it is ready, or was seen waiting for connections.
    pub(super) fn note_shown(&mut self, generation: Generation) {
        if let Some(rollout) = self.rollout.as_mut().filter(|rollout| rollout.generation == generation) {
            rollout.shows = true;
        }
        self.named.shows |= generation == self.named.stable;
    }

    /// Whether a worker of that generation must say that it is ready, or be seen waiting for connections: others of
    /// it do, or those that it is to replace.
    #[must_use]
    pub fn must_show(&self, generation: Generation) -> bool {
        let of_its_own = self.rollout.as_ref().filter(|rollout| rollout.generation == generation);
        self.named.shows || of_its_own.is_some_and(|rollout| rollout.shows)
    }

    /// Whether that is the proven generation and workers of it have been healthy, or the one that is about to
    /// be: it is known to work.
    #[must_use]
    pub fn is_known_to_serve(&self, generation: Generation) -> bool {
        let proven = self.rollout.as_ref().filter(|rollout| rollout.stage == Stage::Proven);
        (generation == self.named.stable && self.named.served)
            || proven.is_some_and(|rollout| rollout.generation == generation)
    }

    /// Whether that is the generation on its way in, and not trusted yet.
    #[must_use]
    pub fn is_coming(&self, generation: Generation) -> bool {
        let coming = self.rollout.as_ref().filter(|rollout| rollout.stage.is_forward());
        coming.is_some_and(|rollout| rollout.stage != Stage::Proven && rollout.generation == generation)
    }

    /// Whether that is the generation on its way in, and nobody knows yet whether it can serve at all.
    #[must_use]
    pub fn is_untried(&self, generation: Generation) -> bool {
        self.is_coming(generation) && self.rollout.as_ref().is_some_and(|rollout| !rollout.has_served)
    }

    /// On to the next stage. Returns the upgrade if it is on trial now.
    pub(super) fn advance(&mut self, now: Time) -> Option<Rollout> {
        let rollout = self.rollout.as_mut()?;
        rollout.stage = rollout.stage.next(rollout.terms.soak);
        self.prolong(now)
    }

    /// What the present stage takes is counted from now on. Returns the upgrade if it is on trial.
    pub(super) fn prolong(&mut self, now: Time) -> Option<Rollout> {
        let rollout = self.rollout.as_mut()?;
        rollout.stage_since = now;
        self.rollout.filter(|rollout| rollout.stage.is_trial())
    }

    /// One more worker was asked to go for the upgrade.
    pub(super) fn note_retired(&mut self) {
        if let Some(rollout) = &mut self.rollout {
            rollout.retired = rollout.retired.saturating_add(1);
        }
    }

    /// Notes what a progress line would tell. Returns the upgrade if that is news.
    pub(super) fn tell(&mut self, healthy: u32) -> Option<&Rollout> {
        let rollout = self.rollout.as_mut()?;
        let told = Told { healthy, retired: rollout.retired, stage: Some(rollout.stage) };
        let news = mem::replace(&mut rollout.told, told) != told;
        self.rollout.as_ref().filter(|_| news)
    }

    /// From here on the proven generation is wanted again. Returns the one that is taken back.
    pub(super) fn set_back(&mut self, setback: Setback, now: Time) -> Option<Generation> {
        let rollout = self.rollout.as_mut()?;
        rollout.stage = Stage::Back;
        rollout.stage_since = now;
        rollout.fresh = false;
        rollout.setback = Some(setback);
        Some(rollout.generation)
    }

    /// The upgrade is over. What it went forward to is proven.
    pub(super) fn finish(&mut self) -> Option<Rollout> {
        let rollout = self.rollout.take()?;
        if rollout.setback.is_none() {
            self.named.stable = rollout.generation;
            self.named.served = true;
            self.named.shows = rollout.shows;
        }
        Some(rollout)
    }

    /// Takes out a captured program that is not needed: neither proven nor wanted, and not `used` either.
    pub(super) fn take_unused(&mut self, used: impl Fn(Generation) -> bool) -> Option<Generation> {
        let needed = [self.stable(), self.wanted()];
        let unused = |generation: &Generation| !needed.contains(generation) && !used(*generation);
        let generation = self.named.pinned.iter().copied().find(unused)?;
        self.named.pinned.remove(&generation);
        Some(generation)
    }
}
