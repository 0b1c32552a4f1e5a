//! What `einhyrningsins` makes of its command lines.

use super::*;
use crate::{
    cli::{
        Nice, UsageError, any,
        bind::{BindSpec, Endpoint, Host, Inet},
    },
    fsm::{
        config::{AckMode, Config, Patience},
        signal::Signal,
        time::Millis,
    },
};
use proptest::prelude::*;
use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

/// On a system whose only programs are these.
fn parse<I: IntoIterator<Item = OsString>>(args: I) -> Result<Parsed, UsageError> {
    super::parse(args, |word| ["prog", "9"].iter().any(|program| word == *program), &no_files)
}

fn no_files(_: &Path) -> Result<Vec<u8>, String> {
    Err("there are no files".to_owned())
}

/// What a line, completed with a program, asks for.
fn options(line: &str) -> Options {
    bare(&format!("{line} prog"))
}

fn bare(line: &str) -> Options {
    match parse(words(line)) {
        Ok(Parsed::Run(options)) => *options,
        other => panic!("{line}: {other:?}"),
    }
}

fn error(line: &str) -> String {
    parse(words(line)).expect_err(line).to_string()
}

fn program(words: &[&str]) -> Workload {
    let mut words = words.iter().map(OsString::from);
    Workload::Program { program: words.next().unwrap(), args: words.collect() }
}

#[test]
fn the_defaults_are_those_of_the_core() {
    let core = Config::default();
    let expected = Options {
        number: core.target,
        binds: vec![],
        family: Family::Any,
        ack: AckMode::Auto(AUTO),
        retries: core.retries,
        exit_on_failure: core.exit_on_failure,
        command_name: None,
        socket_path: PathBuf::from("/tmp/einhorn.sock"),
        command_socket_as_fd: false,
        pidfile: None,
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
        grace: core.grace,
        stop_signal: None,
        backoff: core.backoff,
        backlog: None,
        max_unacked: None,
        max_surge: None,
        trace: None,
        alarm_upgrades: false,
        remarks: vec![],
        without_files: None,
        workload: program(&["prog"]),
    };
    assert_eq!(options(""), expected);
}

#[test]
fn typing_a_documented_default_changes_nothing() {
    for option in COMMAND_LINE.options() {
        if let Some(default) = option.default {
            // That alone chooses another mode.
            let ready = if option.key == Key::AckAfter { "--ready timer" } else { "" };
            let typed = options(&format!("{ready} --{} {default}", option.long));
            assert_eq!(typed, options(ready), "--{} {default}", option.long);
        }
    }
}

/// A line in which the option of this key matters, and a value for it.
fn sample(key: Key) -> (&'static str, &'static str) {
    match key {
        Key::Number | Key::Backlog | Key::Retries | Key::MaxUnacked | Key::MaxUpgradeAdditional => {
            ("prog", "2")
        }
        Key::Seconds | Key::AckAfter | Key::GracePeriod => ("prog", "2.5"),
        Key::AckTimeout => ("-m prog", "2.5"),
        Key::Ready => ("prog", "accepting"),
        Key::Bind => ("prog", "localhost:80,r"),
        Key::StopSignal => ("prog", "TERM"),
        Key::DropEnvVar => ("prog", "HOME"),
        Key::SocketPath | Key::Trace | Key::Chdir | Key::Pidfile | Key::Lockfile | Key::ReexecAs => {
            ("prog", "/run/x")
        }
        Key::Demo | Key::DemoWorker | Key::Man => ("", ""),
        Key::Completions => ("prog", "zsh"),
        Key::CommandName => ("prog", "web"),
        Key::Nice => ("prog", "1:2"),
        Key::Ipv4Only | Key::Ipv6Only | Key::Manual | Key::Verbose | Key::Quiet | Key::Syslog => ("prog", ""),
        Key::CommandSocketAsFd
        | Key::ExitOnFailure
        | Key::KillChildrenOnExit
        | Key::NoKeeper
        | Key::Fdstore
        | Key::Adopt => ("prog", ""),
        Key::Help | Key::Version | Key::UpgradeCheck | Key::CheckConfig => ("prog", ""),
    }
}

