//! What a supervisor of the lane is doing while a system call fails.
//!
//! Nothing here stirs the supervisor but what the scenario says: a poll of its status would wake one that
//! has gone to sleep over work, and hide that. How things stand is read from its trace and from the kernel.

use super::calls::{Case, Uses};
use crate::{
    harness::{Connection, Supervisor, children, is_ok, raw},
    probe::zombies,
    tools::{Release, within},
};
use miniserde::json::Value;
use nix::sys::signal::{Signal, kill, killpg};
use std::{
    fs,
    io::{self, ErrorKind},
    thread,
    time::{Duration, Instant},
};

/// How many workers there are to be.
pub(super) const WORKERS: usize = 2;

/// How long anything may take. The longest way: a lost acknowledgement is missed after 2 s, and a worker
/// that was not told to go is killed after 6.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long to wait for what cannot be expected while every use of a call fails.
const MOMENT: Duration = Duration::from_millis(150);

/// What a supervisor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scenario {
    /// It starts, up to healthy workers.
    Start,
    /// It answers clients of several kinds, and signals; slots come and go.
    Serve,
    /// It replaces its workers.
    Upgrade,
    /// It is to replace them by a release that is broken.
    Rollback,
    /// A worker is killed.
    Crash,
    /// Somebody removes its control socket.
    Rebind,
    /// It shuts down gracefully.
    Shutdown,
}

