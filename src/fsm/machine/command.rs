//! What people ask for: commands of clients, and signals to the supervisor.

use super::{life::LifeChange, supervisor::Supervisor};
use crate::fsm::words::{
    action::{Action, Reply, Scope},
    config::TARGET,
    event::{Command, Strategy},
    id::{ClientId, Pid, RequestId, WorkerId},
    notice::Notice,
    signal::{Shutdown, Signal},
    time::Millis,
    upgrade::Terms,
};
use alloc::{collections::BTreeSet, format, vec::Vec};

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
            Command::Upgrade { strategy, canary, soak, timeout } => {
                let (canary, soak) = (canary.unwrap_or_default(), soak.unwrap_or_default());
                let target = self.fleet.target();
                if canary > target {
                    return self.reply(request, Reply::CanaryRefused { canary, target });
                }
                self.pin_upgrade(Terms { strategy, canary, soak, timeout }, Some(request));
            }
            Command::Abort => self.abort(request),
            Command::Inc => self.answer_target(request, self.fleet.target().saturating_add(1)),
            Command::Dec => self.answer_target(request, self.fleet.target().saturating_sub(1)),
            Command::SetWorkers { count } => self.answer_target(request, count),
            Command::Retry => {
                let slots = self.fleet.retry(self.clock.now());
                self.reply(request, Reply::Retrying { slots });
            }
        }
    }

    fn answer_target(&mut self, request: RequestId, new: u32) {
        let old = self.fleet.target();
        let reply = if self.set_target(new) {
            Reply::Target { old, new }
        } else {
            Reply::TargetRefused { target: old, least: *TARGET.start(), most: *TARGET.end() }
        };
        self.reply(request, reply);
    }

    /// The same for a signal, which nobody waits to hear about.
    fn step_target(&mut self, new: u32) {
        if !self.set_target(new) {
            let (target, least, most) = (self.fleet.target(), *TARGET.start(), *TARGET.end());
            self.notice(Notice::TargetRefused { target, least, most });
        }
    }

    /// Changes the number of workers, if that is possible. Returns whether it is.
    fn set_target(&mut self, new: u32) -> bool {
        if !TARGET.contains(&new) {
            return false;
        }
        // Asking for a number is asking for workers: slots that were given up get another chance.
        self.fleet.retry(self.clock.now());
        let old = self.fleet.target();
        self.fleet.set_target(new, self.stable());
        if new != old {
            self.notice(Notice::Target { old, new });
        }
        true
    }

    fn signal_workers(&mut self, request: RequestId, signal: Signal, pids: &[Pid]) {
        if let Some(pid) = pids.iter().find(|pid| self.fleet.by_pid(**pid).is_none()) {
            return self.reply(request, Reply::NoSuchWorker { pid: *pid });
        }
        let count = self.pass_on(signal, pids, Scope::Process);
        self.reply(request, Reply::Signalled { signal, count });
    }

    /// Sends a signal to the workers with these processes, or to all. Returns to how many.
    fn pass_on(&mut self, signal: Signal, pids: &[Pid], scope: Scope) -> u32 {
        let named: BTreeSet<Pid> = pids.iter().copied().collect();
        let live = self.fleet.index().pids.iter().map(|(pid, worker)| (*pid, *worker));
        let chosen: Vec<(Pid, WorkerId)> =
            live.filter(|(pid, _)| named.is_empty() || named.contains(pid)).collect();
        for (pid, worker) in &chosen {
            self.act(Action::Signal { worker: *worker, pid: *pid, signal, scope });
        }
        u32::try_from(chosen.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn signalled(&mut self, signal: Signal) {
        match signal {
            Signal::Hup if self.life().is_running() => {
                let strategy = Strategy::Rolling;
                self.pin_upgrade(Terms { strategy, canary: 0, soak: Millis(0), timeout: None }, None);
            }
            Signal::Ttin if self.life().is_running() => {
                self.step_target(self.fleet.target().saturating_add(1))
            }
            Signal::Ttou if self.life().is_running() => {
                self.step_target(self.fleet.target().saturating_sub(1))
            }
            Signal::Usr1 => {
                self.pass_on(signal, &[], Scope::Handler);
            }
            Signal::Cont => {
                self.pass_on(signal, &[], Scope::Process);
            }
            Signal::Int | Signal::Usr2 | Signal::Term | Signal::Quit => {
                if let Some(shutdown) = Shutdown::from_signal(signal) {
                    self.live(LifeChange::Stop(shutdown));
                }
            }
            Signal::Hup
            | Signal::Ttin
            | Signal::Ttou
            | Signal::Kill
            | Signal::Stop
            | Signal::Tstp
            | Signal::Winch
            | Signal::Alrm
            | Signal::Abrt
            | Signal::Pipe => {}
        }
    }

    /// Begins the shutdown, or makes it as harsh as that.
    fn die(&mut self, request: RequestId, shutdown: Shutdown) {
        // Who asks for no more than is under way may only want to wait for it, or ask again for want of an answer.
        if self.life().shutdown().is_none_or(|under_way| under_way < shutdown) {
            self.live(LifeChange::Stop(shutdown));
        }
        if let Some(shutdown) = self.life().shutdown() {
            self.reply(request, Reply::Stopping { shutdown });
        }
    }
}
