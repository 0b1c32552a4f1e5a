//! Signals to the supervisor: which it takes, and which of them are somebody's order.
//!
//! TTIN and TTOU are blocked and read from a descriptor instead of being caught. A terminal sends them to a
//! process in the background that reads from it, or that writes to it after `stty tostop`; blocked, TTOU is
//! not even made, and the write goes through (tcsetattr(3), "SIGTTOU"). And the descriptor tells who has
//! sent one: what comes from the terminal, on behalf of others in our process group, is nobody's order.
//!
//! The others are caught. Their handler notes them and wakes the loop by a write to a socket, which can fail,
//! send(2). So whoever is about to sleep asks whether any have come, and one that comes in the sleep ends it,
//! signal(7); only one that comes between the two may have to wait for the next turn then.

use super::{
    process::{self, Hangup, arm_interrupt},
    token::{SIGNALS, TERMINAL},
};
use crate::fsm::signal::Signal;
use mio::{Interest, Registry, unix::SourceFd};
use nix::{
    libc::{SI_QUEUE, SI_TKILL, SI_USER, SIGALRM, SIGCHLD, SIGWINCH},
    sys::{
        signal::SigSet,
        signalfd::{SfdFlags, SignalFd},
    },
};
use signal_hook_mio::v1_0;
use std::{
    collections::BTreeSet,
    io, mem,
    os::fd::{AsFd as _, AsRawFd as _},
};

/// Signals that the core is told of, whoever sends them.
const CAUGHT: [Signal; 7] =
    [Signal::Hup, Signal::Int, Signal::Quit, Signal::Term, Signal::Usr1, Signal::Usr2, Signal::Cont];

/// Signals that the core is told of if a process sends them.
const OF_TERMINALS: [Signal; 2] = [Signal::Ttin, Signal::Ttou];

/// Sees to it that no terminal stops us and no write waits for ever. To be called before anything is
/// written.
pub(crate) fn prepare() {
    arm_interrupt();
    // Cannot fail: the set is valid. Children begin with an empty mask.
    let _ = of_terminals().thread_block();
}

pub(crate) fn of_terminals() -> SigSet {
    OF_TERMINALS.iter().map(|signal| process::number(*signal)).collect()
}

/// The signals that have come and were not taken yet.
pub(crate) struct Signals {
    caught: v1_0::Signals,
    /// Numbers of those that were caught and looked at.
    come: BTreeSet<i32>,
    /// Whether ALRM asks for what HUP does.
    alarm_is_order: bool,
    of_terminals: SignalFd,
}

impl Signals {
    /// Catches signals from here on, HUP if it is to be obeyed, ALRM as another HUP if it is an order; events with
    /// the tokens [`SIGNALS`] and [`TERMINAL`] tell of them.
    pub(crate) fn new(registry: &Registry, hangup: Hangup, alarm_is_order: bool) -> io::Result<Self> {
        let wanted = |signal: &&Signal| hangup == Hangup::Obeyed || **signal != Signal::Hup;
        let numbers = CAUGHT.iter().filter(wanted).map(|signal| process::number(*signal) as i32);
        // Those that mean nothing to us must not mean death either. SIGPIPE is ignored from the start.
        let mut caught = v1_0::Signals::new(numbers.chain([SIGCHLD, SIGALRM, SIGWINCH]))?;
        registry.register(&mut caught, SIGNALS, Interest::READABLE)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let of_terminals = SignalFd::with_flags(&of_terminals(), flags)?;
        let fd = of_terminals.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&fd), TERMINAL, Interest::READABLE)?;
        Ok(Self { caught, come: BTreeSet::new(), alarm_is_order, of_terminals })
    }

    /// Takes note of those that were caught, which no event tells of any more then. Answers whether there are
    /// any, also such as the core is not told of: the end of a child is one.
    pub(crate) fn note(&mut self) -> bool {
        self.come.extend(self.caught.pending());
        self.have_come()
    }

    /// Whether there are any that were noted and not taken.
    pub(crate) fn have_come(&self) -> bool {
        !self.come.is_empty()
    }

    /// Takes those that the core is told of.
    pub(crate) fn take(&mut self) -> Vec<Signal> {
        let is = |number: i32| move |signal: &&Signal| process::number(**signal) as i32 == number;
        self.note();
        let alarm = self.come.contains(&SIGALRM);
        let caught = mem::take(&mut self.come).into_iter();
        let mut taken: Vec<Signal> =
            caught.filter_map(|number| CAUGHT.iter().find(is(number)).copied()).collect();
        if alarm && self.alarm_is_order {
            taken.push(Signal::Hup);
        }
        while let Ok(Some(info)) = self.of_terminals.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            if [SI_USER, SI_QUEUE, SI_TKILL].contains(&info.ssi_code) {
                taken.extend(OF_TERMINALS.iter().find(is(number)));
            }
        }
        taken
    }
}
