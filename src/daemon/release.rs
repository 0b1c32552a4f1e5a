//! What each generation runs: what was asked for, what it was specified from, what was captured, or why
//! it could not be, and what came of it.
//!
//! Which generations there are, and when one is captured or forgotten, is the core's to say; starting
//! what was captured is the [`process`](super::process) room's.

use super::{
    background::Background,
    clock::time_of_day,
    directory::{self, Whereabouts},
    explain, given,
    history::{self, History},
    journal::Journal,
    kept::{Bytes, Held, HeldRelease, Kept, Store},
    process::Children,
    program::{PinError, Program, spawn_error},
    reference::Roster,
};
use crate::{
    cli::daemon::{COMMAND_LINE, Options, Workload},
    fsm::{
        action::Reply,
        event::{EventKind, ExitStatus, SpawnError, SpawnStage},
        id::{Generation, RequestId},
        notice::Notice,
        reason::Failure,
    },
    protocol::{
        Release,
        history::{Asker, Entry, Outcome},
    },
};
use log::debug;
use nix::errno::Errno;
use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    path::Path,
};

/// The releases of a service.
#[derive(Debug)]
pub(crate) struct Releases<'a> {
    journal: Journal,
    options: &'a Options,
    roster: Roster,
    /// Upgrades that were asked for and not captured yet.
    asked: BTreeMap<RequestId, Asked>,
    captured: BTreeMap<Generation, Captured>,
    unrunnable: Option<Unrunnable>,
    unheard: Option<Unheard>,
    background: Background,
    history: History,
    directory: Whereabouts,
    /// Whether the next generation is what the command line says, whatever the one before was specified from.
    anew: bool,
}

/// What a client wants.
#[derive(Debug)]
struct Asked {
    by: Asker,
    release: Release,
}

/// What a generation runs.
#[derive(Debug)]
struct Captured {
    program: Program,
    /// What a plain upgrade captures anew while this one serves.
    spec: Spec,
}

/// The last generation that could not be captured or become a process. One is enough: it is told of at
/// once, and when it is taken back.
#[derive(Debug)]
struct Unrunnable {
    generation: Generation,
    /// What was tried.
    path: String,
    /// What the system said.
    error: SpawnError,
    /// What is behind that, and what can be done about it.
    why: Option<String>,
}

/// The last generation of which a worker was not ready in time, for reasons that are known.
#[derive(Debug)]
struct Unheard {
    generation: Generation,
    why: String,
}

impl<'a> Releases<'a> {
    /// Arguments may refer to the sockets of `roster`, and those of the options do so rightly.
    pub(crate) fn new(options: &'a Options, roster: Roster, journal: Journal) -> Self {
        Self {
            journal,
            options,
            roster,
            asked: BTreeMap::new(),
            captured: BTreeMap::new(),
            unrunnable: None,
            unheard: None,
            background: Background::default(),
            history: History::default(),
            directory: Whereabouts::at_start(options.chdir.as_deref(), env::var_os(directory::VARIABLE)),
            anew: false,
        }
    }

    /// The next generation of which nobody says what it is to run is what the command line says, as at a start, until one
    /// of them serves.
    pub(crate) fn begin_anew(&mut self) {
        self.journal.keep(&Kept::Anew { anew: true });
        self.anew = true;
        self.directory =
            Whereabouts::at_start(self.options.chdir.as_deref(), env::var_os(directory::VARIABLE));
    }

    /// Whether what the command line says is to be begun, or has failed to serve so far.
    pub(crate) fn is_to_begin_anew(&self) -> bool {
        self.anew
    }

    /// Notes what the generation that comes of a request is to bring.
    ///
    /// # Errors
    /// If it would set a variable that is the supervisor's to set or to hide, or refers to a socket that there
    /// is not; says so.
    pub(crate) fn ask(&mut self, request: RequestId, by: Asker, release: Release) -> Result<(), String> {
        for (name, _) in &release.variables {
            if let Some(why) = given::kept_because(OsStr::new(name)) {
                return Err(format!(
                    "--env: {name} cannot be set: it {why}, and is the supervisor's; nothing was changed"
                ));
            }
        }
        let arguments = release.program.iter().flatten().skip(1);
        self.roster.check(arguments).map_err(|error| format!("{error}; nothing was changed"))?;
        self.asked.insert(request, Asked { by, release });
        Ok(())
    }

