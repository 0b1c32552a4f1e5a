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
    history::History,
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
    pub(crate) fn new(options: &'a Options, roster: Roster) -> Self {
        Self {
            options,
            roster,
            asked: BTreeMap::new(),
            captured: BTreeMap::new(),
            unrunnable: None,
            unheard: None,
            background: Background::default(),
            history: History::default(),
            directory: Whereabouts::at_start(options.chdir.as_deref(), env::var_os(directory::VARIABLE)),
        }
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
        let Asked { by, release } = asked.unwrap_or_else(|| Asked::unsaid(generation));
        let base = self.captured.get(&serving).map(|captured| captured.spec.clone());
        let spec = base.unwrap_or_else(|| Spec::of(self.options)).with(release);
        let later: &[OsString] = if generation > Generation(1) { &self.options.drop_env_later } else { &[] };
        let pinned = spec.pin(self.options, later, &self.directory, &self.roster);
        let path = match &pinned {
            Ok(program) => shown(program.path()),
            Err(failed) => shown(&failed.path),
        };
        self.history.begin(Entry {
            generation,
            asked_at: time_of_day(),
            by,
            program: path.clone(),
            strategy: None,
            outcome: Outcome::Begun,
        });
        match pinned {
            Ok(program) => {
                debug!("generation {generation} is {path}");
                self.captured.insert(generation, Captured { program, spec });
                EventKind::Pinned { generation }
            }
            Err(failed) => {
                let PinError { error, why, .. } = failed;
                self.unrunnable = Some(Unrunnable { generation, path, error, why });
                EventKind::PinFailed { generation, error }
            }
        }
    }

    /// Lets go of a generation that no worker will be started of any more.
    pub(crate) fn forget(&mut self, generation: Generation) {
        self.captured.remove(&generation);
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

    /// What a generation should have run and could not, if it was the last one like that.
    pub(crate) fn unrunnable(&self, generation: Generation) -> Option<&str> {
        let last = self.unrunnable.as_ref().filter(|last| last.generation == generation);
        last.map(|last| last.path.as_str())
    }

    /// Takes in what the core has to tell. `workers` are those that run.
    pub(crate) fn note(&mut self, notice: &Notice, workers: &Children) {
        self.history.note(notice);
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

impl Asked {
    /// What no client has asked for: the same again.
    fn unsaid(generation: Generation) -> Self {
        let by = if generation == Generation(1) { Asker::Start } else { Asker::Hangup };
        Self { by, release: Release::default() }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
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
mod tests {
    use super::{super::scratch::Scratch, *};
    use crate::{
        cli::daemon::{Parsed, parse},
        fsm::{event::Prospect, id::Pid},
    };

    const BY: Asker = Asker::Client { user: 7, pid: Pid(30) };

    fn options(program: &str) -> Options {
        match parse([program.into()], |_| true).unwrap() {
            Parsed::Run(options) => *options,
            other @ (Parsed::Checked | Parsed::Print(_)) => panic!("{other:?}"),
        }
    }

    /// The path of something that can be run.
    fn executable(scratch: &Scratch, name: &str) -> String {
        scratch.file(name, "#!/bin/sh\n", 0o755).to_str().unwrap().to_owned()
    }

    fn to_run(command: &str) -> Release {
        Release { program: Some(vec![command.into()]), ..Release::default() }
    }

    fn capture(
        releases: &mut Releases<'_>,
        generation: u32,
        request: Option<u64>,
        serving: u32,
    ) -> EventKind {
        releases.capture(Generation(generation), request.map(RequestId), Generation(serving))
    }

    fn is_captured(releases: &mut Releases<'_>, generation: u32, request: Option<u64>, serving: u32) {
        let pinned = EventKind::Pinned { generation: Generation(generation) };
        assert_eq!(capture(releases, generation, request, serving), pinned);
    }

    #[test]
    fn what_is_not_said_stays_as_it_is_in_the_generation_that_serves() {
        let scratch = Scratch::new();
        let (first, second) = (executable(&scratch, "first"), executable(&scratch, "second"));
        let options = options(&first);
        let mut releases = Releases::new(&options, Roster::default());
        is_captured(&mut releases, 1, None, 0);
        releases.ask(RequestId(5), BY, to_run(&second)).unwrap();
        is_captured(&mut releases, 2, Some(5), 1);
        is_captured(&mut releases, 3, None, 2);
        // What was asked for is so once.
        is_captured(&mut releases, 4, Some(5), 1);
        let names = [1, 2, 3, 4].map(|number| releases.name(Generation(number)));
        assert_eq!(names, [&first, &second, &second, &first].map(String::clone));
        let by: Vec<_> = releases.history().map(|entry| entry.by).collect();
        assert_eq!(by, [Asker::Start, BY, Asker::Hangup, Asker::Hangup]);
        let programs: Vec<_> = releases.history().map(|entry| entry.program.clone()).collect();
        assert_eq!(programs, names);
    }

    #[test]
    fn what_was_asked_for_and_refused_does_not_come_later() {
        let scratch = Scratch::new();
        let first = executable(&scratch, "first");
        let options = options(&first);
        let mut releases = Releases::new(&options, Roster::default());
        releases.ask(RequestId(5), BY, to_run("/nowhere/second")).unwrap();
        releases.retract(RequestId(5));
        is_captured(&mut releases, 2, Some(5), 1);
        assert_eq!(releases.name(Generation(2)), first);
    }

    #[test]
    fn what_the_contract_sets_or_hides_is_not_an_upgrades_to_set() {
        let options = options("/bin/true");
        let mut releases = Releases::new(&options, Roster::default());
        let with = |name: &str| Release {
            variables: vec![("FINE".into(), "1".into()), (name.into(), "99".into())],
            ..Release::default()
        };
        for name in ["EINHORN_FD_0", "EINHORN_", "LISTEN_FDS", "NOTIFY_SOCKET", "PWD"] {
            let why = releases.ask(RequestId(5), BY, with(name)).unwrap_err();
            assert!(why.starts_with(&format!("--env: {name} cannot be set: it ")), "{why}");
            assert!(releases.asked.is_empty(), "{name}");
        }
        assert_eq!(releases.ask(RequestId(5), BY, with("LISTEN_ADDR")), Ok(()));
    }

    #[test]
    fn what_cannot_be_run_is_named_until_the_next_such() {
        let options = options("/bin/true");
        let mut releases = Releases::new(&options, Roster::default());
        for (number, path) in [(2, "/nowhere/a"), (3, "/nowhere/b")] {
            releases.ask(RequestId(5), BY, to_run(path)).unwrap();
            let EventKind::PinFailed { generation, error } = capture(&mut releases, number, Some(5), 1)
            else {
                panic!("{path} is there");
            };
            assert_eq!((generation, error.prospect), (Generation(number), Prospect::NotFound));
            assert_eq!(releases.unrunnable(generation), Some(path));
            assert_eq!(releases.name(generation), path);
            assert!(releases.program(generation).is_err());
        }
        assert_eq!(releases.unrunnable(Generation(2)), None);
        assert_eq!(releases.name(Generation(2)), "");
    }

    #[test]
    fn what_is_forgotten_can_be_neither_started_nor_named() {
        let options = options("/bin/true");
        let mut releases = Releases::new(&options, Roster::default());
        is_captured(&mut releases, 1, None, 0);
        assert!(releases.program(Generation(1)).is_ok());
        releases.forget(Generation(1));
        assert!(releases.program(Generation(1)).is_err());
        assert_eq!(releases.name(Generation(1)), "");
    }
}
