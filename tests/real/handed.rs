//! Sockets that a service manager hands over: taken up, passed on, and refused.

use crate::{
    conventions::told,
    harness::{Folder, Supervisor, member, raw, text},
    probe::{own_address, puppet, puppet_args, python, start_through},
};
use miniserde::json::Value;
use nix::sys::signal::{Signal, kill};
use std::{
    net::{SocketAddr, TcpStream},
    os::unix::net::{UnixDatagram, UnixStream},
    path::Path,
};

/// Makes what its first argument says, sets the variables that its second one says, and becomes the rest. As
/// systemd does it: sockets from 3 on, without CLOEXEC.
const MANAGER: &str = r#"
import fcntl, os, socket, sys
def listening(family, kind, address, listen=True):
    it = socket.socket(family, kind)
    it.bind(address)
    if listen:
        it.listen()
    return it
def tcp(host, port): return listening(socket.AF_INET, socket.SOCK_STREAM, (host, int(port)))
def udp(host, port): return listening(socket.AF_INET, socket.SOCK_DGRAM, (host, int(port)), False)
def unix(path): return listening(socket.AF_UNIX, socket.SOCK_STREAM, path)
def dgram(path): return listening(socket.AF_UNIX, socket.SOCK_DGRAM, path, False)
def packets(path): return listening(socket.AF_UNIX, socket.SOCK_SEQPACKET, path)
def deaf(): return socket.socket()
def file(): return open("/dev/null")
held = eval(sys.argv[1])
high = [fcntl.fcntl(it.fileno(), fcntl.F_DUPFD, 100) for it in held]
os.closerange(3, 100)
for number, fd in enumerate(high):
    os.dup2(fd, 3 + number, inheritable=True)
