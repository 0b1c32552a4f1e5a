//! What a service manager is told by the program, where the manager is the test.

use crate::harness::{DEADLINE, Folder, Supervisor};
use nix::sys::signal::Signal;
use std::{fs, os::unix::net::UnixDatagram};

/// A manager's socket.
struct Manager(UnixDatagram);

impl Manager {
    fn new(folder: &Folder) -> Self {
        let socket = UnixDatagram::bind(folder.join("notify")).expect("a socket can be made");
        socket.set_read_timeout(Some(DEADLINE)).expect("it has a time-out");
        Self(socket)
    }

    /// The next message.
    #[track_caller]
    fn hear(&self) -> String {
        let mut buffer = [0; 4_096];
        let length = self.0.recv(&mut buffer).expect("a message comes");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// Takes messages until one begins like that; none before may begin with what is a state.
    #[track_caller]
    fn await_state(&self, state: &str) -> String {
        loop {
            let message = self.hear();
            if message.starts_with(state) {
                return message;
            }
            let states = ["READY", "RELOADING", "STOPPING"];
            assert!(!states.iter().any(|other| message.starts_with(other)), "{message}, not {state}");
        }
    }

    /// The same for a line about how it is.
    #[track_caller]
    fn await_status(&self, text: &str) {
        while !self.hear().lines().any(|line| line.strip_prefix("STATUS=") == Some(text)) {}
    }
}

fn start(folder: Folder, variables: &[(&str, &str)], count: &str) -> Supervisor {
    let args = ["-n", count, "--ack-after", "0.05", "--", "sleep", "600"];
    Supervisor::start_in(folder, &args, |command| {
        command.env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID").envs(variables.iter().copied());
    })
}

#[test]
fn a_service_is_ready_reloads_and_stops_for_its_manager() {
    let folder = Folder::new();
    let manager = Manager::new(&folder);
    let path = folder.join("notify").display().to_string();
    let mut supervisor = start(folder, &[("NOTIFY_SOCKET", &path)], "2");
    assert_eq!(manager.await_state("READY=1"), "READY=1\nSTATUS=2/2 workers healthy, generation 1");
    supervisor.signal(Signal::SIGHUP);
    let reload = manager.await_state("RELOADING=1");
    assert!(reload.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reload}");
    assert_eq!(manager.await_state("READY=1"), "READY=1\nSTATUS=2/2 workers healthy, generation 2");
    supervisor.ctl_ok(&["set_workers", "3"]);
    manager.await_status("3/3 workers healthy, generation 2");
    let nowhere = ["upgrade", "--", "/nowhere/at/all"];
    assert_eq!(supervisor.ctl(&nowhere).status.code(), Some(1));
    manager.await_state("RELOADING=1");
    let ready = manager.await_state("READY=1");
    assert_eq!(ready, "READY=1\nSTATUS=3/3 workers healthy, generation 2; generation 3 was refused");
    supervisor.signal(Signal::SIGTERM);
    manager.await_state("STOPPING=1");
    assert_eq!(supervisor.await_exit(), 0);
    assert!(!supervisor.log().contains("NOTIFY_SOCKET"), "{}", supervisor.log());
}

#[test]
fn the_watchdog_is_told_by_a_supervisor_that_has_nothing_else_to_do() {
    let folder = Folder::new();
    let manager = Manager::new(&folder);
    let path = folder.join("notify").display().to_string();
    let supervisor = start(folder, &[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "400000")], "1");
    manager.await_state("READY=1");
    for _ in 0..5 {
        assert_eq!(manager.hear(), "WATCHDOG=1");
    }
    drop(supervisor);
}

#[test]
fn variables_that_cannot_be_right_are_warned_of_once_and_the_service_goes_on() {
    for (variables, warning) in [
        (
            vec![("NOTIFY_SOCKET", "notify")],
            "NOTIFY_SOCKET: `notify` is no address of a socket; accepted: an absolute path",
        ),
        (
            vec![("NOTIFY_SOCKET", "/nowhere/notify")],
            "NOTIFY_SOCKET: the service manager takes no messages: No such file or directory",
        ),
        (
            vec![("NOTIFY_SOCKET", "@nobody"), ("WATCHDOG_USEC", "1s")],
            "WATCHDOG_USEC: `1s` is no span of time; accepted: a number of microseconds",
        ),
    ] {
        let mut supervisor = start(Folder::new(), &variables, "2");
        supervisor.await_healthy(2);
        supervisor.ctl_ok(&["upgrade"]);
        let log = supervisor.log();
        assert_eq!(log.matches(warning).count(), 1, "{log}");
        let warned = log.lines().filter(|line| variables.iter().any(|(name, _)| line.contains(name)));
        assert_eq!(warned.count(), variables.len(), "{log}");
    }
}

#[test]
fn a_manager_that_does_not_read_or_goes_away_holds_nothing_up() {
    let folder = Folder::new();
    let manager = Manager::new(&folder);
    let path = folder.join("notify");
    let stuffing = UnixDatagram::unbound().expect("a socket");
    stuffing.set_nonblocking(true).expect("it need not wait");
    while stuffing.send_to(b"STATUS=full", &path).is_ok() {}
    let mut supervisor = start(folder, &[("NOTIFY_SOCKET", &path.display().to_string())], "2");
    supervisor.await_healthy(2);
    supervisor.ctl_ok(&["upgrade"]);
    supervisor.await_log("the service manager takes no messages: Resource temporarily unavailable");
    // What it is not told at once it is told in its order.
    assert_eq!(manager.await_state("READY=1"), "READY=1\nSTATUS=2/2 workers healthy, generation 1");
    manager.await_state("RELOADING=1");
    manager.await_state("READY=1");
    supervisor.await_log("the service manager takes messages again");
    fs::remove_file(&path).expect("it can be removed");
    drop(manager);
    supervisor.ctl_ok(&["upgrade"]);
    supervisor.ctl_ok(&["die", "--wait"]);
    assert_eq!(supervisor.await_exit(), 0);
    assert_eq!(supervisor.log().matches("takes no messages").count(), 2, "{}", supervisor.log());
}