impl Scenario {
    pub(super) const ALL: [Self; 7] =
        [Self::Start, Self::Serve, Self::Upgrade, Self::Rollback, Self::Crash, Self::Rebind, Self::Shutdown];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Serve => "serve",
            Self::Upgrade => "upgrade",
            Self::Rollback => "rollback",
            Self::Crash => "crash",
            Self::Rebind => "rebind",
            Self::Shutdown => "shutdown",
        }
    }

    /// Plays it, up to where things are settled again. An error says what did not come about.
    pub(super) fn play(self, stage: &mut Stage) -> Result<(), String> {
        match self {
            Self::Start => {}
            Self::Serve => stage.serve()?,
            Self::Upgrade => {
                stage.ask(r#"{"command":"upgrade"}"#)?;
            }
            Self::Rollback => stage.roll_back()?,
            Self::Crash => stage.crash()?,
            Self::Rebind => {
                fs::remove_file(stage.supervisor.socket()).expect("the socket can be removed");
                stage.await_that("its control socket is back", |me| me.supervisor.socket().exists())?;
            }
            Self::Shutdown => {
                stage.supervisor.signal(Signal::SIGINT);
                return stage.await_that("it ends", |me| me.supervisor.has_exited());
            }
        }
        stage.settle()
    }
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum Answer {
    Lines(Vec<Value>),
    /// The connection was closed instead: a client whose connection fails is dropped.
    Dropped,
}

/// A supervisor and what is around it.
pub(super) struct Stage {
    pub(super) supervisor: Supervisor,
    release: Release,
    patience: Duration,
    /// Nothing can be written for a while, so it cannot say either that its trace has a gap.
    mute: bool,
}

impl Stage {
    pub(super) fn new(supervisor: Supervisor, release: Release, case: Option<&Case>) -> Self {
        let lasting = case.is_some_and(|case| matches!(case.uses, Uses::From(_)));
        let mute = lasting && case.is_some_and(|case| case.call.starts_with("write"));
        Self { supervisor, release, patience: if lasting { MOMENT } else { PATIENCE }, mute }
    }

    /// The fault is over: from now on everything is expected to come about.
    pub(super) fn calm(&mut self) {
        self.patience = PATIENCE;
    }

    fn is_calm(&self) -> bool {
        self.patience == PATIENCE
    }

    /// Waits for something, without stirring the supervisor. While a fault lasts nothing is owed.
    pub(super) fn await_that(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), String> {
        let start = Instant::now();
        while !holds(self) {
            if start.elapsed() > self.patience {
                return if self.is_calm() { Err(format!("not within {PATIENCE:?}: {what}")) } else { Ok(()) };
            }
            thread::sleep(Duration::from_millis(3));
        }
        Ok(())
    }

    /// Waits until there are as many workers as there are to be, all of them healthy, and no others.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        self.settle_at(WORKERS)
    }

    fn settle_at(&mut self, count: usize) -> Result<(), String> {
        let settled = |me: &mut Self| me.supervisor.has_exited() || me.is_settled(count);
        self.await_that(&format!("{count} workers are healthy, with nothing else that stirs it"), settled)?;
        if self.supervisor.has_exited() { Err("it has ended".to_owned()) } else { Ok(()) }
    }

    fn is_settled(&mut self, count: usize) -> bool {
        let pid = self.supervisor.pid();
        if children(pid).len() != count || !zombies(pid).is_empty() {
            return false;
        }
        if self.has_gaps() {
            return self.supervisor.healthy().len() == count;
        }
        let trace = fs::read_to_string(self.supervisor.folder.join("trace")).unwrap_or_default();
        let state = trace.lines().rfind(|line| line.starts_with("= ")).unwrap_or_default();
        state.starts_with(&format!("= healthy={count} starting=0 draining=0"))
    }

    /// Whether its trace does not tell everything.
    fn has_gaps(&self) -> bool {
        self.mute || self.supervisor.log().contains("it has gaps from here on")
    }

    /// Asks for something. An error if there is no answer at all.
    pub(super) fn ask(&mut self, line: &str) -> Result<Answer, String> {
        let answer = Connection::open(&self.supervisor.socket()).and_then(|mut connection| {
            connection.wait_at_most(self.patience)?;
            connection.send(line)?;
            connection.answer()
        });
        match answer {
            Ok(lines) => Ok(Answer::Lines(lines)),
            Err(error) if self.is_calm() && is_silence(&error) => {
                Err(format!("no answer within {PATIENCE:?} to {line}"))
            }
            Err(_) => Ok(Answer::Dropped),
        }
    }

    /// The same, again if the connection was closed, since only one use of a call fails.
    fn ask_twice(&mut self, line: &str) -> Result<(), String> {
        match self.ask(line)? {
            Answer::Dropped if self.is_calm() => match self.ask(line)? {
                Answer::Dropped => Err(format!("dropped twice: {line}")),
                Answer::Lines(_) => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Sees that it still does what is asked for.
    pub(super) fn upgrade(&mut self) -> Result<(), String> {
        match self.ask(r#"{"command":"upgrade"}"#)? {
            Answer::Lines(lines) if lines.last().is_some_and(is_ok) => self.settle(),
            answer => Err(format!("an upgrade afterwards: {answer:?}")),
        }
    }

    fn serve(&mut self) -> Result<(), String> {
        for request in [
            r#"{"command":"status"}"#,
            r#"{"command":"worker:ping","pid":1,"request_id":"x"}"#,
            r#"{"command":"events","args":["--since","start","--until","now"]}"#,
            r#"{"command":"louder"}"#,
            "no JSON",
            r#"{"command":"set_workers","args":["3"]}"#,
        ] {
            self.ask_twice(request)?;
        }
        self.settle_at(3)?;
        self.ask_twice(r#"{"command":"set_workers","args":["2"]}"#)?;
        self.settle()?;
        // Several at once, one that leaves in the middle of a line, and signals among them.
        let socket = self.supervisor.socket();
        let crowd: Vec<_> = (0..4).filter_map(|_| Connection::open(&socket).ok()).collect();
        self.supervisor.signal(Signal::SIGCONT);
        for mut connection in crowd {
            let _ = connection.send_bytes(br#"{"command":"#);
        }
        self.supervisor.signal(Signal::SIGWINCH);
        self.ask_twice(r#"{"command":"version"}"#)
    }

    fn roll_back(&mut self) -> Result<(), String> {
        let good = fs::read_link(self.release.path()).expect("a link").display().to_string();
        self.release.switch(&within(&self.supervisor, "broken"));
        let answer = self.ask(r#"{"command":"upgrade"}"#);
        self.release.switch(&good);
        answer.map(drop)
    }

    fn crash(&mut self) -> Result<(), String> {
        let pid = self.supervisor.pid();
        let victim = children(pid).first().copied().expect("a worker");
        kill(raw(victim), Signal::SIGKILL).expect("the worker is there");
        self.await_that("the dead worker is reaped", |_| !children(pid).contains(&victim))
    }
}

/// A failed case leaves nothing behind either.
impl Drop for Stage {
    fn drop(&mut self) {
        let folder = self.supervisor.folder.join("");
        if self.supervisor.has_exited() {
            for pid in crate::probe::processes_of(&folder) {
                let _ = killpg(raw(pid), Signal::SIGKILL);
            }
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