#[test]
fn every_option_of_the_table_has_an_effect_by_each_of_its_names() {
    for option in COMMAND_LINE.options() {
        let (line, value) = sample(option.key);
        assert_eq!(value.is_empty(), option.value.is_none(), "--{}", option.long);
        let longs = option.aliases.iter().chain([&option.long]).map(|long| format!("--{long}"));
        for name in longs.chain(option.short.map(|short| format!("-{short}"))) {
            let parsed = parse(words(&format!("{name} {value} {line}")));
            assert!(parsed.is_ok() && parsed != parse(words(line)), "{name}: {parsed:?}");
        }
    }
}

#[test]
fn values_are_understood() {
    let given = options(
        "-n 10000 -r1 -t 0.5 --stop-signal sigquit -s0 -l 16 --max-unacked 3 --max-upgrade-additional 2 \
         --syslog -v -d ./s -g --trace t --drop-env-var A --drop-env-var B --ack-after 0 \
         --chdir w --exit-on-failure -c web -e p -f l --reexec-as r -k --no-keeper --fdstore --adopt --nice -5:5",
    );
    let expected = Options {
        number: 10_000,
        binds: vec![],
        family: Family::Any,
        ack: AckMode::After(Millis(0)),
        retries: 1,
        exit_on_failure: true,
        command_name: options("-c web").command_name,
        socket_path: PathBuf::from("./s"),
        command_socket_as_fd: true,
        pidfile: Some(PathBuf::from("p")),
        reexec_as: Some(PathBuf::from("r")),
        lockfile: Some(PathBuf::from("l")),
        kill_children_on_exit: true,
        no_keeper: true,
        fdstore: true,
        adopt: true,
        nice: Some(Nice { supervisor: -5, worker: Some(5) }),
        drop_env: vec!["A".into(), "B".into()],
        drop_env_later: vec![],
        chdir: Some(PathBuf::from("w")),
        verbosity: Verbosity::Verbose,
        syslog: true,
        grace: Millis(500),
        stop_signal: Some(Signal::Quit),
        backoff: Millis(0),
        backlog: Some(16),
        max_unacked: Some(3),
        max_surge: Some(2),
        trace: Some(PathBuf::from("t")),
        alarm_upgrades: false,
        remarks: vec![],
        without_files: None,
        workload: program(&["prog"]),
    };
    assert_eq!(given, expected);
}

#[test]
fn the_last_of_several_counts_unless_the_option_repeats() {
    let given = options("-n 2 --number=3 -b a:1 --bind b:2,n");
    assert_eq!(given.number, 3);
    assert_eq!(given.binds, ["a:1".parse().unwrap(), "b:2,n".parse().unwrap()]);
}

#[test]
fn the_program_keeps_its_own_options() {
    assert_eq!(bare("-m prog -n 3 -- --help").workload, program(&["prog", "-n", "3", "--", "--help"]));
    assert_eq!(bare("-m -- -odd -n").workload, program(&["-odd", "-n"]));
}

#[test]
fn the_program_and_paths_need_not_be_utf_8() {
    let bad = || OsString::from_vec(b"\xff\n".to_vec());
    let Ok(Parsed::Run(options)) = parse(["-d".into(), bad(), bad(), bad()]) else { panic!() };
    assert_eq!(options.workload, Workload::Program { program: bad(), args: vec![bad()] });
    assert_eq!(options.socket_path, PathBuf::from(bad()));
}

#[test]
fn a_missing_program_is_an_error() {
    for line in ["", "-n 3", "-m --"] {
        assert_eq!(parse(words(line)), Err(UsageError::NoProgram), "{line}");
    }
}

#[test]
fn a_wrong_option_is_told_before_a_missing_program() {
    assert_eq!(error("-n abc"), "--number: `abc` is not a number of workers; accepted: 1 to 10000");
}