os.closerange(100, 200)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(held)))
exec(sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"#;

fn start(folder: Folder, sockets: &str, variables: &str, args: &[String]) -> Supervisor {
    start_through(folder, &[&python(), "-c", MANAGER, sockets, variables], args)
}

fn tcp(address: SocketAddr) -> String {
    format!("tcp('{}', {})", address.ip(), address.port())
}

/// Starts with sockets, variables and options that are refused, in one line that says all of `named`.
#[track_caller]
fn refused(sockets: &str, variables: &str, options: &[&str], code: i32, named: &[&str]) {
    let folder = Folder::new();
    let args: Vec<String> = [options, &["sh", "-c", "touch \"${EINHORN_SOCK_PATH%/*}/started\""]]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut supervisor = start(folder, sockets, variables, &args);
    let ended = supervisor.await_exit();
    let log = supervisor.log();
    assert_eq!(ended, code, "{log}");
    for name in named {
        assert!(log.contains(name), "no {name} in: {log}");
    }
    assert!(!supervisor.folder.join("started").exists(), "a worker was started");
    assert!(supervisor.socket().symlink_metadata().is_err(), "the control socket is left");
}

#[test]
fn sockets_that_a_manager_hands_over_come_first_and_in_its_order() {
    let folder = Folder::new();
    let (web, dns, own) = (own_address(), own_address(), own_address());
    let (path, log) = (folder.join("web"), folder.join("messages"));
    let sockets = format!(
        "[{}, udp('{}', {}), unix('{}'), dgram('{}')]",
        tcp(web),
        dns.ip(),
        dns.port(),
        path.display(),
        log.display()
    );
    let names = "os.environ.update(LISTEN_FDNAMES='web.socket:unknown:web.socket:log', LISTEN_PIDFDID='7')";
    let args = puppet_args(&["-b", &format!("{own},name=own")], &["{fd:log}", "{fd:own}", "{fd:0}"]);
    let mut supervisor = start(folder, &sockets, names, &args);
    supervisor.await_healthy(1);
    let starter = format!("{web}=3;{}=5;{own}=7", path.display());
    for (name, value) in [
        ("EINHORN_FD_COUNT", "5"),
        ("EINHORN_FDS", "3 4 5 6 7"),
        ("EINHORN_FD_FAMILY_0", "AF_INET"),
        ("EINHORN_FD_FAMILY_3", "AF_UNIX"),
        ("LISTEN_FDS", "5"),
        ("LISTEN_FDNAMES", "web.socket:unknown:web.socket:log:own"),
        ("LISTEN_PIDFDID", "None"),
        ("SERVER_STARTER_PORT", &starter),
    ] {
        assert_eq!(told(&supervisor, name), value, "{name}");
    }
    assert_eq!(puppet(&supervisor, 0, "answer = sys.argv[1:]"), "['6', '7', '3']");
    let pid = supervisor.await_healthy(1)[0];
    assert_eq!(told(&supervisor, "LISTEN_PID"), pid.to_string());

    let status = supervisor.ctl_ok(&["status"]);
    let line = format!(
        "listening on {web} (web.socket, from the service manager), udp:{dns} (from the service manager), unix:{} \
         (web.socket, from the service manager), unix:{} (messages) (log, from the service manager), {own} (own)\n",
        path.display(),
        log.display()
    );
    assert!(status.contains(&line), "{status}");
    let status = supervisor.status();
    let Value::Array(sockets) = member(&status, "sockets") else { panic!("no sockets: {status:?}") };
    let from: Vec<&str> = sockets.iter().map(|socket| text(socket, "from")).collect();
    assert_eq!(from, ["manager", "manager", "manager", "manager", "bind"]);

    // They are those that were handed over, before and after an upgrade.
    for _ in 0..2 {
        for (number, connect) in [(0, true), (2, false)] {
            let _client: Box<dyn std::any::Any> = if connect {
                Box::new(TcpStream::connect(web).expect("somebody listens"))
            } else {
                Box::new(UnixStream::connect(&path).expect("somebody listens"))
            };
            let accept = format!("listeners[{number}].accept(); answer = 'yes'");
            assert_eq!(puppet(&supervisor, 0, &accept), "yes");
        }
        let client = UnixDatagram::unbound().expect("a socket");
        client.send_to(b"hello", &log).expect("it is there");
        assert_eq!(puppet(&supervisor, 0, "answer = listeners[3].recv(9)"), "b'hello'");
        supervisor.ctl_ok(&["upgrade"]);
        supervisor.await_healthy(1);
    }
    supervisor.ctl_ok(&["die", "--wait"]);
    assert_eq!(supervisor.await_exit(), 0);
    assert!(path.exists() && log.exists(), "the files are the manager's");
}

#[test]
fn what_is_handed_over_needs_no_bind_and_is_seen_being_served() {
    let (folder, address) = (Folder::new(), own_address());
    let code = "import socket; it = socket.socket(fileno=3)\nwhile True: it.accept()";
    let args = ["--ready", "accepting", "python3", "-c", code].map(str::to_owned);
    let mut supervisor = start(folder, &format!("[{}]", tcp(address)), "", &args);
    supervisor.await_healthy(1);
    assert_eq!(text(&supervisor.workers(|_| true)[0], "ready"), "seen");
    assert!(!supervisor.log().contains("no --bind"), "{}", supervisor.log());
}

#[test]
fn variables_for_another_process_are_ignored_and_reach_no_worker() {
    let (folder, address) = (Folder::new(), own_address());
    let variables = "os.environ.update(LISTEN_PID='1', LISTEN_FDS='nonsense', LISTEN_FDNAMES='a:b')";
    let mut supervisor = start(folder, &format!("[{}]", tcp(address)), variables, &puppet_args(&[], &[]));
    supervisor.await_healthy(1);
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        assert_eq!(told(&supervisor, name), "None", "{name}");
    }
    assert_eq!(told(&supervisor, "EINHORN_FD_COUNT"), "0");
    assert!(supervisor.log().contains("no --bind"), "{}", supervisor.log());
}

