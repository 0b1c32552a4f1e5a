//! Those who start what they run again, as they do it: systemd with the unit of the README, with and without its store of
//! descriptors, and runit. The supervisor is killed, and nothing is done about it by the test.

use crate::{
    harness::{CLIENT, Folder, SUPERVISOR, eventually, is_alive, keeper_of, raw, rust_worker, workers_of},
    systemd::{Systemd, serving},
    tools::{have, out, skip},
};
use nix::sys::signal::{Signal, kill};
use std::{
    fs,
    process::{Child, Command, Stdio},
};

/// The pids in a status, as it is printed.
fn pids(status: &str) -> Vec<u32> {
    let healthy = status.lines().filter(|line| line.contains("healthy  "));
    healthy.filter_map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect()
}

/// Kills what systemd runs, three times, and sees that it goes on. `kept` descriptors are in systemd's store meanwhile.
fn killed_under_systemd(tuning: &str, is_stored: bool) {
    let Some(systemd) = Systemd::boot(tuning, |_| serving()) else { return };
    systemd.ok(&["systemctl", "start", "app.socket", "app.service"]);
    systemd.await_shown("StatusText", "4/4 workers healthy, generation 1");
    let ctl = |words: &[&str]| {
        systemd.run(&[&["/usr/local/bin/einhyrningsinsctl", "-d", "/run/app/control"], words].concat())
    };
    let workers = pids(&out(&ctl(&["status"])));
    assert_eq!(workers.len(), 4);
    for times in 1..=3 {
        let main = systemd.shows("MainPID");
        let stored = systemd.shows("NFileDescriptorStore");
        assert_eq!(stored != "0", is_stored, "{stored}\n{}", systemd.log());
        systemd.ok(&["kill", "-KILL", &main]);
        // Served meanwhile.
        let said = systemd.ok(&["curl", "-sS", "http://127.0.0.1:8080/"]);
        assert!(said.starts_with("worker "), "{said}");
        systemd.await_shown("NRestarts", &times.to_string());
        systemd.await_shown("ActiveState", "active");
        systemd.await_shown("StatusText", "4/4 workers healthy, generation 1");
        assert_ne!(systemd.shows("MainPID"), main);
        assert_eq!(pids(&out(&ctl(&["status"]))), workers, "{}", systemd.log());
    }
    systemd.ok(&["systemctl", "reload", "app.service"]);
    systemd.await_shown("StatusText", "4/4 workers healthy, generation 2");
    systemd.ok(&["systemctl", "stop", "app.service", "app.socket"]);
    for (property, value) in
        [("Result", "success"), ("ActiveState", "inactive"), ("NFileDescriptorStore", "0")]
    {
        assert_eq!(systemd.shows(property), value, "{property}\n{}", systemd.log());
    }
    let left = systemd.run(&["pgrep", "-x", "einhyrn-keeper"]);
    assert_eq!(out(&left), "", "a keeper is left");
}

#[test]
fn systemd_starts_it_again_and_it_takes_over() {
    killed_under_systemd("", false);
}

#[test]
fn systemds_store_takes_the_keepers_place() {
    let start = "/usr/local/bin/einhyrningsins --fdstore -d /run/app/control -n 4 -- /srv/app/current/server";
    killed_under_systemd(&format!("FileDescriptorStoreMax=100\nExecStart=\nExecStart={start}\n"), true);
}

/// runsv with a service in that folder; ended, with what it runs, at the end.
struct Runsv {
    child: Child,
    folder: Folder,
}

impl Runsv {
    fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.folder.join("supervise/pid")).ok()?.trim().parse().ok()
    }

    fn status(&self) -> String {
        let mut client = Command::new(CLIENT);
        client.arg("-d").arg(self.folder.join("ctl")).arg("status");
        out(&client.output().expect("the client can be run"))
    }
}

impl Drop for Runsv {
    fn drop(&mut self) {
        // It ends what it runs, and then itself.
        let _ = fs::write(self.folder.join("supervise/control"), "x");
        let _ = kill(raw(self.child.id()), Signal::SIGTERM);
        eventually("runsv ends", || self.child.try_wait().expect("it can be waited for"));
        for pid in workers_of(&self.folder) {
            let _ = kill(raw(pid), Signal::SIGKILL);
        }
    }
}

#[test]
fn runit_starts_it_again_and_it_takes_over() {
    if !have("sh", &["-c", "command -v runsv"]) {
        return skip("there is no runsv");
    }
    let folder = Folder::new();
    let (control, log) = (folder.join("ctl"), folder.join("log"));
    let run = format!(
        "#!/bin/sh\nexec >>{} 2>&1\nexec {SUPERVISOR} -m -d {} -n 2 -b 127.0.0.1:0,n -- {}\n",
        log.display(),
        control.display(),
        rust_worker()
    );
    folder.script("run", &run);
    let child = Command::new("runsv")
        .arg(folder.join(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("runsv can be run");
    let runsv = Runsv { child, folder };
    let two = |runsv: &Runsv| Some(pids(&runsv.status())).filter(|pids| pids.len() == 2);
    let workers = eventually("two workers are healthy", || two(&runsv));
    for _ in 0..2 {
        let pid = runsv.pid().expect("a pid");
        eventually("it has a keeper", || keeper_of(pid));
        kill(raw(pid), Signal::SIGKILL).expect("it is there");
        eventually("another is there", || runsv.pid().filter(|now| *now != pid && is_alive(*now)));
        assert_eq!(eventually("it answers", || two(&runsv)), workers);
    }
}
