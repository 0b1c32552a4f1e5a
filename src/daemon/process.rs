//! Processes: starting them, signalling them, learning of their end. The one room with `unsafe`, and its
//! closets: `child` is what a child does before it is the program, `moves` where its descriptors go,
//! `numbered` the variable with its own pid, `verdicts` how it tells that it is no program; `inherited` is
//! what is put right at the start, `reap` the end of children, `send` signals; `memory` gives back what is
//! free; `name` is what the supervisor
//! is called, `nice` how nice processes are; `outlive` is how another program goes on in our place.
//!
//! Between `fork` and `execve` a child of a process that may have threads can do next to nothing: no
//! allocation, no lock, no panic. Whatever needs more is prepared by the parent, in buffers that are
//! used again for every spawn, and [`Plan::run`] is all that the child does. The parent never waits for
//! it. A child says in memory that it shares with the parent which process it is, and if it cannot become the
//! program, leaves the reason there and ends; who reaps it asks [`Spawner::outcome`] for the reason.
#![expect(unsafe_code, reason = "fork and what may be done in a forked child have no safe form")]

pub(crate) use inherited::{
    FileLimit, Hangup, Waiting, adopt_descriptor, adopt_descriptors, hold_signals_back, let_in_all_but,
    open_standard_fds, put_back, reset_signals_at_start, settle,
};
pub(crate) use interrupt::arm_interrupt;
pub(crate) use memory::Slack;
pub(crate) use name::call_itself;
pub(crate) use nice::renice;
pub(crate) use outlive::{arm, forget_the_way_back, go_back, go_on_as, last_fault, returned};
pub(crate) use part::{end, forget, leave, let_interrupt_in, parent, part};
pub(crate) use reap::{Adopted, ended, held, is_child, stopped};
pub(crate) use send::{clear, group_of, number, signal, sweep};
pub(crate) use verdicts::{Begun, Ticket, begun};

use super::{
    given::{Given, OwnPid, Variable},
    memory::Memory,
    program::{Program, Strings, spawn_error},
};
use crate::fsm::{
    event::{SpawnError, SpawnStage},
    id::{Errno, Pid, WorkerId},
};
use child::{Displaced, Orphaned, Plan};
use inherited::{LAST_SIGNAL, is_default};
use moves::Moves;
use nix::{
    errno::Errno as Sys,
    fcntl::{OFlag, open},
    libc::{c_char, c_int},
    sys::stat::Mode,
    unistd,
};
use numbered::{PidPlace, PidVariable};
use std::{
    collections::BTreeMap,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    ptr,
    rc::Rc,
};
use verdicts::Verdicts;

// What Rust unwinds with, linked in. As a library of its own, libgcc_s.so, which nothing else needs, it would be
// looked for, mapped and relocated at every start: a tenth of the time to the first worker.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[link(name = "gcc_eh")]
unsafe extern "C" {}

/// A process that was made; it may not have become the program yet.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its process id, which is also that of its process group.
    pub(crate) pid: Pid,
    /// To be turned in with [`Spawner::outcome`] when it was reaped.
    pub(crate) ticket: Ticket,
}

/// Processes of ours that are not reaped yet, so that their numbers are theirs: all workers, and nobody else.
pub(crate) type Children = BTreeMap<Pid, Ticket>;

/// Starts programs.
#[derive(Debug)]
pub(crate) struct Spawner {
    null: OwnedFd,
    verdicts: Verdicts,
    variables: Strings,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    /// Room for `LISTEN_PID`, which the child writes.
    own_pid: PidVariable,
    moves: Moves,
    /// Signals that do not have their default effect here.
    signals: Vec<c_int>,
    /// What workers get in place of our own limit.
    files: Option<FileLimit>,
    /// How nice workers are, if they are not as we are.
    nice: Option<c_int>,
    /// Who makes them.
    parent: unistd::Pid,
}

