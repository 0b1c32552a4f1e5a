//! Servers that nobody here wrote, as they come: each is started by the command line that the README prints for
//! it, without `--ready` or `--stop-signal`, is seen accepting, passes two upgrades under load, and goes when it is
//! told to. A release that hangs is taken back.

use crate::{
    harness::{Folder, SUPERVISOR, Supervisor, text},
    load::{Load, LoadPlan, Report, get},
    probe::own_address,
    readme,
    tools::{err, go_build, have, skip},
};
use nix::sys::signal::Signal;
use std::{fs, net::SocketAddr, process::Command};

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

const RACK: &str =
    "run ->(env) { [200, { 'Content-Type' => 'text/plain', 'Content-Length' => '3' }, [\"ok\\n\"]] }\n";

const PSGI: &str = "sub { [200, ['Content-Type' => 'text/plain', 'Content-Length' => 3], [\"ok\\n\"]] };\n";

const HAPROXY: &str = "defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
frontend here
  bind \"fd@${EINHORN_FD_0}\"
  http-request return status 200 content-type text/plain string ok
";

/// The folders are for whoever may not write to the system's.
const NGINX: &str = "worker_processes 1;
pid nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {
    listen 127.0.0.1:8080;
    return 200 ok;
  }
}
";

const NODE: &str = "const server = require('http').createServer((_, response) => response.end('ok\\n'));
server.listen({ fd: Number(process.env.EINHORN_FD_0) });
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  setInterval(() => server.closeIdleConnections(), 50);
});
";

/// As the documentation of `Shutdown` has it.
const GO: &str = "package main

import (
	\"context\"
	\"fmt\"
	\"net\"
	\"net/http\"
	\"os\"
	\"os/signal\"
	\"syscall\"
)

func main() {
	listener, err := net.FileListener(os.NewFile(3, \"listener\"))
	if err != nil {
		panic(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, \"ok\")
	})}
	stop, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		server.Shutdown(context.Background())
		close(done)
	}()
	server.Serve(listener)
	<-done
}
";

/// What the README prints: its address is taken by one of the test's own.
const ADDRESS: &str = "127.0.0.1:8080";

/// What makes a load: new connections, and such as are kept. A server that closes one of those as a request comes
/// leaves that to the client, which asks again.
const PLAN: LoadPlan = LoadPlan { fresh_threads: 2, keepalive_threads: 0, retrying_threads: 2 };

/// The command line that the README's table has for a server.
#[track_caller]
fn line(server: &str) -> &'static str {
    let row = readme::section("Ready, and asked to go").lines().find_map(|line| {
        let (name, rest) = line.strip_prefix("| ")?.split_once(" | `")?;
        (name == server).then_some(rest)
    });
    let row = row.unwrap_or_else(|| panic!("README.md has no command for {server}"));
    row.split_once('`').expect("it ends").0
}

/// Whether a program is there; if not, that is said.
fn is_there(program: &str) -> bool {
    let found = have("sh", &["-c", &format!("command -v {program}")]);
    if !found {
        skip(&format!("there is no {program}"));
    }
    found
}

/// A server under a supervisor of its own.
struct Server {
    name: &'static str,
    /// The file that it serves by, and what is in it.
    file: (&'static str, &'static str),
}

impl Server {
    /// Writes the file, with the address that is served on.
    fn prepare(&self, folder: &Folder, address: SocketAddr) {
        let (name, content) = self.file;
        let content = content.replace(ADDRESS, &address.to_string());
        fs::write(folder.join(name), content).expect("a file can be written");
    }

    /// Has a shell run the README's line, for two workers in that folder, and replaces them once they answer. The
    /// first were not seen if they took a second to begin; they are now, while they have nothing else to do, and who
    /// replaces them must be.
    #[track_caller]
    fn start(&self, folder: Folder, address: SocketAddr) -> Supervisor {
        let line = line(self.name).replace(ADDRESS, &address.to_string());
        let words = line.strip_prefix("einhyrningsins ").expect("a line for this program");
        let own = format!("exec {SUPERVISOR} -n 2 -d {}", folder.join("ctl").display());
        let place = folder.join("");
        let mut supervisor = Supervisor::start_in(folder, &[""; 0], |command| {
            let log = fs::File::create(place.join("log")).expect("a log can be made");
            *command = Command::new("sh");
            command.args(["-c", &format!("{own} {words}")]).current_dir(&place).env("PWD", &place);
            command.stdout(log.try_clone().expect("a log can be shared")).stderr(log);
        });
        supervisor.eventually("it answers", |_| get(address).ok());
        supervisor.ctl_ok(&["upgrade"]);
        supervisor
    }

