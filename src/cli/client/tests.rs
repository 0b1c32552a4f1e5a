//! What `einhyrningsinsctl` makes of its command lines.

use super::{super::order::Dispatch, *};
use crate::{cli::value::DEFAULT_SOCKET_PATH, protocol::command::Awaited};
use std::os::unix::ffi::OsStringExt as _;

fn parse_words(words: &[&str]) -> Result<Parsed, UsageError> {
    parse(words.iter().map(OsString::from))
}

fn options(words: &[&str]) -> Options {
    match parse_words(words) {
        Ok(Parsed::Run(options)) => *options,
        other => panic!("{words:?}: {other:?}"),
    }
}

/// What is to be sent, as words.
fn sent(options: &Options) -> Vec<Vec<String>> {
    let words = |order: &Order| match order {
        Order::Send(dispatch) => {
            [dispatch.name.to_owned()].into_iter().chain(dispatch.args.iter().cloned()).collect()
        }
        Order::Tell(text) => panic!("{text}"),
    };
    options.commands.iter().map(words).collect()
}

fn error(words: &[&str]) -> String {
    parse_words(words).unwrap_err().to_string()
}

#[test]
fn without_a_command_the_client_is_interactive() {
    let nothing =
        Options { socket_path: None, any_owner: false, json: false, timeout: None, commands: vec![] };
    assert_eq!(options(&[]), nothing);
}

#[test]
fn a_command_may_be_given_as_words() {
    let words = ["--json", "-d", "/run/x", "upgrade", "--canary", "1", "--soak", "9", "--", "a;b"];
    let given = options(&words);
    assert_eq!(sent(&given), [&words[3..]]);
    assert!(given.json);
    assert_eq!(given.socket_path, Some(PathBuf::from("/run/x")));
}

#[test]
fn options_stand_on_either_side_of_a_command_and_its_own_stay_with_it() {
    for words in [
        ["--json", "-d", "/run/x", "--any-owner", "inc", "3"],
        ["inc", "--json", "3", "--any-owner", "-d", "/run/x"],
        ["-d", "/run/x", "inc", "3", "--any-owner", "--json"],
    ] {
        let given = options(&words);
        assert_eq!(
            (sent(&given), given.json, given.any_owner),
            (vec![vec!["inc".into(), "3".into()]], true, true)
        );
        assert_eq!(given.socket_path, Some(PathBuf::from("/run/x")));
    }
    let words = ["upgrade", "--env", "-d=x", "--json", "--", "server", "--json", "-d", "y"];
    let given = options(&words);
    assert_eq!(sent(&given), [["upgrade", "--env", "-d=x", "--", "server", "--json", "-d", "y"]]);
    assert!(given.json && given.socket_path.is_none());
    let awaited = options(&["die", "--json", "--wait", "TERM"]).commands;
    let expected = Dispatch { name: "die", args: vec!["TERM".into()], awaited: Some(Awaited::End) };
    assert_eq!(awaited, [Order::Send(expected)]);
}

#[test]
fn help_for_one_command_is_asked_for_on_either_side_of_it() {
    let help = command::find("upgrade").unwrap().help();
    for words in [["upgrade", "--help"].as_slice(), &["upgrade", "-h"], &["upgrade", "--soak", "1", "--help"]]
    {
        assert_eq!(parse_words(words), Ok(Parsed::Tell(help.clone() + "\n")), "{words:?}");
    }
    for words in [["help", "upgrade"].as_slice(), &["-e", "help upgrade"], &["-e", "upgrade --help"]] {
        assert_eq!(options(words).commands, [Order::Tell(help.clone())], "{words:?}");
    }
    assert!(error(&["nonsense", "--help"]).starts_with("unknown command `nonsense`; accepted: "));
    assert!(error(&["help", "nonsense"]).starts_with("help: unknown command `nonsense`; accepted: "));
}

#[test]
fn a_command_that_there_is_not_is_a_usage_error_and_so_is_one_that_takes_something_else() {
    for (words, said) in [
        (["staus"].as_slice(), "unknown command `staus`; did you mean `status`?"),
        (&["stop"], "unknown command `stop`; did you mean `die [--wait] [SIG]`?"),
        (&["-e", "inc; restart"], "unknown command `restart`; did you mean `upgrade [OPTS]`?"),
        (&["set_workers"], "set_workers: the argument is missing"),
        (
            &["-e", "status; set_workers 0"],
            "set_workers: `0` is not a number of workers; it can be from 1 to 10000",
        ),
        (&["status", "--frob"], "status: unexpected argument `--frob`; it takes none"),
        (
            &["--canary", "1", "upgrade"],
            "unknown option `--canary`; it belongs behind `upgrade` and `upgrade_fleet`",
        ),
        (&["--wait", "die"], "unknown option `--wait`; it belongs behind `abort` and `die`"),
        (&["-V"], "unknown option `-V`; did you mean `--version`?"),
        (&["-version"], "unknown option `-version`; did you mean `--version`?"),
        (&["--socket", "x"], "unknown option `--socket`; use --socket-path PATH"),
    ] {
        let error = error(words);
        assert!(error.starts_with(said), "{words:?}: {error}");
    }
}