impl Spawner {
    /// Opens what all children share. `files` is the limit of descriptors that they get, `nice` how nice they
    /// are, if not as we are. What becomes of their starts is written into `memory`, from `begin` on.
    pub(crate) fn new(
        files: FileLimit,
        nice: Option<c_int>,
        (memory, begin): (Rc<Memory>, usize),
    ) -> Result<Self, Errno> {
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).map_err(errno)?;
        Ok(Self {
            null,
            verdicts: Verdicts::new(memory, begin),
            variables: Strings::default(),
            arguments: Vec::new(),
            environment: Vec::new(),
            own_pid: PidVariable::default(),
            moves: Moves::default(),
            signals: Vec::new(),
            files: files.is_raised().then_some(files),
            nice,
            parent: unistd::getpid(),
        })
    }

    /// The starts that whoever was there before has begun, of those that are `wanted`.
    pub(crate) fn take_over(&mut self, wanted: impl FnMut(WorkerId, Pid) -> bool) -> Vec<Begun> {
        self.verdicts.take_over(wanted)
    }

    /// Makes a process that becomes `program`. Returns as soon as it exists.
    pub(crate) fn spawn<'v>(
        &mut self,
        worker: WorkerId,
        program: &Program,
        given: Given<'_, impl IntoIterator<Item = Variable<'v>>>,
    ) -> Result<Child, SpawnError> {
        self.variables.clear();
        for Variable { name, value } in given.variables {
            let variable = [name.as_bytes(), b"=", value.as_bytes()];
            self.variables.push(&variable).map_err(|errno| spawn_error(SpawnStage::Exec, errno))?;
        }
        let displaced = program.displaced();
        let file = displaced.map(|(file, _)| file.as_raw_fd());
        self.moves.arrange(given.sockets.iter().map(AsRawFd::as_raw_fd).chain(file));
        let place = self.moves.end().saturating_sub(1);
        let own_pid = (given.own_pid == OwnPid::Told).then(|| self.own_pid.place());
        let orphaned = given.orphaned.map(|signal| Orphaned { signal: number(signal) });
        let displaced = displaced.map(|(_, kind)| Displaced { place, kind });
        self.start(worker, program, displaced, (own_pid, orphaned))
    }

    fn start(
        &mut self,
        worker: WorkerId,
        program: &Program,
        displaced: Option<Displaced>,
        (own_pid, orphaned): (Option<PidPlace>, Option<Orphaned>),
    ) -> Result<Child, SpawnError> {
        let failed = |errno| spawn_error(SpawnStage::Fork, errno);
        let pid = own_pid.map(PidPlace::variable);
        let environment = program.environment().chain(self.variables.pointers()).chain(pid);
        fill(&mut self.environment, environment);
        fill(&mut self.arguments, program.arguments().pointers());
        if self.signals.is_empty() {
            // Once: by the first start every handler is in place, and SIGPIPE is ignored at least.
            self.signals.extend((1..=LAST_SIGNAL).filter(|number| !is_default(*number)));
        }
        let ticket = self.verdicts.take(worker).map_err(failed)?;
        let Some(verdict) = self.verdicts.state(&ticket) else { return Err(failed(Sys::EINVAL)) };
        let plan = Plan {
            verdict,
            parent: self.parent,
            null: self.null.as_raw_fd(),
            directory: program.directory().map(|directory| directory.as_raw_fd()),
            moves: self.moves.list(),
            end: self.moves.end(),
            signals: &self.signals,
            files: self.files,
            nice: self.nice,
            orphaned,
            executable: program.executable().as_ptr(),
            displaced,
            arguments: &self.arguments,
            environment: &self.environment,
            own_pid,
        };
        match plan.fork() {
            Ok(pid) => Ok(Child { pid, ticket }),
            Err(errno) => {
                self.verdicts.give_back(ticket);
                Err(failed(errno))
            }
        }
    }

    /// Why a child did not become the program; `None` if it did. Ask once, after it was reaped.
    pub(crate) fn outcome(&mut self, ticket: Ticket) -> Option<SpawnError> {
        self.verdicts.give_back(ticket)
    }
}

/// An array of pointers with the null at its end that execve(2) wants.
fn fill(array: &mut Vec<*const c_char>, pointers: impl Iterator<Item = *const c_char>) {
    array.clear();
    array.extend(pointers);
    array.push(ptr::null());
}

fn known(pid: unistd::Pid) -> Pid {
    Pid(pid.as_raw().unsigned_abs())
}

fn errno(errno: Sys) -> Errno {
    Errno(errno as i32)
}

mod child;
mod inherited;
mod interrupt;
mod memory;
mod moves;
mod name;
mod nice;
mod numbered;
mod outlive;
mod part;
mod reap;
mod send;
#[cfg(test)]
mod tests;
mod verdicts;
