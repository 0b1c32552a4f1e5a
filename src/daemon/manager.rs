//! What a service manager that has started the supervisor is told, in the way of sd_notify(3): that the service is
//! up, reloads or ends, how it is, that it needs time, that it is alive.
//!
//! All of it follows from what the machine shows, once a turn of the loop, and from nothing else: here nothing is
//! decided. Without `NOTIFY_SOCKET` all this is nothing, and without `WATCHDOG_USEC` nothing wakes a supervisor
//! for it that has nothing to do.
//!
//! What is not told: `MAINPID=`. The supervisor's pid is the one it was started with, and where it would be news to
//! the manager, in another pid namespace, it would be wrong.

mod link;
mod view;

use super::clock::{Monotonic, monotonic_micros};
use crate::fsm::{
    Supervisor,
    config::{BACKOFF_MAX, Config, KILL_AFTER},
    life::Life,
    notice::Notice,
    time::{Millis, Time},
};
use crate::protocol::{
    history::{Entry, Outcome},
    typed,
};
use link::Link;
use log::{debug, warn};
use std::{env, ffi::OsString, os::fd::OwnedFd, process};
use view::{Aftermath, View};

/// Where the manager listens.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
/// How long, in microseconds, it may at most not hear from a service that is alive.
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
/// How many descriptors it keeps for the service.
const FDSTORE: &str = "FDSTORE";
/// Whom it expects to hear that from.
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// The states of a service, as its manager is told of them.
const READY: &str = "READY=1";
const RELOADING: &str = "RELOADING=1";
const STOPPING: &str = "STOPPING=1";
const CHANGES: [&str; 3] = [READY, RELOADING, STOPPING];

/// How much time is asked for as long as something is under way, and how often. What is asked for only lengthens
/// what the manager would wait by itself, so the first is sent at once: nobody knows how short that is.
const PROMISE: Millis = Millis(30_000);
const AGAIN: Millis = Millis(10_000);

/// The shortest time from one line about how it is to the next, where that is all there is to tell: thousands of
/// workers may become healthy one by one.
const PACE: Millis = Millis(100);

/// The manager, if there is one that wants to be told.
#[derive(Debug)]
pub(crate) struct Manager(Option<Box<Talk>>);

#[derive(Debug)]
struct Talk {
    link: Link,
    watchdog: Option<Watchdog>,
    /// Whether it was told that the service is up.
    ready: bool,
    /// Whether it was told of an upgrade, and not yet of its end.
    reloading: bool,
    /// Whether it was told that this is the end.
    stopping: bool,
    /// When to ask for time again, as long as something is under way.
    extend: Option<Time>,
    /// What it was told last of how it is, and when.
    shown: Option<(View, Time)>,
    /// What the next line comes to. It is shown once it is time.
    view: Option<View>,
    aftermath: Aftermath,
    /// Why the service could not be brought up or kept up.
    last_words: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watchdog {
    every: Millis,
    due: Time,
}

impl Manager {
    /// The manager that the environment tells of. What is wrong with that is warned of, and no reason not to serve.
    pub(crate) fn of_environment() -> Self {
        Self::announced(|name| env::var_os(name), process::id())
    }

    /// The same for the process `own`, with whatever the variables are.
    fn announced(variable: impl Fn(&str) -> Option<OsString>, own: u32) -> Self {
        let Some(value) = variable(NOTIFY_SOCKET) else { return Self(None) };
        let link = link::address(&value).and_then(|address| {
            Link::open(address).map_err(|error| format!("{NOTIFY_SOCKET}: no socket can be made: {error}"))
        });
        let link = match link {
            Ok(link) => link,
            Err(why) => {
                warn!("{why}; the service manager is told nothing");
                return Self(None);
            }
        };
        let watchdog = link::watchdog(variable, own).unwrap_or_else(|why| {
            warn!("{why}; no watchdog is served");
            None
        });
        if let Some(every) = watchdog {
            debug!("the service manager's watchdog is told every {} ms", every.0);
        }
        Self(Some(Box::new(Talk {
            link,
            watchdog: watchdog.map(|every| Watchdog { every, due: Time(0) }),
            ready: false,
            reloading: false,
            stopping: false,
            extend: None,
            shown: None,
            view: None,
            aftermath: Aftermath::default(),
            last_words: None,
        })))
    }

