//! The supervisor under a real systemd, by the units that the README prints.

use crate::{
    harness::{CLIENT, Folder, SUPERVISOR, children, eventually, rust_worker},
    readme::blocks,
    tools::{BROKEN, have, out, skip},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio, id},
    thread,
    time::{Duration, Instant},
};

const SYSTEMD: &str = "/lib/systemd/systemd";

/// How processes get into a systemd's namespaces.
const ENTER: [&str; 7] = ["-m", "-p", "-u", "-i", "-C", "-n", "--"];

/// Becomes a systemd that knows the units of the test alone, with a network, a `/run`, a `/srv` and a
/// `/usr/local/bin` of its own. What it needs is made before, by the test, in the folder `$2`.
const BOOT: &str = r#"
echo 0 >"$1/cgroup.procs" && mount --make-rprivate / && mount -t proc proc /proc || exit 77
umount -l /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup && mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system || exit 77
mount --bind "$2/bin" /usr/local/bin && mount --bind "$2/srv" /srv || exit 77
mount --bind "$2/units" /run/systemd/system || exit 77
exec env -i PATH="$PATH" container=test SYSTEMD_LOG_TARGET=null SYSTEMD_UNIT_PATH=/run/systemd/system "$3"
"#;

/// A worker that serves.
pub(crate) fn serving() -> String {
    format!("#!/bin/sh\nexec {}\n", rust_worker())
}

/// One that does so once there is a file.
fn waiting(go: &Path) -> String {
    format!("#!/bin/sh\nwhile [ ! -e {} ]; do sleep 0.02; done\nexec {}\n", go.display(), rust_worker())
}

/// A systemd of the test's own, that ends with all it has started.
pub(crate) struct Systemd {
    outside: Child,
    inside: u32,
    group: PathBuf,
    pub(crate) folder: Folder,
    service: &'static str,
}

/// Units of which systemd wants some, and the test none, with what is in them.
pub(crate) const BARE: [(&str, &str); 3] = [
    ("default.target", "[Unit]\nDefaultDependencies=no\n"),
    ("sysinit.target", "[Unit]\nDefaultDependencies=no\n"),
    ("basic.target", "[Unit]\nDefaultDependencies=no\n"),
];

/// Whether a systemd can be run here, as far as that can be told before; says why not.
pub(crate) fn systemd_is_possible() -> bool {
    let tools = [("unshare", "--version"), ("nsenter", "--version"), ("mount", "--version"), ("curl", "-V")];
    if let Some((missing, _)) = tools.iter().find(|(tool, version)| !have(tool, &[version])) {
        skip(&format!("there is no {missing}"));
        return false;
    }
    let is_there = Path::new(SYSTEMD).exists() && nix::unistd::geteuid().is_root();
    if !is_there {
        skip("there is no systemd, or it may not be run by this user");
    }
    is_there
}

impl Systemd {
    /// Starts one, with the README's units, changed by the lines of `tuning` for the service, and with a program
    /// for the workers. Nothing, and why, if that cannot be done here.
    pub(crate) fn boot(tuning: &str, worker: impl FnOnce(&Folder) -> String) -> Option<Self> {
        if !systemd_is_possible() {
            return None;
        }
        let folder = Folder::new();
        for place in ["bin", "srv/app/1", "units/app.service.d"] {
            fs::create_dir_all(folder.join(place)).expect("a folder can be made");
        }
        let link = |to: &str, from: &str| {
            std::os::unix::fs::symlink(to, folder.join(from)).expect("a link can be made");
        };
        link(SUPERVISOR, "bin/einhyrningsins");
        link(CLIENT, "bin/einhyrningsinsctl");
        link("1", "srv/app/current");
        folder.script("srv/app/1/server", &worker(&folder));
        let [socket, service] = blocks("Under systemd", "ini")[..] else { panic!("two units") };
        let log = folder.join("log").display().to_string();
        let tuning = format!("[Service]\nStandardError=append:{log}\n{tuning}");
        let units = [("app.socket", socket), ("app.service", service), ("app.service.d/test.conf", &tuning)];
        for (unit, text) in units.into_iter().chain(BARE) {
            fs::write(folder.join("units").join(unit), text).expect("a unit can be written");
        }
        Self::boot_in(folder, BOOT, "app.service")
    }

