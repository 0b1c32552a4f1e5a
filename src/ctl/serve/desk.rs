//! Asking the supervisor, on a thread of its own: one question at a time, whoever has come with it.

use super::{events::Events, metrics::Metrics, status};
use crate::ctl::{
    clock::Clock,
    connection::Target,
    interrupt::Interrupts,
    procfs::Stat,
    report::Report,
    session::{Session, Trouble},
};
use miniserde::json;
use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

/// How old an answer may be that somebody else has asked for.
pub(super) const FRESH: Duration = Duration::from_millis(100);

/// With more workers than that, the page is not told what each of them takes.
const MANY: usize = 1_000;

/// What somebody wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    /// How things stand.
    Report,
    /// The same, written down for the page.
    Page,
    /// Metrics.
    Metrics,
}

/// What was found out. Cheap to copy.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Report(Arc<Report>),
    /// As it is to be told.
    Written(Arc<[u8]>),
    /// Nothing, and why.
    Trouble(Arc<str>),
}

/// Where questions are left.
#[derive(Debug)]
pub(super) struct Desk(Sender<Wanted>);

/// Where answers come out.
#[derive(Debug)]
pub(super) struct Answers {
    answers: Receiver<(Wanted, Found)>,
    /// Has something to be read when there are any.
    pub(super) bell: UnixStream,
}

impl Desk {
    /// Starts to ask the supervisor at `target`.
    pub(super) fn start(target: Target) -> io::Result<(Self, Answers)> {
        let (questions, to_ask) = channel();
        let (told, answers) = channel();
        let (bell, mut rope) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        rope.set_nonblocking(true)?;
        thread::Builder::new().name("desk".into()).spawn(move || {
            let mut clerk = Clerk::new(target);
            for wanted in to_ask {
                if told.send((wanted, clerk.find_out(wanted))).is_err() {
                    return;
                }
                // If it is full it rings anyway.
                let _ = rope.write(&[0]);
            }
        })?;
        Ok((Self(questions), Answers { answers, bell }))
    }

    /// Leaves a question. If nobody is there to ask it, it stays without an answer.
    pub(super) fn ask(&self, wanted: Wanted) {
        let _ = self.0.send(wanted);
    }
}

impl Answers {
    /// Those that are there.
    pub(super) fn take(&self) -> impl Iterator<Item = (Wanted, Found)> {
        self.answers.try_iter()
    }
}

/// What the supervisor has said.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) report: Arc<Report>,
    /// The same as it came.
    pub(super) raw: Arc<str>,
    /// Whether its pids mean the same here.
    pub(super) local: bool,
}

/// Whoever asks.
struct Clerk {
    target: Target,
    clock: Clock,
    last: Option<(Duration, Result<Heard, Arc<str>>)>,
    metrics: Metrics,
    events: Events,
}

impl Clerk {
    fn new(target: Target) -> Self {
        let events = Events::of(target.clone());
        Self { target, clock: Clock::start(), last: None, metrics: Metrics::default(), events }
    }

    fn find_out(&mut self, wanted: Wanted) -> Found {
        // The page tells of both.
        let events = (wanted == Wanted::Page).then(|| self.events.look());
        let heard = match self.hear() {
            Ok(heard) => heard,
            Err(trouble) => return Found::Trouble(trouble),
        };
        match wanted {
            Wanted::Report => Found::Report(heard.report),
            Wanted::Page => {
                let events = events.unwrap_or_default();
                Found::Written(status::write(&heard, &processes(&heard), &events).into_bytes().into())
            }
            Wanted::Metrics => Found::Written(self.metrics.write(&heard, &self.clock).into_bytes().into()),
        }
    }

    /// What the supervisor says, or has just said.
    fn hear(&mut self) -> Result<Heard, Arc<str>> {
        if let Some((at, heard)) = &self.last
            && self.clock.now().saturating_sub(*at) < FRESH
        {
            return heard.clone();
        }
        let heard = ask(&self.target).map_err(|trouble| trouble.to_string().into());
        self.last = Some((self.clock.now(), heard.clone()));
        heard
    }
}

/// One question, which takes no longer than the target's patience says, the connection included.
fn ask(target: &Target) -> Result<Heard, Trouble> {
    let clock = Clock::start();
    let interrupts = Interrupts::leave();
    let attended = interrupts.attend();
    let mut session = Session::open(target, &attended)?;
    let left = target.patience.first.saturating_sub(clock.now());
    let answer = session.ask_within("status", &[], left.max(FRESH))?;
    let report = Report::from_fields(&answer.fields);
    let raw = answer.fields.get("status").map(json::to_string);
    let (Some(report), Some(raw)) = (report, raw) else { return Err(Session::not_understood("status")) };
    let local = session.pid().and_then(|pid| u32::try_from(pid).ok()) == Some(report.pid);
    Ok(Heard { report: report.into(), raw: raw.into(), local })
}

/// What each process takes, by its pid.
fn processes(heard: &Heard) -> BTreeMap<u32, Stat> {
    let workers = heard.report.workers.iter().filter_map(|worker| worker.pid);
    if !heard.local || heard.report.workers.len() > MANY {
        return BTreeMap::new();
    }
    workers.chain([heard.report.pid]).filter_map(|pid| Some((pid, Stat::of(pid)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::fake::Fake;
    use std::{io::Read as _, path::PathBuf};

    const STATUS: &str = r#"{"message":"x","ok":true,"status":{"pid":1,"name":null,"version":"1","uptime_ms":5,
"generation":2,"target":4,"healthy":3,"healthy_of_generation":3,"upgrade":null,"stopping":null,"sockets":[],
"slots":[],"workers":[]}}"#;

    fn status() -> String {
        STATUS.replace('\n', "") + "\n"
    }

    fn await_answer(answers: &mut Answers) -> (Wanted, Found) {
        answers.bell.set_nonblocking(false).unwrap();
        answers.bell.read_exact(&mut [0]).unwrap();
        let mut all = answers.take();
        let first = all.next().unwrap();
        assert!(all.next().is_none());
        first
    }

    #[test]
    fn a_question_is_asked_once_for_all_who_have_it_at_a_time() {
        let fake = Fake::new(&[&[&status()]]);
        let (desk, mut answers) = Desk::start(fake.target()).unwrap();
        desk.ask(Wanted::Report);
        let (wanted, Found::Report(report)) = await_answer(&mut answers) else { panic!("no report") };
        assert_eq!(wanted, Wanted::Report);
        assert_eq!((report.target, report.healthy), (4, 3));
        let clock = Clock::start();
        desk.ask(Wanted::Metrics);
        let (wanted, found) = await_answer(&mut answers);
        assert_eq!(wanted, Wanted::Metrics);
        // The fake answers no second question. On a machine that is so slow there would have to be one.
        if clock.now() < FRESH / 2 {
            let Found::Written(text) = found else { panic!("{found:?}") };
            assert!(String::from_utf8_lossy(&text).contains("einhyrningsins_workers_healthy 3\n"));
        }
        assert_eq!(fake.requests().len(), 1);
    }

    #[test]
    fn nobody_there_is_told_in_words() {
        let path = PathBuf::from("/nonexistent/einhyrningsins");
        let target = Target { path, ..Fake::new(&[]).target() };
        let (desk, mut answers) = Desk::start(target).unwrap();
        desk.ask(Wanted::Report);
        let (_, Found::Trouble(why)) = await_answer(&mut answers) else { panic!("no trouble") };
        assert!(
            why.starts_with("cannot reach a supervisor at /nonexistent/einhyrningsins: No such file"),
            "{why}"
        );
    }
}
