//! Asks about real processes, which become what they are said to be.

use super::{
    super::scratch::{Scratch, eventually},
    *,
};
use nix::libc::SIGTERM;
use std::process::{Child, Command, Stdio};

const TERM: Choice = Choice { signal: Signal::Term, reason: Reason::NotCaught };
const USR2: Choice = Choice { signal: Signal::Usr2, reason: Reason::Caught };

/// A process that ends with this.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Python that executes this.
    fn python(text: &str) -> Self {
        Self::start(Command::new("python3").args(["-c", text]))
    }

    fn choice(&self, manners: Manners) -> Choice {
        choose(Pid(self.0.id()), Path::new("/usr/bin/env"), manners)
    }

    /// It takes a while to become what was started.
    fn is_eventually(&self, what: &str, expected: Choice) {
        eventually(what, || (self.choice(Manners::Unknown) == expected).then_some(()));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn known(program: &'static str, signal: Signal) -> Choice {
    Choice { signal, reason: Reason::Known(program) }
}

/// A script that waits until it is killed; no process that it starts would outlive that.
const WAITS: &str = "#!/usr/bin/env python3\nimport signal\nsignal.pause()\n";

#[test]
fn a_program_that_is_known_gets_its_signal_however_it_was_started() {
    let scratch = Scratch::new();
    let nginx = scratch.file("nginx", WAITS, 0o755);
    let exec = scratch.file("wrapper", &format!("#!/bin/sh\nexec {}\n", nginx.display()), 0o755);
    let unicorn = scratch.file("unicorn", WAITS, 0o755);
    scratch.file("gunicorn.py", WAITS, 0o644);
    let quit = known("nginx", Signal::Quit);
    Process::start(&mut Command::new(&nginx)).is_eventually("a script", quit);
    Process::start(&mut Command::new(exec)).is_eventually("a script that executes it", quit);
    Process::start(Command::new("env").arg(&nginx)).is_eventually("env", quit);
    let python = Process::start(Command::new("python3").arg(unicorn));
    python.is_eventually("an interpreter", known("unicorn", Signal::Quit));
    let module = Process::start(Command::new("python3").args(["-m", "gunicorn"]).current_dir(scratch.path()));
    module.is_eventually("a module", known("gunicorn", Signal::Term));
}

#[test]
fn a_program_that_is_not_known_gets_usr2_if_it_catches_it_and_else_term() {
    let handler = "import signal; signal.signal(signal.SIGUSR2, lambda *_: None); signal.pause()";
    let process = Process::python(handler);
    process.is_eventually("a handler", USR2);
    let catches = |signal| crate::daemon::facts::catches(Pid(process.0.id()), signal).unwrap();
    assert!(catches(SIGUSR2) && !catches(SIGTERM));
    let ignores = "import signal; signal.signal(signal.SIGUSR2, signal.SIG_IGN); signal.pause()";
    let process = Process::python(ignores);
    assert_eq!(process.choice(Manners::Unknown), TERM);
    assert_eq!(process.choice(Manners::Einhorn), TERM, "USR2 would end it, or be nothing to it");
}

#[test]
fn what_a_worker_has_become_counts_and_not_what_was_started() {
    let process = Process::python("import signal; signal.pause()");
    let choice = choose(Pid(process.0.id()), Path::new("/usr/sbin/nginx"), Manners::Unknown);
    assert_eq!(choice, TERM);
}

#[test]
fn of_a_worker_that_cannot_be_looked_at_the_file_is_known_and_its_manners() {
    let choose = |path, manners| choose(Pid(u32::MAX), Path::new(path), manners);
    assert_eq!(choose("/usr/sbin/haproxy", Manners::Einhorn), known("haproxy", Signal::Usr1));
    for (manners, signal) in [(Manners::Einhorn, Signal::Usr2), (Manners::Unknown, Signal::Term)] {
        assert_eq!(choose("/srv/app", manners), Choice { signal, reason: Reason::Unseen(manners) });
    }
}

#[test]
fn handlers_of_a_runtime_tell_nothing() {
    let go = Some(Signals(0xffff_fffd_7fc1_feff));
    for (manners, signal) in [(Manners::Einhorn, Signal::Usr2), (Manners::Unknown, Signal::Term)] {
        assert_eq!(by_handlers(go, manners), Choice { signal, reason: Reason::Runtime(manners) });
    }
}

#[test]
fn a_choice_is_told_in_a_clause() {
    let told = |choice: Choice| format!("{}, {}", choice.signal.word(), choice.reason);
    assert_eq!(told(known("nginx", Signal::Quit)), "QUIT, which makes nginx drain");
    assert_eq!(told(USR2), "USR2, which it catches");
    assert_eq!(told(TERM), "TERM, since it does not catch USR2");
}
