//! The keeper, as far as the loop has to do with it: there is one, as long as there can be.

use super::Shell;
use crate::{
    daemon::{
        deposit::{Deposit, Way},
        journal::HANDOVER,
        keeper::{Keeper, Manner},
        kept::Kept,
        succession::Benefactor,
    },
    fsm::{
        id::Pid,
        time::{Millis, Time},
    },
};
use log::{debug, error, info, warn};
use std::{
    env,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::process::CommandExt as _,
    },
    process::Command,
};

/// How soon another is made.
const AGAIN: Millis = Millis(1_000);

/// When the first is: not while the workers begin, with which it would share the processors.
const FIRST: Time = Time(5);

/// The keeper, and when to see to it.
#[derive(Debug)]
pub(super) struct Keeping {
    keeper: Option<Keeper>,
    /// Whether a service manager has everything, in place of a keeper.
    stored: bool,
    /// What a service manager had before, by number.
    found: Vec<RawFd>,
    /// The keeper from before, which has everything as it was until it is told that it is not needed.
    benefactor: Option<Benefactor>,
    /// Not before that.
    earliest: Time,
    /// Whether it was told that there can be none.
    told: bool,
}

impl Keeping {
    pub(super) fn new(before: Option<Keeper>) -> Self {
        let (stored, found, benefactor) = (false, Vec::new(), None);
        Self { keeper: before, stored, found, benefactor, earliest: FIRST, told: false }
    }

    /// A service manager has those, or a keeper from before has all, until there is another.
    pub(super) fn found(&mut self, stored: Vec<RawFd>, benefactor: Option<Benefactor>) {
        (self.found, self.benefactor) = (stored, benefactor);
    }

    /// Everything is with somebody who is told of every change.
    fn is_in_place(&mut self) {
        if let Some(benefactor) = self.benefactor.take() {
            benefactor.begun();
        }
    }

    /// What is kept of it.
    pub(super) fn kept(&self) -> Option<Kept> {
        self.keeper.as_ref().map(Keeper::kept)
    }

    /// Which process it is.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.keeper.as_ref().map(Keeper::pid)
    }
}

impl Shell<'_> {
    fn lacks_keeper(&self) -> bool {
        let Keeping { keeper, stored, .. } = &self.keeper;
        let is_missing = keeper.as_ref().map_or(!stored, Keeper::is_old);
        let is_missing = is_missing || self.journal.deposit_has_failed();
        // Without workers there is nothing that would go on.
        is_missing && self.wants_keeper() && self.code.is_none() && !self.children.is_empty()
    }

    /// Whether anybody could go on with what a keeper has.
    pub(super) fn wants_keeper(&self) -> bool {
        !self.options.no_keeper && self.journal.memory().file().is_some()
    }

    /// When to see to the keeper.
    pub(super) fn keeper_due(&self) -> Option<Time> {
        self.lacks_keeper().then_some(self.keeper.earliest)
    }

    /// Makes a keeper if there is none, or none that is any good, and it is time.
    pub(super) fn see_to_keeper(&mut self) {
        if !self.lacks_keeper() || self.clock.now() < self.keeper.earliest {
            return;
        }
        self.make_keeper();
    }

    // Not part of each turn: it takes room on the stack.
    #[cold]
    #[inline(never)]
    pub(super) fn make_keeper(&mut self) {
        self.keeper.earliest = self.clock.now() + AGAIN;
        self.slack.stir();
        if !self.wants_keeper() {
            return self.keeper.is_in_place();
        }
        let mut deposit = Deposit::of(|put| self.keep(put, false));
        for (client, fd) in self.control.entrust_all() {
            deposit.entrust(client, fd);
        }
        if self.options.fdstore || self.manager.keeps_descriptors() {
            match self.store(deposit) {
                Ok(()) => return,
                Err(back) => deposit = back,
            }
        }
        let manner = Manner { ends_workers: self.options.kill_children_on_exit };
        match Keeper::start(&self.journal.memory(), &mut deposit, manner) {
            Ok(keeper) => {
                let kept = keeper.kept();
                // Before its connection is closed, by which it would know that there is no supervisor.
                if let Some(before) = self.keeper.keeper.replace(keeper) {
                    before.dismiss();
                }
                self.journal.deposit_in(Some(deposit));
                self.journal.keep(&kept);
                self.keeper.told = false;
                self.keeper.is_in_place();
            }
            Err(errno) => {
                if !std::mem::replace(&mut self.keeper.told, true) {
                    warn!(
                        "no keeper can be made: {}; tried again; until there is one, nobody can take over if this \
                         process is killed",
                        errno.desc()
                    );
                }
            }
        }
    }

    /// Has the service manager keep everything, if there is one that takes it.
    fn store(&mut self, mut deposit: Deposit) -> Result<(), Deposit> {
        let memory = self.journal.memory();
        let (Some(way), Some(journal)) = (self.manager.way(), memory.file()) else {
            if !std::mem::replace(&mut self.keeper.told, true) {
                warn!("--fdstore: there is no service manager (NOTIFY_SOCKET); a keeper is run instead");
            }
            return Err(deposit);
        };
        if deposit.tell(Way::Manager(way)).is_err() {
            return Err(deposit);
        }
        deposit.put_all(journal.as_raw_fd(), &self.keeper.found);
        self.keeper.stored = true;
        self.keeper.found.clear();
        self.journal.deposit_in(Some(deposit));
        self.keeper.is_in_place();
        Ok(())
    }

    /// Notes that a process has ended. Answers whether it was the keeper.
    pub(super) fn keeper_has_ended(&mut self, pid: Pid) -> bool {
        if self.keeper.pid() != Some(pid) {
            return false;
        }
        warn!("the keeper (pid {pid}) has ended; another takes its place");
        self.keeper.keeper = None;
        self.journal.deposit_in(None);
        true
    }

    /// Executes this program once more, for a start like any other. Returns the exit status if that fails.
    pub(super) fn begin_anew(mut self: Box<Self>) -> u8 {
        info!("the service that was being stopped has ended, and is started");
        // What belongs to the files is removed by whoever has them.
        self.sockets.give_back();
        drop(self.lockfile.take());
        self.files.put_back();
        let mut args = env::args_os();
        let mut program = Command::new("/proc/self/exe");
        program.arg0(args.next().unwrap_or_default()).args(args).env_remove(HANDOVER);
        error!("it cannot be started: {}", program.exec());
        1
    }

    /// The service has ended in order: nobody is to take it over.
    pub(super) fn dismiss_keeper(&mut self) {
        self.journal.forget_deposit();
        if let Some(keeper) = self.keeper.keeper.take() {
            debug!("the keeper (pid {}) is not needed any more", keeper.pid());
            keeper.dismiss();
        }
    }
}
