//! The sockets that a worker inherits, told in every convention that programs know, and named in its arguments.

use crate::{
    harness::{Supervisor, member, number, raw, text},
    probe::{own_address, puppet, puppet_args, puppets},
};
use miniserde::json::Value;
use nix::sys::signal::{Signal, kill};

/// A variable of the worker in slot 0; `None` for one that it does not have.
#[track_caller]
pub(crate) fn told(supervisor: &Supervisor, name: &str) -> String {
    puppet(supervisor, 0, &format!("answer = os.environ.get({name:?})"))
}

#[test]
fn a_socket_is_told_of_in_the_words_of_einhorn_systemd_and_server_starter() {
    let address = own_address().to_string();
    let mut supervisor = puppets(&["-b", &address, "-b", "0.0.0.0:0"], &[]);
    supervisor.await_healthy(1);
    let port = supervisor.address(1).port();
    for (name, value) in [
        ("EINHORN_FDS", "3 4"),
        ("LISTEN_FDS", "2"),
        ("LISTEN_FDNAMES", "unknown:unknown"),
        ("SERVER_STARTER_PORT", &format!("{address}=3;{port}=4")),
        ("SERVER_STARTER_GENERATION", "1"),
    ] {
        assert_eq!(told(&supervisor, name), value, "{name}");
    }
}

#[test]
fn a_worker_finds_its_own_pid_after_each_start() {
    let mut supervisor = puppets(&["-b", "127.0.0.1:0"], &[]);
    let pid = |supervisor: &mut Supervisor| {
        let pid = supervisor.await_healthy(1)[0];
        assert_eq!(told(supervisor, "LISTEN_PID"), pid.to_string());
        pid
    };
    let first = pid(&mut supervisor);
    kill(raw(first), Signal::SIGKILL).expect("the worker is there");
    supervisor.eventually("it is replaced", |me| (me.healthy() != [first]).then_some(()));
    let second = pid(&mut supervisor);
    assert_ne!(second, first);
    supervisor.ctl_ok(&["upgrade"]);
    assert_ne!(pid(&mut supervisor), second);
    assert_eq!(told(&supervisor, "SERVER_STARTER_GENERATION"), "2");
    assert_eq!(number(&supervisor.status(), "generation"), 2);
}

#[test]
fn any_variable_can_be_hidden_and_without_sockets_there_are_fewer() {
    let hidden = ["LISTEN_PID", "LISTEN_FDS", "SERVER_STARTER_PORT", "EINHORN_FD_FAMILY_0"];
    let options: Vec<&str> = hidden.iter().flat_map(|name| ["--drop-env-var", name]).collect();
    let mut supervisor = puppets(&[&options[..], &["-b", "127.0.0.1:0"]].concat(), &[]);
    supervisor.await_healthy(1);
    for name in hidden {
        assert_eq!(told(&supervisor, name), "None", "{name}");
    }
    assert_eq!(told(&supervisor, "LISTEN_FDNAMES"), "unknown");

    let mut supervisor = puppets(&[], &[]);
    supervisor.await_healthy(1);
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "SERVER_STARTER_PORT"] {
        assert_eq!(told(&supervisor, name), "None", "{name}");
    }
    assert_eq!(told(&supervisor, "EINHORN_FDS"), "");
}

#[test]
fn a_socket_has_the_name_that_it_was_given() {
    let mut supervisor = puppets(&["-b", "127.0.0.1:0,r,name=web", "-b", "127.0.0.1:0"], &[]);
    supervisor.await_healthy(1);
    assert_eq!(told(&supervisor, "LISTEN_FDNAMES"), "web:unknown");
    let (web, other) = (supervisor.address(0), supervisor.address(1));
    let said = supervisor.ctl_ok(&["status"]);
    assert!(said.contains(&format!("listening on {web} (web), {other}\n")), "{said}");
    let status = supervisor.status();
    let Value::Array(sockets) = member(&status, "sockets") else { panic!("no sockets: {status:?}") };
    let [first, second] = sockets.as_slice() else { panic!("not two: {sockets:?}") };
    assert_eq!((text(first, "name"), text(first, "address")), ("web", web.to_string().as_str()));
    assert!(matches!(member(second, "name"), Value::Null), "{second:?}");
}

#[test]
fn arguments_name_the_descriptors_of_sockets_at_the_start_and_at_an_upgrade() {
    let words = ["{fd:0}", "--listen=fd@{fd:api}", "{{fd:0}}"];
    let binds = ["-b", "127.0.0.1:0", "-b", "127.0.0.1:0,name=api"];
    let mut supervisor = puppets(&binds, &words);
    let first = supervisor.await_healthy(1);
    let words = |supervisor: &Supervisor| puppet(supervisor, 0, "answer = sys.argv[1:]");
    assert_eq!(words(&supervisor), "['3', '--listen=fd@4', '{fd:0}']");
    supervisor.ctl_ok(&["upgrade"]);
    let second = supervisor.await_healthy(1);
    assert_ne!(first, second);
    assert_eq!(words(&supervisor), "['3', '--listen=fd@4', '{fd:0}']");

    let upgrade = |word: &str| puppet_args(&["upgrade", "--"], &[word]);
    for (word, what) in [("{fd:2}", "{fd:2}"), ("x{fd:web}", "{fd:web}")] {
        let output = supervisor.ctl(&upgrade(word));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let why =
            format!("`{word}` has `{what}`, which is no socket; accepted: {{fd:0}} to {{fd:1}}, {{fd:api}}");
        assert!(said.contains(&why) && said.contains("nothing was changed"), "{said}");
        assert!(supervisor.log().contains(&why), "{}", supervisor.log());
    }
    assert_eq!(supervisor.await_healthy(1), second);
    assert_eq!(number(&supervisor.status(), "generation"), 2);
    supervisor.ctl_ok(&upgrade("{fd:api}"));
    assert_eq!(words(&supervisor), "['4']");
}
