//! What the service is called, how nice its processes are, and whether all of that makes sense.

use super::*;

#[test]
fn a_named_service_has_a_control_socket_of_that_name_unless_its_path_is_said() {
    assert_eq!(options("-c web").socket_path, PathBuf::from("/tmp/einhorn-web.sock"));
    assert_eq!(options("-c web --command-name db").socket_path, PathBuf::from("/tmp/einhorn-db.sock"));
    assert_eq!(options("-d /run/x -c web").socket_path, PathBuf::from("/run/x"));
    let (long, rest) = ("x".repeat(90), "accepted: a shorter name, or --socket-path");
    let said = error(&format!("-c {long} prog"));
    assert!(said.starts_with("--command-name: `xx") && said.ends_with(rest), "{said}");
    assert_eq!(options(&format!("-c {long} -d /run/x")).socket_path, PathBuf::from("/run/x"));
    assert!(
        error("-c a/b prog").starts_with("--command-name: `a/b` cannot be the name of a service; accepted")
    );
}

#[test]
fn niceness_is_what_the_kernel_knows() {
    assert_eq!(options("--nice -20").nice, Some(Nice { supervisor: -20, worker: None }));
    assert!(
        error("--nice 20 prog").starts_with("--nice: `20` is not how nice processes can be; accepted: SUP")
    );
    assert!(error("--nice 1:2:3 prog").starts_with("--nice: `1:2:3` is not how nice"));
}

#[test]
fn a_check_finds_what_a_run_would_except_that_there_is_no_program() {
    for line in [
        "--upgrade-check",
        "-n 3 --upgrade-check --",
        "--upgrade-check -b a:1 prog -x",
        "--demo --upgrade-check",
    ] {
        assert_eq!(parse(words(line)), Ok(Parsed::Checked), "{line}");
    }
    assert!(error("--upgrade-check -n 0").starts_with("--number: `0` is not"));
    assert!(error("--upgrade-check -4 -6 prog").starts_with("--ipv4-only and --ipv6-only"));
    assert!(error("--gc-before-fork prog").starts_with("unknown option `--gc-before-fork`"));
}
