//! Reports of workers: which are taken, and what is said of those that are not.

use crate::{
    harness::{Folder, Supervisor},
    probe::python,
    tools::within,
};
use nix::sys::signal::Signal;
use std::fs;

/// A supervisor of one worker that has to report within so many seconds, and has one try.
fn impatient(folder: Folder, timeout: &str, worker: &[&str]) -> Supervisor {
    let args = [&["-m", "-r", "1", "--ack-timeout", timeout, "--"][..], worker].concat();
    Supervisor::start_in(folder, &args, |_| {})
}

/// A worker with a helper that acknowledges for it while the supervisor is stopped, and is gone before that
/// goes on. A `known` helper is in a session of its own, and connected before that: it was asked about then.
const HELPED: &str = r#"
import os, signal, socket, sys, time
folder, known = sys.argv[1], sys.argv[2:] == ["known"]
def note(name):
    open(folder + name, "w").close()
def wait_for(name):
    while not os.path.exists(folder + name):
        time.sleep(0.005)
helper = os.fork()
if helper == 0:
    control = socket.socket(socket.AF_UNIX)
    if known:
        os.setsid()
        control.connect(os.environ["EINHORN_SOCK_PATH"])
        control.sendall(b'{"command":"version"}\n')
        control.recv(1000)
    note("waits")
    wait_for("stopped")
    if not known:
        control.connect(os.environ["EINHORN_SOCK_PATH"])
    control.sendall(b'{"command":"worker:ack","pid":%d}\n' % os.getppid())
    os._exit(0)
os.waitpid(helper, 0)
note("gone")
signal.alarm(900)
signal.pause()
"#;

/// A supervisor that was stopped while the helper of its worker acknowledged and went.
#[track_caller]
fn helped(words: &[&str]) -> Supervisor {
    let folder = Folder::new();
    let program = folder.script("helped.py", HELPED);
    let place = format!("{}/", folder.join("").display());
    let python = python();
    let worker = [&[python.as_str(), &program, &place], words].concat();
    let mut supervisor = impatient(folder, "60", &worker);
    let noted = |name| move |me: &mut Supervisor| fs::metadata(within(me, name)).ok();
    supervisor.eventually("the helper is there", noted("waits"));
    supervisor.signal(Signal::SIGSTOP);
    fs::write(within(&supervisor, "stopped"), "").expect("a file can be written");
    supervisor.eventually("the helper is gone", noted("gone"));
    supervisor.signal(Signal::SIGCONT);
    supervisor
}

#[test]
fn a_helper_that_is_gone_before_anybody_can_ask_about_it_has_spoken_for_its_worker() {
    helped(&[]).await_log("is healthy after");
}

#[test]
fn who_was_no_part_of_a_worker_when_it_connected_is_none_because_it_is_gone() {
    let mut supervisor = helped(&["known"]);
    supervisor.await_log("is no part of");
    assert!(supervisor.healthy().is_empty(), "{}", supervisor.log());
}
