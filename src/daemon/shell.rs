//! The event loop. Sleeps until something happens, tells the core, does what the core says.
//!
//! Facts are gathered in a fixed order (`turn`), so that an exit or an ack that has come is taken into
//! account before any deadline: signals and dead children, then what clients ask for, then the time.
//! The answers to actions are told before the next sleep.

mod handover;
mod keeping;
mod requests;
mod streaming;
mod takeover;
mod turn;
mod workers;

pub(crate) use takeover::{Start, Takeover};

use super::{
    called,
    clock::Monotonic,
    control::Control,
    events::{Event, Events as Log},
    given::{Reporting, Variables},
    journal::Journal,
    keeper::Keeper,
    kept::{Kept, Level, Writer},
    leftovers::Leftovers,
    lockfile::Lockfile,
    lookout::Lookout,
    manager::Manager,
    notify::Notify,
    pidfile::Pidfile,
    process::{self, Adopted, Children, FileLimit, Hangup, Slack, Spawner},
    recorder::Recorder,
    refused::Refused,
    release::Releases,
    report::{Shortages, Unhandled},
    signals::Signals,
    sockets::Sockets,
    tally,
    welcome::welcome,
};
use crate::{
    cli::daemon::Options,
    fsm::{
        Supervisor,
        action::{Action, Reply},
        event::{self, EventKind, Proof},
        id::{Generation, Pid, SlotId, WorkerId},
        notice::Notice,
        reason::Why,
    },
    protocol::{Progress, Totals, status},
};
use log::{LevelFilter, debug, log, warn};
use mio::{Events, Poll};
use std::{
    collections::{BTreeMap, VecDeque},
    io, process as this,
};

/// Events taken from the kernel at a time.
const EVENTS: usize = 256;

/// The shell: everything that has to do with the system.
pub(crate) struct Shell<'a> {
    options: &'a Options,
    journal: Journal,
    clock: Monotonic,
    poll: Poll,
    signals: Signals,
    control: Control,
    sockets: Sockets,
    supervisor: Supervisor,
    spawner: Spawner,
    releases: Releases<'a>,
    manager: Manager,
    children: Children,
    /// Where the end of those is told of that are no children.
    adopted: Option<Adopted>,
    leftovers: Leftovers,
    lookout: Lookout,
    notify: Option<Notify>,
    /// What workers have last said that they do.
    statuses: BTreeMap<Pid, String>,
    totals: Totals,
    events: Log,
    /// What every worker finds in its environment; known once the sockets are bound.
    variables: Option<Variables>,
    reporting: Reporting,
    unhandled: Unhandled,
    shortages: Shortages,
    refused: Refused,
    slack: Slack,
    recorder: Option<Recorder>,
    level: LevelFilter,
    pidfile: Option<Pidfile>,
    lockfile: Option<Lockfile>,
    keeper: keeping::Keeping,
    /// What was there at the start of it all, which whoever takes over needs to know.
    files: FileLimit,
    /// The program that is to take over, while it is tried.
    trial: Option<handover::Trial>,
    /// Whether the control socket's place was looked at in this turn.
    looked: bool,
    /// Workers to be started, in the order in which the core asked for them.
    to_start: VecDeque<(WorkerId, SlotId, Generation)>,
    /// Whether the kernel has refused to tell of events.
    deaf: bool,
    /// Whether the service that ends is to be begun once more: whoever has started us wants one.
    begins_anew: bool,
    /// The exit status, once there is one.
    code: Option<u8>,
}

/// What the shell is put together from.
pub(crate) struct Parts<'a> {
    pub(crate) options: &'a Options,
    pub(crate) clock: Monotonic,
    pub(crate) journal: Journal,
    pub(crate) files: FileLimit,
    pub(crate) poll: Poll,
    pub(crate) control: Control,
    pub(crate) notify: Option<Notify>,
    pub(crate) releases: Releases<'a>,
    pub(crate) manager: Manager,
    pub(crate) statuses: BTreeMap<Pid, String>,
    pub(crate) sockets: Sockets,
    pub(crate) supervisor: Supervisor,
    pub(crate) spawner: Spawner,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) level: LevelFilter,
    pub(crate) hangup: Hangup,
    pub(crate) lockfile: Option<Lockfile>,
    /// The keeper of whoever was here before.
    pub(crate) keeper: Option<Keeper>,
}