#[test]
fn help_and_version_win_over_what_is_wrong_before_them() {
    assert_eq!(parse(words("-n abc --help --nonsense")), Ok(Parsed::Print(Text::Help)));
    assert_eq!(parse(words("-4 -6 -vh")), Ok(Parsed::Print(Text::Help)));
    assert_eq!(parse(words("--version")), Ok(Parsed::Print(Text::Version)));
}

#[test]
fn numbers_and_times_out_of_range_are_refused() {
    for (line, accepted) in [
        ("--number 0", "1 to 10000"),
        ("--number 10001", "1 to 10000"),
        ("--number -1", "1 to 10000"),
        ("--retries 0", "1 to 4294967295"),
        ("--backlog 0", "1 to 2147483647"),
        ("--backlog 2147483648", "1 to 2147483647"),
        ("--max-unacked 0", "1 to 10000"),
        ("--max-upgrade-additional 0", "1 to 10000"),
        ("--grace-period -1", "0 to 1000000, decimals allowed"),
        ("--grace-period nan", "0 to 1000000, decimals allowed"),
        ("--ack-after inf", "0 to 1000000, decimals allowed"),
        ("--ack-timeout 0", "0.001 to 1000000, decimals allowed"),
        ("--seconds 31", "0 to 30, decimals allowed"),
    ] {
        let (option, value) = line.split_once(' ').unwrap();
        let error = error(&format!("{line} prog"));
        assert!(error.starts_with(&format!("{option}: `{value}` is not a ")), "{error}");
        assert!(error.ends_with(&format!("; accepted: {accepted}")), "{error}");
    }
}

#[test]
fn a_worker_cannot_be_asked_to_drain_by_what_it_cannot_catch() {
    let accepted = "accepted: auto, HUP, INT, QUIT, USR1, USR2, TERM, TSTP,";
    for (name, why) in [
        ("KILL", "is a signal that no worker can catch"),
        ("sigstop", "is a signal that no worker can catch"),
        ("15", "is not the name of a signal"),
        ("USR3", "is not the name of a signal"),
    ] {
        let error = error(&format!("--stop-signal {name} prog"));
        assert!(error.starts_with(&format!("--stop-signal: `{name}` {why}; {accepted}")), "{error}");
    }
}

#[test]
fn a_bad_bind_is_told_why() {
    let rest = "has no :PORT; accepted: ADDR:PORT[,r][,n][,name=NAME], udp:ADDR:PORT";
    assert!(error("-b localhost prog").starts_with(&format!("--bind: `localhost` {rest}")));
    let rest = "has the name of another socket; accepted: a name for each";
    assert_eq!(error("-b a:1,name=x -b a:2 -b b:1,name=x prog"), format!("--bind: `b:1,name=x` {rest}"));
}

#[test]
fn a_literal_of_the_other_family_is_refused() {
    let rest = "is of the other family; accepted:";
    assert_eq!(
        error("-b [::1]:80 -4 prog"),
        format!("--bind: `[::1]:80` {rest} IPv4 addresses and host names, with --ipv4-only")
    );
    assert_eq!(
        error("-6 -b 1.2.3.4:80 prog"),
        format!("--bind: `1.2.3.4:80` {rest} IPv6 addresses and host names, with --ipv6-only")
    );
    assert_eq!(options("-4 -b localhost:80").family, Family::V4);
    assert_eq!(options("-6 -b localhost:80 -b [::1]:80").family, Family::V6);
}

#[test]
fn contradictions_are_refused() {
    for (line, one, other) in [
        ("-4 -6 prog", "--ipv4-only", "--ipv6-only"),
        ("-v -q prog", "--verbose", "--quiet"),
        ("-m --ack-after 1 prog", "--ack-after", "--manual"),
        ("--demo --ack-after 1", "--ack-after", "--demo"),
        ("--demo --ready timer", "--ready", "--demo"),
        ("-m --ready auto prog", "--ready", "--manual"),
        ("--ready manual --ack-after 1 prog", "--ack-after", "--ready manual"),
        ("--demo --demo-worker", "--demo", "--demo-worker"),
    ] {
        let error = error(line);
        assert!(error.starts_with(&format!("{one} and {other} do not go together: ")), "{error}");
    }
}