    /// Forgets what was asked for, if no generation came of it.
    pub(crate) fn retract(&mut self, request: RequestId) {
        self.asked.remove(&request);
    }

    /// Captures the program of a generation as it is now, starting from what the one that serves was
    /// specified from. Without a request, it is the start or SIGHUP that asks for it.
    pub(crate) fn capture(
        &mut self,
        generation: Generation,
        request: Option<RequestId>,
        serving: Generation,
    ) -> EventKind {
        let asked = request.and_then(|request| self.asked.remove(&request));
        let anew = self.anew && asked.as_ref().is_none_or(|asked| asked.release.program.is_none());
        let Asked { by, release } = asked.unwrap_or_else(|| Asked::unsaid(generation, anew));
        let base = self.captured.get(&serving).filter(|_| !anew).map(|captured| captured.spec.clone());
        let spec = base.unwrap_or_else(|| Spec::of(self.options)).with(release);
        let later: &[OsString] = if generation > Generation(1) { &self.options.drop_env_later } else { &[] };
        let pinned = spec.pin(self.options, later, &self.directory, &self.roster);
        let path = match &pinned {
            Ok(program) => shown(program.path()),
            Err(failed) => shown(&failed.path),
        };
        self.begin(Entry {
            generation,
            asked_at: time_of_day() / 1_000,
            by,
            program: path.clone(),
            strategy: None,
            outcome: Outcome::Begun,
        });
        match pinned {
            Ok(program) => {
                debug!("generation {generation} is {path}");
                let captured = Captured { program, spec };
                self.journal.keep(&captured.kept(generation));
                self.captured.insert(generation, captured);
                EventKind::Pinned { generation }
            }
            Err(failed) => {
                let PinError { error, why, .. } = failed;
                self.unrunnable = Some(Unrunnable { generation, path, error, why });
                EventKind::PinFailed { generation, error }
            }
        }
    }

    fn begin(&mut self, entry: Entry) {
        self.journal.keep(&history::kept(&entry));
        self.history.begin(entry);
    }

    /// Lets go of a generation that no worker will be started of any more.
    pub(crate) fn forget(&mut self, generation: Generation) {
        self.journal.keep(&Kept::Forgotten { generation });
        self.captured.remove(&generation);
    }

    /// Whether a generation's program is captured.
    pub(crate) fn has(&self, generation: Generation) -> bool {
        self.captured.contains_key(&generation)
    }

    /// All that is kept here.
    pub(crate) fn keep(&self, put: &mut dyn FnMut(&Kept)) {
        self.directory.kept().iter().for_each(&mut *put);
        if self.anew {
            put(&Kept::Anew { anew: true });
        }
        self.captured.iter().for_each(|(generation, captured)| put(&captured.kept(*generation)));
        self.history.keep(put);
    }

    /// Takes over what was kept, of the generations that are still `needed`.
    ///
    /// # Errors
    /// If something is missing.
    pub(crate) fn adopt(
        &mut self,
        held: &Held,
        store: &mut Store,
        needed: impl Fn(Generation) -> bool,
    ) -> Result<(), String> {
        self.directory = Whereabouts::adopt(held.whereabouts.clone());
        self.anew = held.anew;
        self.history.adopt(held.history.iter());
        for (generation, release) in held.releases.iter().filter(|(generation, _)| needed(**generation)) {
            let program = Program::adopt(release, store)
                .map_err(|why| format!("the program of generation {generation}: {why}"))?;
            self.captured.insert(*generation, Captured { program, spec: Spec::adopt(release) });
        }
        Ok(())
    }

    /// What the workers of a generation run.
    ///
    /// # Errors
    /// If nothing was captured for it.
    pub(crate) fn program(&self, generation: Generation) -> Result<&Program, SpawnError> {
        let captured = self.captured.get(&generation).map(|captured| &captured.program);
        captured.ok_or_else(|| spawn_error(SpawnStage::Pin, Errno::EINVAL))
    }

    /// Where a generation's program is, or what could not be run in its place; nothing if neither is
    /// known any more.
    pub(crate) fn name(&self, generation: Generation) -> String {
        match self.captured.get(&generation) {
            Some(captured) => shown(captured.program.path()),
            None => self.unrunnable(generation).unwrap_or_default().to_owned(),
        }
    }

