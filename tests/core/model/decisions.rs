//! Which of the machine's own decisions are possible, and what must follow from them.

use super::{Chair, Known, Model, Place, With, Wrong, why};
use einhyrningsins::fsm::{
    action::{Action, Reply},
    event::{Command, EventKind},
    id::{Generation, SlotId, WorkerId},
    life::Life,
    notice::Notice,
    reason::{Cause, Why},
    signal::Shutdown,
    slot::{Hold, Side},
    worker::{Input, PhaseTag},
};

impl Model<'_> {
    /// What is left of a step's orders are decisions; each must be one that can be made.
    pub(super) fn accept_decisions(&mut self) -> Result<(), Wrong> {
        while let Some(order) = self.orders.front().cloned() {
            match order {
                // The last of all.
                Action::Notice { notice: Notice::Down { .. } | Notice::NoLongerDown { .. } } => break,
                Action::Spawn { worker, slot, generation } => {
                    self.orders.pop_front();
                    self.settle()?;
                    self.start(worker, slot, generation)?;
                }
                Action::Exit { code } => {
                    self.orders.pop_front();
                    self.life = Life::Done { code };
                }
                Action::Notice { notice } => self.accept(&notice)?,
                other => return Err(format!("nothing calls for {other:?}")),
            }
        }
        self.settle()
    }

    fn accept(&mut self, notice: &Notice) -> Result<(), Wrong> {
        match notice {
            Notice::Draining { worker, why: told, .. } => {
                self.settle()?;
                let input = self.input_for(*told).ok_or_else(|| format!("{told} is no reason now"))?;
                let surplus = self.workers.get(worker).is_some_and(|known| known.slot.0 >= self.target);
                if surplus != (*told == Why::Surplus) && self.life.is_running() {
                    return Err(format!("worker {worker} is {told}, and its slot says otherwise"));
                }
                return self.apply(*worker, input, why(*told));
            }
            Notice::Escalated { worker, .. } => {
                if self.life.shutdown().is_none() {
                    return Err(format!("worker {worker} is pressed for no reason"));
                }
                let input = self.input_for(Why::Shutdown).ok_or("no way to go")?;
                return self.apply(*worker, input, why(Why::Shutdown));
            }
            Notice::RollingBack {
                cause: Cause::GaveUp, slot: Some(slot), failure: Some(failure), ..
            } => {
                let (given_up, wanted) = (self.slots.get(slot), self.wanted());
                if !given_up
                    .is_some_and(|place| place.has_failed(self.config) && place.front.generation == wanted)
                {
                    return Err(format!("slot {slot} did not fail: {given_up:?}"));
                }
                return self.set_back(Cause::GaveUp, Some((*slot, *failure)));
            }
            _ => self.orders.pop_front(),
        };
        let (now, failed, ended) = (self.now, self.has_failed(), self.is_back());
        match (notice, &mut self.upgrade) {
            (Notice::OnTrial { generation, soak, .. }, Some(upgrade))
                if upgrade.generation == *generation && upgrade.soak == *soak && !upgrade.back =>
            {
                upgrade.trial_end = Some(now + *soak);
                Ok(())
            }
            (Notice::Upgraded { generation, .. }, Some(upgrade))
                if upgrade.generation == *generation && !upgrade.back && upgrade.trial_end.is_none() =>
            {
                (self.stable, self.served, self.shows) = (*generation, true, upgrade.shows);
                self.upgrade = None;
                Ok(())
            }
            (Notice::RolledBack { .. }, Some(upgrade)) if upgrade.back && ended => {
                self.upgrade = None;
                Ok(())
            }
            (Notice::Lost { .. }, _)
                if self.workers.values().all(|known| known.tag == PhaseTag::DrainingStuck)
                    && self
                        .slots
                        .iter()
                        .all(|(id, place)| id.0 >= self.target || place.front.hold == Hold::GaveUp) =>
            {
                Ok(())
            }
            (Notice::Lost { .. }, _) if self.config.exit_on_failure && failed => {
                self.life = Life::Stopping { shutdown: Shutdown::Graceful, code: 1 };
                (self.upgrade, self.pinning) = (None, None);
                Ok(())
            }
            (other, _) => Err(format!("nothing calls for {other:?}")),
        }
    }

    /// Whether every slot has failed, and nobody serves.
    fn has_failed(&self) -> bool {
        let slots = (0..self.target).filter_map(|id| self.slots.get(&SlotId(id)));
        slots.into_iter().all(|place| place.has_failed(self.config))
            && self.workers.values().all(|known| known.tag != PhaseTag::Healthy)
    }

    /// Whether nobody waits for the way back any more: each slot that is back serves, has served, has failed or lacks
    /// something; and it is only for one of the latter that any are not back.
    fn is_back(&self) -> bool {
        let slots: Vec<&Place> = (0..self.target).filter_map(|id| self.slots.get(&SlotId(id))).collect();
        let (back, others): (Vec<&Place>, Vec<&Place>) =
            slots.into_iter().partition(|place| place.front.generation == self.stable);
        let serves = |place: &Place| self.tag(place.front.worker) == Some(PhaseTag::Healthy);
        let lost = |place: &Place| !serves(place) && place.has_failed(self.config);
        let lacks = |place: &Place| !serves(place) && place.front.lacks >= self.config.retries;
        let settled = |place: &&Place| serves(place) || place.front.served || lost(place) || lacks(place);
        back.iter().all(settled)
            && (others.is_empty() || back.iter().any(|place| lost(place) || lacks(place)))
    }

    /// How a worker is asked to go for that reason.
    fn input_for(&self, why: Why) -> Option<Input> {
        match (why, self.life.shutdown()) {
            (Why::Replaced | Why::Withdrawn | Why::Surplus, None) if self.life.is_running() => {
                Some(Input::Drain)
            }
            (Why::Shutdown, Some(Shutdown::Graceful)) => Some(Input::Drain),
            (Why::Shutdown, Some(Shutdown::Fast | Shutdown::Quick)) => Some(Input::Terminate),
            (Why::Shutdown, Some(Shutdown::Kill)) => Some(Input::Kill),
            _ => None,
        }
    }

    fn start(&mut self, worker: WorkerId, slot: SlotId, generation: Generation) -> Result<(), Wrong> {
        let wrong = |what: &str| Err(format!("worker {worker} for slot {slot} in {generation}: {what}"));
        let relief = |place: &Place| {
            let vacated = place.back.as_ref().is_some_and(|back| back.worker.is_none());
            vacated && generation == self.stable && place.front.generation != generation
        };
        let side = match self.slots.get(&slot) {
            Some(place) if relief(place) => Side::Outgoing,
            Some(place) if place.front.generation != generation => {
                self.take_over(slot)?;
                Side::Current
            }
            _ => Side::Current,
        };
        let Some(place) = self.slots.get_mut(&slot).filter(|_| slot.0 < self.target) else {
            return wrong("no such slot");
        };
        let Some(chair) = place.chair(side) else {
            return wrong("nobody is to be replaced");
        };
        if chair.generation != generation {
            return wrong("nobody wants that generation");
        }
        if chair.worker.is_some() || chair.hold != Hold::Ready {
            return wrong("the slot is not vacant");
        }
        chair.worker = Some(worker);
        if worker.0 != self.last_worker.0 + 1 {
            return wrong("the name is out of order");
        }
        self.last_worker = worker;
        let (tag, pid, why, now) = (PhaseTag::SpawningWanted, None, None, self.now);
        let (proof, registered, extended, strict) = (None, None, None, false);
        let (born, since, patient) = (now, now, false);
        let fresh = Known {
            slot,
            generation,
            tag,
            pid,
            why,
            patient,
            born,
            since,
            proof,
            registered,
            extended,
            strict,
        };
        self.workers.insert(worker, fresh);
        Ok(())
    }

    /// The slot is to run the wanted generation; who is in it is to be replaced.
    pub(super) fn take_over(&mut self, slot: SlotId) -> Result<(), Wrong> {
        let wanted = self.wanted();
        if self.upgrade.is_some_and(|upgrade| upgrade.fresh) {
            return Err(format!("slot {slot} is taken over too early"));
        }
        match self.slots.get_mut(&slot).filter(|_| slot.0 < self.target) {
            Some(place) if place.back.is_none() && place.front.generation != wanted => {
                let before = std::mem::replace(&mut place.front, Chair::new(wanted));
                place.back = Some(before).filter(|before| before.worker.is_some());
                Ok(())
            }
            other => Err(format!("slot {slot} cannot be taken over: {other:?}")),
        }
    }

    /// What the machine decides without a word: nobody hears of it, for there is no process yet.
    fn settle(&mut self) -> Result<(), Wrong> {
        let stopping = self.life.shutdown().is_some();
        if !stopping && !self.life.is_running() {
            return Ok(());
        }
        let (stable, wanted) = (self.stable, self.wanted());
        let slots: Vec<SlotId> = self.slots.keys().copied().filter(|id| id.0 < self.target).collect();
        for slot in slots.into_iter().filter(|_| !stopping) {
            let place = self.slots.get_mut(&slot).ok_or("no such slot")?;
            if place.front.generation == stable {
                place.close();
            }
            let (current, outgoing, generation) =
                (place.front.worker, place.outgoing(), place.front.generation);
            let left = generation != stable && generation != wanted;
            if left && current.is_none() && place.front.hold == Hold::Ready {
                match place.back {
                    Some(_) => self.give_back(slot)?,
                    None => place.front = Chair::new(stable),
                }
            } else if self.tag(current) == Some(PhaseTag::Healthy)
                && let Some(worker) =
                    outgoing.filter(|_| self.tag(outgoing) == Some(PhaseTag::SpawningWanted))
            {
                self.apply(worker, Input::Drain, With::default())?;
            }
        }
        let unwanted = |(_, known): &(&WorkerId, &Known)| {
            known.tag == PhaseTag::SpawningWanted && (stopping || known.slot.0 >= self.target)
        };
        let unwanted: Vec<WorkerId> = self.workers.iter().filter(unwanted).map(|(id, _)| *id).collect();
        unwanted.into_iter().try_for_each(|worker| self.apply(worker, Input::Drain, With::default()))
    }
}

/// Whether an order is about workers, slots or an answer that this model gives too.
pub(super) fn concerns(order: &Action, event: &EventKind) -> bool {
    match order {
        Action::Spawn { .. }
        | Action::Signal { .. }
        | Action::Stop { .. }
        | Action::Sweep { .. }
        | Action::Exit { .. } => true,
        Action::Pin { .. } | Action::Bind { .. } | Action::Forget { .. } | Action::Progress { .. } => false,
        Action::Reply { reply: Reply::CanaryRefused { .. }, .. } => true,
        Action::Reply { request, .. } => match event {
            EventKind::Acked { request: asked, .. } | EventKind::Pinged { request: asked, .. } => {
                *asked == Some(*request)
            }
            EventKind::Requested { request: asked, command, .. } => {
                asked == request && !matches!(command, Command::Upgrade { .. })
            }
            _ => false,
        },
        Action::Notice { notice } => match notice {
            Notice::Up { .. }
            | Notice::PinFailed { .. }
            | Notice::BindFailed { .. }
            | Notice::Superseded { .. } => false,
            Notice::Impossible { .. } => {
                matches!(event, EventKind::Spawned { .. } | EventKind::SpawnFailed { .. })
            }
            _ => true,
        },
    }
}