const AUTO: Patience = Patience { after: Millis(1_000), timeout: Millis(30_000) };

#[test]
fn how_a_worker_is_ready_is_chosen_by_ready_or_by_the_options_of_a_way() {
    assert_eq!(options("--ready auto").ack, AckMode::Auto(AUTO));
    let slower = Patience { after: Millis(3_000), timeout: Millis(60_000) };
    assert_eq!(options("--ready auto --ack-after 3 --ack-timeout 60").ack, AckMode::Auto(slower));
    assert_eq!(options("--ready accepting --ack-after 3 --ack-timeout 60").ack, AckMode::Accepting(slower));
    assert_eq!(options("--ack-timeout 60").ack, AckMode::Auto(Patience { timeout: Millis(60_000), ..AUTO }));
    assert_eq!(options("--ready manual").ack, options("-m").ack);
    assert_eq!(options("-m --ready manual").ack, options("-m").ack);
    assert_eq!(options("--ready timer").ack, AckMode::After(Millis(1_000)));
    assert_eq!(options("--ready timer --ack-after 2").ack, options("--ack-after 2").ack);
    let said = error("--ready soon prog");
    assert!(
        said.contains("`soon` is no way to tell") && said.ends_with("auto, accepting, manual, timer"),
        "{said}"
    );
}

#[test]
fn manual_mode_waits_for_a_report() {
    assert_eq!(options("-m").ack, AckMode::Manual(Millis(30_000)));
    assert_eq!(options("--ack-timeout 2 -m").ack, AckMode::Manual(Millis(2_000)));
    assert_eq!(options("--ack-after 2").ack, AckMode::After(Millis(2_000)));
}

#[test]
fn what_einhorn_takes_behind_m_means_the_same_unless_it_is_a_program() {
    let manual = AckMode::Manual(Millis(30_000));
    for (line, ack, number) in [
        ("-m manual", manual, 1),
        ("--manual manual -n 3", manual, 3),
        ("-vm 2 -n 3", AckMode::After(Millis(2_000)), 3),
        ("-m 0.5 --", AckMode::After(Millis(500)), 1),
        ("-m", manual, 1),
    ] {
        let given = options(line);
        assert_eq!((given.ack, given.number, given.workload), (ack, number, program(&["prog"])), "{line}");
    }
    for (line, started) in [
        ("-m ./manual", ["./manual"].as_slice()),
        ("-m -- manual", &["manual"]),
        ("-m -- 2", &["2"]),
        ("-m 9 lives", &["9", "lives"]),
        ("-m -n 1 manual", &["manual"]),
        ("manual -m 2", &["manual", "-m", "2"]),
    ] {
        let given = bare(line);
        assert_eq!(given.workload, program(started), "{line}");
    }
    assert_eq!(parse(words("-m 2")), Err(UsageError::NoProgram));
    assert!(
        error("-m 2000000 prog").starts_with("--manual: `2000000` is not a time in seconds; accepted: 0 to")
    );
    for time in ["2s", "0.5s", "500ms", "1min", "2sec", "3m"] {
        let said = error(&format!("-m {time} prog"));
        assert!(
            said.starts_with(&format!("--manual: `{time}` is not a time in seconds; accepted: 0 to")),
            "{said}"
        );
    }
    assert_eq!(bare("-m 2stroke").workload, program(&["2stroke"]));
    assert!(error("-m 2 --ack-timeout 5 prog").starts_with("--ack-timeout does nothing without --ready "));
    assert_eq!(options("-m4").family, Family::V4);
    assert!(error("-m -m 2 prog").starts_with("--ack-after and --manual do not go together"));
}