    /// The same, also of one that is forgotten, as long as it is remembered for people.
    pub(crate) fn past_name(&self, generation: Generation) -> String {
        let past = self.history.entries().find(|entry| entry.generation == generation);
        past.map_or_else(|| self.name(generation), |entry| entry.program.clone())
    }

    /// What a generation should have run and could not, if it was the last one like that.
    pub(crate) fn unrunnable(&self, generation: Generation) -> Option<&str> {
        let last = self.unrunnable.as_ref().filter(|last| last.generation == generation);
        last.map(|last| last.path.as_str())
    }

    /// Takes in what the core has to tell. `workers` are those that run.
    pub(crate) fn note(&mut self, notice: &Notice, workers: &Children) {
        for entry in self.history.note(notice) {
            self.journal.keep(&history::kept(&entry));
        }
        if self.anew && matches!(notice, Notice::Upgraded { .. }) {
            self.anew = false;
            self.journal.keep(&Kept::Anew { anew: false });
        }
        self.background.note(notice, workers);
        if let Notice::StartFailed { generation, failure: Failure::Spawn(error), .. } = notice {
            self.look_into(*generation, *error);
        }
    }

    /// Finds out why a generation's program was not executed: once, however many workers tell of it.
    fn look_into(&mut self, generation: Generation, error: SpawnError) {
        let known = |last: &Unrunnable| (last.generation, last.error) == (generation, error);
        if let Some(captured) = self.captured.get(&generation)
            && !self.unrunnable.as_ref().is_some_and(known)
        {
            let (path, why) = (shown(captured.program.path()), captured.program.why_not(&error));
            self.unrunnable = Some(Unrunnable { generation, path, error, why });
        }
    }

    /// Notes what is known of why a worker has not acknowledged in time. What was known of another is not
    /// this one's.
    pub(crate) fn unheard(&mut self, generation: Generation, why: Option<String>) {
        self.unheard = why.map(|why| Unheard { generation, why });
    }

    /// What there is to add to a notice of a program that cannot be run or is not heard of: a clause with `; `
    /// in front, or nothing.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most of what there is to tell is not about that")]
    pub(crate) fn behind(&self, notice: &Notice) -> String {
        match notice {
            Notice::PinFailed { generation, error } => self.clause(*generation, *error),
            Notice::StartFailed { generation, failure, .. }
            | Notice::GaveUp { generation, failure, .. }
            | Notice::RollingBack { generation, failure: Some(failure), .. } => {
                self.behind_failure(*generation, failure)
            }
            _ => String::new(),
        }
    }

    /// The same for an answer.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most answers are not about that")]
    pub(crate) fn behind_answer(&self, reply: &Reply) -> String {
        match reply {
            Reply::UpgradeRefused { generation, error } => self.clause(*generation, *error),
            Reply::RolledBack { generation, failure: Some(failure), .. }
            | Reply::NotRestored { generation, failure: Some(failure), .. } => {
                self.behind_failure(*generation, failure)
            }
            _ => String::new(),
        }
    }

    fn silence(&self, generation: Generation) -> String {
        let known = self.unheard.as_ref().filter(|last| last.generation == generation);
        known.map(|Unheard { why, .. }| format!("; {why}")).unwrap_or_default()
    }

    fn behind_failure(&self, generation: Generation, failure: &Failure) -> String {
        match failure {
            Failure::Spawn(error) => self.clause(generation, *error),
            Failure::Exited(ExitStatus::Code(0) | ExitStatus::Signal(_)) => {
                self.background.clause(generation, failure)
            }
            Failure::Exited(ExitStatus::Code(_) | ExitStatus::Unknown) => {
                let captured = self.captured.get(&generation);
                let why = captured.and_then(|captured| explain::ended(captured.program.path()));
                why.map(|why| format!("; {why}")).unwrap_or_default()
            }
            Failure::Left => String::new(),
            Failure::Unacknowledged { .. } => {
                self.silence(generation) + &self.background.clause(generation, failure)
            }
        }
    }

    fn clause(&self, generation: Generation, error: SpawnError) -> String {
        let last = self.unrunnable.as_ref();
        let last = last.filter(|last| (last.generation, last.error) == (generation, error));
        last.and_then(|last| last.why.as_ref()).map(|why| format!("; {why}")).unwrap_or_default()
    }

    /// What came of the generations, oldest first.
    pub(crate) fn history(&self) -> impl Iterator<Item = &Entry> + Clone {
        self.history.entries()
    }
}

