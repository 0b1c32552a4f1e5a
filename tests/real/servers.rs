//! Servers that nobody here wrote, as they come: each is started by the command line that one would write first,
//! without `--ready` or `--stop-signal`, is seen accepting, and passes two upgrades under load. A release that hangs
//! is taken back.

use crate::{
    harness::{Folder, Supervisor, text},
    load::{Load, LoadPlan},
    tools::{err, have, skip},
};
use nix::sys::signal::Signal;
use std::fs;

const WSGI: &str = "def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '3')])
    return [b'ok\\n']
";

const ASGI: &str = "async def app(scope, receive, send):
    if scope['type'] != 'http':
        return
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'3')]})
    await send({'type': 'http.response.body', 'body': b'ok\\n'})
";

const HAPROXY: &str = "defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
frontend here
  bind \"fd@${EINHORN_FD_0}\"
  http-request return status 200 content-type text/plain string ok
";

const NODE: &str = "const server = require('http').createServer((_, response) => response.end('ok\\n'));
server.listen({ fd: Number(process.env.EINHORN_FD_0) });
process.on('SIGTERM', () => server.close(() => process.exit(0)));
";

/// Whether a program is there; if not, that is said.
fn is_there(program: &str) -> bool {
    let found = have("sh", &["-c", &format!("command -v {program}")]);
    if !found {
        skip(&format!("there is no {program}"));
    }
    found
}

/// A supervisor of two such servers; `file` is written where they run.
fn serve(words: &[&str], (name, content): (&str, &str)) -> Supervisor {
    let folder = Folder::new();
    fs::write(folder.join(name), content).expect("a file can be written");
    let place = folder.join("").display().to_string();
    let options = ["-n", "2", "-b", "127.0.0.1:0,r,n", "--chdir", &place, "--ack-timeout", "20", "--"];
    Supervisor::start_in(folder, &[&options, words].concat(), |_| {})
}

/// Such a server is seen, upgraded twice under load, and not replaced by what hangs.
#[track_caller]
fn is_carried(words: &[&str], file: (&str, &str)) {
    if !is_there(words[0]) {
        return;
    }
    let mut supervisor = serve(words, file);
    let address = supervisor.address(0);
    supervisor.eventually("both are seen", |me| {
        let seen = me.workers(|worker| text(worker, "phase") == "healthy");
        (seen.len() == 2 && seen.iter().all(|worker| text(worker, "ready") == "seen")).then_some(())
    });
    let load = Load::start(address, LoadPlan { fresh_threads: 2, keepalive_threads: 0 });
    for _ in 0..2 {
        let before = load.so_far().requests;
        supervisor.ctl_ok(&["upgrade"]);
        supervisor.eventually("it goes on", |_| (load.so_far().requests > before + 20).then_some(()));
    }
    let output = supervisor.ctl(&["upgrade", "--timeout", "2", "--", "sleep", "600"]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("rolled back: generation 3 serves with 2"), "{}", err(&output));
    let report = load.stop();
    // One that has accepted a connection and is then told to go may drop it unread; that is the server's own.
    assert!(report.failures * 500 <= report.requests, "{:?} of {}", report.failed, report.requests);
    supervisor.signal(Signal::SIGINT);
    assert_eq!(supervisor.await_exit(), 0, "{}", supervisor.log());
    assert!(!supervisor.log().contains("is still there"), "{}", supervisor.log());
}

#[test]
fn gunicorn_is_carried() {
    is_carried(&["gunicorn", "-w", "1", "app:app"], ("app.py", WSGI));
}

#[test]
fn uvicorn_is_carried() {
    is_carried(&["uvicorn", "--fd", "3", "app:app"], ("app.py", ASGI));
}

#[test]
fn hypercorn_is_carried() {
    is_carried(&["hypercorn", "--bind", "fd://3", "app:app"], ("app.py", ASGI));
}

#[test]
fn haproxy_is_carried() {
    is_carried(&["haproxy", "-f", "haproxy.cfg"], ("haproxy.cfg", HAPROXY));
}

#[test]
fn node_is_carried() {
    is_carried(&["node", "server.js"], ("server.js", NODE));
}
