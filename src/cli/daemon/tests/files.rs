//! `@FILE` on a command line.

use super::*;

/// What a line means where these are the files.
fn read(line: &str, files: &[(&str, &str)]) -> Result<Parsed, UsageError> {
    let read = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, text)| text.as_bytes().to_vec()).ok_or_else(|| "No such file".to_owned())
    };
    super::super::parse(words(line), |word| word == "prog", &read)
}

fn given(line: &str, files: &[(&str, &str)]) -> Options {
    match read(line, files) {
        Ok(Parsed::Run(options)) => *options,
        other => panic!("{line}: {other:?}"),
    }
}

/// The same as the words say that it comes to without files.
fn same(given: &Options) -> Options {
    let words = given.without_files.clone().expect("there are files");
    let Ok(Parsed::Run(again)) = parse(words.clone()) else { panic!("{words:?}") };
    assert_eq!(again.without_files, None);
    Options { without_files: given.without_files.clone(), ..*again }
}

#[test]
fn the_lines_of_a_file_are_as_if_they_were_typed_there() {
    let files = [
        ("a", "-n 3\n--bind a:1\n-vg\n--nice -5\n--pidfile '/run/my pid'\n-m manual\n"),
        ("b", "--number=4\n--bind=b:2"),
    ];
    let options = given("-n 2 @a -b c:3 @b prog -x @a", &files);
    assert_eq!(options.number, 4);
    assert_eq!(options.binds, ["a:1", "c:3", "b:2"].map(|bind| bind.parse().unwrap()));
    assert_eq!(options.verbosity, Verbosity::Verbose);
    assert!(options.command_socket_as_fd);
    assert_eq!(options.nice.unwrap().supervisor, -5);
    assert_eq!(options.pidfile, Some(PathBuf::from("/run/my pid")));
    assert_eq!(options.ack, AckMode::Manual(Millis(30_000)));
    assert_eq!(options.workload, program(&["prog", "-x", "@a"]), "arguments are the program's own");
    assert_eq!(same(&options), options);
    assert_eq!(given("@b -n 9 prog", &files).number, 9);
    assert_eq!(given("-n 9 @b -- prog", &files).number, 4);
}

#[test]
fn the_program_may_be_in_a_file_and_what_is_typed_takes_its_place() {
    let files = [("a", "-m\n-- /srv/x '@y z'\n-n 7"), ("b", "-- other"), ("d", "--demo")];
    let options = given("@a -n 2", &files);
    assert_eq!(options.workload, program(&["/srv/x", "@y z", "-n", "7"]));
    assert_eq!((options.number, same(&options)), (2, options.clone()));
    assert_eq!(given("@a @b", &files).workload, program(&["other"]));
    assert_eq!(given("@a prog -y", &files).workload, program(&["prog", "-y"]));
    assert_eq!(given("@a -- @z", &files).workload, program(&["@z"]));
    assert_eq!(same(&given("@a -- @z", &files)).workload, program(&["@z"]));
    assert_eq!(given("@d", &files).workload, Workload::Demo);
    assert!(read("@d @b", &files).unwrap_err().to_string().starts_with("--demo: `other` cannot be run"));
    assert_eq!(read("@d -n 0", &[("d", "")]).unwrap_err().to_string(), error("-n 0"));
    assert_eq!(read("@d", &[("d", "-m")]), Err(UsageError::NoProgram));
}

