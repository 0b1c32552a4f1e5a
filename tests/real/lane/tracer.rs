//! strace(1), which sees the supervisor's system calls and makes some of them fail. Workers are not traced:
//! it does not follow forks.

use super::calls::{Case, Uses};
use crate::{
    harness::{eventually, raw},
    tools::{status_field, strace},
};
use nix::sys::signal::{Signal, kill};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Child,
};

/// The words by which strace makes the case happen to a process, from its `before`th use of the call on.
/// The supervisor keeps its pid, and is let go, unharmed, of a strace that is told to end.
pub(super) fn words(log: &Path, case: Option<&Case>, before: usize) -> Vec<String> {
    let mut words = ["strace", "-I2", "-o"].map(str::to_owned).to_vec();
    words.push(log.display().to_string());
    if let Some(Case { call, errno, uses, .. }) = case {
        let which = match uses {
            Uses::Only(number) => format!("{}", before + number),
            Uses::From(number) => format!("{}+", before + number),
        };
        words.extend(["-e".to_owned(), format!("inject={call}:error={errno}:when={which}")]);
    }
    words
}

/// A strace at work.
pub(super) struct Tracer {
    log: PathBuf,
    /// If it is ours to wait for: one that starts a supervisor is its grandchild.
    child: Option<Child>,
}

impl Tracer {
    /// The one that has started the supervisor and writes to `log`.
    pub(super) fn of_start(log: PathBuf) -> Self {
        Self { log, child: None }
    }

    /// Takes hold of a running supervisor.
    pub(super) fn attach(pid: u32, log: PathBuf, case: Option<&Case>) -> Self {
        let said = log.with_extension("said");
        let (child, is_attached) = strace(&words(&log, case, 0), pid, &said);
        assert!(is_attached, "strace has ended: {}", fs::read_to_string(&said).unwrap_or_default());
        Self { log, child: Some(child) }
    }

    /// Lets go of the supervisor, if that is still there: from here on nothing fails any more.
    pub(super) fn release(&mut self, pid: u32) {
        if let Some(mut child) = self.child.take() {
            let _ = kill(raw(child.id()), Signal::SIGTERM);
            child.wait().expect("strace can be waited for");
        } else if let Some(tracer) = tracer_of(pid) {
            let _ = kill(raw(tracer), Signal::SIGTERM);
        }
        eventually("strace has let go", || tracer_of(pid).is_none().then_some(()));
    }

    /// What it has seen so far.
    pub(super) fn seen(&self) -> Seen {
        Seen::read(&fs::read_to_string(&self.log).unwrap_or_default())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn tracer_of(pid: u32) -> Option<u32> {
    status_field(pid, "TracerPid").and_then(|tracer| u32::try_from(tracer).ok()).filter(|tracer| *tracer > 0)
}

/// The system calls of a supervisor.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How often each was used, by the program itself.
    pub(super) uses: BTreeMap<String, usize>,
    /// How often each was used before the program itself was reached: by the loader, and by the language.
    pub(super) before: BTreeMap<String, usize>,
    /// All of them.
    pub(super) total: usize,
    /// Those that were made to fail.
    pub(super) failed: Vec<String>,
    /// Descriptors that are still open only because closing them was made to fail; the kernel closes
    /// them all the same, close(2).
    pub(super) unclosed: Vec<u32>,
    /// Whether a process was made.
    pub(super) forked: bool,
}

impl Seen {
    /// How often it waited for events.
    pub(super) fn turns(&self) -> usize {
        ["epoll_wait", "epoll_pwait"].iter().filter_map(|call| self.uses.get(*call)).sum()
    }

    fn read(log: &str) -> Self {
        let mut seen = Self::default();
        let calls = || log.lines().filter_map(|line| Some((line.split_once('(')?.0, line)));
        // The last thing that the language does before main.
        let own =
            calls().position(|(_, line)| line.starts_with("rt_sigaction(SIGBUS, {")).map_or(0, |at| at + 1);
        for (number, (name, line)) in calls().enumerate() {
            let counted = if number < own { &mut seen.before } else { &mut seen.uses };
            *counted.entry(name.to_owned()).or_default() += 1;
            seen.total += 1;
            let injected = line.ends_with("(INJECTED)");
            if injected && number >= own {
                seen.failed.push(line.to_owned());
            }
            if injected && let Some(fd) = line.strip_prefix("close(").and_then(|rest| rest.split(')').next())
            {
                seen.unclosed.extend(fd.parse::<u32>());
            }
            let makes_process = ["clone", "clone3", "fork", "vfork"].contains(&name);
            seen.forked |= makes_process && !line.contains(" = -1 ");
        }
        seen
    }
}
