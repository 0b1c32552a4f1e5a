//! The worlds: small ones that are seen whole, and large ones that are seen as far as time allows.

use super::moves::Budget;
use einhyrningsins::fsm::{
    config::{AckMode, Config, Patience},
    event::{Command, Strategy},
    signal::{Shutdown, Signal},
    time::Millis,
};

/// A world: a configuration, and what may happen in it.
#[derive(Debug)]
pub struct World {
    /// What to call it.
    pub name: &'static str,
    /// What the machine is told at the start.
    pub config: Config,
    /// How often things may happen.
    pub budget: Budget,
    /// What one upgrade with a trial may be.
    pub trials: &'static [Command],
    /// What one change of the number of workers may be.
    pub scales: &'static [Command],
    /// What one request to shut down may be.
    pub stops: &'static [Shutdown],
    /// Whether things fail in such a way, too, that trying again does not help.
    pub lasting: bool,
    /// Whether things are said, too, that change nothing.
    pub chatter: bool,
}

/// What is known of a world that has been seen whole. A change here must be understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// Its distinct states.
    pub states: usize,
    /// The most steps to rest from any of them once nothing goes wrong any more.
    pub calm: u32,
}

/// How long new workers are on trial.
const SOAK: Millis = Millis(2_000);
/// No time at all.
pub const NOTHING: Millis = Millis(0);
const MANUAL: AckMode = AckMode::Manual(Millis(1_000));
const TIMER: AckMode = AckMode::After(Millis(1_000));
const PATIENCE: Patience = Patience { after: Millis(1_000), timeout: Millis(2_500) };
const AUTO: AckMode = AckMode::Auto(PATIENCE);
const ACCEPTING: AckMode = AckMode::Accepting(PATIENCE);
const AT_ONCE: AckMode = AckMode::After(NOTHING);

const NONE: Budget = Budget {
    rolling: 0,
    fleet: 0,
    trial: 0,
    abort: 0,
    scale: 0,
    stop: 0,
    fault: 0,
    end: 0,
    missed: 0,
    late: 0,
    leave: 0,
};

const fn trial(strategy: Strategy, canary: Option<u32>, soak: Option<Millis>) -> Command {
    Command::Upgrade { strategy, canary, soak, timeout: None }
}

const fn config(target: u32, ack: AckMode) -> Config {
    Config {
        target,
        listeners: 0,
        ack,
        retries: 2,
        backoff: Millis(200),
        grace: Millis(3_000),
        stop_signal: Some(Signal::Usr2),
        max_unacked: 1,
        max_surge: 1,
        exit_on_failure: false,
    }
}

const fn world(name: &'static str, config: Config, budget: Budget) -> World {
    World { name, config, budget, trials: &[], scales: &[], stops: &[], lasting: false, chatter: false }
}

