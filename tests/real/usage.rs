//! Starts that are refused, and what is said about it.

use crate::{
    harness::{CLIENT, Folder, SUPERVISOR, Supervisor, rust_worker},
    probe::{Ended, own_address, run, run_in, start_through},
    tools::{have, skip},
};
use einhyrningsins::cli::daemon::COMMAND_LINE;
use std::{
    fs,
    net::{SocketAddr, ToSocketAddrs as _},
    path::Path,
    process::{Command, Stdio},
};

/// Starts with good options first and `args` after them, and sees that this is refused as a whole, in
/// two lines of which the first has all of `named`.
#[track_caller]
fn refused(args: &[&str], named: &[&str]) {
    let address = own_address();
    let bind = address.to_string();
    let all: Vec<&str> = ["-b", &bind].iter().chain(args).copied().collect();
    let ended = run_in(Folder::new(), &all, |command| {
        // Names that do not exist are not to take long.
        command.env("RES_OPTIONS", "timeout:1 attempts:1");
    });
    let Ended { code, stdout, stderr, .. } = &ended;
    assert_eq!(*code, 2, "{args:?}: {stderr}");
    assert_eq!(stdout, "", "{args:?}");
    let lines: Vec<&str> = stderr.lines().collect();
    let [what, hint] = lines.as_slice() else { panic!("{args:?}: not two lines: {stderr}") };
    assert!(what.starts_with("einhyrningsins: "), "{args:?}: {what}");
    for name in named {
        assert!(what.contains(name), "{args:?}: no {name} in: {what}");
    }
    assert_eq!(*hint, "Try 'einhyrningsins --help'.", "{args:?}");
    ended.left_nothing(Some(address));
}

#[test]
fn an_unknown_option_is_named_with_the_nearest_one() {
    refused(&["--frobnicate", "true"], &["`--frobnicate`"]);
    refused(&["--numbr", "2", "true"], &["`--numbr`", "`--number`"]);
    refused(&["-x", "true"], &["`-x`"]);
    refused(&["-vx", "true"], &["`-x`"]);
}

#[test]
fn an_option_of_another_supervisor_is_told_with_what_does_the_same() {
    for (words, what, instead) in [
        (&["--daemon"][..], "`--daemon`", "service manager"),
        (&["--workers", "4"], "`--workers`", "--number COUNT"),
        (&["--port", "80"], "`--port`", "--bind ADDR:PORT"),
        (&["--config", "x"], "`--config`", "use @FILE"),
        (&["--log", "x"], "`--log`", "standard error"),
        (&["--user", "www"], "`--user`", "User="),
        (&["-V"], "`-V`", "`--version`"),
        (&["-version"], "`-version`", "`--version`"),
        (&["-daemon"], "`-daemon`", "service manager"),
        (&["-m2"], "`-m2`", "--ack-after 2"),
    ] {
        refused(&[words, &["true"]].concat(), &["unknown option", what, instead]);
    }
}

/// Starts workers of a program with those options, and returns what the log says once they are healthy.
#[track_caller]
fn started(folder: Folder, options: &[&str], program: &[&str]) -> String {
    let mut supervisor = Supervisor::start_in(folder, &[options, program].concat(), |_| {});
    supervisor.await_log("up: ");
    supervisor.log()
}

#[test]
fn what_einhorn_takes_behind_m_means_the_same() {
    let (manual, sleep) = (rust_worker(), ["sleep", "600"]);
    let mut supervisor = Supervisor::start(&["-m", "manual", "-b", "127.0.0.1:0,r,n", &manual]);
    let pid = supervisor.await_healthy(1)[0];
    let words = fs::read(format!("/proc/{pid}/cmdline")).expect("a process");
    assert_eq!(words, format!("{manual}\0").into_bytes());
    // One that does not report never becomes healthy then, and does without.
    let mut supervisor =
        Supervisor::start(&[&["-m", "manual", "--ack-timeout", "0.1", "-r", "1"], &sleep[..]].concat());
    assert_eq!(supervisor.await_exit(), 1);
    started(Folder::new(), &["-m", "0.1", "-n", "2"], &sleep);
}

