//! Servers that take one client after another and never wait for the next: there always is one.

use crate::{
    harness::{Folder, Supervisor, text},
    load::{Load, LoadPlan},
    probe::python,
    tools::Release,
};

/// Serves one client at a time, each for longer than it takes the next to come.
const SERVES: &str = r#"
import os, signal, socket, time
listener = socket.socket(fileno=3)
going = False
def go(*_):
    global going
    going = True
signal.signal(signal.SIGTERM, go)
body = f"worker 0 pid {os.getpid()} version {VERSION}\n"
answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
while not going:
    connection, _ = listener.accept()
    with connection:
        while b"\r\n\r\n" not in connection.recv(4096):
            pass
        time.sleep(0.02)
        connection.sendall(answer)
"#;

/// Is started, and takes nobody.
const HANGS: &str = "import signal\nsignal.pause()\n";

fn script(folder: &Folder, name: &str, code: &str) -> String {
    let text = format!("#!{}\nVERSION = {name:?}\n{code}", python());
    folder.script(name, &text)
}

#[test]
fn who_always_has_a_client_to_serve_is_seen_and_who_takes_none_is_not() {
    let folder = Folder::new();
    let [one, two] = ["one", "two"].map(|name| script(&folder, name, SERVES));
    let hangs = script(&folder, "hangs", HANGS);
    let release = Release::new(&folder, &one);
    let path = release.path();
    let args =
        ["-n", "2", "-b", "127.0.0.1:0", "--ready", "accepting", "--ack-timeout", "10", "--", path.as_str()];
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    supervisor.await_healthy(2);
    // So many that both workers find the next client waiting, and the new ones do, too.
    let plan = LoadPlan { fresh_threads: 12, keepalive_threads: 0, retrying_threads: 0 };
    let load = Load::start(supervisor.address(0), plan);
    supervisor.eventually("both serve", |_| (load.so_far().by_pid.len() == 2).then_some(()));

    release.switch(&two);
    supervisor.ctl_ok(&["upgrade"]);
    supervisor.await_healthy(2);
    for worker in supervisor.workers(|_| true) {
        assert_eq!(text(&worker, "ready"), "seen", "{}", supervisor.log());
    }

    release.switch(&hangs);
    let output = supervisor.ctl(&["upgrade", "--timeout", "2"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    supervisor.await_healthy(2);

    let report = load.stop();
    assert_eq!((report.failures, &report.failed[..]), (0, &[][..]));
    assert!(report.by_version.contains_key("two"), "{:?}", report.by_version);
}
