//! From a journal to a running loop: taking the place of the supervisor that was here before, in the same process or after
//! its end.
//!
//! Until the loop runs, nothing is done that could not be left to another: if something is missing, the program from
//! before is executed again, or the keeper waits for the next, which finds everything as it was.

use super::{
    called::{self, Differences},
    claim::{Claim, listen_anew},
    clock::Monotonic,
    control::Control,
    journal::{self, Found, Journal, STARTS_AT, head, word},
    keeper::Keeper,
    kept::{Bytes, Held, Kept, Store},
    lockfile::Lockfile,
    log,
    manager::Manager,
    notify::Notify,
    pidfd::PidFd,
    pidfile::{self, Pidfile},
    process::{self, FileLimit, Hangup, Spawner, Waiting},
    recorder::Recorder,
    release::Releases,
    shell::{Parts, Shell, Start, Takeover},
    signals,
    sockets::{Sockets, Unusable},
    succession::{self, Benefactor},
    successor,
};
use crate::{
    cli::daemon::{COMMAND_LINE, Options},
    fsm::{
        Supervisor,
        action::Action,
        id::{Pid, RequestId},
        journal::{Until, resume},
        text::Record as _,
        time::Millis,
        trace::Line,
    },
    protocol::words,
};
use ::log::{LevelFilter, error};
use mio::Poll;
use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    io::{self, Write as _},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd},
    path::Path,
    process::ExitCode,
};

/// Who goes on.
enum Heir {
    /// The same process, as another program or anew.
    Same,
    /// Another, after a kill.
    Other { benefactor: Option<Benefactor>, stored: Vec<RawFd>, files: FileLimit },
}

/// What was read in a journal.
struct Legacy {
    supervisor: Supervisor,
    held: Held,
    takeover: Takeover,
    clock: Monotonic,
    journal: Journal,
    files: FileLimit,
}

/// Goes on from the journal behind that descriptor. The exit status is that of a [start](super::run).
pub(crate) fn run(options: &Options, fd: RawFd) -> ExitCode {
    let hangup = process::reset_signals_at_start(Waiting::HeldBack);
    signals::prepare();
    match process::adopt_descriptor(fd) {
        Ok(file) => go_on(options, file, hangup, Heir::Same),
        Err(_) => refuse(&format!("descriptor {fd} is not open")),
    }
}

/// Goes on from what a supervisor that was killed has left.
pub(crate) fn inherit(options: &Options, legacy: succession::Legacy, hangup: Hangup) -> ExitCode {
    let succession::Legacy { journal, benefactor, stored, files } = legacy;
    go_on(options, journal, hangup, Heir::Other { benefactor, stored, files })
}

fn go_on(options: &Options, file: OwnedFd, hangup: Hangup, heir: Heir) -> ExitCode {
    let found = match journal::read(file) {
        Ok(found) => found,
        Err(why) => return refuse(&why),
    };
    let memory = found.memory.clone();
    if let Heir::Other { .. } = heir {
        // Was it killed while another program took over, that one is as gone as it is.
        process::forget_the_way_back(&memory);
    }
    // From here on a fault leads here again, or back.
    process::arm(&memory, called::before(&found.text));
    let back = |why: String, copies: &[(RawFd, OwnedFd)]| {
        process::put_back(copies);
        if let Some(errno) = process::go_back(&memory, &why) {
            error!("the program from before cannot be executed either: {}", errno.desc());
        }
        refuse(&why)
    };
    let mut legacy = match read(found) {
        Ok(legacy) => legacy,
        Err(why) => return back(why, &[]),
    };
    let mut own: Vec<RawFd> = memory.file().map(|file| file.as_raw_fd()).into_iter().collect();
    legacy.succeed(heir);
    let benefactor = legacy.takeover.start.as_ref().and_then(|start| start.benefactor.as_ref());
    own.extend(benefactor.map(Benefactor::fd));
    let store = process::adopt_descriptors(&legacy.held.descriptors(), &own);
    let copies = if legacy.held.successor.is_some() { store.copies() } else { Vec::new() };
    log::init(level(&legacy.held), options.syslog);
    // Executed by descriptor, a program is called after that.
    let name = options.command_name.as_ref().map(|name| name.as_str().to_owned());
    process::call_itself(&name.unwrap_or_else(called));
    match assemble(options, legacy, store, hangup) {
        Ok((shell, takeover)) => {
            drop(copies);
            ExitCode::from(shell.run(Some(takeover)))
        }
        Err(why) => back(why, &copies),
    }
}