#[test]
fn a_sign_means_a_file_among_options_only() {
    let files = [("a", "-n 3"), ("m", "-m")];
    assert_eq!(given("-d @a prog", &files).socket_path, PathBuf::from("@a"));
    assert_eq!(given("--pidfile=@a prog", &files).pidfile, Some(PathBuf::from("@a")));
    assert_eq!(given("-- @a", &files).workload, program(&["@a"]));
    assert_eq!(given("./@a", &files).workload, program(&["./@a"]));
    assert_eq!(given("prog @a", &files).without_files, None);
    assert_eq!(given("-m @a prog", &files).number, 3);
    // What ends a file takes nothing from behind it.
    assert_eq!(given("@m 2", &files).workload, program(&["2"]));
    assert_eq!(read("--help @none", &files), Ok(Parsed::Print(Text::Help)));
    assert_eq!(read("@none --help", &files).unwrap_err().to_string().lines().count(), 1);
    assert_eq!(
        read("@h --nonsense", &[("h", "--version\nnonsense")]).unwrap_err().to_string().lines().count(),
        1
    );
    assert_eq!(read("@h --nonsense", &[("h", "--version\n--nonsense")]), Ok(Parsed::Print(Text::Version)));
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_file_and_line() {
    for (text, said) in [
        ("\n--numbr 3", "f:2: unknown option `--numbr`; did you mean `--number`?"),
        ("-x", "f:1: unknown option `-x`"),
        ("-number 3", "f:1: unknown option `-number`; did you mean `--number`?"),
        ("--workers 3", "f:1: unknown option `--workers`; use --number COUNT"),
        ("-m\n--number", "f:2: --number: its value is missing; accepted: --number COUNT"),
        ("-vn", "f:1: --number: its value is missing; accepted: --number COUNT"),
        ("-v=1", "f:1: -v: `1` is one value too many; accepted: -v alone"),
        ("# x\n-n 0", "f:2: --number: `0` is not a number of workers; accepted: 1 to 10000"),
        ("-n ''", "f:1: --number: '' is not a number of workers; accepted: 1 to 10000"),
        ("--bind localhost", "f:1: --bind: `localhost` has no :PORT; accepted: ADDR:PORT"),
        ("--chdir /srv/my app", "f:1: --chdir: `app` is one word too many; accepted: one option in a line; "),
        ("-m prog", "f:1: -m: `prog` is one word too many; accepted: one option in a line; "),
        ("-v -m", "f:1: -v: `-m` is one word too many; accepted: one option in a line; "),
        ("-n 3 prog", "f:1: -n: `prog` is one word too many; accepted: "),
        ("prog", "f:1: `prog` is no option; accepted: "),
        ("@g", "f:1: `@g` would be a file within a file; accepted: "),
        ("-d 'x", "f:1: `-d 'x` has a ' that is not closed; accepted: "),
        ("-t x\n-n x", "f:2: --number: `x` is not"),
    ] {
        let found = read("@f prog", &[("f", text), ("g", "")]).expect_err(text).to_string();
        assert!(found.starts_with(said), "{text}: {found}");
    }
    let found = read("@none prog", &[]).unwrap_err().to_string();
    assert!(
        found.starts_with("`@none` cannot be read: No such file; accepted: @ and the path of"),
        "{found}"
    );
    assert_eq!(read("--bogus @none", &[]).unwrap_err().to_string(), "unknown option `--bogus`");
}

#[test]
fn a_check_of_the_whole_needs_a_program() {
    let files = [("a", "-n 3")];
    let Ok(Parsed::CheckConfig(options)) = read("--check-config @a prog", &files) else { panic!() };
    assert_eq!(options.number, 3);
    assert_eq!(read("--check-config @a", &files), Err(UsageError::NoProgram));
    assert_eq!(read("--upgrade-check @a", &files), Ok(Parsed::Checked));
    assert!(read("--check-config -n 0 prog", &files).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_file_is_understood_or_refused_in_one_line(text in "(-n 3|--bind a:1|-m|--demo|-- x|[-@a-z '\"\\\\#\n=]){0,12}") {
        match read("@f prog", &[("f", &text)]) {
            Ok(Parsed::Run(options)) => prop_assert_eq!(&same(&options), &*options),
            Ok(_) => {}
            Err(error) => prop_assert!(!error.to_string().contains(char::is_control)),
        }
    }
}