#[test]
fn quotes_are_understood_or_the_whole_is_refused() {
    let given = options(&["-e", "upgrade --env 'X=a;b c'; status"]);
    assert_eq!(sent(&given), [vec!["upgrade", "--env", "X=a;b c"], vec!["status"]]);
    let why = "has a ' that is not closed; accepted: commands, quoted as in a shell";
    assert_eq!(
        error(&["-e", "inc; upgrade --env 'X=a"]),
        format!("--execute: `inc; upgrade --env 'X=a` {why}")
    );
}

#[test]
fn help_tells_the_default_of_the_socket() {
    assert!(COMMAND_LINE.help().contains(DEFAULT_SOCKET_PATH));
}

#[test]
fn a_command_may_be_given_as_one_word() {
    assert_eq!(sent(&options(&["-e", "status"])), [["status"]]);
    assert_eq!(sent(&options(&["--execute= signal  HUP\t12 "])), [["signal", "HUP", "12"]]);
}

#[test]
fn several_commands_are_separated_by_semicolons() {
    let commands = [vec!["inc"], vec!["signal", "HUP"], vec!["status"]];
    for words in [["-e", "inc;signal HUP ; status;"].as_slice(), &["-e", "inc", "-e", ";signal HUP;;status"]]
    {
        assert_eq!(sent(&options(words)), commands, "{words:?}");
    }
}

#[test]
fn a_command_is_given_one_way_or_the_other() {
    let rest = "quote a command that has arguments, as in -e 'set_workers 4'";
    assert_eq!(
        error(&["-e", "set_workers", "4"]),
        format!("--execute and COMMAND do not go together: {rest}")
    );
}

#[test]
fn a_time_for_the_answer_is_in_seconds_and_not_none_at_all() {
    assert_eq!(options(&["--timeout", "2.5", "status"]).timeout, Some(Millis(2_500)));
    assert_eq!(options(&["status", "--timeout=2"]).timeout, Some(Millis(2_000)));
    // Behind an upgrade it is how long that may take.
    for words in [&["upgrade", "--timeout", "9"][..], &["upgrade_fleet", "--timeout=9"]] {
        let options = options(&[&["--timeout", "2"], words, &["-d", "/run/x"]].concat());
        assert_eq!(options.timeout, Some(Millis(2_000)));
        assert!(options.socket_path.is_some());
    }
    for time in ["0", "2s", "-1"] {
        assert!(error(&["--timeout", time, "status"]).contains("is not a time in seconds"), "{time}");
    }
}

#[test]
fn a_replay_takes_one_file_and_nothing_else() {
    let file = || OsString::from_vec(b"/tmp/\xff".to_vec());
    let Ok(Parsed::Errand(_, errand)) = parse(["replay".into(), file()]) else { panic!("no errand") };
    assert_eq!(errand, Errand::Replay(file().into()));
    let rest = "accepted: replay FILE";
    for (words, complaint) in [
        (["replay"].as_slice(), "COMMAND: `replay` needs the file of a trace; "),
        (&["replay", ""], "COMMAND: '' is not the path of a file; "),
        (&["replay", "one", "two"], "COMMAND: `two` is one word too many; "),
    ] {
        assert_eq!(error(words), format!("{complaint}{rest}"));
    }
    for (words, option) in
        [(["--json", "replay", "f"].as_slice(), "--json"), (&["-e", "inc", "replay", "f"], "--execute")]
    {
        assert!(error(words).starts_with(&format!("{option} and replay do not go together: ")));
    }
    let alone = "there is no command `replay`; `einhyrningsinsctl replay FILE` stands alone";
    assert_eq!(error(&["-e", "replay f"]), alone);
    let Ok(Parsed::Tell(help)) = parse_words(&["replay", "--help"]) else { panic!("no help") };
    assert!(help.starts_with("Usage: einhyrningsinsctl replay FILE\n"), "{help}");
}

#[test]
fn a_command_of_the_clients_own_takes_its_own_options_and_the_clients() {
    for words in [["-d", "/run/x", "check", "--min", "2"], ["check", "--min", "2", "-d", "/run/x"]] {
        let Ok(Parsed::Errand(options, Errand::Check(check))) = parse_words(&words) else {
            panic!("{words:?}")
        };
        assert_eq!(options.socket_path, Some(PathBuf::from("/run/x")));
        assert_eq!(check.least, crate::cli::tool::Least::Number(2));
    }
    let given = parse_words(&["--timeout", "2", "wait", "--timeout", "9", "--json"]);
    let Ok(Parsed::Errand(options, errand)) = given else { panic!("{given:?}") };
    assert_eq!((options.timeout, errand), (Some(Millis(2_000)), Errand::Wait(Some(Millis(9_000)))));
    assert!(options.json);
    for (words, said) in [
        (["check", "--min"].as_slice(), "--min: its value is missing"),
        (&["--min", "2", "check"], "unknown option `--min`; it belongs behind `check`, as in `check --min`"),
        (&["check", "--frob"], "unknown option `--frob`"),
        (&["-e", "inc", "check"], "--execute and check do not go together: "),
    ] {
        assert!(error(words).starts_with(said), "{words:?}: {}", error(words));
    }
}