#[test]
fn options_of_others_are_told_with_what_does_the_same() {
    for (line, named) in [
        ("--daemon", "service manager"),
        ("--workers 4", "--number COUNT"),
        ("-w 4", "--number COUNT"),
        ("--port=80", "--bind ADDR:PORT"),
        ("-port 80", "--bind ADDR:PORT"),
        ("--config x", "use @FILE"),
        ("--log x", "--syslog"),
        ("--user www", "User="),
        ("--ack-mode manual", "--manual"),
        ("-V", "`--version`"),
        ("-version", "`--version`"),
        ("-daemon", "service manager"),
        ("-m2", "--ack-after 2"),
        ("-m0.5", "--ack-after 0.5"),
        ("-mmanual", "did you mean `-m`?"),
    ] {
        let error = error(&format!("{line} prog"));
        assert!(error.starts_with("unknown option `-") && error.contains(named), "{line}: {error}");
    }
}

#[test]
fn a_time_limit_for_reports_means_nothing_where_time_alone_counts() {
    for line in ["--ack-after 1 --ack-timeout 2 prog", "--ready timer --ack-timeout 2 prog"] {
        assert_eq!(
            error(line),
            "--ack-timeout does nothing without --ready auto, accepting or manual: with --ack-after alone, a worker \
             that is alive for so long is ready"
        );
    }
}

#[test]
fn variables_are_named_without_a_value() {
    for line in ["--drop-env-var= prog", "--drop-env-var=A=b prog"] {
        let error = error(line);
        assert!(error.ends_with("is not the name of a variable; accepted: a name without ="), "{error}");
    }
}

#[test]
fn paths_are_not_empty() {
    assert!(error("--socket-path= prog").starts_with("--socket-path: '' cannot be the path of a socket"));
    for option in ["trace", "pidfile", "lockfile", "chdir"] {
        let said = error(&format!("--{option}= prog"));
        assert!(said.starts_with(&format!("--{option}: '' is not a path; accepted: ")), "{said}");
    }
}

#[test]
fn the_demo_brings_its_own_defaults() {
    let demo = bare("--demo");
    assert_eq!(demo.workload, Workload::Demo);
    assert_eq!(demo.number, 4);
    assert_eq!(demo.ack, AckMode::Manual(Millis(30_000)));
    assert_eq!(demo.binds, ["127.0.0.1:8080,r,n".parse().unwrap()]);
    assert_eq!(bare("--demo -6").binds, ["[::1]:8080,r,n".parse().unwrap()]);
}

#[test]
fn the_demo_listens_and_counts_as_told() {
    let demo = bare("--demo -n 1 -b localhost:0 --ack-timeout 3 -m");
    assert_eq!(demo.number, 1);
    assert_eq!(demo.ack, AckMode::Manual(Millis(3_000)));
    let inet = Inet { host: Host::Name("localhost".to_owned()), port: 0 };
    let endpoint = Endpoint::Tcp { inet, reuse_address: false };
    assert_eq!(demo.binds, [BindSpec { endpoint, nonblocking: false, name: None }]);
}

#[test]
fn the_built_in_programs_take_no_other() {
    for option in ["--demo", "--demo-worker"] {
        let rest = "cannot be run besides the built-in program; accepted: either";
        assert_eq!(
            error(&format!("{option} prog -x")),
            format!("{option}: `prog` {rest} {option} or a PROGRAM")
        );
    }
    assert_eq!(bare("--demo-worker").workload, Workload::DemoWorker);
}

/// Words of which command lines are made, valid and not.
fn any_word() -> impl Strategy<Value = OsString> {
    any::word(
        &COMMAND_LINE,
        "-[nb46mrdvqhtsl]{1,3}[0-9]{0,2}",
        "[0-9.]{1,4}|USR2|localhost:80,r|--|@x?|\\PC{0,5}",
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_words_are_understood_or_refused_in_one_line(words in prop::collection::vec(any_word(), 0..8)) {
        match parse(words) {
            Ok(Parsed::Run(options)) => prop_assert!(options.binds.iter().all(|bind| bind.fits(options.family))),
            Ok(Parsed::Print(_) | Parsed::Tell(_) | Parsed::Checked | Parsed::CheckConfig(_)) => {}
            Err(error) => prop_assert!(!error.to_string().contains(char::is_control)),
        }
    }
}

mod files;
mod service;
