//! Where workers run: releases behind a link that the service was started in, and `--chdir`.

use crate::{
    harness::{Folder, SUPERVISOR, Supervisor, is_ok, member, raw, rust_worker, text},
    probe::{run_in, start_through},
    progress::{complaint, variable},
    tools::{Release, ask, command, have, skip, within},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::geteuid,
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

/// Puts a release there: a server, also by way of an argument of an interpreter that is elsewhere.
fn release(folder: &Folder, name: &str) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir(&path).expect("a folder can be made");
    symlink(rust_worker(), path.join("server")).expect("a link can be made");
    fs::write(path.join("app.sh"), "exec ./server\n").expect("a script can be written");
    path
}

/// A supervisor of two workers, started in what `FOLDER/current` leads to, as by `cd current` in a shell;
/// with the folder of the first release.
fn start(options: &[&str], program: &[&str]) -> (Supervisor, Release, PathBuf) {
    let folder = Folder::new();
    let first = release(&folder, "v1");
    let current = Release::new(&folder, &first.display().to_string());
    let path = current.path();
    let args = [&["-n", "2", "-m", "-b", "127.0.0.1:0,r,n"][..], options, &["--"], program].concat();
    let mut supervisor = Supervisor::start_in(folder, &args, |command| {
        command.current_dir(&path).env("PWD", &path);
    });
    supervisor.await_healthy(2);
    (supervisor, current, first)
}

/// The directory that a process is in.
fn directory(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/cwd")).expect("the process is there")
}

/// Sees that both workers are in that directory.
#[track_caller]
fn all_in(supervisor: &mut Supervisor, path: &Path) -> Vec<u32> {
    let pids = supervisor.await_healthy(2);
    for pid in &pids {
        assert_eq!(directory(*pid), path);
    }
    pids
}

/// Has the first worker die, and returns who comes in its place.
#[track_caller]
fn replacement(supervisor: &mut Supervisor) -> u32 {
    let old = supervisor.await_healthy(2);
    kill(raw(old[0]), Signal::SIGKILL).expect("the worker is there");
    supervisor.eventually("it is replaced", |me| {
        let now = me.healthy();
        (now.len() == 2 && !now.contains(&old[0])).then(|| now[0])
    })
}

#[test]
fn an_upgrade_follows_the_link_that_the_service_was_started_in() {
    for program in [&["./server"][..], &["/bin/sh", "app.sh"]] {
        let (mut supervisor, current, first) = start(&[], program);
        all_in(&mut supervisor, &first);
        let second = release(&supervisor.folder, "v2");
        current.switch(&second.display().to_string());
        supervisor.ctl_ok(&["upgrade"]);
        for pid in all_in(&mut supervisor, &second) {
            assert_eq!(variable(pid, "PWD"), Some(current.path()), "{program:?}");
        }
        // The directory that the supervisor itself is in is gone from here on.
        fs::remove_dir_all(&first).expect("a folder can be removed");
        let third = release(&supervisor.folder, "v3");
        current.switch(&third.display().to_string());
        supervisor.ctl_ok(&["upgrade_fleet"]);
        all_in(&mut supervisor, &third);
        assert_eq!(
            directory(supervisor.pid()).display().to_string(),
            format!("{} (deleted)", first.display())
        );
    }
}

#[test]
fn a_crashed_worker_comes_back_in_the_directory_of_its_generation() {
    let (mut supervisor, current, first) = start(&[], &["/bin/sh", "app.sh"]);
    let second = release(&supervisor.folder, "v2");
    current.switch(&second.display().to_string());
    let back = replacement(&mut supervisor);
    assert_eq!(directory(back), first, "the first generation was made of that");
    assert_eq!(variable(back, "PWD").map(PathBuf::from), Some(first), "the link's name would be a lie");
    supervisor.ctl_ok(&["upgrade"]);
    let third = release(&supervisor.folder, "v3");
    current.switch(&third.display().to_string());
    let back = replacement(&mut supervisor);
    assert_eq!(directory(back), second, "held open, not looked up again");
}

