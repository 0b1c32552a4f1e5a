//! Output that somebody else holds up: terminals and pipes of other users, terminals that stop those in the
//! background, files at their limit.

use crate::{
    another::{OTHER, can_be_another, for_another},
    harness::{Connection, Folder, SUPERVISOR, Supervisor, eventually, raw},
    probe::start_through,
    tools::{have, skip, state, ticks},
};
use nix::{
    fcntl::{OFlag, open},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt},
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::write,
};
use std::{
    fs,
    io::{self, Read as _},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::Stdio,
};

const SLEEP: [&str; 4] = ["--ack-after", "0", "sleep", "1000"];

/// A terminal: what it shows, and the path under which it can be opened.
fn terminal() -> (PtyMaster, String) {
    let screen = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK).expect("a terminal");
    grantpt(&screen).expect("it may be used");
    unlockpt(&screen).expect("it can be used");
    let path = ptsname_r(&screen).expect("it has a name");
    (screen, path)
}

/// The same terminal, or pipe, once more; to write there does not wait.
fn again(fd: impl AsFd) -> OwnedFd {
    use std::os::fd::AsRawFd as _;
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open(path.as_str(), flags, Mode::empty()).expect("it can be opened")
}

/// A supervisor of another user's, who may not open `output` again.
fn of_another_user(output: OwnedFd, args: &[&str]) -> Supervisor {
    let (folder, program) = for_another();
    let args = [&["-v"][..], args].concat();
    Supervisor::start_in(folder, &args, |command| {
        let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        *command = std::process::Command::new("setpriv");
        command.args(["--reuid", OTHER, "--clear-groups"]).arg(program).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
    })
}

/// Has it log a line of 3,000 bytes, and sees that it answers.
#[track_caller]
fn make_noise(connection: &mut Connection) {
    let words = "x".repeat(3_000);
    connection
        .send(&format!(r#"{{"command":"worker:ping","pid":1,"request_id":"{words}"}}"#))
        .expect("it reads");
    connection.answer().expect("it answers");
}

fn has_room(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO) == Ok(1)
}

#[test]
fn a_terminal_of_another_user_that_has_less_room_than_a_line_stops_nothing() {
    if !can_be_another() {
        return;
    }
    let (mut screen, path) = terminal();
    let line = fs::File::options().write(true).open(&path).expect("the terminal can be opened");
    let ours = again(&line);
    let mut supervisor = of_another_user(line.into(), &SLEEP);
    supervisor.await_healthy(1);
    let mut connection = Connection::open(&supervisor.socket()).expect("it listens");
    for _ in 0..20 {
        while write(&ours, &[b'x'; 100]).is_ok() {}
        make_noise(&mut connection);
        // Now somebody reads, until there is some room; not for a line.
        eventually("there is some room", || {
            let _ = screen.read(&mut [0; 64]);
            has_room(&ours).then_some(())
        });
        make_noise(&mut connection);
    }
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
}

#[test]
fn a_pipe_of_another_user_that_workers_fill_stops_nothing() {
    if !can_be_another() {
        return;
    }
    let (mut reader, writer) = io::pipe().expect("a pipe can be made");
    let noisy = ["--ack-after", "0", "-n", "2", "--stop-signal", "TERM", "--", "sh", "-c", "exec yes >&2"];
    let mut supervisor = of_another_user(writer.into(), &noisy);
    supervisor.await_healthy(2);
    let mut connection = Connection::open(&supervisor.socket()).expect("it listens");
    for _ in 0..200 {
        make_noise(&mut connection);
        let _ = reader.read(&mut [0; 4096]);
    }
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
}

#[test]
fn a_terminal_that_stops_those_in_the_background_stops_no_supervisor_and_gives_no_orders() {
    if !have("setsid", &["--version"]) {
        return skip("there is no setsid");
    }
    let (mut screen, path) = terminal();
    let folder = Folder::new();
    let talk = folder.join("talk");
    // A job in the background: the supervisor, and one that writes to the terminal when it is told to.
    let job = "\"$@\" & echo $! >$0.pid; while [ ! -e $0 ]; do sleep 0.01; done; echo said; wait";
    let script = format!("stty tostop; set -m; sh -c '{job}' \"$@\" & exec sleep 1000");
    let starter = ["setsid", "--ctty", "sh", "-c", &script, "sh", &talk.display().to_string()];
    let args = [&["-n", "2"][..], &SLEEP].concat();
    let line = || fs::File::options().read(true).write(true).open(&path).expect("the terminal");
    let mut supervisor = start_on(folder, &starter, &args, line);
    let mut shown = String::new();
    let mut shows = |what: &str| {
        eventually(&format!("the terminal shows {what}"), || {
            let mut buffer = [0; 4096];
            if let Ok(count) = screen.read(&mut buffer) {
                shown.push_str(&String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()));
            }
            shown.contains(what).then_some(())
        });
    };
    shows("up: 2 healthy workers");
    supervisor.await_healthy(2);
    let pid = pid_in(&talk.with_extension("pid"));
    let _ended = Ended(pid);
    assert!(ticks(pid).expect("a process") < 100, "it spins");

    // Whoever writes is stopped, and all of his group are told to stop.
    fs::write(&talk, "").expect("a file can be written");
    let writer = parent(pid);
    supervisor.eventually("the other one is stopped", |_| (state(writer)? == "T").then_some(()));
    supervisor.await_healthy(2);

    kill(raw(pid), Signal::SIGTTOU).expect("the supervisor is there");
    supervisor.await_healthy(1);
    kill(raw(pid), Signal::SIGTTIN).expect("the supervisor is there");
    supervisor.await_healthy(2);
    shows("number of workers: 1 → 2");
}