impl<'a> Shell<'a> {
    /// Puts the shell together; signals are caught from here on.
    pub(crate) fn new(parts: Parts<'a>) -> io::Result<Self> {
        let signals = Signals::new(parts.poll.registry(), parts.hangup, parts.options.alarm_upgrades)?;
        let own = parts.options.command_socket_as_fd;
        let reporting = if own { Reporting::OverItsOwn } else { Reporting::AtTheSocket };
        let chosen = parts.options.stop_signal.map(|signal| (signal, process::number(signal) as i32));
        Ok(Self {
            options: parts.options,
            clock: parts.clock,
            journal: parts.journal,
            files: parts.files,
            trial: None,
            poll: parts.poll,
            signals,
            control: parts.control,
            releases: parts.releases,
            lookout: Lookout::new(parts.options.ack.looks() && parts.sockets.count() > 0),
            manager: parts.manager,
            sockets: parts.sockets,
            supervisor: parts.supervisor,
            spawner: parts.spawner,
            children: Children::new(),
            adopted: None,
            leftovers: Leftovers::default(),
            notify: parts.notify,
            statuses: parts.statuses,
            totals: Totals::default(),
            events: Log::default(),
            variables: None,
            reporting,
            unhandled: Unhandled::new(chosen),
            shortages: Shortages::default(),
            refused: Refused::default(),
            slack: Slack::default(),
            recorder: parts.recorder,
            level: parts.level,
            pidfile: None,
            lockfile: parts.lockfile,
            keeper: keeping::Keeping::new(parts.keeper),
            looked: false,
            to_start: VecDeque::new(),
            deaf: false,
            begins_anew: false,
            code: None,
        })
    }

    /// What was taken over is ours for good.
    pub(crate) fn settle(&mut self) {
        self.sockets.settle();
    }

    /// Keeps a file for as long as the service runs.
    pub(crate) fn keep_pidfile(&mut self, pidfile: Pidfile) {
        // Noted at once: whoever is killed now has written it all the same.
        self.journal.keep(&pidfile.kept());
        self.pidfile = Some(pidfile);
    }

    /// Runs the service to its end and returns the exit status. Where somebody was here before, it goes on from there.
    pub(crate) fn run(mut self: Box<Self>, before: Option<Takeover>) -> u8 {
        let mut events = Events::with_capacity(EVENTS);
        match before {
            None => {
                self.compact();
                self.happened(Event::Began { before: None });
                self.tell(EventKind::Start);
            }
            Some(mut before) => {
                before.start.take().into_iter().for_each(|start| self.succeed(start));
                self.take_over(before);
            }
        }
        self.start_workers();
        self.reap(&mut events);
        while self.code.is_none() {
            self.record();
            if self.journal.is_long() {
                self.compact();
            }
            self.sleep(&mut events);
            self.gather(&mut events);
            self.hand_over_if_tried();
        }
        self.end_streams();
        self.dismiss_keeper();
        self.record();
        self.manager.settle(&self.supervisor, &self.clock);
        Leftovers::last_look(&self.sockets, &self.children);
        // Whoever waits for the socket to go may start another supervisor, which has a file of its own.
        drop(self.pidfile.take());
        self.control.close();
        if self.begins_anew {
            return self.begin_anew();
        }
        self.code.unwrap_or(1)
    }

    /// Tells the core what happened, does what it says, and tells it what came of that, until nothing
    /// is left to tell.
    fn tell(&mut self, kind: EventKind) {
        let mut facts = VecDeque::from([kind]);
        while let Some(kind) = facts.pop_front() {
            let event = event::Event { at: self.clock.now(), kind };
            self.journal.event(&event);
            let noted = self.recorder.is_some().then(|| event.clone());
            let actions = self.supervisor.step(event);
            self.journal.taken_in();
            if let (Some(recorder), Some(event)) = (&mut self.recorder, noted) {
                recorder.step(&event, &actions, &self.supervisor);
            }
            for action in actions {
                facts.extend(self.perform(action));
                self.journal.performed();
            }
        }
    }

