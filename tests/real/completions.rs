//! What shells make of a command line that is not finished: real ones, each with the script that it is given.

mod shells;

use crate::{harness::Folder, tools::sleepers};
use shells::{Shell, Shells};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::net::UnixListener,
    time::{Duration, Instant},
};

/// Longer than that nobody who has pressed a key is to wait, on a busy machine.
const ENOUGH: Duration = Duration::from_millis(2_000);

/// What is there to be completed: files, a program on the path, a variable. The name of the folder has a blank.
fn prepared() -> Folder {
    let folder = Folder::new();
    fs::create_dir_all(folder.join("with blank/web")).expect("a folder can be made");
    for name in ["socket-a", "socket-b", "website"] {
        fs::write(folder.join(name), "").expect("a file can be written");
    }
    fs::create_dir(folder.join("web")).expect("a folder can be made");
    fs::create_dir(folder.join("bin")).expect("a folder can be made");
    folder.script("bin/einhyr-test-program", "#!/bin/sh\n");
    folder
}

/// Has each shell complete the lines, and sees that it offers just that.
#[track_caller]
fn offered(shells: &Shells, cases: &[(&str, &[&str])]) {
    let lines: Vec<&str> = cases.iter().map(|(line, _)| *line).collect();
    for shell in Shell::ALL {
        let Some(all) = shells.complete(shell, &lines) else { continue };
        assert_eq!(all.len(), cases.len(), "{shell:?}");
        for ((line, expected), found) in cases.iter().zip(all) {
            let expected: BTreeSet<String> = expected.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(found.words, expected, "{shell:?}: {line}");
        }
    }
}

#[test]
fn the_clients_commands_and_options_are_completed() {
    let folder = prepared();
    let shells = Shells::new(&folder);
    let at = |name: &str| folder.join(name).display().to_string();
    let (by_path, by_letter, trace) = (
        format!("einhyrningsinsctl --socket-path {}", at("socket-")),
        format!("einhyrningsinsctl -d {}", at("socket-")),
        format!("einhyrningsinsctl replay {}", at("webs")),
    );
    offered(
        &shells,
        &[
            ("einhyrningsinsctl upg", &["upgrade", "upgrade_fleet"]),
            ("einhyrningsinsctl wo", &["worker:ack", "worker:ping"]),
            ("einhyrningsinsctl worker:a", &["worker:ack"]),
            ("einhyrningsinsctl --json his", &["history"]),
            ("einhyrningsinsctl -d /nowhere --timeout 3 his", &["history"]),
            ("einhyrningsinsctl -d/nowhere --timeout=3 che", &["check"]),
            ("einhyrningsinsctl upgrade --so", &["--soak", "--socket-path"]),
            ("einhyrningsinsctl upgrade --canary 1 --so", &["--soak", "--socket-path"]),
            ("einhyrningsinsctl upgrade-fleet --can", &["--canary"]),
            ("einhyrningsinsctl upgrade --env EINHYR_TE", &["EINHYR_TEST"]),
            ("einhyrningsinsctl upgrade --soak 2 -- einhyr-te", &["einhyr-test-program"]),
            ("einhyrningsinsctl status --can", &[]),
            ("einhyrningsinsctl status --any", &["--any-owner"]),
            ("einhyrningsinsctl abort --w", &["--wait"]),
            ("einhyrningsinsctl check --ge", &["--generation"]),
            ("einhyrningsinsctl signal US", &["USR1", "USR2"]),
            ("einhyrningsinsctl die ", &["INT", "KILL", "QUIT", "TERM", "USR2"]),
            ("einhyrningsinsctl die --wait T", &["TERM"]),
            ("einhyrningsinsctl help re", &["reexec", "retry"]),
            ("einhyrningsinsctl rep", &["replay"]),
            ("einhyrningsinsctl -e repla", &[]),
            ("einhyrningsinsctl upgrade --tim", &["--timeout"]),
            ("einhyrningsinsctl -- signal US", &["USR1", "USR2"]),
            ("einhyrningsinsctl -e lou", &["louder"]),
            ("einhyrningsinsctl -e louder qui", &[]),
            ("einhyrningsinsctl events --since ", &["start"]),
            ("einhyrningsinsctl events --since=start --until ", &["now"]),
            ("einhyrningsinsctl --completions ", &["bash", "fish", "zsh"]),
            ("einhyrningsinsctl --completions=", &["bash", "fish", "zsh"]),
            ("einhyrningsinsctl --completions=z", &["zsh"]),
            ("einhyrningsinsctl --man pro", &["protocol"]),
            ("einhyrningsinsctl --compl", &["--completions"]),
            (&by_path, &["socket-a", "socket-b"]),
            (&by_letter, &["socket-a", "socket-b"]),
            (&trace, &["website"]),
        ],
    );
}

