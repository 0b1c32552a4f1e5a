//! Programs that cannot be executed: what people are told of them, at the start, of an upgrade and in the
//! log.

use crate::{
    harness::{Folder, Supervisor},
    probe::{run_in, start_through},
    progress::complaint,
    tools::{err, have, releases, skip, within},
};
use nix::unistd::geteuid;
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

/// A program that is none: what it is called, how it is made, what it ends a start with, and what is said
/// of it. `%` in there stands for the folder.
struct Case {
    name: &'static str,
    text: &'static str,
    mode: u32,
    code: i32,
    said: &'static str,
}

const CASES: [Case; 8] = [
    Case {
        name: "dos",
        text: "#!/bin/sh\r\nsleep 1000\r\n",
        mode: 0o755,
        code: 127,
        said: "the first line of %/dos asks for /bin/sh\\r, which has a carriage return at its end: save the \
               script with Unix line ends",
    },
    Case {
        name: "lost",
        text: "#!/no/such/interpreter\n",
        mode: 0o755,
        code: 127,
        said: "the first line of %/lost asks for /no/such/interpreter, and there is no /no",
    },
    Case {
        name: "bare",
        text: "sleep 1000\n",
        mode: 0o755,
        code: 126,
        said: "%/bare has no #! line and no format that this kernel runs",
    },
    Case { name: "empty", text: "", mode: 0o755, code: 126, said: "%/empty is empty" },
    Case {
        name: "plain",
        text: "#!/bin/sh\n",
        mode: 0o644,
        code: 126,
        said: "%/plain is not marked as executable: chmod +x %/plain",
    },
    Case { name: "folder/", text: "", mode: 0, code: 126, said: "%/folder is a directory, not a program" },
    Case { name: "gone/server", text: "", mode: 0, code: 127, said: "there is no %/gone" },
    Case {
        name: "dangling",
        text: "",
        mode: 0,
        code: 127,
        said: "%/dangling is a link to %/v9, which does not exist",
    },
];

impl Case {
    fn make(&self, folder: &Folder) -> String {
        let path = folder.join(self.name);
        match self.name {
            "folder/" => fs::create_dir_all(&path).expect("a folder can be made"),
            "gone/server" => {}
            "dangling" => symlink(folder.join("v9"), &path).expect("a link can be made"),
            _ => {
                fs::write(&path, self.text).expect("a file can be written");
                fs::set_permissions(&path, fs::Permissions::from_mode(self.mode)).expect("it can be marked");
            }
        }
        path.display().to_string()
    }

    fn said(&self, folder: &Folder) -> String {
        let place = folder.join("").display().to_string();
        self.said.replace('%', place.trim_end_matches('/'))
    }
}

#[test]
fn a_start_says_why_its_program_cannot_be_executed_and_what_would_help() {
    for case in CASES {
        let folder = Folder::new();
        let (path, said) = (case.make(&folder), case.said(&folder));
        // With -q, too: an error is what is left to read.
        for options in [&["-r", "3"][..], &["-q"]] {
            let ended = run_in(Folder::new(), &[options, &["--", &path]].concat(), |_| {});
            assert_eq!(ended.code, case.code, "{}", ended.stderr);
            assert!(ended.stderr.contains(&said), "{said} is not in: {}", ended.stderr);
            ended.left_nothing(None);
        }
    }
}

#[test]
fn an_upgrade_says_why_its_program_cannot_be_executed_and_so_does_the_log() {
    let (mut supervisor, release, old) = releases(2, &[]);
    for case in CASES {
        let said = case.said(&supervisor.folder);
        let path = case.make(&supervisor.folder);
        release.switch(path.trim_end_matches('/'));
        // The links to what is not there are told by the first of them.
        let current = release.path();
        let said = match case.name {
            "dangling" | "gone/server" => format!("{current} is a link to {path}, which does not exist"),
            "plain" | "folder/" => said.replace(path.trim_end_matches('/'), &current),
            _ => said,
        };
        for words in [&["upgrade"][..], &["upgrade_fleet"]] {
            let answer = complaint(&supervisor, words);
            assert!(answer.contains(&format!("; {said}")), "{said} is not in: {answer}");
        }
        supervisor.await_log(&said);
        assert_eq!(supervisor.await_healthy(2), old);
    }
}