    /// Sees that two upgrades lose nothing, and that what hangs is taken back.
    #[track_caller]
    fn is_upgraded(&self, supervisor: &mut Supervisor, address: SocketAddr) {
        let load = Load::start(address, PLAN);
        await_answers(supervisor, &load);
        for _ in 0..2 {
            supervisor.ctl_ok(&["upgrade"]);
            supervisor.await_healthy(2);
            let seen = supervisor.workers(|worker| text(worker, "ready") == "seen");
            assert_eq!(seen.len(), 2, "{}", supervisor.log());
            await_answers(supervisor, &load);
        }
        let output = supervisor.ctl(&["upgrade", "--timeout", "2", "--", "sleep", "600"]);
        assert_eq!(output.status.code(), Some(1), "{}", err(&output));
        assert!(err(&output).contains("rolled back: generation 4 serves with 2"), "{}", err(&output));
        supervisor.await_healthy(2);
        judge(self.name, &load.stop(), &supervisor.log());
    }

    /// The whole of it, by a program that must be there.
    #[track_caller]
    fn is_carried(&self, program: &str) {
        if is_there(program) {
            self.is_carried_in(Folder::new());
        }
    }

    #[track_caller]
    fn is_carried_in(&self, folder: Folder) {
        let address = own_address();
        self.prepare(&folder, address);
        let mut supervisor = self.start(folder, address);
        self.is_upgraded(&mut supervisor, address);
        // Those who were replaced have shown what they do at the signal that was chosen for them.
        supervisor.signal(Signal::SIGTERM);
        ends(supervisor);
    }
}

/// Prints a report of load, and sees that nothing was lost but by servers themselves.
#[track_caller]
pub(crate) fn judge(name: &str, report: &Report, log: &str) {
    println!(
        "{name}: {} requests ({} fresh, {} on {} kept connections), {} made again, {} failed",
        report.requests, report.fresh, report.keepalive, report.reconnects, report.retries, report.failures
    );
    let others: Vec<_> = report.failed.iter().filter(|reason| !is_dropped(reason)).collect();
    assert!(others.is_empty(), "{name}: {others:?} of {}\n{log}", report.requests);
    assert!(report.failures <= report.failed.len() as u64, "{name}: more than there are reasons kept\n{log}");
}

/// Whether the server closed a connection that it had just accepted, unread: that is its own, if it is told to go at
/// that moment. A connection that is refused is not, nor an answer that is cut or does not come, nor one on a
/// connection that was kept for a client that does not ask again.
fn is_dropped(reason: &str) -> bool {
    let unread = ["receive, after 0 bytes: Connection reset", "closed after 0 bytes of a head"];
    !reason.starts_with("KeepAlive") && unread.iter().any(|unread| reason.contains(unread))
}

/// Waits until some more requests of either kind were answered.
#[track_caller]
pub(crate) fn await_answers(supervisor: &mut Supervisor, load: &Load) {
    let then = load.so_far();
    supervisor.eventually("it answers", |_| {
        let now = load.so_far();
        (now.fresh >= then.fresh + 20 && now.keepalive >= then.keepalive + 20).then_some(())
    });
}

/// Sees that a supervisor ends that was told to, and that no worker had to be made to.
#[track_caller]
pub(crate) fn ends(mut supervisor: Supervisor) {
    assert_eq!(supervisor.await_exit(), 0, "{}", supervisor.log());
    for wrong in ["is still there", "no handler", "KILL"] {
        assert!(!supervisor.log().contains(wrong), "{wrong}: {}", supervisor.log());
    }
}

#[test]
fn gunicorn_is_carried() {
    Server { name: "gunicorn", file: ("app.py", WSGI) }.is_carried("gunicorn");
}

#[test]
fn uvicorn_is_carried() {
    Server { name: "uvicorn", file: ("app.py", ASGI) }.is_carried("uvicorn");
}

#[test]
fn hypercorn_is_carried() {
    Server { name: "hypercorn", file: ("app.py", ASGI) }.is_carried("hypercorn");
}

#[test]
fn unicorn_is_carried() {
    Server { name: "unicorn", file: ("config.ru", RACK) }.is_carried("unicorn");
}

#[test]
fn puma_is_carried() {
    Server { name: "puma", file: ("config.ru", RACK) }.is_carried("puma");
}

#[test]
fn starman_is_carried() {
    if have("perl", &["-MNet::Server::SS::PreFork", "-e1"]) {
        Server { name: "starman", file: ("app.psgi", PSGI) }.is_carried("starman");
    } else {
        skip("there is no Net::Server::SS::PreFork for Perl");
    }
}

#[test]
fn nginx_is_carried() {
    Server { name: "nginx", file: ("nginx.conf", NGINX) }.is_carried("nginx");
}

#[test]
fn haproxy_is_carried() {
    Server { name: "HAProxy", file: ("haproxy.cfg", HAPROXY) }.is_carried("haproxy");
}

#[test]
fn node_is_carried() {
    Server { name: "Node", file: ("server.js", NODE) }.is_carried("node");
}

/// Its runtime takes a socket over before it is served, so what is seen is half a proof, and time is the other half.
#[test]
fn a_server_in_go_is_carried() {
    if is_there("go") {
        let folder = Folder::new();
        go_build(&folder.script("server.go", GO), &folder.join("server").display().to_string());
        Server { name: "Go", file: ("server.go", GO) }.is_carried_in(folder);
    }
}