#[test]
fn a_program_with_the_name_of_a_mode_of_einhorns_is_the_program() {
    let folder = Folder::new();
    let reports = format!(
        "#!/bin/sh\necho \"this is $0\" >&2\n{CLIENT} -d $EINHORN_SOCK_PATH worker:ack $$\nexec sleep 600\n"
    );
    for name in ["manual", "2"] {
        folder.script(name, &reports);
    }
    let bin = folder.join("").display().to_string();
    for (words, name) in [(&["-m", "2"][..], "2"), (&["-m", "--", "manual"], "manual")] {
        let mut path = std::env::var("PATH").expect("a path");
        path.push_str(&format!(":{bin}"));
        let mut supervisor = Supervisor::start_in(Folder::new(), words, |command| {
            command.env("PATH", path);
        });
        supervisor.await_log(&format!("this is {bin}{name}"));
        supervisor.await_log("up: ");
    }
    started(Folder::new(), &["-m"], &[&format!("{bin}manual")]);
}

#[test]
fn a_start_without_sockets_is_said_once() {
    let (none, sleep) = ("no --bind: workers inherit no socket", ["--", "sleep", "600"]);
    let log = started(Folder::new(), &["-n", "2", "--ack-after", "0"], &sleep);
    assert_eq!(log.matches(none).count(), 1, "{log}");
    let log = started(Folder::new(), &["-b", "127.0.0.1:0", "--ack-after", "0"], &sleep);
    assert!(!log.contains(none), "{log}");
}

#[test]
fn a_missing_or_needless_value_is_told_with_the_options_form() {
    refused(&["-n"], &["--number", "COUNT"]);
    refused(&["--bind"], &["--bind", "ADDR:PORT"]);
    refused(&["--verbose=yes", "true"], &["--verbose", "`yes`"]);
}

#[test]
fn a_number_out_of_range_is_told_with_the_range() {
    for (option, name) in [
        ("-n", "--number"),
        ("-r", "--retries"),
        ("-l", "--backlog"),
        ("--max-unacked", "--max-unacked"),
        ("--max-upgrade-additional", "--max-upgrade-additional"),
    ] {
        for value in ["0", "abc", "-1", "1.5", "99999999999"] {
            refused(&[option, value, "true"], &[name, &format!("`{value}`"), "accepted: 1 to "]);
        }
        refused(&[option, "", "true"], &[name, "''", "accepted: 1 to "]);
    }
}

#[test]
fn a_time_out_of_range_is_told_with_the_range() {
    for option in ["--grace-period", "--seconds", "--ack-after"] {
        for value in ["-1", "soon", "1e3", "10000000"] {
            refused(&[option, value, "true"], &[option, &format!("`{value}`"), "accepted: 0 to "]);
        }
    }
    refused(&["-m", "--ack-timeout", "0", "true"], &["--ack-timeout", "`0`", "0.001 to"]);
    refused(&["-s", "31", "true"], &["--seconds", "`31`", "0 to 30"]);
}

#[test]
fn an_address_that_makes_no_sense_is_told_with_what_would() {
    for (value, why) in [
        ("127.0.0.1", "no :PORT"),
        ("127.0.0.1:", "0 to 65535"),
        ("127.0.0.1:70000", "0 to 65535"),
        ("127.0.0.1:http", "0 to 65535"),
        ("127.0.0.1:0,x", "flag `x`"),
        ("127.0.0.1:0,", "flag ``"),
        ("::1:80", "brackets"),
        ("[::1:80", "IPv6"),
        ("256.0.0.1:80", "IPv4"),
        (":80", "no address"),
        ("*:80", "0.0.0.0"),
        ("a b:80", "host name"),
    ] {
        refused(&["-b", value, "true"], &["--bind", &format!("`{value}`"), why, "ADDR:PORT[,r][,n]"]);
    }
}