/// Ends a supervisor that is not our own child, and its workers with it.
struct Ended(u32);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = kill(raw(self.0), Signal::SIGTERM);
        eventually("it ends", || (!crate::harness::is_alive(self.0)).then_some(()));
    }
}

/// Starts by way of a starter with a terminal for everything.
fn start_on(folder: Folder, starter: &[&str], args: &[&str], line: impl Fn() -> fs::File) -> Supervisor {
    Supervisor::start_in(folder, args, |command| {
        let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let (first, rest) = starter.split_first().expect("a starter");
        *command = std::process::Command::new(first);
        command.args(rest).arg(SUPERVISOR).args(words).stdin(line()).stdout(line()).stderr(line());
    })
}

#[track_caller]
fn pid_in(path: &Path) -> u32 {
    eventually("a pid is written down", || fs::read_to_string(path).ok()?.trim().parse().ok())
}

fn parent(pid: u32) -> u32 {
    let parent = crate::tools::status_field(pid, "PPid").expect("it is there");
    u32::try_from(parent).expect("a pid")
}

#[test]
fn a_log_at_the_limit_of_its_file_stops_nothing_and_lost_lines_are_counted() {
    for limit in ["0", "2"] {
        let starter = ["/bin/sh", "-c", &format!("ulimit -f {limit}; exec \"$@\""), "sh"];
        let folder = Folder::new();
        let trace = folder.join("trace").display().to_string();
        let args = [&["-v", "--trace", &trace][..], &SLEEP].concat();
        let mut supervisor = start_through(folder, &starter, &args);
        let [worker] = supervisor.await_healthy(1)[..] else { panic!("one worker") };
        let mut connection = Connection::open(&supervisor.socket()).expect("it listens");
        for _ in 0..5 {
            make_noise(&mut connection);
        }
        kill(raw(worker), Signal::SIGKILL).expect("the worker is there");
        supervisor.eventually("the worker is replaced", |me| {
            Some(me.healthy()).filter(|after| after.len() == 1 && *after != [worker])
        });
        // Somebody makes room, and the next line tells how many are missing.
        fs::File::options()
            .write(true)
            .open(supervisor.folder.join("log"))
            .expect("the log")
            .set_len(0)
            .expect("room");
        if limit == "2" {
            supervisor.signal(Signal::SIGCONT);
            supervisor.await_log(" of this log w");
        }
        supervisor.signal(Signal::SIGTERM);
        assert_eq!(supervisor.await_exit(), 0);
    }
}
