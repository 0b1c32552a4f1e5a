//! Supervisors that are lost, and upgrades amid a storm.

use super::{Failed, Sim, UPGRADES, trial};
use einhyrningsins::fsm::{
    action::{Action, Reply},
    backoff,
    config::KILL_AFTER,
    event::{Command, EventKind, ExitStatus},
    id::SlotId,
    time::Millis,
};
use std::collections::VecDeque;

impl Sim {
    /// Another supervisor goes on, as in `fsm-spec/handover.md`: so many of the last actions were done, the next one is
    /// perhaps. Returns what there is to tell.
    pub(super) fn take_over(&mut self, done: usize, doubtful: bool) -> Result<VecDeque<EventKind>, Failed> {
        let actions = self.world.replace().map_err(|why| self.fail(why))?;
        let mut facts = VecDeque::new();
        for (number, action) in actions.iter().enumerate().skip(done) {
            let is_reply = matches!(action, Action::Reply { .. } | Action::Progress { .. });
            let is_order = matches!(action, Action::Pin { .. } | Action::Bind { .. } | Action::Spawn { .. });
            let is_doubtful = doubtful && number == done;
            if !(is_order || is_reply && is_doubtful) {
                self.perform(action);
            }
        }
        // Whoever has ended and was reaped before that could be told.
        let believed = self.world.pids();
        facts.extend(
            believed.into_iter().filter(|pid| !self.kernel.knows(*pid)).map(|pid| EventKind::Exited {
                pid,
                status: ExitStatus::Unknown,
                error: None,
                orphans: false,
            }),
        );
        let orders: Vec<Action> = self.world.supervisor.outstanding().collect();
        for order in orders {
            match self.kernel.carried_out(&order) {
                Some(fact) => facts.push_back(fact),
                None => facts.extend(self.perform(&order)),
            }
        }
        Ok(facts)
    }

    /// The longest that an upgrade may take while workers are killed all the time (I35): on the way
    /// there and on the way back each slot may fail so often that it is given up, and serve once.
    fn storm_bound(&self, soak: Millis) -> Millis {
        let config = self.world.supervisor.fleet().config();
        let start = config.ack.span();
        // A start may take all its time and then not go before it is killed, and each failure waits longer.
        let once = |failures: u32| {
            backoff::delay(config.backoff, failures.max(1), SlotId(0)).0 + start.0.max(200) + 2 * KILL_AFTER.0
        };
        let slot: u64 = (0..=config.retries).map(once).sum();
        Millis(2 * u64::from(self.options.target) * slot + 2 * soak.0)
    }

    /// Upgrades one after the other while workers are killed. Returns what came of them.
    pub(super) fn storm(&mut self) -> Result<Vec<Reply>, Failed> {
        self.tell_start()?;
        let mut answers = Vec::new();
        for _ in 0..UPGRADES {
            if self.is_over() {
                break;
            }
            self.request(9, Command::Retry)?;
            let target = self.world.supervisor.fleet().target();
            let command = trial(&mut self.kernel.rng, target);
            let Command::Upgrade { soak, .. } = command else { continue };
            let request = self.request(9, command)?;
            let bound = self.storm_bound(soak.unwrap_or_default());
            let end = self.world.now + bound;
            while !self.answers.contains_key(&request) {
                if self.world.now > end {
                    let state = self.world.supervisor.snapshot();
                    return Err(self.fail(format!("I35: not over within {bound:?}: {state}")));
                }
                self.turn()?;
            }
            answers.extend(self.answers.remove(&request));
        }
        Ok(answers)
    }
}