#[test]
fn a_directory_that_is_gone_refuses_the_upgrade_by_its_name_until_it_is_back() {
    let (mut supervisor, current, first) = start(&[], &["./server"]);
    let old = supervisor.await_healthy(2);
    current.remove();
    let path = current.path();
    let why = format!("workers are to run in {path}, and there is no {path}");
    let last = ask(&supervisor, r#"{"command":"upgrade"}"#);
    assert_eq!((is_ok(&last), text(&last, "outcome")), (false, "refused"));
    assert_eq!(text(member(&last, "failure"), "stage"), "chdir");
    let said = text(&last, "message");
    assert!(said.starts_with(&path) && said.ends_with(&why), "{said}");
    supervisor.signal(Signal::SIGHUP);
    supervisor.await_log(&format!("cannot run {path}: "));
    assert!(supervisor.log().contains(&why), "{}", supervisor.log());
    assert_eq!(supervisor.await_healthy(2), old);

    fs::remove_dir_all(&first).expect("a folder can be removed");
    current.switch(&release(&supervisor.folder, "v2").display().to_string());
    supervisor.ctl_ok(&["upgrade"]);
    let second = supervisor.folder.join("v2");
    all_in(&mut supervisor, &second);
}

#[test]
fn without_a_name_for_it_the_directory_itself_counts() {
    for name in [None, Some("/"), Some("."), Some("/nowhere")] {
        let folder = Folder::new();
        let first = release(&folder, "v1");
        let current = Release::new(&folder, &first.display().to_string());
        let path = current.path();
        let args = ["-n", "2", "-m", "-b", "127.0.0.1:0,r,n", "./server"];
        let mut supervisor = Supervisor::start_in(folder, &args, |command| {
            command.current_dir(&path).env_remove("PWD").envs(name.map(|name| ("PWD", name)));
        });
        supervisor.await_healthy(2);
        current.switch(&release(&supervisor.folder, "v2").display().to_string());
        supervisor.ctl_ok(&["upgrade"]);
        for pid in all_in(&mut supervisor, &first) {
            let told = variable(pid, "PWD").map(PathBuf::from);
            assert_eq!(told, name.is_some().then(|| first.clone()), "{name:?}");
        }
    }
}

#[test]
fn chdir_says_where_workers_run_and_is_looked_up_for_each_generation() {
    for relative in [true, false] {
        let folder = Folder::new();
        let first = release(&folder, "v1");
        let current = Release::new(&folder, &first.display().to_string());
        let (place, path) = (folder.join(""), current.path());
        let chosen = if relative { "current" } else { &path };
        let args =
            ["-n", "2", "-m", "--trace", "trace", "--chdir", chosen, "-b", "127.0.0.1:0,r,n", "./server"];
        let mut supervisor = Supervisor::start_in(folder, &args, |command| {
            command.current_dir(&place).env("PWD", &place);
        });
        all_in(&mut supervisor, &first);
        assert!(supervisor.folder.join("trace").exists(), "what is the supervisor's own stays where it is");
        let second = release(&supervisor.folder, "v2");
        current.switch(&second.display().to_string());
        supervisor.ctl_ok(&["upgrade"]);
        for pid in all_in(&mut supervisor, &second) {
            assert_eq!(variable(pid, "PWD"), Some(path.clone()));
        }
        current.remove();
        let said = complaint(&supervisor, &["upgrade"]);
        assert!(said.contains(&format!("workers are to run in {path}, and there is no {path}")), "{said}");
        all_in(&mut supervisor, &second);
    }
}

#[test]
fn a_start_in_a_directory_that_is_none_is_refused_by_its_name() {
    for (name, why) in [("nowhere", "there is no "), ("file", "file is no directory")] {
        let folder = Folder::new();
        fs::write(folder.join("file"), "").expect("a file can be written");
        let path = folder.join(name).display().to_string();
        let ended = run_in(folder, &["--chdir", &path, "sleep", "1000"], |_| {});
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("workers are to run in {path}, and ")), "{}", ended.stderr);
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
        ended.left_nothing(None);
    }
}