#[test]
fn an_interpreter_that_is_misled_by_a_carriage_return_is_told_of() {
    // The kernel finds env and sh, which do not find what they are asked for.
    for (name, line) in [("env", "#!/usr/bin/env sh"), ("option", "#!/bin/sh -e")] {
        let folder = Folder::new();
        let path = folder.script(name, &format!("{line}\r\nexec sleep 1000\r\n"));
        let ended = run_in(folder, &["-r", "1", "--", &path], |_| {});
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        let said = format!("; the first line of {path} ends in a carriage return, ");
        assert!(ended.stderr.contains(&said), "{said} is not in: {}", ended.stderr);
    }
}

#[test]
fn a_name_without_a_slash_is_told_how_to_be_typed() {
    let folder = Folder::new();
    folder.script("ok.sh", "#!/bin/sh\nexec sleep 1000\n");
    let place = folder.join("");
    let help = "there is ./ok.sh in the working directory, which PATH does not name: ./ok.sh";
    let ended = run_in(folder, &["ok.sh"], |command| {
        command.current_dir(&place);
    });
    assert_eq!(ended.code, 127, "{}", ended.stderr);
    assert!(ended.stderr.contains(help), "{}", ended.stderr);

    let folder = Folder::new();
    folder.script("ok.sh", "#!/bin/sh\nexec sleep 1000\n");
    let place = folder.join("");
    let mut supervisor = Supervisor::start_in(folder, &["--ack-after", "0", "./ok.sh"], |command| {
        command.current_dir(&place);
    });
    supervisor.await_healthy(1);
    for (name, said) in [("ok.sh", help), ("ko.sh", "no directory that PATH names has ko.sh")] {
        let answer = complaint(&supervisor, &["upgrade", "--", name]);
        assert!(answer.contains(said), "{answer}");
    }
}

#[test]
fn a_release_that_is_more_than_the_kernel_hands_over_is_told_as_that() {
    let mut supervisor = Supervisor::start(&["--ack-after", "0.1", "sleep", "1000"]);
    let old = supervisor.await_healthy(1);
    // An argument of 64 KiB is none to take offence at, and neither is a variable; all of them are.
    let piece = "x".repeat(40_000);
    let mut words = vec!["upgrade".to_owned()];
    for round in 0..80 {
        words.truncate(1);
        words.extend(["--env".to_owned(), format!("PIECE_{round}={piece}")]);
        let output = supervisor.ctl(&words);
        if output.status.success() {
            continue;
        }
        let said = err(&output);
        assert!(said.contains("are more than the kernel hands over"), "{said}");
        assert_ne!(supervisor.await_healthy(1), old, "what came before was fine");
        return;
    }
    panic!("3 MB of environment are nothing: {}", supervisor.log());
}

#[test]
fn a_file_system_from_which_nothing_may_be_executed_is_told_of() {
    let probe = ["-m", "sh", "-c", "mount -t tmpfs -o noexec none /mnt"];
    if !geteuid().is_root() || !have("unshare", &probe) {
        return skip("it takes root, unshare and the right to mount");
    }
    let folder = Folder::new();
    let place = folder.join("mounted");
    fs::create_dir(&place).expect("a folder can be made");
    let mount = format!(
        "mount -t tmpfs -o noexec none {0} && cp /bin/true {0}/server && exec \"$@\"",
        place.display()
    );
    let server = place.join("server").display().to_string();
    let starter = ["unshare", "-m", "sh", "-c", &mount, "sh"];
    let mut supervisor = start_through(folder, &starter, &["--", &server]);
    assert_eq!(supervisor.await_exit(), 126, "{}", supervisor.log());
    let said = format!(
        "{} is on a file system from which nothing may be executed",
        within(&supervisor, "mounted/server")
    );
    assert!(supervisor.log().contains(&said), "{}", supervisor.log());
}