#[test]
fn the_supervisors_options_are_completed_and_then_its_programs() {
    let folder = prepared();
    let shells = Shells::new(&folder);
    let directory = format!("einhyrningsins --chdir {}", folder.join("web").display());
    let file = format!("einhyrningsins -n 2 @{}", folder.join("socket-").display());
    let program = format!("einhyrningsins -n 2 {}", folder.join("bin/einhyr").display());
    offered(
        &shells,
        &[
            ("einhyrningsins --re", &["--ready", "--reexec-as", "--retries"]),
            ("einhyrningsins --ready ", &["accepting", "auto", "manual", "timer"]),
            ("einhyrningsins --ready=a", &["accepting", "auto"]),
            ("einhyrningsins --ready au", &["auto"]),
            ("einhyrningsins --stop-signal U", &["USR1", "USR2"]),
            ("einhyrningsins --stop-signal K", &[]),
            ("einhyrningsins -n 2 -b 127.0.0.1:80,r --signal-t", &["--signal-timeout"]),
            ("einhyrningsins -vn 2 --grac", &["--grace-period"]),
            ("einhyrningsins --drop-env-var EINHYR_TE", &["EINHYR_TEST"]),
            (&directory, &["web"]),
            (&file, &["socket-a", "socket-b"]),
            ("einhyrningsins @web.conf -n 2 --signal-t", &["--signal-timeout"]),
            ("einhyrningsins @web.conf -m manual einhyr-te", &["einhyr-test-program"]),
            ("einhyrningsins -n 2 @web.conf -- einhyr-te", &["einhyr-test-program"]),
            (&program, &["einhyr-test-program"]),
            ("einhyrningsins einhyr-te", &["einhyr-test-program"]),
            ("einhyrningsins -n 2 -- einhyr-te", &["einhyr-test-program"]),
            ("einhyrningsins -m manual einhyr-te", &["einhyr-test-program"]),
            ("einhyrningsins -m --ack-timeout 3 einhyr-te", &["einhyr-test-program"]),
            ("einhyrningsins einhyr-test-program --grac", &[]),
            ("einhyrningsins -n 2 einhyrningsinsctl upg", &["upgrade", "upgrade_fleet"]),
            ("einhyrningsins -- einhyrningsinsctl signal US", &["USR1", "USR2"]),
            ("einhyrningsins --completions f", &["fish"]),
        ],
    );
}

#[test]
fn what_bash_puts_into_a_line_takes_the_place_of_what_was_typed_and_of_no_more() {
    let folder = prepared();
    let shells = Shells::new(&folder);
    let at = folder.join("web").display().to_string();
    let lines = [
        (format!("einhyrningsins -n 2 @{at}si"), "te "),
        (format!("einhyrningsins --trace={at}si"), "te "),
        (format!("einhyrningsins -d{at}si"), "te "),
        (format!("einhyrningsins --chdir={at}"), "/ "),
        (format!("einhyrningsinsctl -- replay {at}si"), "te "),
        ("einhyrningsins --ready=man".to_owned(), "ual "),
        ("einhyrningsinsctl worker:a".to_owned(), "ck "),
        ("einhyrningsinsctl upgrade --env EINHYR_TE".to_owned(), "ST= "),
    ];
    let typed: Vec<&str> = lines.iter().map(|(line, _)| line.as_str()).collect();
    let Some(found) = shells.complete(Shell::Bash, &typed) else { return };
    for ((line, rest), found) in lines.iter().zip(found) {
        let made = found.told.first().map(|line| line.replace("/ ", " ").trim_end().to_owned());
        assert_eq!(made, Some(format!("{line}{}", rest.replace("/ ", "").trim_end())));
    }
}

