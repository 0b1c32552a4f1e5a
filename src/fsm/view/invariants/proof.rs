//! Whether time counts as a proof only where nobody shows more.

use super::{Monitor, Violation, holds};
use crate::fsm::{
    machine::supervisor::Supervisor,
    words::{event::Proof, id::Generation},
};
use alloc::format;

impl Monitor {
    /// A worker of that generation was found healthy in such a way.
    pub(super) fn proved(
        &mut self,
        generation: Generation,
        proof: Proof,
        after: &Supervisor,
    ) -> Result<(), Violation> {
        // What a release had shown that nobody wants any more is not remembered.
        let wanted = [after.stable(), after.wanted()].contains(&generation);
        let shown = (wanted && self.shown.contains(&generation)) || self.shown.contains(&self.stable);
        if proof != Proof::Timer {
            self.shown.insert(generation);
        }
        let may = proof != Proof::Timer || !shown || !after.fleet().config().ack.looks();
        holds(41, may, || {
            format!("a worker of generation {generation} is healthy by {proof}, where others show more")
        })
    }
}