/// This program cannot even read the command line that it was executed with: the one from before goes on, if there is one
/// that waits. Returns if not.
pub fn give_back(why: &str) {
    let Some(Ok(found)) = called::announced().map(found) else { return };
    process::arm(&found.memory, called::before(&found.text));
    process::go_back(&found.memory, why);
}

fn found(fd: RawFd) -> Result<Found, String> {
    let file = process::adopt_descriptor(fd).map_err(|_| format!("descriptor {fd} is not open"))?;
    journal::read(file)
}

fn refuse(why: &str) -> ExitCode {
    // Nobody is left to tell if standard error is closed.
    let line = format!("{}: the hand-over has failed: {why}\n", COMMAND_LINE.program);
    let _ = io::stderr().write_all(line.as_bytes());
    ExitCode::FAILURE
}

/// The last part of what this program was called.
fn called() -> String {
    let called = env::args_os().next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or(OsStr::new(COMMAND_LINE.program));
    name.to_string_lossy().into_owned()
}

fn level(held: &Held) -> LevelFilter {
    held.level.map_or(LevelFilter::Info, super::kept::Level::filter)
}

/// Whether this program could go on from the journal on its standard input: says so, or why not.
pub(crate) fn check() -> ExitCode {
    let file = io::stdin().as_fd().try_clone_to_owned();
    let said = file.map_err(|error| words::io_error(&error)).and_then(journal::read).and_then(read);
    let (words, code) = match said {
        Ok(_) => (successor::able(), ExitCode::SUCCESS),
        Err(why) => (
            format!("{}: it cannot go on from this journal: {why}\n", COMMAND_LINE.program),
            ExitCode::FAILURE,
        ),
    };
    match io::stdout().write_all(words.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Reads a journal.
fn read(found: Found) -> Result<Legacy, String> {
    let Found { text, mut done, is_taken_in, origin, memory } = found;
    let was = |at, now| word(&memory, at) == word(&memory, now);
    let again = word(&memory, head::TIMES) > 1
        && was(head::PLACE, head::CURRENT)
        && was(head::PLACE_DONE, head::DONE);
    // What was the end of a supervisor twice is left out: an event that the machine cannot take in, or an action.
    let until = if again && !is_taken_in { Until::BeforeLast } else { Until::Last };
    let resumed = resume(&text, until).map_err(|why| why.to_string())?;
    let answered = RequestId(word(&memory, head::ANSWERED));
    let held = Held::read(resumed.kept.iter().copied(), resumed.ends_kept, answered);
    let held = held.map_err(|why| why.message)?;
    let writer = held.writer.clone().ok_or("nobody says who has written it")?;
    let (event, actions) = resumed.last.unzip();
    let actions = actions.unwrap_or_default();
    let event = event.filter(|_| again && !is_taken_in).map(|event| Line::Event(event).to_string());
    let action = actions.get(done).filter(|_| again).map(|action| Line::Action(action.clone()).to_string());
    if action.is_some() {
        done = done.saturating_add(1);
    }
    let takeover = Takeover {
        actions,
        done,
        left_out: event.or(action),
        returned: process::returned(&memory),
        crash: process::last_fault(&memory),
        successor: held.successor.clone(),
        version: writer.version.clone(),
        killed: writer.pid.filter(|pid| pid.0 != std::process::id()),
        start: None,
        differences: Differences::default(),
        held: BTreeMap::new(),
    };
    Ok(Legacy {
        supervisor: resumed.supervisor,
        held,
        takeover,
        clock: Monotonic::since(origin),
        journal: Journal::found(memory),
        files: FileLimit::of(writer.soft, writer.hard),
    })
}

impl Legacy {
    /// Whoever goes on is that one.
    fn succeed(&mut self, heir: Heir) {
        if let Heir::Other { benefactor, stored, files } = heir {
            self.takeover.start = Some(Start { benefactor, stored });
            self.files = files;
        }
        if self.takeover.killed.is_some() {
            // Nobody takes over on command any more, and the keeper is not our child.
            (self.takeover.successor, self.held.successor, self.held.keeper) = (None, None, None);
            self.takeover.returned = None;
        }
    }
}

/// How long after the last that is known of them workers may have been made.
const SLACK: Millis = Millis(5_000);

/// The workers that are no children of ours, since a supervisor that was killed has made them, as far as they are there.
/// That one cannot be held is an error: nobody would know of its end, and it is not to be started twice.
fn hold_workers(
    supervisor: &Supervisor,
    clock: &Monotonic,
    journal: &Journal,
) -> Result<BTreeMap<Pid, PidFd>, String> {
    // One that was begun after that was begun right after it.
    let last = supervisor.clock().outside(supervisor.now());
    let before = clock.since_boot(last + SLACK);
    let hold = |pid| match process::held(pid, before) {
        Ok(held) => held.map(|held| Ok((pid, held))),
        Err(errno) => Some(Err(format!(
            "pid {pid}, which is a worker, cannot be held: {}; a descriptor is needed for each (`ulimit -Hn`)",
            errno.desc()
        ))),
    };
    let begun = process::begun(&journal.memory(), STARTS_AT).into_iter();
    begun.filter(|pid| !process::is_child(*pid)).filter_map(hold).collect()
}

#[inline(never)]
fn assemble(
    options: &Options,
    legacy: Legacy,
    mut store: Store,
    hangup: Hangup,
) -> Result<(Box<Shell<'_>>, Takeover), String> {
    let Legacy { mut supervisor, mut held, mut takeover, clock, journal, files } = legacy;
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let nice = options.nice.and_then(|nice| nice.worker);
    let spawner = Spawner::new(files, nice, (journal.memory(), STARTS_AT))
        .map_err(|errno| format!("/dev/null cannot be opened: {}", words::errno(errno)))?;
    let poll = Poll::new().map_err(failed("cannot wait for events"))?;
    let registry = || poll.registry().try_clone().map_err(failed("cannot wait for events"));
    if takeover.killed.is_some() {
        // Who was killed while it took over may have closed what it did not want, before it had noted that.
        held.listeners.retain(|_, listener| store.0.contains_key(&listener.file.fd));
    }
    let before = called::options(held.called.iter().cloned().map(Bytes::text).collect());
    // The words were understood by the version that they were said to.
    let before = before.as_deref().unwrap_or(options);
    let mut sockets = Sockets::adopt(options, before, &held, &mut store).map_err(|why| match why {
        Unusable::Option(why) | Unusable::ForNow(why) => why,
    })?;
    sockets.watch(registry()?);
    let mut level = level(&held);
    let is_asked = takeover.successor.is_some() && takeover.returned.is_none();
    let is_anew = is_asked && called::has_other_files(options, &held.called);
    if is_anew && options.socket_path != before.socket_path {
        return Err(format!(
            "--socket-path: `{}` is another than `{}`, where whoever comes next looks for this service; accepted: the \
             same, or a new start of all",
            options.socket_path.display(),
            before.socket_path.display()
        ));
    }
    if (takeover.start.is_some() || is_anew) && supervisor.life().is_running() {
        sockets.bind_the_rest()?;
        takeover.differences = Differences::between(before, options);
        if takeover.differences.verbosity {
            level = called::level(options.verbosity);
            log::set_level(level);
        }
        supervisor.reconfigure(called::config(options, sockets.count()));
    }
    sockets.note_in(journal.clone());
    let (path, file) = held.door.clone().ok_or("there is no control socket")?;
    let socket = store.take(file.fd).map_err(|why| format!("control socket: {why}"))?;
    let claim = Claim::adopt(path.text().into(), file.identity(), socket);
    if takeover.killed.is_some() {
        listen_anew(claim.listener());
    }
    let mut control = Control::new(claim, registry()?, journal.clone()).map_err(failed("control socket"))?;
    control.take_over(&held, &mut store)?;
    let notify = match held.notify {
        Some(fd) => {
            let socket = store.take(fd).map_err(|why| format!("notifications: {why}"))?;
            Some(Notify::adopt(socket, poll.registry()).map_err(failed("notifications"))?)
        }
        None => None,
    };
    let is_awaited =
        |order, awaited| matches!(order, Action::Pin { generation, .. } if generation == awaited);
    let needed = |generation| {
        supervisor.pinned().contains(&generation)
            || supervisor.outstanding().any(|order| is_awaited(order, generation))
    };
    let mut releases = Releases::new(options, sockets.roster(), journal.clone());
    releases.adopt(&held, &mut store, needed)?;
    let is_begun = takeover.start.is_some() || is_asked;
    takeover.differences.release |=
        is_begun && releases.is_to_begin_anew() && supervisor.status().upgrade.is_none();
    if let Some(missing) = supervisor.pinned().iter().find(|generation| !releases.has(**generation)) {
        return Err(format!("the program of generation {missing} is not there"));
    }
    takeover.held = hold_workers(&supervisor, &clock, &journal)?;
    let mut lockfile = held.lockfile.and_then(|fd| store.take(fd).ok()).map(Lockfile::adopt);
    if before.lockfile != options.lockfile || lockfile.is_none() {
        lockfile = options.lockfile.as_deref().map(Lockfile::lock).transpose()?;
    }
    let pidfile = held.pidfile.clone().and_then(|(path, file)| {
        // Who was killed right after writing it may have noted or handed over nothing of it.
        let there = takeover.killed.and_then(|killed| {
            let (pid, identity, fd) = pidfile::there(&path.clone().text())?;
            (pid == killed || identity == file.identity()).then_some((identity, fd))
        });
        let (identity, fd) = there.or_else(|| Some((file.identity(), store.take(file.fd).ok()?)))?;
        Some((path, identity, fd))
    });
    // The number in it is another's, or the file is to be another.
    let is_written = takeover.killed.is_some() || (is_anew && before.pidfile != options.pidfile);
    let anew = is_written.then(|| options.pidfile.as_deref().map(Pidfile::write)).flatten();
    let anew = anew.transpose()?;
    let keeper = held.keeper.and_then(|(pid, fd)| Some(Keeper::adopt(pid, store.take(fd).ok()?)));
    let recorder = options.trace.as_deref().and_then(|path| {
        let opened = Recorder::reopen(path, takeover.crash.is_some() || takeover.killed.is_some() || is_anew);
        opened
            .inspect_err(|error| error!("--trace: `{}` cannot be opened again: {error}", path.display()))
            .ok()
    });
    let parts = Parts {
        options,
        clock,
        journal,
        files,
        poll,
        control,
        notify,
        releases,
        manager: Manager::of_environment(),
        statuses: held.says.clone(),
        sockets,
        supervisor,
        spawner,
        recorder,
        level,
        hangup,
        lockfile,
        keeper,
    };
    let mut shell = Shell::new(parts).map(Box::new).map_err(failed("signals cannot be caught"))?;
    // Nothing can fail any more, and the files are ours.
    shell.settle();
    let pidfile = pidfile.map(|(path, identity, fd)| Pidfile::adopt(path.text().into(), identity, fd));
    if !is_written {
        pidfile.into_iter().for_each(|pidfile| shell.keep_pidfile(pidfile));
    } else if let Some(anew) = anew {
        // In the place of the one before, if that is the same.
        match anew.published() {
            Ok(anew) => shell.keep_pidfile(anew),
            Err(why) => error!("{why}"),
        }
    }
    Ok((shell, takeover))
}

/// Whether any text whatsoever, taken for a journal's, is read or refused. For fuzzing.
///
/// # Panics
/// If what is read is not written again as it was.
#[doc(hidden)]
#[must_use]
pub fn reads(text: &str) -> bool {
    let Ok(resumed) = resume(text, Until::Last) else { return false };
    let (kept, none) = (resumed.kept.iter().copied(), RequestId(0));
    let Ok(_) = Held::read(kept, resumed.ends_kept, none) else { return false };
    for kept in resumed.kept.iter().filter_map(|line| Kept::from_line(line).ok()) {
        assert_eq!(Kept::from_line(&kept.to_line()).as_ref(), Ok(&kept), "written as something else");
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{super::kept::Writer, *};
    use crate::fsm::{
        config::Config,
        event::{Event, EventKind},
        life::Life,
        time::Time,
    };
    use journal::set;

    /// A journal that somebody leaves behind who has carried out so much of what the last event called for.
    fn left(performed: usize) -> Journal {
        let journal = Journal::new(7).unwrap();
        let writer = Writer { version: "1.2.3".into(), soft: 256, hard: 1_024, pid: None };
        journal.compact(&Supervisor::new(Config::default()), |put| {
            put(&Kept::Writer { writer: writer.clone() })
        });
        journal.event(&Event { at: Time(0), kind: EventKind::Start });
        (0..performed).for_each(|_| journal.performed());
        journal
    }

    fn taken_over(journal: &Journal) -> Legacy {
        let file = journal.memory().file().unwrap().try_clone_to_owned().unwrap();
        read(journal::read(file).unwrap()).unwrap()
    }

    #[test]
    fn what_was_left_undone_is_known_to_the_action() {
        let Legacy { takeover, clock, files, supervisor, .. } = taken_over(&left(1));
        assert_eq!((takeover.actions.len(), takeover.done), (1, 1));
        assert_eq!((takeover.version.as_str(), files.soft(), files.hard()), ("1.2.3", 256, 1_024));
        assert_eq!((clock.origin(), supervisor.life()), (7, Life::Pinning));
        assert!(takeover.crash.is_none() && takeover.left_out.is_none());
        assert_eq!(taken_over(&left(0)).takeover.done, 0);
    }

    /// The supervisor has failed so often where the journal ends now.
    fn failed(journal: &Journal, times: u64) -> Legacy {
        let memory = journal.memory();
        set(&memory, head::PLACE, word(&memory, head::CURRENT));
        set(&memory, head::PLACE_DONE, word(&memory, head::DONE));
        set(&memory, head::TIMES, times);
        taken_over(journal)
    }

    #[test]
    fn an_event_that_was_the_end_twice_is_left_out() {
        let journal = left(0);
        for (times, left_out) in [(1, None), (2, Some("@0 start")), (3, Some("@0 start"))] {
            let Legacy { takeover, supervisor, .. } = failed(&journal, times);
            assert_eq!(takeover.left_out.as_deref(), left_out, "{times}");
            assert_eq!(supervisor.life() == Life::New, left_out.is_some(), "{times}");
            assert_eq!(takeover.actions.is_empty(), left_out.is_some(), "{times}");
        }
        // Something has been written since: that is another place.
        journal.event(&Event { at: Time(3), kind: EventKind::Woke });
        assert!(taken_over(&journal).takeover.left_out.is_none());
    }

    #[test]
    fn of_an_event_that_was_taken_in_the_action_that_was_the_end_twice_is_left_out() {
        let journal = left(0);
        journal.taken_in();
        let Legacy { takeover, supervisor, .. } = failed(&journal, 2);
        assert_eq!(takeover.left_out.as_deref(), Some("> pin generation=1"));
        assert_eq!((takeover.actions.len(), takeover.done, supervisor.life()), (1, 1, Life::Pinning));
        // Something was done in between.
        journal.performed();
        assert!(taken_over(&journal).takeover.left_out.is_none());
        let Legacy { takeover, .. } = failed(&journal, 2);
        assert_eq!((takeover.left_out, takeover.done), (None, 1), "all was carried out");
    }

    #[test]
    fn why_another_could_not_is_told_once() {
        let journal = left(0);
        let memory = journal.memory();
        journal::leave_words(&memory, "no such option");
        set(&memory, head::RETURNED, 1);
        assert_eq!(taken_over(&journal).takeover.returned.as_deref(), Some("no such option"));
        assert!(taken_over(&journal).takeover.returned.is_none());
    }
}