impl Captured {
    fn kept(&self, generation: Generation) -> Kept {
        let Spec { command, arguments, variables } = &self.spec;
        let set = variables
            .iter()
            .map(|(name, value)| Bytes([name.as_encoded_bytes(), b"=", value.as_encoded_bytes()].concat()));
        let mut release = HeldRelease {
            command: Bytes::of(command),
            words: arguments.iter().map(Bytes::of).collect(),
            set: set.collect(),
            ..HeldRelease::default()
        };
        self.program.keep(&mut release);
        Kept::Release { generation, release }
    }
}

impl Asked {
    /// What no client has asked for: the same again.
    fn unsaid(generation: Generation, by_a_start: bool) -> Self {
        let by = if generation == Generation(1) || by_a_start { Asker::Start } else { Asker::Hangup };
        Self { by, release: Release::default() }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// What the first generation would run if this were a start.
///
/// # Errors
/// If there is no such program, or directory.
pub(crate) fn at_start(options: &Options, roster: &Roster) -> Result<Program, PinError> {
    let directory = Whereabouts::at_start(options.chdir.as_deref(), env::var_os(directory::VARIABLE));
    Spec::of(options).pin(options, &[], &directory, roster)
}

/// What a generation is captured from.
#[derive(Clone, Debug)]
struct Spec {
    command: OsString,
    arguments: Vec<OsString>,
    /// Set on top of the supervisor's own environment.
    variables: BTreeMap<OsString, OsString>,
}

impl Spec {
    /// What the command line says.
    fn of(options: &Options) -> Self {
        let (command, arguments) = match &options.workload {
            Workload::Program { program, args } => (program.clone(), args.clone()),
            Workload::Demo | Workload::DemoWorker => {
                let this = env::current_exe().unwrap_or_else(|_| COMMAND_LINE.program.into());
                (this.into_os_string(), vec!["--demo-worker".into()])
            }
        };
        Self { command, arguments, variables: BTreeMap::new() }
    }

    /// The one that was kept.
    fn adopt(release: &HeldRelease) -> Self {
        let variable = |Bytes(text): &Bytes| {
            let end = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
            let (name, value) = text.split_at_checked(end).unwrap_or_default();
            let bytes = |bytes: &[u8]| Bytes(bytes.to_vec()).text();
            (bytes(name), bytes(value.get(1..).unwrap_or_default()))
        };
        Self {
            command: release.command.clone().text(),
            arguments: release.words.iter().cloned().map(Bytes::text).collect(),
            variables: release.set.iter().map(variable).collect(),
        }
    }

    /// The same with what an upgrade changes.
    fn with(mut self, release: Release) -> Self {
        if let Some(mut program) = release.program.filter(|program| !program.is_empty()) {
            self.command = program.remove(0).into();
            self.arguments = program.into_iter().map(OsString::from).collect();
        }
        let variables = release.variables.into_iter();
        self.variables.extend(variables.map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Captures the program as it is now: executable, arguments, environment, directory. Variables that
    /// the options hide, and those that are to go by now, are those of our own environment; what an upgrade sets is
    /// set. Arguments that refer to
    /// what there is not were refused; here they would stay as they are.
    fn pin(
        &self,
        options: &Options,
        later: &[OsString],
        whereabouts: &Whereabouts,
        roster: &Roster,
    ) -> Result<Program, PinError> {
        let hidden = |name: &OsStr| options.drop_env.iter().chain(later).any(|hidden| hidden == name);
        let ours = |name: &OsString| !hidden(name) && !self.variables.contains_key(name);
        let own = env::vars_os().filter(|(name, _)| ours(name));
        let set = self.variables.iter().map(|(name, value)| (name.clone(), value.clone()));
        let opened = whereabouts.open();
        let directory = opened.map_err(|errno| PinError::directory(errno, whereabouts.name()))?;
        // Where nobody keeps such a variable, none is begun.
        let named = options.chdir.is_some() || env::var_os(directory::VARIABLE).is_some();
        let directory =
            if named && !hidden(OsStr::new(directory::VARIABLE)) { directory } else { directory.unnamed() };
        let filled = |argument: &OsString| roster.fill(argument).unwrap_or_else(|_| argument.clone());
        Program::pin(&self.command, self.arguments.iter().map(filled), own.chain(set), directory)
    }
}

#[cfg(test)]
mod tests;
