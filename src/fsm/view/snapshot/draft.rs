//! A state that is being put together again from the lines of a snapshot.

use super::{BadSnapshot, Entry, whole};
use crate::fsm::{
    fleet::{Extent, Fleet, slot::Slot, worker::Worker},
    machine::{
        life::Life,
        releases::{Named, Pinning, Releases, Rollout},
        requests::Requests,
        supervisor::{Outage, Parts, Supervisor},
    },
    view::invariants::Monitor,
    words::{
        config::Config,
        id::{ClientId, RequestId, SlotId, WorkerId},
        time::Clock,
    },
};
use alloc::{collections::BTreeMap, format, string::String};

/// What has been read so far.
#[derive(Default)]
pub(super) struct Draft {
    config: Config,
    clock: Option<Clock>,
    life: Option<Life>,
    unfinished: Option<()>,
    named: Option<Named>,
    pinning: Option<Pinning>,
    rollout: Option<Rollout>,
    outage: Option<Outage>,
    extent: Option<Extent>,
    slots: BTreeMap<SlotId, Slot>,
    workers: BTreeMap<WorkerId, Worker>,
    waiting: BTreeMap<RequestId, ClientId>,
}

fn once<T>(before: Option<T>, what: &str) -> Result<(), String> {
    if before.is_none() { Ok(()) } else { Err(format!("{what} for the second time")) }
}

fn given<T>(part: Option<T>, what: &str) -> Result<T, BadSnapshot> {
    part.ok_or_else(|| whole(format!("there is no `{what}`")))
}

impl Draft {
    pub(super) fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    pub(super) fn take(&mut self, entry: Entry) -> Result<(), String> {
        match entry {
            Entry::Clock { clock } => once(self.clock.replace(clock), "clock"),
            Entry::Life { life } => once(self.life.replace(life), "life"),
            Entry::Unfinished => once(self.unfinished.replace(()), "unfinished"),
            Entry::Named { named } => once(self.named.replace(named), "releases"),
            Entry::Pinning { pinning } => once(self.pinning.replace(pinning), "pinning"),
            Entry::Rollout { rollout } => once(self.rollout.replace(rollout), "rollout"),
            Entry::Outage { outage } => once(self.outage.replace(outage), "outage"),
            Entry::Extent { extent } => once(self.extent.replace(extent), "fleet"),
            Entry::Slot { slot: id, state } => once(self.slots.insert(id, state), &format!("slot {id}")),
            Entry::Worker { worker } => {
                let id = worker.id();
                once(self.workers.insert(id, worker), &format!("worker {id}"))
            }
            Entry::Waiting { request, client } => {
                once(self.waiting.insert(request, client), &format!("request {request}"))
            }
        }
    }

    pub(super) fn finish(self) -> Result<Supervisor, BadSnapshot> {
        let (extent, named) = (given(self.extent, "fleet")?, given(self.named, "releases")?);
        let parts = Parts {
            clock: given(self.clock, "clock")?,
            life: given(self.life, "life")?,
            fleet: Fleet::from_parts(self.config, extent, self.workers, self.slots).map_err(whole)?,
            releases: Releases::from_parts(named, self.pinning, self.rollout).map_err(whole)?,
            requests: Requests::from_parts(self.waiting),
            outage: self.outage,
            unfinished: self.unfinished.is_some(),
        };
        let supervisor = Supervisor::from_parts(parts).map_err(whole)?;
        Monitor::new().state(&supervisor).map_err(|violation| whole(format!("cannot be: {violation}")))?;
        Ok(supervisor)
    }
}
