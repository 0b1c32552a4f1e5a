//! What an einhorn's command lines come to.

use super::*;
use crate::{
    cli::{
        Nice, UsageError, any,
        bind::Family,
        daemon::{Options, Verbosity, Workload},
    },
    fsm::{
        config::{AckMode, Config, SPAN},
        signal::Signal,
        time::Millis,
    },
};
use proptest::prelude::*;
use std::os::unix::ffi::OsStringExt as _;

fn read(line: &str) -> Result<Parsed, UsageError> {
    parse(line.split_whitespace().map(OsString::from), Path::new("/run"))
}

fn bare(line: &str) -> Options {
    match read(line) {
        Ok(Parsed::Run(options)) => *options,
        other => panic!("{line}: {other:?}"),
    }
}

/// What a line, completed with a program, asks for.
fn options(line: &str) -> Options {
    bare(&format!("{line} -- prog"))
}

fn error(line: &str) -> String {
    read(&format!("{line} -- prog")).expect_err(line).to_string()
}

fn program(words: &[&str]) -> Workload {
    let mut words = words.iter().map(OsString::from);
    Workload::Program { program: words.next().unwrap(), args: words.collect() }
}

fn name(text: &str) -> crate::cli::ServiceName {
    options(&format!("-c {text}")).command_name.unwrap()
}

#[test]
fn the_defaults_are_einhorns() {
    let core = Config::default();
    let expected = Options {
        number: 1,
        binds: vec![],
        family: Family::V4,
        ack: AckMode::After(Millis(1_000)),
        retries: core.retries,
        exit_on_failure: false,
        command_name: None,
        socket_path: PathBuf::from("/run/einhorn.sock"),
        command_socket_as_fd: false,
        pidfile: Some(PathBuf::from("/run/einhorn.pid")),
        reexec_as: None,
        lockfile: None,
        kill_children_on_exit: false,
        no_keeper: false,
        fdstore: false,
        adopt: false,
        nice: None,
        drop_env: vec![],
        drop_env_later: vec![],
        chdir: None,
        verbosity: Verbosity::Normal,
        syslog: false,
        grace: *SPAN.end(),
        stop_signal: Some(Signal::Usr2),
        backoff: Millis(1_000),
        backlog: Some(100),
        max_unacked: None,
        max_surge: None,
        trace: None,
        alarm_upgrades: true,
        remarks: vec![],
        without_files: None,
        workload: program(&["prog"]),
    };
    assert_eq!(options(""), expected);
}

#[test]
fn a_deployments_line_is_understood() {
    let given = bare("-c relic -d /s -e /p -f /l -m manual -q -b 127.0.0.1:80 -b h:81,R,n -- prog -x --help");
    let expected = Options {
        command_name: Some(name("relic")),
        socket_path: PathBuf::from("/s"),
        pidfile: Some(PathBuf::from("/p")),
        reexec_as: None,
        lockfile: Some(PathBuf::from("/l")),
        ack: AckMode::Manual(*SPAN.end()),
        verbosity: Verbosity::Quiet,
        binds: vec!["127.0.0.1:80".parse().unwrap(), "h:81,r,n".parse().unwrap()],
        workload: program(&["prog", "-x", "--help"]),
        ..options("")
    };
    assert_eq!(given, expected);
}

#[test]
fn every_option_is_understood_in_each_of_its_forms() {
    for line in [
        "-n 3 -t 2 -s 0.5 -l 5 -gk --max-unacked 2 --max-upgrade-additional 1 --nice 1:2 --drop-env-var A --drop-env-var B",
        "-n3 -t2 -s0.5 -l5 -kg --max-unacked=2 --max-upgrade-additional=1 --nice=1:2:/bin/renice --drop-env-var=A \
         --drop-env-var=B",
        "--number 3 --signal-timeout=2 --sec 0.5 --back=5 --command-s --kill --max-un 2 --max-up 1 --ni 1:2 --drop A --dr B",
        "--number=3 --signal-timeout 2 --seconds=0.5 --backlog=5 --command-socket-as-fd --kill-children-on-exit \
         --max-unacked 2 --max-upgrade-additional 1 --nice 1:2 --drop-env-var A --drop-env-var B",
    ] {
        let expected = Options {
            number: 3,
            grace: Millis(2_000),
            backoff: Millis(500),
            backlog: Some(5),
            command_socket_as_fd: true,
            kill_children_on_exit: true,
            max_unacked: Some(2),
            max_surge: Some(1),
            nice: Some(Nice { supervisor: 1, worker: Some(2) }),
            drop_env_later: vec!["A".into(), "B".into()],
            ..options("")
        };
        assert_eq!(options(line), expected, "{line}");
    }
    assert_eq!(options("-s 60").backoff, Millis(30_000));
}

