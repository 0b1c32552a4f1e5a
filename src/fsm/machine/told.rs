//! What workers tell of themselves by notification, sd_notify(3). Who has spoken the shell knows; a process that is no
//! worker any more is not concerned.

use super::supervisor::Supervisor;
use crate::fsm::{
    fleet::worker::Change,
    words::{
        event::{Notification, Proof},
        id::Pid,
        time::Millis,
    },
};

impl Supervisor {
    /// A worker is ready, or is stopping.
    pub(super) fn notified(&mut self, pid: Pid, word: Notification) {
        let Some(worker) = self.fleet.by_pid(pid).map(|worker| worker.id()) else {
            return;
        };
        match word {
            Notification::Ready if self.fleet.is_healthy(worker) => self.prove(worker, Proof::Notified),
            Notification::Ready => {
                self.change(worker, Change::Ack(Proof::Notified));
            }
            Notification::Stopping => {
                self.change(worker, Change::Leave);
            }
        }
    }

    /// A worker asks for more time: until so long from now, as long as it does what it does.
    pub(super) fn extended(&mut self, pid: Pid, by: Millis) {
        if let Some(worker) = self.fleet.by_pid(pid).map(|worker| worker.id()) {
            self.fleet.extend(worker, self.clock.now() + by);
        }
    }
}
