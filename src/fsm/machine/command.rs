//! What people ask for: commands of clients, and signals to the supervisor.

use super::{life::LifeChange, supervisor::Supervisor};
use crate::fsm::words::{
    action::{Action, Reply, Scope},
    config::TARGET_MAX,
    event::{Command, Strategy},
    id::{ClientId, Pid, RequestId, WorkerId},
    notice::Notice,
    signal::{Shutdown, Signal},
    time::Millis,
    upgrade::Terms,
};
use alloc::{format, vec::Vec};

impl Supervisor {
    pub(super) fn requested(&mut self, client: ClientId, request: RequestId, command: Command) {
        if !self.expect_answer(request, client) {
            return self.impossible(format!("request {request} sent twice: {command:?}"));
        }
        let running = self.life().is_running();
        match command {
            Command::Status => self.reply(request, Reply::Status),
            Command::Die { shutdown } => self.die(request, shutdown),
            Command::Signal { signal, pids } => self.signal_workers(request, signal, &pids),
            _ if !running => self.reply(request, Reply::NotRunning),
            Command::Upgrade { strategy, canary, soak } => {
                let (canary, soak) = (canary.unwrap_or_default(), soak.unwrap_or_default());
                self.pin_upgrade(Terms { strategy, canary, soak }, Some(request));
            }
            Command::Abort => self.abort(request),
            Command::Inc => self.set_target(request, self.fleet.target().saturating_add(1)),
            Command::Dec => self.set_target(request, self.fleet.target().saturating_sub(1)),
            Command::SetWorkers { count } => self.set_target(request, count),
            Command::Retry => {
                let slots = self.fleet.retry(self.clock.now());
                self.reply(request, Reply::Retrying { slots });
            }
        }
    }

    fn set_target(&mut self, request: RequestId, new: u32) {
        let old = self.fleet.target();
        if !(1..=TARGET_MAX).contains(&new) {
            return self.reply(request, Reply::TargetRefused { target: old, least: 1, most: TARGET_MAX });
        }
        // Asking for a number is asking for workers: slots that were given up get another chance.
        self.fleet.retry(self.clock.now());
        self.fleet.set_target(new, self.stable());
        if new != old {
            self.notice(Notice::Target { old, new });
        }
        self.reply(request, Reply::Target { old, new });
    }

    fn signal_workers(&mut self, request: RequestId, signal: Signal, pids: &[Pid]) {
        if let Some(pid) = pids.iter().find(|pid| self.fleet.by_pid(**pid).is_none()) {
            return self.reply(request, Reply::NoSuchWorker { pid: *pid });
        }
        let count = self.pass_on(signal, pids);
        self.reply(request, Reply::Signalled { signal, count });
    }

    /// Sends a signal to the workers with these processes, or to all. Returns to how many.
    fn pass_on(&mut self, signal: Signal, pids: &[Pid]) -> u32 {
        let chosen: Vec<(Pid, WorkerId)> = self
            .fleet
            .index()
            .pids
            .iter()
            .filter(|(pid, _)| pids.is_empty() || pids.contains(pid))
            .map(|(pid, worker)| (*pid, *worker))
            .collect();
        for (pid, worker) in &chosen {
            self.act(Action::Signal { worker: *worker, pid: *pid, signal, scope: Scope::Process });
        }
        u32::try_from(chosen.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn signalled(&mut self, signal: Signal) {
        match signal {
            Signal::Hup if self.life().is_running() => {
                self.pin_upgrade(Terms { strategy: Strategy::Rolling, canary: 0, soak: Millis(0) }, None);
            }
            Signal::Ttin | Signal::Ttou | Signal::Usr1 | Signal::Cont => {
                self.pass_on(signal, &[]);
            }
            Signal::Int | Signal::Usr2 | Signal::Term | Signal::Quit => {
                if let Some(shutdown) = Shutdown::from_signal(signal) {
                    self.live(LifeChange::Stop(shutdown));
                }
            }
            Signal::Hup
            | Signal::Kill
            | Signal::Stop
            | Signal::Tstp
            | Signal::Winch
            | Signal::Alrm
            | Signal::Abrt
            | Signal::Pipe => {}
        }
    }

    /// Begins the shutdown, or makes it harsher.
    fn die(&mut self, request: RequestId, shutdown: Shutdown) {
        self.live(LifeChange::Stop(shutdown));
        if let Some(shutdown) = self.life().shutdown() {
            self.reply(request, Reply::Stopping { shutdown });
        }
    }
}