#[test]
fn files_are_called_by_the_service() {
    let given = options("-c web");
    assert_eq!(given.socket_path, PathBuf::from("/run/einhorn-web.sock"));
    assert_eq!(given.pidfile, Some(PathBuf::from("/run/einhorn-web.pid")));
    assert_eq!(given.lockfile, None);
}

#[test]
fn a_mode_of_acknowledgement_always_has_a_value() {
    for (line, ack) in [
        ("-m manual", AckMode::Manual(*SPAN.end())),
        ("--ack-mode=manual", AckMode::Manual(*SPAN.end())),
        ("-mmanual", AckMode::Manual(*SPAN.end())),
        ("-m 0", AckMode::After(Millis(0))),
        ("-m2.5", AckMode::After(Millis(2_500))),
    ] {
        assert_eq!(options(line).ack, ack, "{line}");
    }
    for mode in ["-m prog", "-m -n", "-m -1", "-m 2s"] {
        let rest = "is no way to tell that a worker is up; accepted: manual, or a time in seconds";
        assert!(error(mode).ends_with(rest), "{mode}: {}", error(mode));
    }
    assert!(read("-m").unwrap_err().to_string().starts_with("--ack-mode: its value is missing"));
}

#[test]
fn louder_and_quieter_are_steps() {
    for (line, verbosity) in [
        ("-q", Verbosity::Quiet),
        ("-v", Verbosity::Verbose),
        ("-qqv", Verbosity::Normal),
        ("-vq", Verbosity::Normal),
        ("-q -v -q", Verbosity::Quiet),
        ("-vvv", Verbosity::Verbose),
    ] {
        assert_eq!(options(line).verbosity, verbosity, "{line}");
    }
}

#[test]
fn what_can_be_bound_is_what_einhorn_binds() {
    let given = options("-b 0.0.0.0:0,so_reuseaddr,O_NONBLOCK -b unix:80 -b localhost:1,x");
    assert_eq!(given.binds[0], "0.0.0.0:0,r,n".parse().unwrap());
    assert_eq!(given.binds[1].inet().unwrap().port, 80, "a host that is called unix");
    assert_eq!(given.remarks, ["--bind localhost:1,x: the flag `x` means nothing"]);
    for (bind, why) in [
        ("localhost", "has no :PORT"),
        ("localhost:x", "has a port that is not a number"),
        ("localhost:65536", "has a port that is not a number"),
        ("[::1]:80", "does not start with an IPv4 address"),
        (":80", "has no address"),
        ("a:80,", "has the flag ``"),
        ("a:80,name=x", "has the flag `name=x`"),
        ("unix:/x", "has a port that is not a number"),
    ] {
        let said = error(&format!("-b {bind}"));
        assert!(said.starts_with(&format!("--bind: `{bind}` {why}")), "{said}");
        assert!(said.ends_with("accepted: ADDR:PORT[,r][,n], with an IPv4 address or a host name"), "{said}");
    }
}

#[test]
fn arguments_stay_as_they_are_but_for_sockets_in_them() {
    assert_eq!(
        bare("prog {fd:0} {{fd:x}} {fd:").workload,
        program(&["prog", "{{fd:0}}", "{{{fd:x}}}", "{fd:"])
    );
    let given = bare("-b a:1 prog srv:b:2,r --fd=srv:b:2 x=srv:c:3 srv:b xsrv:b:2");
    let words = ["prog", "{fd:srv1}", "--fd={fd:srv1}", "x={fd:srv2}", "srv:b", "xsrv:b:2"];
    assert_eq!(given.workload, program(&words));
    let binds = ["a:1", "b:2,r,name=srv1", "c:3,name=srv2"].map(|bind| bind.parse().unwrap());
    assert_eq!(given.binds, binds);
    let bad = OsString::from_vec(b"\xff{fd:0}".to_vec());
    let Ok(Parsed::Run(given)) = parse(["prog".into(), bad], Path::new("/")) else { panic!() };
    let args = vec![OsString::from_vec(b"\xff{{fd:0}}".to_vec())];
    assert_eq!(given.workload, Workload::Program { program: "prog".into(), args });
}