#[test]
fn an_address_of_the_other_family_is_refused() {
    refused(&["-4", "-b", "[::1]:80", "true"], &["--bind", "`[::1]:80`", "--ipv4-only"]);
    refused(&["-6", "true"], &["--bind", "--ipv6-only", "IPv6 addresses"]);
}

#[test]
fn a_host_that_cannot_be_found_is_refused() {
    let name = "no-such-host.invalid";
    // Where no server of names can be reached, nobody says that there is none.
    let looked_up = (name, 0).to_socket_addrs().expect_err("no host").to_string();
    if !looked_up.contains("Temporary failure") {
        refused(&["-b", &format!("{name}:80"), "true"], &["--bind", name, "IPv4 address", "resolves"]);
    }
    // Nobody knows what this machine calls itself in IPv6, if anything.
    let found = ("localhost", 0).to_socket_addrs().expect("localhost");
    if !found.into_iter().any(|address| address.is_ipv6()) {
        let ended = run(&["-6", "-b", "localhost:80", "true"]);
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.contains("`localhost`") && ended.stderr.contains("IPv6"), "{}", ended.stderr);
        ended.left_nothing(None);
    }
}

#[test]
fn a_host_that_cannot_be_looked_up_for_the_moment_is_no_wrong_usage() {
    if !have("unshare", &["--net", "true"]) {
        return skip("unshare cannot take the network away");
    }
    // A network in which nobody can be asked.
    let starter = ["unshare", "--net"];
    let mut supervisor = start_through(Folder::new(), &starter, &["-b", "host.example:80", "true"]);
    let (code, log) = (supervisor.await_exit(), supervisor.log());
    assert_eq!(code, 1, "{log}");
    let said =
        "einhyrningsins: --bind: `host.example:80`: cannot find the address of host `host.example` now: ";
    assert!(log.starts_with(said) && log.contains("may work later") && !log.contains("--help"), "{log}");
}

#[test]
fn options_that_contradict_each_other_are_both_named() {
    for (args, one, other) in [
        (&["-4", "-6"][..], "--ipv4-only", "--ipv6-only"),
        (&["-v", "-q"], "--verbose", "--quiet"),
        (&["-m", "--ack-after", "1"], "--ack-after", "--manual"),
        (&["--ack-after", "1", "--ack-timeout", "5"], "--ack-timeout", "--ready"),
        (&["-m", "--ready", "timer"], "--ready", "--manual"),
        (&["--demo"], "--demo", "PROGRAM"),
    ] {
        refused(&[args, &["true"]].concat(), &[one, other]);
    }
}

#[test]
fn other_values_that_make_no_sense_are_told_with_what_would() {
    let long = "x".repeat(108);
    for (option, value, accepted) in [
        ("--stop-signal", "KILL", "TERM"),
        ("--stop-signal", "NOPE", "TERM"),
        ("--stop-signal", "15", "TERM"),
        ("--socket-path", "", "1 to 107 bytes"),
        ("--socket-path", &long, "1 to 107 bytes"),
        ("--drop-env-var", "", "without ="),
        ("--drop-env-var", "A=B", "without ="),
        ("--trace", "", "path"),
    ] {
        let shown = format!("`{}", value.get(..value.len().min(20)).unwrap_or(value));
        let value_named = if value.is_empty() { "''".to_owned() } else { shown };
        refused(&[option, value, "true"], &[option, &value_named, "accepted: ", accepted]);
    }
}

#[test]
fn something_to_run_is_needed() {
    refused(&[], &["PROGRAM", "--demo"]);
    refused(&["--"], &["PROGRAM"]);
    refused(&[""], &["PROGRAM: ''", "accepted: a program to run"]);
}

#[test]
fn a_message_is_one_line_whatever_was_typed() {
    refused(&["-n", "1\n2\x1b[2J", "true"], &["`1\\n2\\u{1b}[2J`"]);
}

