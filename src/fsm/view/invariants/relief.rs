//! Whether the proven generation goes on serving where one of its workers ends before it is replaced.

use super::{Monitor, Violation, holds};
use crate::fsm::{
    fleet::slot::{Hold, Side},
    machine::supervisor::Supervisor,
    words::{event::EventKind, id::SlotId},
};
use alloc::format;

impl Monitor {
    /// The slot that loses a healthy worker by that event while something newer was to replace it.
    pub(super) fn lost(&self, kind: &EventKind) -> Option<SlotId> {
        let EventKind::Exited { pid, .. } = kind else {
            return None;
        };
        let worker = self.workers.get(self.pids.get(pid)?)?;
        Some(worker.slot).filter(|slot| worker.healthy && self.replacing.contains(slot))
    }

    /// Checks the slot that has `lost` a worker.
    pub(super) fn relieved(&mut self, lost: Option<SlotId>, after: &Supervisor) -> Result<(), Violation> {
        let (fleet, stable) = (after.fleet(), after.stable());
        let newer = |id: &SlotId| fleet.slots().get(id).is_some_and(|slot| slot.generation() != stable);
        self.replacing.clear();
        self.replacing.extend(fleet.index().replacing.iter().copied().filter(newer));
        let bound = after.life().is_running() && !after.is_unfinished() && self.served.contains(&stable);
        let slot = lost.filter(|_| bound).and_then(|id| Some((id, fleet.slots().get(&id)?)));
        let Some((id, slot)) = slot.filter(|(id, _)| id.0 < fleet.target()) else {
            return Ok(());
        };
        let mut sides = [Side::Current, Side::Outgoing].into_iter().filter_map(|side| slot.side(side));
        let filled = sides.any(|seat| {
            let on_its_way = seat.worker().is_some() || matches!(seat.hold(), Hold::Until(_));
            let serves = seat.worker().is_some_and(|worker| fleet.is_healthy(worker));
            serves || (on_its_way && seat.generation() == stable)
        });
        holds(40, filled, || format!("slot {id} has lost its worker, and gets none that is proven"))
    }
}