#[test]
fn without_a_program_there_is_usage_and_a_check_needs_none() {
    for line in ["", "-n 3", "--", "-h", "--help", "-qh --nonsense"] {
        assert_eq!(read(line), Ok(Parsed::Usage), "{line}");
    }
    for line in ["--upgrade-check", "--upgrade-check -- prog -x", "-n 3 --upgrade-check"] {
        assert_eq!(read(line), Ok(Parsed::Checked), "{line}");
    }
    assert_eq!(read("--version"), Ok(Parsed::Version));
    assert!(usage().starts_with("## Usage"));
    assert!(read("--upgrade-check -n 0").is_err() && read("-n x").is_err());
}

#[test]
fn what_changes_nothing_is_warned_of_once() {
    let given = options("--reexec-as=old --reexec-as new");
    assert_eq!((given.reexec_as, given.remarks), (Some(PathBuf::from("new")), Vec::new()));
    let words = ["--reexec-as", "bundle exec einhorn", "-p", "app.rb", "--gc-before-fork", "prog"];
    let Ok(Parsed::Run(given)) = parse(words.into_iter().map(OsString::from), Path::new("/run")) else {
        panic!("{words:?}");
    };
    let [reexec, preload, collect] = given.remarks.as_slice() else { panic!("{:?}", given.remarks) };
    assert!(reexec.starts_with("--reexec-as `bundle exec einhorn` has no effect: "), "{reexec}");
    assert!(preload.starts_with("--preload `app.rb` has no effect: "), "{preload}");
    assert!(collect.starts_with("--gc-before-fork has no effect: "), "{collect}");
}

#[test]
fn what_is_wrong_is_told() {
    for (line, said) in [
        ("-n 0", "--number: `0` is not a number of workers; accepted: 1 to"),
        ("-n x", "--number: `x` is not"),
        ("-l 0", "--backlog: `0` is not a number of connections; accepted: 1 to"),
        ("-s 0", "--seconds: `0` is not a time in seconds; accepted: 0.001 to"),
        ("-t x", "--signal-timeout: `x` is not a time in seconds; accepted: 0 to"),
        ("-c a/b", "--command-name: `a/b` cannot be"),
        ("-d=", "--socket-path: '' cannot be the path of a socket"),
        ("--pidfile=", "--pidfile: '' is not a path"),
        ("--lockfile=", "--lockfile: '' is not a path"),
        ("--nice 20", "--nice: `20` is not how nice"),
        ("--nice 1::x", "--nice: `1::x` is not how nice"),
        ("--drop-env-var A=b", "--drop-env-var: `A=b` is not the name of a variable"),
        ("--max-unacked 0", "--max-unacked: `0` is not a number of workers"),
        ("--max-upgrade-additional x", "--max-upgrade-additional: `x` is not"),
        ("--quiet=yes", "--quiet: `yes` is one value too many"),
        ("--with-state-fd 3", "unknown option `--with-state-fd`; einhorn gives it to itself only"),
        ("--retries 3", "unknown option `--retries`; einhyrningsins has --retries, called by its own name"),
        ("--max 3", "unknown option `--max`"),
        ("-x", "unknown option `-x`"),
    ] {
        assert!(error(line).starts_with(said), "{line}: {}", error(line));
    }
}

#[test]
fn the_folder_is_that_of_the_environment_if_there_is_one() {
    let folder = |set: &[(&str, &str)]| {
        let find = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        super::folder(find, |path| path.starts_with("/there"))
    };
    assert_eq!(folder(&[]), Path::new("/tmp"));
    assert_eq!(folder(&[("TMPDIR", "/there/a"), ("TMP", "/there/b")]), Path::new("/there/a"));
    assert_eq!(folder(&[("TMPDIR", "/gone"), ("TEMP", "/there/b")]), Path::new("/there/b"));
    assert_eq!(folder(&[("TMPDIR", "")]), Path::new("/tmp"));
}

#[test]
fn a_name_is_that_of_the_file_that_was_called() {
    for called in ["einhorn", "./einhorn", "/usr/bin/einhorn"] {
        assert!(is_called(OsStr::new(called), NAME), "{called}");
    }
    for called in ["", "einhornsh", "einhyrningsins", "einhorn/x", "-einhorn"] {
        assert!(!is_called(OsStr::new(called), NAME), "{called}");
    }
}

/// Words of which command lines are made, valid and not.
fn any_word() -> impl Strategy<Value = OsString> {
    any::word(
        &COMMAND_LINE,
        "-[bcdefgklmnpqstvh]{1,3}[0-9]{0,2}",
        "[0-9.:]{1,4}|manual|localhost:80,r|srv:a:1|--|\\PC{0,5}",
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_words_are_understood_or_refused_in_one_line(words in prop::collection::vec(any_word(), 0..8)) {
        if let Err(error) = parse(words, Path::new("/run")) {
            prop_assert!(!error.to_string().contains(char::is_control));
        }
    }
}