#[test]
fn an_empty_command_is_refused() {
    for value in ["", " ", ";", " ; "] {
        let rest = "holds no command; accepted: commands, separated by semicolons";
        let shown = if value.is_empty() { "''".to_owned() } else { format!("`{value}`") };
        assert_eq!(error(&["-e", value]), format!("--execute: {shown} {rest}"));
    }
    assert_eq!(error(&[""]), "COMMAND: '' is no command; accepted: a command; --help lists them");
    assert!(error(&["inc", ""]).starts_with("inc: '' is not a number of workers"));
    let words = ["upgrade", "--", "sh", "-c", ""];
    assert_eq!(sent(&options(&words)), [words], "a program's arguments may be empty");
}

#[test]
fn commands_are_utf_8() {
    let bad = || OsString::from_vec(b"a\xff".to_vec());
    assert!(parse([bad()]).is_err());
    assert!(parse(["-e".into(), bad()]).is_err());
}

#[test]
fn help_and_version_win() {
    for (words, parsed) in [
        (["-e", "", "-h"], Parsed::Print(Text::Help)),
        (["--json", "--help", "--nonsense"], Parsed::Print(Text::Help)),
        (["-d", "", "--version"], Parsed::Print(Text::Version)),
    ] {
        assert_eq!(parse_words(&words), Ok(parsed));
    }
}

#[test]
fn a_page_or_a_script_is_told_in_place_of_a_run() {
    let told = |words: &[&str]| match parse_words(words) {
        Ok(Parsed::Tell(text)) => text.lines().next().unwrap_or_default().to_owned(),
        other => format!("{other:?}"),
    };
    assert!(told(&["--man"]).starts_with(".TH EINHYRNINGSINSCTL 1 "));
    for words in [&["--man", "protocol"], &["protocol", "--man"]] {
        assert!(told(words).starts_with(".TH EINHYRNINGSINS\\-PROTOCOL 7 "), "{}", told(words));
    }
    assert_eq!(told(&["--completions", "zsh"]), "#compdef einhyrningsinsctl");
    assert!(told(&["--completions=/usr/bin/fish"]).starts_with("# fish completion for einhyrningsinsctl"));
    let refused = |words: &[&str]| parse_words(words).unwrap_err().to_string();
    assert!(refused(&["--man", "upgrade"]).starts_with("--man: `upgrade` has no manual page; accepted: "));
    let shells = "--completions: `csh` is no shell that there is a script for; accepted: bash, zsh, fish";
    assert_eq!(refused(&["--completions", "csh"]), shells);
}

#[test]
fn a_shell_may_ask_what_a_supervisor_knows() {
    let parsed = parse_words(&["-d", "/run/x", "--any-owner", "--complete", "pids"]);
    let Ok(Parsed::Offer(options, Offer::Pids)) = parsed else { panic!("{parsed:?}") };
    assert!(options.any_owner && options.socket_path == Some("/run/x".into()));
    assert!(parse_words(&["--complete", "weather"]).is_err() && !COMMAND_LINE.help().contains("--complete "));
}

#[test]
fn help_tells_every_command_with_what_it_takes_and_does() {
    let help = COMMAND_LINE.help();
    let topic = help.split("\n\n").find_map(|topic| topic.strip_prefix("Commands:\n")).unwrap();
    let words = topic.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "status Show the supervisor, its workers and any upgrade under way. upgrade [OPTS] Replace the \
         workers a few at a time; waits for the end. upgrade_fleet [OPTS] Start ",
        " worker:ping PID For workers: this worker is alive. OPTS --canary N (so many go ahead), ",
    ] {
        assert!(words.contains(said), "{said} is not in:\n{help}");
    }
    for entry in COMMANDS {
        // Where it is long, what it does is on the next line.
        let term = format!("  {} ", entry.synopsis());
        assert_eq!(
            topic.lines().filter(|line| format!("{line} ").starts_with(&term)).count(),
            1,
            "{term} in:\n{help}"
        );
    }
}

#[test]
fn every_option_of_the_table_has_an_effect() {
    let nothing = parse_words(&[]);
    for option in COMMAND_LINE.options() {
        let sample = match option.key {
            Key::Execute => "status",
            Key::SocketPath => "/run/x",
            Key::Timeout => "2.5",
            Key::Completions => "fish",
            Key::Complete => "pids",
            Key::AnyOwner | Key::Json | Key::Help | Key::Version | Key::Man => "",
        };
        let long = format!("--{}", option.long);
        let parsed = parse_words(&[long.as_str(), sample][..1 + usize::from(option.value.is_some())]);
        assert!(parsed.is_ok() && parsed != nothing, "{long}: {parsed:?}");
    }
}