    /// Starts one by a script, which is given a control group, the folder, and systemd; it ends with status 77 where
    /// it cannot be done. What is told of a service is told of that one.
    pub(crate) fn boot_in(folder: Folder, script: &str, service: &'static str) -> Option<Self> {
        let Some(group) = group(&folder) else {
            skip("no control group can be made");
            return None;
        };
        let outside = Command::new("unshare")
            .args(["--fork", "--pid", "--mount", "--uts", "--ipc", "--cgroup", "--net", "--kill-child"])
            .args(["sh", "-c", script, "sh"])
            .args([&group, &folder.join("")])
            .arg(SYSTEMD)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare can be run");
        let mut it = Self { outside, inside: 0, group, folder, service };
        let runs = eventually("systemd runs, or cannot", || {
            if it.outside.try_wait().expect("it can be waited for").is_some() {
                return Some(false);
            }
            it.inside = children(it.outside.id()).first().copied()?;
            let name = fs::read_to_string(format!("/proc/{}/comm", it.inside)).unwrap_or_default();
            let ready =
                name == "systemd\n" && out(&it.run(&["systemctl", "is-system-running"])) == "running\n";
            ready.then_some(true)
        });
        if !runs {
            skip("namespaces for systemd cannot be made");
            return None;
        }
        Some(it)
    }

    /// Runs a program in there.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.entering(words).stdin(Stdio::null()).output().expect("nsenter can be run")
    }

    /// How a program is run in there.
    pub(crate) fn entering(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.inside.to_string()]).args(ENTER).args(words);
        command
    }

    /// The same, with what it printed, if it succeeds.
    #[track_caller]
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {said}\n{}", self.log());
        out(&output)
    }

    /// What systemd knows of the service by that name.
    pub(crate) fn shows(&self, property: &str) -> String {
        out(&self.run(&["systemctl", "show", self.service, "--value", "-p", property])).trim_end().to_owned()
    }

    #[track_caller]
    pub(crate) fn await_shown(&self, property: &str, value: &str) {
        let mut last = String::new();
        let deadline = Instant::now() + Duration::from_secs(20);
        while last != value {
            assert!(Instant::now() < deadline, "{property} is {last:?}, not {value:?}\n{}", self.log());
            last = self.shows(property);
        }
    }

    /// What the supervisor has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Puts another program in place of the workers', as another release.
    pub(crate) fn release(&self, number: u32, text: &str) {
        fs::create_dir_all(self.folder.join(&format!("srv/app/{number}"))).expect("a folder can be made");
        self.folder.script(&format!("srv/app/{number}/server"), text);
        let new = self.folder.join("srv/app/new");
        std::os::unix::fs::symlink(number.to_string(), &new).expect("a link can be made");
        fs::rename(new, self.folder.join("srv/app/current")).expect("a link can be renamed");
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // The first process of the namespace goes with it, and so do all in there.
        let _ = self.outside.kill();
        let _ = self.outside.wait();
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.group.exists() && Instant::now() < deadline {
            remove(&self.group);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A control group for systemd to live in.
fn group(folder: &Folder) -> Option<PathBuf> {
    let name = format!("einhyrningsins-{}-{}", id(), folder.join("").file_name()?.display());
    let places = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(|place| Path::new(place).join(&name));
    let made = places.into_iter().find(|place| fs::create_dir(place).is_ok())?;
    if made.join("cgroup.procs").exists() {
        return Some(made);
    }
    let _ = fs::remove_dir(made);
    None
}

/// Removes a control group and those below it, as far as nobody is in them.
fn remove(group: &Path) {
    for inner in fs::read_dir(group).into_iter().flatten().flatten() {
        if inner.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&inner.path());
        }
    }
    let _ = fs::remove_dir(group);
}