#[test]
fn process_ids_and_generations_come_from_the_supervisor_that_the_line_is_about() {
    let (supervisor, pids) = sleepers(3, &[]);
    let folder = prepared();
    let mut shells = Shells::new(&folder);
    let socket = supervisor.socket().display().to_string();
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let all: Vec<&str> = pids.iter().map(String::as_str).collect();
    let line = |rest: &str| {
        format!("einhyrningsinsctl {}", rest.replace("SOCKET", &socket).replace("PID", &pids[0]))
    };
    let asked = [
        (line("-d SOCKET signal HUP "), &all[..]),
        (line("signal -d SOCKET HUP "), &all),
        (line("-dSOCKET signal HUP PID "), &all[1..]),
        (line("--socket-path=SOCKET worker:ack "), &all),
        (line("-d \"SOCKET\" worker:ping "), &all),
        (line("-d $EINHYR_TEST signal HUP "), &all),
        (line("-d \"${EINHYR_TEST}\" signal HUP "), &all),
        (line("--any-owner --socket-path SOCKET signal HUP PI").replace("PI", &pids[2]), &all[2..]),
        (line("-d SOCKET check --generation "), &["1"]),
        (line("-d SOCKET check --generation="), &["1"]),
        (line("-d /nowhere/at/all signal HUP "), &[]),
        (line("-d SOCKET inc "), &[]),
    ];
    shells.set("EINHYR_TEST", &socket);
    let cases: Vec<(&str, &[&str])> = asked.iter().map(|(line, words)| (line.as_str(), *words)).collect();
    offered(&shells, &cases);
    // By the environment, as whatever workers run has it.
    shells.set("EINHORN_SOCK_PATH", &socket);
    offered(&shells, &[("einhyrningsinsctl signal HUP ", &all)]);
    for shell in [Shell::Zsh, Shell::Fish] {
        let Some(found) = shells.complete(shell, &["einhyrningsinsctl signal HUP "]) else { continue };
        for (slot, pid) in pids.iter().enumerate() {
            let told = format!("slot {slot}, generation 1, healthy");
            let is_told = |line: &String| line.contains(pid.as_str()) && line.contains(&told);
            assert!(found[0].told.iter().any(is_told), "{shell:?}: {:?}", found[0].told);
        }
    }
}

#[test]
fn whoever_does_not_answer_is_not_waited_for() {
    let folder = prepared();
    let path = folder.join("silent");
    let _silent = UnixListener::bind(&path).expect("a socket can be bound");
    let shells = Shells::new(&folder);
    let line = format!("einhyrningsinsctl -d {} signal HUP ", path.display());
    let lines = vec![line.as_str(); 4];
    for shell in Shell::ALL {
        // How long it takes to begin does not count.
        let begin = Instant::now();
        if shells.complete(shell, &["einhyrningsinsctl inc "]).is_none() {
            continue;
        }
        let usual = begin.elapsed();
        let begin = Instant::now();
        let found = shells.complete(shell, &lines).expect("it was there before");
        let each = begin.elapsed().saturating_sub(usual) / 4;
        assert!(found.iter().all(|found| found.words.is_empty()), "{shell:?}: {found:?}");
        assert!(each < ENOUGH, "{shell:?}: {each:?}");
    }
}

#[test]
fn a_script_is_no_burden_for_who_reads_it() {
    let folder = prepared();
    let shells = Shells::new(&folder);
    for shell in Shell::ALL {
        // Not even to a shell that takes every variable that is not set, and every failure, for an error.
        let Some(said) = shells.load_strictly(shell) else { continue };
        assert_eq!(said, "loaded\n", "{shell:?}");
    }
}