    /// What was told already by whoever was here before follows from how things stand, and the aftermath from what came of
    /// the last generation. If the process is another, nothing was told of it.
    pub(crate) fn take_over(&mut self, supervisor: &Supervisor, last: Option<&Entry>, is_another: bool) {
        let Some(talk) = &mut self.0 else { return };
        let life = supervisor.life();
        if !is_another {
            talk.ready = life == Life::Up || life.shutdown().is_some();
            talk.reloading = supervisor.rollout().is_some();
            talk.stopping = life.shutdown().is_some() || life.is_done();
        }
        talk.aftermath = match last.map(|entry| (entry.generation, entry.outcome)) {
            Some((generation, Outcome::RolledBack { .. })) => Aftermath::TakenBack(generation),
            Some((generation, Outcome::Refused { .. })) => Aftermath::Refused(generation),
            _ => Aftermath::None,
        };
    }

    /// A socket of its own for messages to the manager, if there is one.
    pub(crate) fn way(&self) -> Option<OwnedFd> {
        self.0.as_ref()?.link.another().inspect_err(|error| warn!("{NOTIFY_SOCKET}: {error}")).ok()
    }

    /// Whether it says that it keeps descriptors, as systemd does from version 254 on.
    pub(crate) fn keeps_descriptors(&self) -> bool {
        let most = env::var(FDSTORE).ok().and_then(|most| typed::number::<u64>(&most));
        self.0.is_some() && most.is_some_and(|most| most > 0)
    }

    /// When there is something to tell next, if nothing happens before.
    pub(crate) fn due(&self) -> Option<Time> {
        self.0.as_ref()?.due()
    }

    /// An upgrade is asked for, and its program about to be captured. To be called before anybody is answered: who
    /// asks may be the manager's, and be waited for.
    pub(crate) fn upgrade_begins(&mut self, now: Time) {
        if let Some(talk) = self.0.as_mut().filter(|talk| talk.ready) {
            talk.reloading = true;
            talk.link.send(reloading(), now);
        }
    }

    /// Takes in what the core has to tell, as the log says it.
    pub(crate) fn note(&mut self, notice: &Notice, words: &str) {
        if let Some(talk) = &mut self.0 {
            talk.note(notice, words);
        }
    }

    /// Tells what is new, and what it is time for. To be called before each sleep, and at the end.
    pub(crate) fn settle(&mut self, supervisor: &Supervisor, clock: &Monotonic) {
        if let Some(talk) = &mut self.0 {
            talk.settle(supervisor, clock.now());
        }
    }
}

impl Talk {
    fn due(&self) -> Option<Time> {
        // What cannot be sent now is not looked at before the manager takes something again.
        if let Some(retry) = self.link.due() {
            return Some(retry);
        }
        let watchdog = self.watchdog.map(|watchdog| watchdog.due);
        watchdog.into_iter().chain(self.extend).chain(self.show_at()).min()
    }