#[test]
fn the_units_of_the_readme_start_on_demand_reload_and_stop() {
    let Some(systemd) = Systemd::boot("", |_| serving()) else { return };
    let status = || systemd.ok(&["/usr/local/bin/einhyrningsinsctl", "-d", "/run/app/control", "status"]);
    let ask = || {
        for port in [8080, 8443] {
            let said = systemd.ok(&["curl", "-sS", &format!("http://127.0.0.1:{port}/")]);
            assert!(said.starts_with("worker "), "{said}");
        }
    };
    systemd.ok(&["systemctl", "start", "app.socket"]);
    assert_eq!(systemd.shows("ActiveState"), "inactive");
    ask();
    systemd.await_shown("ActiveState", "active");
    systemd.await_shown("StatusText", "4/4 workers healthy, generation 1");
    let shown = status();
    assert!(shown.contains("generation 1, 4/4 workers healthy\n"), "{shown}");
    let sockets = "listening on [::]:8080 (app.socket, from the service manager), [::]:8443 (app.socket, from the \
                   service manager)\n";
    assert!(shown.contains(sockets), "{shown}");
    let pid = systemd.shows("MainPID");

    // No worker takes itself for what systemd has started.
    let workers: Vec<&str> = shown.lines().filter(|line| line.contains("healthy  ")).collect();
    assert_eq!(workers.len(), 4, "{shown}");
    let worker = workers[0].split_whitespace().nth(1).expect("a pid");
    let told = systemd.ok(&["cat", &format!("/proc/{worker}/environ")]);
    for name in ["WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE", "LISTEN_PIDFDID"] {
        assert!(!told.split('\0').any(|line| line.starts_with(name)), "{name} in {told}");
    }
    // It notifies the supervisor, at a name that the kernel has chosen, and not systemd.
    let at: Vec<&str> = told.split('\0').filter_map(|line| line.strip_prefix("NOTIFY_SOCKET=@")).collect();
    assert!(matches!(at[..], [name] if name.len() == 5), "{told}");
    assert_eq!(told.matches("NOTIFY_SOCKET").count(), 1, "{told}");
    assert!(told.contains(&format!("LISTEN_PID={worker}\0")), "{told}");

    systemd.ok(&["systemctl", "reload", "app.service"]);
    systemd.await_shown("StatusText", "4/4 workers healthy, generation 2");
    systemd.await_shown("ActiveState", "active");
    systemd.release(2, BROKEN);
    let failed = systemd.run(&["systemctl", "reload", "app.service"]);
    assert_eq!(failed.status.code(), Some(1), "{}", systemd.log());
    systemd.await_shown("StatusText", "4/4 workers healthy, generation 2; generation 3 was rolled back");
    systemd.await_shown("ActiveState", "active");
    systemd.release(3, &serving());
    systemd.ok(&["systemctl", "kill", "--kill-who=main", "-s", "HUP", "app.service"]);
    systemd.await_shown("StatusText", "4/4 workers healthy, generation 4");
    systemd.await_shown("ActiveState", "active");
    assert_eq!(systemd.shows("MainPID"), pid);
    ask();

    systemd.ok(&["systemctl", "stop", "app.service", "app.socket"]);
    for (property, value) in [("Result", "success"), ("ExecMainStatus", "0"), ("ActiveState", "inactive")] {
        assert_eq!(systemd.shows(property), value, "{property}\n{}", systemd.log());
    }
    let log = systemd.log();
    assert!(log.contains("graceful shutdown; 4 workers to go"), "{log}");
    assert!(!log.contains("takes no messages") && !log.contains("was killed"), "{log}");
}

#[test]
fn a_service_is_active_once_its_workers_are_healthy_and_not_before_however_long_that_takes() {
    // They must say it.
    let start = "/usr/local/bin/einhyrningsins -d /run/app/control -m -n 4 -- /srv/app/current/server";
    let tuning = &format!("TimeoutStartSec=3\nExecStart=\nExecStart={start}\n");
    let Some(systemd) = Systemd::boot(tuning, |folder| waiting(&folder.join("go"))) else { return };
    systemd.ok(&["systemctl", "start", "--no-block", "app.service"]);
    systemd.await_shown("StatusText", "starting: 0/4 workers healthy");
    // Not a wait for anything: the time that the unit gives, and in which it would be given up.
    thread::sleep(Duration::from_secs(4));
    assert_eq!(systemd.shows("ActiveState"), "activating", "{}", systemd.log());
    fs::write(systemd.folder.join("go"), "").expect("a file can be written");
    systemd.await_shown("ActiveState", "active");
    assert_eq!(systemd.shows("StatusText"), "4/4 workers healthy, generation 1");
}