/// Starts three workers of a program that cannot run.
#[track_caller]
fn cannot_run(folder: Folder, program: &str, codes: &[i32], named: &[&str]) {
    let address: SocketAddr = own_address();
    let ended = run_in(folder, &["-n", "3", "-b", &address.to_string(), "--", program], |_| {});
    let Ended { code, stderr, .. } = &ended;
    assert!(codes.contains(code), "{program}: {code}: {stderr}");
    let file = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or(program);
    for name in named.iter().chain([&file]) {
        assert!(stderr.contains(name), "{program}: no {name} in: {stderr}");
    }
    ended.left_nothing(Some(address));
}

#[test]
fn a_program_that_does_not_exist_is_127() {
    cannot_run(Folder::new(), "no-such-program-anywhere", &[127], &["No such file"]);
    cannot_run(Folder::new(), "/no/such/program", &[127], &["No such file"]);
    cannot_run(Folder::new(), "-n", &[127], &["No such file"]);
    cannot_run(Folder::new(), "/dev/null/program", &[127], &["Not a directory"]);
}

#[test]
fn a_program_that_cannot_be_executed_is_126() {
    let folder = Folder::new();
    let plain = folder.join("plain");
    fs::write(&plain, "#!/bin/sh\n").expect("a file can be written");
    cannot_run(folder, &plain.display().to_string(), &[126], &["ermission denied"]);

    cannot_run(Folder::new(), "/", &[126], &["Is a directory"]);

    let folder = Folder::new();
    let garbage = folder.script("garbage", "\x7fELF this is none");
    cannot_run(folder, &garbage, &[126], &["Exec format error"]);
}

#[test]
fn a_script_without_its_interpreter_is_127() {
    let folder = Folder::new();
    let script = folder.script("script", "#!/no/such/interpreter\n");
    cannot_run(folder, &script, &[127], &["No such file"]);
}

#[test]
fn help_mentions_every_option_and_version_tells_it() {
    for flag in ["-h", "--help"] {
        let ended = run(&[flag]);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
        for option in COMMAND_LINE.sections.iter().flat_map(|section| section.options) {
            let named = ended.stdout.contains(&format!("--{}", option.long));
            // A name that begins like a shown one is shown too.
            assert!(named || option.hidden, "--{} is not in the help", option.long);
            if let (Some(short), false) = (option.short, option.hidden) {
                assert!(ended.stdout.contains(&format!("-{short}, --{}", option.long)), "-{short}");
            }
        }
        ended.left_nothing(None);
    }
    let ended = run(&["--version"]);
    let version = format!("einhyrningsins {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, version.as_str(), ""));
    ended.left_nothing(None);
}

#[test]
fn help_that_cannot_be_printed_is_a_failure() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let ended = Command::new(SUPERVISOR).arg("--help").stdout(full).stdin(Stdio::null()).output();
    let ended = ended.expect("it runs");
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.starts_with("einhyrningsins: cannot print: "), "{said}");
}

#[test]
fn a_reference_or_a_name_that_means_nothing_is_refused() {
    let text = "`--fd={fd:1}`";
    refused(&["true", "--fd={fd:1}"], &["PROGRAM", text, "`{fd:1}`", "no socket", "accepted: {fd:0}; "]);
    refused(&["true", "{fd:web}"], &["`{fd:web}`", "no socket", "{{fd:web}} for that text itself"]);
    let (one, two) = (own_address().to_string() + ",name=web", own_address().to_string() + ",name=web");
    refused(&["-b", &one, "-b", &two, "true"], &["--bind", &two, "the name of another socket"]);
    for name in ["a:b", "", "7", "unknown", "a}"] {
        let bind = format!("127.0.0.1:80,name={name}");
        refused(&["-b", &bind, "true"], &["--bind", &bind, "1 to 255 printable ASCII", "name=NAME"]);
    }
}