    /// When how it is may be shown, if that is news.
    fn show_at(&self) -> Option<Time> {
        let view = self.view?;
        match self.shown {
            Some((shown, _)) if shown == view => None,
            Some((_, at)) => Some(at + PACE),
            None => Some(Time(0)),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all others show in the state")]
    fn note(&mut self, notice: &Notice, words: &str) {
        match notice {
            Notice::Upgrading { .. } => self.aftermath = Aftermath::None,
            Notice::RollingBack { generation, .. } => self.aftermath = Aftermath::TakenBack(*generation),
            Notice::PinFailed { generation, .. } if self.ready => {
                self.aftermath = Aftermath::Refused(*generation);
            }
            Notice::StartFailed { .. } if self.ready => {}
            Notice::Lost { .. }
            | Notice::BindFailed { .. }
            | Notice::PinFailed { .. }
            | Notice::StartFailed { .. }
            | Notice::Stuck { .. } => self.last_words = Some(words.to_owned()),
            _ => {}
        }
    }

    fn settle(&mut self, supervisor: &Supervisor, now: Time) {
        self.link.flush(now);
        self.view = Some(View::of(supervisor, self.aftermath));
        let mut lines = self.changes(supervisor);
        let (changed, clear) = (!lines.is_empty(), self.link.is_clear());
        if let Some(view) = self.view
            && self.show_at().is_some_and(|time| changed || (clear && (time <= now || view.is_last())))
        {
            lines.push(format!("STATUS={}", view.words(self.last_words.as_deref())));
            self.shown = Some((view, now));
        }
        if changed {
            // With each state the manager's time begins anew, and it may allow less than is left until the next word.
            self.extend = None;
        }
        if clear {
            lines.extend(self.extension(supervisor, now));
            lines.extend(self.alive(now));
        }
        // The last of the changes takes along whatever else there is.
        let first = lines.iter().rposition(|line| CHANGES.iter().any(|change| line.starts_with(change)));
        let rest = lines.split_off(first.unwrap_or(0));
        let together = (!rest.is_empty()).then(|| rest.join("\n"));
        for message in lines.into_iter().chain(together) {
            self.link.send(message, now);
        }
    }

    /// In what state the service is, if that has changed. Each is for a message of its own: managers have an order of
    /// their own for what is in one.
    fn changes(&mut self, supervisor: &Supervisor) -> Vec<String> {
        let mut changes = Vec::new();
        let under_way = supervisor.rollout().is_some();
        if self.reloading && !under_way {
            self.reloading = false;
            changes.push(READY.to_owned());
        }
        if !self.ready && supervisor.life() == Life::Up {
            self.ready = true;
            changes.push(READY.to_owned());
        }
        if self.ready && under_way && !self.reloading {
            // It began before the service was up.
            self.reloading = true;
            changes.push(reloading());
        }
        let life = supervisor.life();
        // Where all end at once there is no moment between the two.
        if !self.stopping && (life.shutdown().is_some() || life.is_done()) {
            self.stopping = true;
            changes.push(STOPPING.to_owned());
        }
        changes
    }

    /// Says that the supervisor is alive, if it is time for that.
    fn alive(&mut self, now: Time) -> Option<String> {
        let watchdog = self.watchdog.as_mut().filter(|watchdog| watchdog.due <= now)?;
        watchdog.due = now + watchdog.every;
        Some("WATCHDOG=1".to_owned())
    }

    /// Asks for time, if it is time for that.
    fn extension(&mut self, supervisor: &Supervisor, now: Time) -> Option<String> {
        let pending = match supervisor.life() {
            Life::New | Life::Pinning | Life::Binding { .. } | Life::Starting | Life::Serving => {
                now < Time(0) + all_tries(supervisor.fleet().config())
            }
            Life::Up => supervisor.rollout().is_some(),
            Life::Stopping { .. } => true,
            Life::Done { .. } => false,
        };
        if !pending {
            self.extend = None;
            return None;
        }
        if self.extend.is_some_and(|time| time > now) {
            return None;
        }
        self.extend = Some(now + AGAIN);
        Some(format!("EXTEND_TIMEOUT_USEC={}", PROMISE.0.saturating_mul(1_000)))
    }
}

/// The start of an upgrade. The manager knows by the time whether it is the one that it has asked for.
fn reloading() -> String {
    format!("{RELOADING}\nMONOTONIC_USEC={}", monotonic_micros())
}

/// How long it takes until a slot whose workers hang has been tried as often as any slot is: for so long a start-up
/// may not be cut short, and whatever goes on for longer is the manager's to judge.
fn all_tries(config: &Config) -> Millis {
    let one = config.ack.span().0.saturating_add(2 * KILL_AFTER.0);
    Millis(one.saturating_mul(config.retries.into()).saturating_add(BACKOFF_MAX.0))
}

#[cfg(test)]
mod tests;