#[test]
fn a_service_whose_workers_never_become_healthy_has_failed() {
    let Some(systemd) = Systemd::boot("Restart=no\n", |_| BROKEN.to_owned()) else { return };
    let started = systemd.run(&["systemctl", "start", "app.service"]);
    assert!(!started.status.success(), "{}", systemd.log());
    for (property, value) in [("Result", "exit-code"), ("ActiveState", "failed"), ("ExecMainStatus", "1")] {
        assert_eq!(systemd.shows(property), value, "{property}\n{}", systemd.log());
    }
    let text = systemd.shows("StatusText");
    assert!(
        text.starts_with("failed with status 1: no worker is left to try: exited with status 7"),
        "{text}"
    );
}

#[test]
fn the_watchdog_leaves_a_healthy_supervisor_alone_and_restarts_one_that_is_stopped() {
    let tuning = "WatchdogSec=3\nTimeoutAbortSec=1\n";
    let Some(systemd) = Systemd::boot(tuning, |_| serving()) else { return };
    systemd.ok(&["systemctl", "start", "app.service"]);
    let pid = systemd.shows("MainPID");
    // Not a wait for anything: the time in which nothing may happen.
    thread::sleep(Duration::from_secs(4));
    assert_eq!((systemd.shows("MainPID"), systemd.shows("NRestarts")), (pid.clone(), "0".into()));
    systemd.ok(&["kill", "-STOP", &pid]);
    systemd.await_shown("NRestarts", "1");
    systemd.await_shown("ActiveState", "active");
    systemd.await_shown("StatusText", "4/4 workers healthy, generation 1");
    assert_ne!(systemd.shows("MainPID"), pid);
}

/// What services are locked into by those who take their units seriously; systemd.exec(5).
const LOCKED_IN: &str = "NonBlocking=no\nExecStart=\nExecStart=/usr/local/bin/einhyrningsins -d /run/app/control -n 4 \
    --ack-timeout 3 -- /srv/app/current/server\nProtectSystem=strict\nNoNewPrivileges=yes\nProtectProc=invisible\n\
    ProcSubset=pid\nPrivateDevices=yes\nProtectKernelTunables=yes\nProtectControlGroups=yes\n\
    RestrictNamespaces=yes\nLockPersonality=yes\nMemoryDenyWriteExecute=yes\nRestrictRealtime=yes\n\
    RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX\nSystemCallFilter=@system-service\n\
    SystemCallArchitectures=native\nCapabilityBoundingSet=\n";

/// Serves one client at a time, and says nothing of it.
const PLAIN: &str = r#"#!/usr/bin/perl
open(my $listener, "+<&=", 3) or die "no socket: $!";
$SIG{TERM} = sub { exit 0 };
while (1) {
    accept(my $client, $listener) or next;
    sysread $client, my $asked, 4096;
    syswrite $client, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nhi\n";
    close $client;
}
"#;

#[test]
fn in_a_unit_that_is_locked_in_workers_are_seen_and_upgraded() {
    let Some(systemd) = Systemd::boot(LOCKED_IN, |_| PLAIN.to_owned()) else { return };
    systemd.ok(&["systemctl", "start", "app.socket", "app.service"]);
    systemd.await_shown("StatusText", "4/4 workers healthy, generation 1");
    systemd.ok(&["systemctl", "reload", "app.service"]);
    systemd.await_shown("StatusText", "4/4 workers healthy, generation 2");
    assert_eq!(systemd.ok(&["curl", "-sS", "http://127.0.0.1:8080/"]), "hi\n");
    let log = systemd.log();
    assert_eq!(log.matches("is healthy after").count(), 8, "{log}");
    assert_eq!(log.matches("it accepts connections").count(), 8, "{log}");
    assert!(!log.contains("WARN"), "{log}");
    // A release that never takes anybody is looked at for longer, in all ways.
    let hangs =
        "#!/usr/bin/perl\nuse Socket;\nsocket(my $other, AF_UNIX, SOCK_STREAM, 0) or die;\nsleep 600;\n";
    systemd.release(3, hangs);
    assert_eq!(
        systemd.run(&["systemctl", "reload", "app.service"]).status.code(),
        Some(1),
        "{}",
        systemd.log()
    );
    systemd.await_shown("StatusText", "4/4 workers healthy, generation 2; generation 3 was rolled back");
    systemd.ok(&["systemctl", "stop", "app.service", "app.socket"]);
    assert_eq!(systemd.shows("Result"), "success", "{}", systemd.log());
}