#[test]
fn a_variable_that_is_hidden_is_not_set_and_no_upgrade_sets_one_of_the_contract() {
    let folder = Folder::new();
    let place = folder.join("").display().to_string();
    let args = ["--drop-env-var", "PWD", "--chdir", &place, "--ack-after", "0", "sleep", "1000"];
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    let pids = supervisor.await_healthy(1);
    // It counts as healthy before it has become the program.
    supervisor.eventually("it has none", |_| variable(pids[0], "PWD").is_none().then_some(()));
    let refused = command(&supervisor, &["upgrade", "--env", "PWD=/"]);
    assert!(!is_ok(&refused) && text(&refused, "message").contains("PWD cannot be set"), "{refused:?}");
}

/// Starts the supervisor as nobody in `place`: `closed`, a directory that only root may enter, or `inner`
/// in there, which anybody may. Its program is a copy that anybody may run, and its folder one that anybody
/// may write to.
fn as_nobody(place: &str, named: bool, args: &[&str]) -> Option<Supervisor> {
    if !geteuid().is_root() || !have("setpriv", &["--version"]) {
        skip("it takes root, and setpriv, to become somebody else");
        return None;
    }
    let folder = Folder::new();
    let allow = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions can be set");
    };
    let (copy, closed) = (folder.join("copy"), folder.join("closed"));
    fs::copy(SUPERVISOR, &copy).expect("a program can be copied");
    fs::create_dir_all(closed.join("inner")).expect("folders can be made");
    allow(&copy, 0o755);
    allow(&closed, 0o700);
    allow(&folder.join(""), 0o777);
    for name in ["closed/server", "closed/inner/server"] {
        folder.script(name, "#!/bin/sh\nexec sleep 1000\n");
    }
    let name = if named { "" } else { "unset PWD; " };
    let enter = format!(
        "cd {}; {name}shift; exec setpriv --reuid 65534 --regid 65534 --clear-groups {} \"$@\"",
        folder.join(place).display(),
        copy.display()
    );
    Some(start_through(folder, &["/bin/sh", "-c", &enter, "sh"], args))
}

#[test]
fn a_directory_that_one_stands_in_need_not_be_entered() {
    for named in [true, false] {
        let args = ["--ack-after", "0", "/bin/sleep", "1000"];
        let Some(mut supervisor) = as_nobody("closed", named, &args) else { return };
        let pids = supervisor.await_healthy(1);
        let closed = supervisor.folder.join("closed");
        assert_eq!(directory(pids[0]), closed);
        supervisor.ctl_ok(&["--any-owner", "upgrade"]);
        let pids = supervisor.await_healthy(1);
        assert_eq!(directory(pids[0]), closed);
    }
}

#[test]
fn a_program_below_a_directory_that_may_not_be_entered_runs_from_there() {
    let Some(mut supervisor) = as_nobody("closed/inner", true, &["--ack-after", "0", "./server"]) else {
        return;
    };
    let pids = supervisor.await_healthy(1);
    assert_eq!(directory(pids[0]), supervisor.folder.join("closed/inner"));
    supervisor.ctl_ok(&["--any-owner", "upgrade"]);
    supervisor.await_healthy(1);
}

#[test]
fn a_directory_that_may_not_be_entered_is_named() {
    let Some(mut supervisor) = as_nobody("closed", true, &["./server"]) else { return };
    assert_eq!(supervisor.await_exit(), 126, "{}", supervisor.log());
    let why = format!("uid 65534 may not enter {}", within(&supervisor, "closed"));
    assert!(supervisor.log().contains(&why), "{}", supervisor.log());
    // To be chosen takes the right that to be started in does not.
    let Some(mut supervisor) = as_nobody("closed", true, &["--chdir", "../closed", "/bin/sleep", "1000"])
    else {
        return;
    };
    assert_eq!(supervisor.await_exit(), 1, "{}", supervisor.log());
    assert!(supervisor.log().contains("uid 65534 may not enter "), "{}", supervisor.log());
}
