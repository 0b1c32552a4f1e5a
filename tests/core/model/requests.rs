//! What people ask for: clients, and signals to the supervisor.

use super::{Model, Place, Wrong};
use einhyrningsins::fsm::{
    action::{Action, Reply, Scope},
    config::TARGET_MAX,
    event::Command,
    id::{Pid, RequestId, SlotId, WorkerId},
    life::Life,
    notice::Notice,
    reason::Cause,
    signal::{Shutdown, Signal},
    worker::PhaseTag,
};
use std::collections::BTreeMap;

impl Model<'_> {
    pub(super) fn requested(&mut self, request: RequestId, command: &Command) -> Result<(), Wrong> {
        let old = self.target;
        let reply = match command {
            Command::Upgrade { canary: Some(canary), .. } if self.life.is_running() && *canary > old => {
                Reply::CanaryRefused { canary: *canary, target: old }
            }
            Command::Upgrade { .. } => return Ok(()),
            Command::Status => Reply::Status,
            Command::Die { shutdown: asked } => match self.life.shutdown() {
                Some(under_way) if under_way >= *asked => Reply::Stopping { shutdown: under_way },
                _ => Reply::Stopping { shutdown: self.stop(*asked)? },
            },
            Command::Signal { signal, pids } => match pids.iter().find(|pid| self.owner(**pid).is_none()) {
                Some(pid) => Reply::NoSuchWorker { pid: *pid },
                None => {
                    Reply::Signalled { signal: *signal, count: self.pass_on(*signal, pids, Scope::Process)? }
                }
            },
            _ if !self.life.is_running() => Reply::NotRunning,
            Command::Inc => self.retarget(old + 1)?,
            Command::Dec => self.retarget(old - 1)?,
            Command::SetWorkers { count } => self.retarget(*count)?,
            Command::Retry => Reply::Retrying { slots: self.retry() },
            Command::Abort => match (self.pinning.take(), self.upgrade) {
                (Some(generation), _) => Reply::Aborting { generation },
                (None, Some(upgrade)) => {
                    if !upgrade.back {
                        self.set_back(Cause::Aborted, None)?;
                    }
                    Reply::Aborting { generation: upgrade.generation }
                }
                (None, None) => Reply::NothingToAbort,
            },
        };
        self.must_answer(Some(request), reply)
    }

    /// A signal asks for one worker more, or one fewer.
    pub(super) fn step(&mut self, new: u32) -> Result<(), Wrong> {
        match self.retarget(new)? {
            Reply::TargetRefused { target, least, most } => {
                self.must_tell(Notice::TargetRefused { target, least, most })
            }
            _ => Ok(()),
        }
    }

    fn retarget(&mut self, new: u32) -> Result<Reply, Wrong> {
        let old = self.target;
        if !(1..=TARGET_MAX).contains(&new) {
            return Ok(Reply::TargetRefused { target: old, least: 1, most: TARGET_MAX });
        }
        self.retry();
        self.set_target(new);
        if old != new {
            self.must_tell(Notice::Target { old, new })?;
        }
        Ok(Reply::Target { old, new })
    }

    pub(super) fn retry(&mut self) -> u32 {
        let target = self.target;
        let (config, workers) = (self.config, &self.workers);
        let serves = |place: &Place| {
            place.front.worker.is_some_and(|current| workers[&current].tag == PhaseTag::Healthy)
        };
        let failed =
            |(id, place): &(&SlotId, &mut Place)| id.0 < target && place.has_failed(config) && !serves(place);
        self.slots.iter_mut().filter(failed).map(|(_, place)| place.front.forgive()).count() as u32
    }

    pub(super) fn pass_on(&mut self, signal: Signal, pids: &[Pid], scope: Scope) -> Result<u32, Wrong> {
        let all = self.workers.iter().filter_map(|(id, known)| Some((known.pid?, *id)));
        let chosen: BTreeMap<Pid, WorkerId> =
            all.filter(|(pid, _)| pids.is_empty() || pids.contains(pid)).collect();
        for (pid, worker) in &chosen {
            self.must(Action::Signal { worker: *worker, pid: *pid, signal, scope })?;
        }
        Ok(chosen.len() as u32)
    }

    pub(super) fn stop(&mut self, asked: Shutdown) -> Result<Shutdown, Wrong> {
        let (shutdown, code) = match self.life {
            Life::Stopping { shutdown: Shutdown::Graceful, code } => (asked.max(Shutdown::Quick), code),
            Life::Stopping { code, .. } => (Shutdown::Kill, code),
            _ => (asked, 0),
        };
        self.life = Life::Stopping { shutdown, code };
        (self.upgrade, self.pinning) = (None, None);
        self.must_tell(Notice::Stopping { shutdown, workers: self.workers.len() as u32 })?;
        Ok(shutdown)
    }
}
