//! A machine, what it waits for, and what may still happen to it.

use super::moves::{Budget, Move, Sense};
use einhyrningsins::fsm::{
    Supervisor,
    action::Action,
    config::Config,
    event::{Command, Event, EventKind},
    id::Generation,
    invariants::Monitor,
    notice::Notice,
    time::Time,
    upgrade::Terms,
};
use std::collections::BTreeSet;

/// A state of the exploration.
#[derive(Clone, Debug)]
pub struct Place {
    /// The machine.
    pub supervisor: Supervisor,
    /// What checks it; it remembers the first way that led here.
    pub monitor: Monitor,
    /// The shell's time.
    pub at: Time,
    /// Orders that wait for an answer.
    pub unanswered: Vec<Action>,
    /// The upgrade that begins when its program is captured.
    pub pinning: Option<(Generation, Terms)>,
    /// Programs that the shell holds captured.
    pub captured: BTreeSet<Generation>,
    /// Whether any worker was ever healthy.
    pub served: bool,
    /// What may still happen.
    pub left: Budget,
    /// Events so far.
    pub depth: u64,
}

impl Place {
    /// A machine that has not begun.
    pub fn new(config: Config, left: Budget) -> Self {
        Self {
            supervisor: Supervisor::new(config).lenient(),
            monitor: Monitor::new(),
            at: Time(0),
            unanswered: Vec::new(),
            pinning: None,
            captured: BTreeSet::new(),
            served: false,
            left,
            depth: 0,
        }
    }

    /// The same without its past.
    pub fn bare(&self) -> Self {
        Self {
            supervisor: self.supervisor.clone(),
            monitor: Monitor::new(),
            unanswered: self.unanswered.clone(),
            captured: self.captured.clone(),
            ..*self
        }
    }

    /// Makes a move without looking at what comes of it.
    pub fn make(&mut self, step: Move) {
        match step {
            Move::Pass(left) => self.pass(left),
            Move::Tell(kind, left, _) => {
                self.left = left;
                self.hear(kind);
            }
        }
    }

    /// Lets the time of the next deadline come.
    fn pass(&mut self, left: Budget) {
        self.left = left;
        if let Some((deadline, _)) = self.supervisor.next_deadline() {
            self.at = self.at.max(deadline);
        }
    }

    /// Tells the machine something.
    pub fn hear(&mut self, kind: EventKind) {
        self.tell(kind);
    }

    fn tell(&mut self, kind: EventKind) -> (Event, Vec<Action>) {
        if let (EventKind::Woke, Some((deadline, _))) = (&kind, self.supervisor.next_deadline()) {
            self.at = self.at.max(deadline);
        }
        self.depth += 1;
        let event = Event { at: self.at, kind };
        let actions = self.supervisor.step(event.clone());
        if !self.unanswered.is_empty() {
            self.unanswered.retain(|order| !answers(&event.kind, order));
        }
        self.note_pins(&event.kind);
        for action in &actions {
            match action {
                Action::Pin { generation, .. } => {
                    self.pinning = terms(&event.kind).map(|terms| (*generation, terms));
                    self.unanswered.push(action.clone());
                }
                Action::Bind { .. } | Action::Spawn { .. } => self.unanswered.push(action.clone()),
                Action::Forget { generation } => {
                    self.captured.remove(generation);
                }
                Action::Notice { notice: Notice::Healthy { .. } } => self.served = true,
                _ => {}
            }
        }
        self.pinning.take_if(|_| !self.supervisor.life().is_running());
        (event, actions)
    }

    fn note_pins(&mut self, kind: &EventKind) {
        if let EventKind::Pinned { generation } = kind {
            self.captured.insert(*generation);
        }
        match kind {
            EventKind::Pinned { generation } | EventKind::PinFailed { generation, .. } => {
                self.pinning.take_if(|(pinning, _)| pinning == generation);
            }
            EventKind::Requested { command: Command::Abort, .. } => self.pinning = None,
            _ => {}
        }
    }

    /// Tells the machine something and checks all that can be checked after one step.
    ///
    /// # Errors
    /// What does not hold, with the event.
    pub fn checked(
        &mut self,
        kind: EventKind,
        sense: Sense,
    ) -> Result<(Event, Vec<Action>), (Event, String)> {
        let (event, actions) = self.tell(kind);
        let impossible = actions
            .iter()
            .any(|action| matches!(action, Action::Notice { notice: Notice::Impossible { .. } }));
        if impossible != (sense == Sense::Broken) {
            return Err((event, format!("taken for {}possible", if impossible { "im" } else { "" })));
        }
        if self.captured != *self.supervisor.pinned() {
            let (held, known) = (&self.captured, self.supervisor.pinned());
            return Err((event, format!("I26: captured are {held:?}, and the machine knows {known:?}")));
        }
        let step = self.monitor.step(&event, &actions, &self.supervisor);
        match step.and_then(|()| self.monitor.state(&self.supervisor)) {
            Ok(()) => Ok((event, actions)),
            Err(violation) => Err((event, violation.to_string())),
        }
    }
}

/// What an upgrade is to be like, if that is what is asked for.
fn terms(kind: &EventKind) -> Option<Terms> {
    let EventKind::Requested { command: Command::Upgrade { strategy, canary, soak, timeout }, .. } = kind
    else {
        return None;
    };
    let (canary, soak) = (canary.unwrap_or_default(), soak.unwrap_or_default());
    Some(Terms { strategy: *strategy, canary, soak, timeout: *timeout })
}

fn answers(kind: &EventKind, order: &Action) -> bool {
    match (kind, order) {
        (
            EventKind::Pinned { generation: answer } | EventKind::PinFailed { generation: answer, .. },
            Action::Pin { generation, .. },
        ) => answer == generation,
        (
            EventKind::Bound { listener: answer } | EventKind::BindFailed { listener: answer, .. },
            Action::Bind { listener },
        ) => answer == listener,
        (
            EventKind::Spawned { worker: answer, .. } | EventKind::SpawnFailed { worker: answer, .. },
            Action::Spawn { worker, .. },
        ) => answer == worker,
        _ => false,
    }
}