/// Worlds that are seen whole in every run of the tests.
pub const SMALL: [(World, Known); 17] = [
    (
        World {
            stops: Shutdown::ALL,
            lasting: true,
            chatter: true,
            ..world(
                "start",
                Config { listeners: 1, ..config(2, TIMER) },
                Budget { fault: 2, stop: 1, leave: 1, ..NONE },
            )
        },
        Known { states: 17_037, calm: 6 },
    ),
    (
        World {
            lasting: true,
            ..world("rolling", config(2, MANUAL), Budget { rolling: 1, fault: 1, missed: 1, ..NONE })
        },
        Known { states: 228_662, calm: 15 },
    ),
    (
        World {
            scales: &[Command::Inc, Command::Dec],
            ..world("scaled", config(2, TIMER), Budget { rolling: 1, scale: 1, fault: 1, ..NONE })
        },
        Known { states: 106_401, calm: 14 },
    ),
    (
        World {
            stops: Shutdown::ALL,
            chatter: true,
            ..world("stopped", config(2, TIMER), Budget { rolling: 1, stop: 2, ..NONE })
        },
        Known { states: 16_785, calm: 10 },
    ),
    (
        World {
            stops: Shutdown::ALL,
            chatter: true,
            ..world("stopped as a fleet", config(2, AT_ONCE), Budget { fleet: 1, stop: 2, fault: 1, ..NONE })
        },
        Known { states: 122_802, calm: 8 },
    ),
    (
        World {
            lasting: true,
            ..world("at once", config(2, AT_ONCE), Budget { rolling: 1, fault: 2, ..NONE })
        },
        Known { states: 40_734, calm: 8 },
    ),
    (
        World {
            scales: &[Command::Inc],
            stops: &[Shutdown::Graceful, Shutdown::Kill],
            ..world(
                "everything",
                config(1, TIMER),
                Budget { rolling: 1, scale: 1, stop: 1, fault: 1, ..NONE },
            )
        },
        Known { states: 48_663, calm: 10 },
    ),
    (
        World {
            stops: Shutdown::ALL,
            ..world(
                "without grace",
                Config { grace: NOTHING, ..config(1, MANUAL) },
                Budget { rolling: 1, stop: 1, fault: 1, missed: 1, ..NONE },
            )
        },
        Known { states: 11_201, calm: 8 },
    ),
    (
        world("late", config(1, MANUAL), Budget { rolling: 1, fault: 1, missed: 1, late: 2, ..NONE }),
        Known { states: 19_624, calm: 8 },
    ),
    (
        world("seen", config(1, AUTO), Budget { rolling: 1, fault: 1, missed: 1, ..NONE }),
        Known { states: 9_300, calm: 8 },
    ),
    (
        world("accepting", config(2, ACCEPTING), Budget { rolling: 1, missed: 1, ..NONE }),
        Known { states: 42_310, calm: 14 },
    ),
    (
        World {
            trials: &[
                trial(Strategy::Rolling, Some(1), Some(SOAK)),
                trial(Strategy::Fleet, None, Some(SOAK)),
            ],
            ..world(
                "on trial",
                Config { retries: 1, ..config(2, TIMER) },
                Budget { trial: 1, fault: 1, abort: 1, ..NONE },
            )
        },
        Known { states: 99_579, calm: 12 },
    ),
    (
        World {
            trials: &[trial(Strategy::Rolling, Some(1), None), trial(Strategy::Fleet, Some(1), Some(SOAK))],
            stops: &[Shutdown::Graceful],
            ..world("canary", config(2, AT_ONCE), Budget { trial: 1, stop: 1, fault: 1, ..NONE })
        },
        Known { states: 44_371, calm: 10 },
    ),
    (
        World {
            trials: &[Command::Upgrade {
                strategy: Strategy::Rolling,
                canary: None,
                soak: None,
                timeout: Some(Millis(1_500)),
            }],
            ..world("in its time", config(1, MANUAL), Budget { trial: 1, fault: 1, missed: 1, ..NONE })
        },
        Known { states: 6_963, calm: 8 },
    ),
    (
        world(
            "three at once",
            Config { max_surge: 2, max_unacked: 3, ..config(3, AT_ONCE) },
            Budget { fleet: 1, fault: 1, ..NONE },
        ),
        Known { states: 13_771, calm: 11 },
    ),
    (world("dying young", config(2, AT_ONCE), Budget { end: 12, ..NONE }), Known { states: 8_853, calm: 3 }),
    (world("dying unseen", config(2, MANUAL), Budget { end: 5, ..NONE }), Known { states: 14_314, calm: 6 }),
];

/// Worlds of which only the beginning is seen in every run.
pub const LARGE: [World; 11] = [
    World {
        lasting: true,
        ..world("fleet", config(2, MANUAL), Budget { fleet: 1, fault: 1, missed: 1, ..NONE })
    },
    World {
        stops: &[Shutdown::Fast],
        lasting: true,
        ..world(
            "left",
            config(1, MANUAL),
            Budget { rolling: 1, fleet: 1, fault: 1, missed: 1, leave: 1, stop: 1, ..NONE },
        )
    },
    world(
        "three",
        Config { max_surge: 2, max_unacked: 2, ..config(3, TIMER) },
        Budget { rolling: 1, fault: 1, ..NONE },
    ),
    world("superseded", config(2, TIMER), Budget { rolling: 1, fleet: 1, fault: 1, ..NONE }),
    world("twice", config(2, TIMER), Budget { rolling: 2, fault: 1, ..NONE }),
    World {
        scales: &[Command::Inc, Command::Dec, Command::SetWorkers { count: 3 }],
        ..world(
            "resized",
            Config { retries: 1, ..config(1, MANUAL) },
            Budget { fleet: 1, scale: 2, fault: 1, ..NONE },
        )
    },
    World {
        scales: &[Command::Retry, Command::Inc],
        ..world(
            "retried",
            Config { retries: 1, ..config(2, TIMER) },
            Budget { rolling: 1, scale: 1, fault: 2, ..NONE },
        )
    },
    World {
        stops: Shutdown::ALL,
        lasting: true,
        ..world(
            "stopped in trouble",
            Config { grace: NOTHING, ..config(2, MANUAL) },
            Budget { rolling: 1, stop: 1, fault: 1, missed: 1, ..NONE },
        )
    },
    World {
        trials: &[
            trial(Strategy::Rolling, Some(1), Some(SOAK)),
            trial(Strategy::Fleet, Some(1), Some(SOAK)),
            trial(Strategy::Fleet, None, Some(SOAK)),
        ],
        scales: &[Command::Dec, Command::Inc, Command::Retry],
        ..world(
            "tried",
            config(2, MANUAL),
            Budget { trial: 1, rolling: 1, abort: 1, fault: 1, missed: 1, scale: 1, ..NONE },
        )
    },
    World {
        trials: &[trial(Strategy::Fleet, Some(1), Some(SOAK))],
        stops: Shutdown::ALL,
        ..world("tried and stopped", config(2, TIMER), Budget { trial: 2, stop: 1, fault: 1, ..NONE })
    },
    world("later", config(2, MANUAL), Budget { rolling: 1, missed: 1, late: 1, fault: 1, ..NONE }),
];