#[test]
fn what_is_wrong_with_the_variables_is_told() {
    let one = format!("[{}]", tcp(own_address()));
    for (variables, named) in [
        (
            "os.environ['LISTEN_FDS'] = 'x'",
            "LISTEN_FDS: `x` is not how many sockets there are; accepted: 1 to",
        ),
        ("os.environ['LISTEN_FDS'] = '-1'", "LISTEN_FDS: `-1` is not"),
        ("os.environ['LISTEN_FDS'] = '0'", "LISTEN_FDS: `0` is not"),
        ("os.environ['LISTEN_FDS'] = '2'", "descriptors 3 to 4 are open, and 4 is not"),
        ("os.environ['LISTEN_FDNAMES'] = 'a:b'", "LISTEN_FDNAMES: `a:b` has 2 names; accepted: 1 names"),
        ("os.environ['LISTEN_FDNAMES'] = 'a\\tb'", "LISTEN_FDNAMES: `a\\tb` has a name of socket 0"),
    ] {
        refused(&one, variables, &[], 1, &[named]);
    }
}

#[test]
fn what_workers_cannot_share_is_refused_by_its_number_and_name() {
    let folder = Folder::new();
    let path = folder.join("packets").display().to_string();
    for (socket, why) in [
        ("deaf()".to_owned(), "is a connection, or a socket that does not listen"),
        ("file()".to_owned(), "is not a socket"),
        (format!("packets('{path}')"), "is a socket of another kind"),
    ] {
        let sockets = format!("[{}, {socket}]", tcp(own_address()));
        let named =
            [&format!("LISTEN_FDS: descriptor 4 (odd) {why}"), "accepted: TCP and UNIX stream sockets"];
        refused(&sockets, "os.environ['LISTEN_FDNAMES'] = 'web:odd'", &[], 1, &named);
    }
    assert!(Path::new(&path).exists(), "it is not ours");
}

#[test]
fn an_option_does_not_contradict_what_was_handed_over() {
    let address = own_address();
    let one = format!("[{}]", tcp(address));
    let name = "os.environ['LISTEN_FDNAMES'] = 'web'";
    let other = format!("{},name=web", own_address());
    refused(&one, name, &["-b", &other], 2, &["--bind", &other, "handed over", "a name for each"]);
    let same = address.to_string();
    refused(&one, name, &["-b", &same], 1, &["cannot listen on", &same, "handed over"]);
    let reference = ["--", "sh", "{fd:1}"];
    refused(&one, name, &reference, 2, &["`{fd:1}`", "accepted: {fd:0}, {fd:web}; "]);
}

#[test]
fn a_handed_socket_that_a_worker_has_shut_down_listens_again_or_that_is_told() {
    let (folder, address) = (Folder::new(), own_address());
    let path = folder.join("web");
    let sockets = format!("[{}, unix('{}')]", tcp(address), path.display());
    let mut supervisor = start(folder, &sockets, "", &puppet_args(&[], &[]));
    let worker = supervisor.await_healthy(1)[0];
    puppet(&supervisor, 0, "[it.shutdown(socket.SHUT_RDWR) for it in listeners]");
    supervisor.await_log(&format!("{address}, which is shared by all; it listens again"));
    assert!(TcpStream::connect(address).is_ok(), "{}", supervisor.log());
    supervisor.await_log(&format!("unix:{}: cannot listen on", path.display()));
    assert!(path.exists(), "it is the manager's to make anew");

    // The manager has it, too, and is not taken for a process that was left behind.
    kill(raw(worker), Signal::SIGKILL).expect("it is there");
    supervisor.eventually("it is replaced", |me| (me.healthy() != [worker]).then_some(()));
    supervisor.await_healthy(1);
    supervisor.ctl_ok(&["die", "--wait"]);
    assert_eq!(supervisor.await_exit(), 0);
    assert!(!supervisor.log().contains("comes from no worker"), "{}", supervisor.log());
}
