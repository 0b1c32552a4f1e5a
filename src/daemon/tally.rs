//! Counting what happens, for `status`. Nothing is decided by it, and whoever takes over begins anew: those who add
//! such counts up know that they may.

use crate::{fsm::notice::Notice, protocol::Totals};

/// Takes in what the core has to tell.
pub(crate) fn count(totals: &mut Totals, notice: &Notice) {
    match notice {
        Notice::Spawned { .. } => totals.starts += 1,
        Notice::Healthy { took, .. } => totals.healthy_after.add(*took),
        Notice::StartFailed { .. } => totals.exits.failed_start += 1,
        Notice::Crashed { .. } => totals.exits.crashed += 1,
        Notice::Gone { unasked: true, .. } => totals.exits.left += 1,
        Notice::Gone { unasked: false, .. } => totals.exits.asked += 1,
        Notice::PinFailed { .. } => totals.upgrades.refused += 1,
        Notice::Upgraded { took, .. } => {
            totals.upgrades.upgraded += 1;
            totals.upgraded_after.add(*took);
        }
        Notice::RollingBack { .. } => totals.upgrades.rolled_back += 1,
        Notice::Superseded { .. } => totals.upgrades.superseded += 1,
        Notice::Draining { .. }
        | Notice::Escalated { .. }
        | Notice::Stuck { .. }
        | Notice::Orphans { .. }
        | Notice::GaveUp { .. }
        | Notice::Failing { .. }
        | Notice::Down { .. }
        | Notice::NoLongerDown { .. }
        | Notice::Lost { .. }
        | Notice::BindFailed { .. }
        | Notice::Up { .. }
        | Notice::Upgrading { .. }
        | Notice::OnTrial { .. }
        | Notice::RolledBack { .. }
        | Notice::Target { .. }
        | Notice::TargetRefused { .. }
        | Notice::Stopping { .. }
        | Notice::NotYours { .. }
        | Notice::Gap { .. }
        | Notice::Impossible { .. } => {}
    }
}