    /// Begins the journal anew, with how things stand.
    fn compact(&self) {
        self.journal.compact(&self.supervisor, |put| self.keep(put, false));
    }

    /// All that whoever takes over needs to know beside the machine. Whether nothing passes until then is said by
    /// `lasts`.
    fn keep(&self, put: &mut dyn FnMut(&Kept), lasts: bool) {
        put(&Kept::Writer {
            writer: Writer {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                soft: self.files.soft(),
                hard: self.files.hard(),
                pid: Some(Pid(this::id())),
            },
        });
        called::kept(self.options).iter().for_each(&mut *put);
        put(&Kept::Level { level: Level::of(self.level) });
        self.control.keep(put, lasts);
        self.sockets.keep(put);
        self.releases.keep(put);
        let pidfile = self.pidfile.as_ref().map(Pidfile::kept);
        let lockfile = self.lockfile.as_ref().map(Lockfile::kept);
        let notify = self.notify.as_ref().map(Notify::kept);
        let keeper = self.keeper.kept();
        [pidfile, lockfile, notify, keeper].iter().flatten().for_each(&mut *put);
        for (pid, text) in &self.statuses {
            put(&Kept::Says { pid: *pid, text: text.clone() });
        }
    }

    /// Does one thing. Returns the answer, if it is one that is answered.
    fn perform(&mut self, action: Action) -> Option<EventKind> {
        match action {
            Action::Pin { generation, request } => {
                self.refused.begin_anew();
                self.control.spare_descriptors();
                self.manager.upgrade_begins(self.clock.now());
                return Some(self.releases.capture(generation, request, self.supervisor.stable()));
            }
            Action::Forget { generation } => self.releases.forget(generation),
            Action::Bind { listener } => return Some(self.sockets.bind(listener)),
            Action::Spawn { worker, slot, generation } => self.to_start.push_back((worker, slot, generation)),
            Action::Signal { worker, pid, signal, scope } => {
                self.send(worker, pid, signal, scope);
            }
            Action::Stop { worker, pid } => self.stop(worker, pid),
            Action::Sweep { pid } => process::sweep(pid, &self.children),
            Action::Reply { request, reply } => {
                let envelope = if reply == Reply::Status {
                    self.sockets.mend(!self.children.is_empty());
                    status::envelope(&self.supervisor.status(), &self.about())
                } else {
                    self.answer(&reply)
                };
                self.tell_client(request, envelope);
            }
            Action::Progress { request, generation, healthy, target, retired, stage } => {
                let progress = Progress { generation, healthy, target, retired, stage };
                self.tell_client(request, progress.envelope());
            }
            Action::Notice { notice } => self.report(&notice),
            Action::Exit { code } => self.code = Some(code),
        }
        None
    }

    fn report(&mut self, notice: &Notice) {
        tally::count(&mut self.totals, notice);
        self.releases.note(notice, &self.children);
        if let Notice::Draining { generation, pid, why: Why::Unacknowledged, .. } = notice {
            self.releases
                .unheard(*generation, self.refused.silence(*pid, self.control.path(), self.reporting));
        }
        self.happened(Event::Notice(notice.clone()));
        let (level, words) = self.worded(notice, |generation| self.releases.name(generation));
        self.manager.note(notice, &words);
        let now = self.clock.now();
        match self.shortages.take(notice, now) {
            Some(more) => {
                log!(level, "{words}{}{more}", self.releases.behind(notice));
                self.shortages.due(now).iter().for_each(|line| warn!("{line}"));
            }
            None => debug!("{words}"),
        }
        if let Some(words) = self.unhandled.note(notice, |generation| self.releases.name(generation)) {
            warn!("{words}");
        }
        if let Notice::Healthy { worker, generation, pid, proof: Proof::Timer, .. } = *notice {
            // Of one that has registered a socket, more than that cannot be seen.
            let known = self.supervisor.fleet().worker(worker);
            if known.is_some_and(|known| known.registered().is_none())
                && let Some(words) = self.lookout.untaken(generation, pid, || self.releases.name(generation))
            {
                warn!("{words}");
            }
        }
        if matches!(notice, Notice::Up { .. }) {
            welcome(self.options, &self.sockets.addresses());
        }
    }

    fn record(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.flush();
        }
    }
}
