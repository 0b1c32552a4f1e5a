//! `einhyrningsinsctl serve`: metrics, probes, and the page, by those who ask properly and by those who do not.

use crate::{
    harness::{CLIENT, DEADLINE, Folder, Supervisor, eventually, member, number, raw, rust_worker},
    readme::section,
    tools::{err, have, list, open_many_files, out, python, releases, skip, sleepers},
};
use miniserde::json::{self, Value};
use nix::{
    sys::signal::{Signal, kill},
    unistd::geteuid,
};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::FileTypeExt as _,
        net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// An exporter.
struct Exporter {
    child: Child,
    place: String,
}

impl Exporter {
    fn start(supervisor: &Supervisor) -> Self {
        Self::at(&supervisor.socket(), "127.0.0.1:0", |_| {})
    }

    fn at(control: &Path, listen: &str, tune: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(CLIENT);
        command.arg("-d").arg(control).args(["serve", "--listen", listen]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        tune(&mut command);
        let mut child = command.spawn().expect("the client can be run");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its standard output");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it serves");
        let place = line.trim_end().strip_prefix("serving on ").expect("it serves").to_owned();
        Self { child, place }
    }

    fn address(&self) -> &str {
        self.place.trim_start_matches("http://").trim_end_matches('/')
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a limit");
        stream
    }

    /// Sends that, and returns all that comes back.
    fn say(&self, words: &[u8]) -> String {
        let mut stream = self.connect();
        // It may answer before it has heard all, and that is what counts.
        let _ = stream.write_all(words);
        read(&mut stream)
    }

    /// The status and the body for a path.
    fn get(&self, path: &str) -> (u16, String) {
        let answer = self.say(format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n").as_bytes());
        (code(&answer), answer.split_once("\r\n\r\n").expect("a head").1.to_owned())
    }

    fn ok(&self, path: &str) -> String {
        let (code, body) = self.get(path);
        assert_eq!(code, 200, "{path}: {body}");
        body
    }

    fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs").count()
    }

    fn end(&mut self, signal: Signal) -> Option<i32> {
        kill(raw(self.child.id()), signal).expect("it can be signalled");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(stream: &mut impl std::io::Read) -> String {
    let mut answer = Vec::new();
    // Whoever is sent away may be cut off.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn code(answer: &str) -> u16 {
    let code = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    code.unwrap_or_else(|| panic!("not an answer: {answer:?}"))
}

/// What a metric without labels comes to.
fn value(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// The names of all metrics there are.
fn families(metrics: &str) -> BTreeSet<String> {
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    types.map(str::to_owned).collect()
}

/// Runs the client, which is not to get as far as serving.
fn refused(listen: &str) -> Output {
    let mut client = Command::new(CLIENT);
    client.args(["serve", "--listen", listen]).stdin(Stdio::null()).output().expect("the client can be run")
}

#[test]
fn metrics_probes_and_the_status_tell_how_things_stand() {
    let (supervisor, _, pids) = releases(2, &[]);
    let exporter = Exporter::start(&supervisor);
    let metrics = exporter.ok("/metrics");
    for (name, expected) in [
        ("einhyrningsins_up", 1.0),
        ("einhyrningsins_generation", 1.0),
        ("einhyrningsins_workers_wanted", 2.0),
        ("einhyrningsins_workers_healthy", 2.0),
        ("einhyrningsins_worker_starts_total", 2.0),
        ("einhyrningsins_worker_time_to_healthy_seconds_count", 2.0),
        ("einhyrningsins_slots_failed", 0.0),
        ("einhyrningsins_stopping", 0.0),
        ("einhyrningsins_accept_queue_length", 0.0),
    ] {
        let line = metrics.lines().find(|line| line.split(['{', ' ']).next() == Some(name));
        let found = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        assert_eq!(found, Some(expected), "{name}: {metrics}");
    }
    assert!(value(&metrics, "einhyrningsins_worker_resident_memory_bytes{slot=\"1\"}").unwrap() > 100_000.0);
    let healthy = "einhyrningsins_workers{phase=\"healthy\",generation=\"1\"}";
    assert_eq!(value(&metrics, healthy), Some(2.0));
    assert_eq!(exporter.ok("/livez"), concat!("einhyrningsins ", env!("CARGO_PKG_VERSION"), " answers\n"));
    assert_eq!(exporter.ok("/readyz"), supervisor.ctl_ok(&["check"]));
    assert_eq!(exporter.ok("/readyz?min=50%"), supervisor.ctl_ok(&["check", "--min", "50%"]));
    let status: Value = json::from_str(&exporter.ok("/status.json")).expect("JSON");
    let workers = list(member(&status, "status"), "workers");
    let mut listed: Vec<i64> = workers.iter().map(|worker| number(worker, "pid")).collect();
    listed.sort_unstable();
    let mut expected: Vec<i64> = pids.iter().map(|pid| i64::from(*pid)).collect();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    let process = member(member(&status, "processes"), &pids[0].to_string());
    assert!(number(process, "memory") > 0);

    let head = exporter.say(b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(head.ends_with("\r\n\r\n") && head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    let page = exporter.say(b"GET / HTTP/1.1\r\n\r\n");
    assert!(page.contains("\r\nContent-Security-Policy: default-src 'none'; script-src 'nonce-"), "{page}");
}

#[test]
fn what_serves_too_little_is_not_ready_in_the_words_of_check() {
    let folder = Folder::new();
    let half = folder.script(
        "half",
        &format!("#!/bin/sh\n[ $EINHORN_CHILD_INDEX = 0 ] || exec sleep 600\nexec {}\n", rust_worker()),
    );
    let mut supervisor =
        Supervisor::start_in(folder, &["-n", "2", "-m", "-b", "127.0.0.1:0,r,n", "--", &half], |_| {});
    let exporter = Exporter::start(&supervisor);
    supervisor.eventually("one is healthy", |me| (me.healthy().len() == 1).then_some(()));
    // What was answered just now may be answered again.
    let (code, said) = eventually("it is told", || {
        let answer = exporter.get("/readyz");
        answer.1.starts_with("1 of 2").then_some(answer)
    });
    let check = supervisor.ctl(&["check"]);
    assert_eq!(
        (code, said.as_str(), check.status.code()),
        (503, "1 of 2 workers are healthy; generation 1 serves\n", Some(1))
    );
    assert!(err(&check).ends_with(&said), "{}", err(&check));
    assert!(exporter.ok("/readyz?min=1").starts_with("1 of 2"));
    assert_eq!(exporter.get("/readyz?min=1&generation=2").0, 503);
    assert_eq!(exporter.get("/livez").0, 200);
}

#[test]
fn scrapes_by_hundreds_amid_an_upgrade_are_all_answered() {
    let (supervisor, _, _) = releases(3, &[]);
    let exporter = Exporter::start(&supervisor);
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| supervisor.ctl_ok(&["upgrade"]));
        let scrapes: Vec<_> = (0..200).map(|_| scope.spawn(|| exporter.get("/metrics"))).collect();
        for scrape in scrapes {
            let (code, body) = scrape.join().expect("an answer");
            assert_eq!((code, value(&body, "einhyrningsins_workers_wanted")), (200, Some(3.0)));
        }
        upgrade.join().expect("it ends");
    });
    assert!(exporter.threads() <= 3);
    eventually("the upgrade is counted", || {
        let metrics = exporter.ok("/metrics");
        let upgraded = value(&metrics, "einhyrningsins_upgrades_total{result=\"upgraded\"}");
        let took = value(&metrics, "einhyrningsins_upgrade_duration_seconds_count");
        let serves = value(&metrics, "einhyrningsins_generation");
        let asked = value(&metrics, "einhyrningsins_worker_exits_total{cause=\"asked\"}");
        ((upgraded, took, serves, asked) == (Some(1.0), Some(1.0), Some(2.0), Some(3.0))).then_some(())
    });
}

#[test]
fn a_thousand_that_ask_at_a_time_are_all_answered() {
    open_many_files();
    let (supervisor, _) = sleepers(1, &[]);
    let exporter = Exporter::start(&supervisor);
    // All are there before the first asks, and more than are let in.
    let mut all: Vec<TcpStream> = (0..1_000).map(|_| exporter.connect()).collect();
    for stream in &mut all {
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").expect("it is heard");
    }
    let answers: Vec<u16> = all.iter_mut().map(|stream| code(&read(stream))).collect();
    assert!(answers.iter().all(|code| *code == 200), "{answers:?}");
}

#[test]
fn a_supervisor_that_is_stopped_or_gone_is_told_of_soon() {
    let (mut supervisor, _) = sleepers(1, &[]);
    let exporter = Exporter::start(&supervisor);
    supervisor.signal(Signal::SIGSTOP);
    for path in ["/metrics", "/livez", "/readyz", "/status.json"] {
        let begin = Instant::now();
        let (code, said) =
            eventually("it is noticed", || Some(exporter.get(path)).filter(|(code, _)| *code != 200));
        // Two seconds are promised, on a machine that does nothing else.
        assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
        assert_eq!(code, 503);
        let why = format!("pid {}: the supervisor does not answer: no line came for ", supervisor.pid());
        assert!(said.contains(&why) && said.contains("it is stopped"), "{said}");
    }
    assert_eq!(value(&exporter.get("/metrics").1, "einhyrningsins_up"), Some(0.0));
    assert_eq!(exporter.get("/").0, 200, "the page says so itself");
    supervisor.signal(Signal::SIGCONT);
    eventually("it is back", || (exporter.get("/readyz").0 == 200).then_some(()));
    supervisor.ctl_ok(&["die"]);
    supervisor.await_exit();
    let said = eventually("it is gone", || {
        let (code, said) = exporter.get("/livez");
        (code == 503 && !said.contains("shutting down")).then_some(said)
    });
    assert!(said.starts_with("cannot reach a supervisor at ") && said.contains("No such file"), "{said}");
}

#[test]
fn whoever_asks_wrongly_is_told_what_is_right() {
    let (supervisor, _) = sleepers(1, &[]);
    let exporter = Exporter::start(&supervisor);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100));
    let big = format!("POST / HTTP/1.1\r\nContent-Length: 500000\r\n\r\n{}", "z".repeat(500_000));
    for (words, expected, said) in [
        ("GET /nothing HTTP/1.1\r\n\r\n", 404, "there are /, /metrics, /livez, /readyz and /status.json"),
        ("GET /../../etc/passwd HTTP/1.1\r\n\r\n", 404, "nothing is here"),
        ("GET /readyz?min=most HTTP/1.1\r\n\r\n", 400, "accepted: a number, or 0% to 100%"),
        ("DELETE /metrics HTTP/1.1\r\n\r\n", 405, "GET and HEAD only"),
        ("\u{16}\u{3}\u{1}\u{2}\r\n\r\n", 400, "this is no HTTP request"),
        ("GET / HTTP/3.0\r\n\r\n", 505, "HTTP/1.1"),
        (&long, 431, "may have 8192 bytes"),
        (&many, 431, "64 lines"),
        (&big, 405, "GET and HEAD only"),
    ] {
        let answer = exporter.say(words.as_bytes());
        assert!(code(&answer) == expected && answer.contains(said), "{:.60}: {answer}", words);
    }
    assert_eq!(exporter.get("/livez").0, 200);
}

#[test]
fn who_is_silent_or_slow_or_does_not_read_delays_nobody() {
    open_many_files();
    let (supervisor, _) = sleepers(1, &[]);
    let exporter = Exporter::start(&supervisor);
    let mut idle: Vec<TcpStream> = (0..700).map(|_| exporter.connect()).collect();
    for stream in idle.iter_mut().step_by(2) {
        let _ = stream.write_all(b"GET /");
    }
    for stream in idle.iter_mut().step_by(7) {
        let _ = stream.write_all(b" HTTP/1.1\r\n\r\n");
    }
    for _ in 0..20 {
        let begin = Instant::now();
        assert_eq!(exporter.get("/metrics").0, 200);
        // Each has five seconds for its request: none of them is waited for.
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    }
    assert!(exporter.threads() <= 3);
    drop(idle);
    let late = exporter.say(b"GET /livez HTT");
    assert!(code(&late) == 408 && late.contains("within 5 s"), "{late}");
}

#[test]
fn where_it_cannot_serve_it_says_so_in_a_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").to_string();
    let folder = Folder::new();
    let (live, file) = (folder.join("live"), folder.join("file"));
    let _listener = UnixListener::bind(&live).expect("a socket");
    fs::write(&file, "mine").expect("a file");
    let unix = |path: &Path| format!("unix:{}", path.display());
    for (listen, why) in [
        (port.clone(), "Address already in use"),
        ("192.0.2.1:9190".into(), "Cannot assign requested address"),
        (unix(&live), "somebody listens there already"),
        (unix(&file), "what is there is a regular file, not a socket"),
        (unix(&folder.join("no/where")), "No such file or directory"),
    ] {
        let output = refused(&listen);
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), ""), "{}", err(&output));
        let expected = format!("einhyrningsinsctl: serve: cannot listen on {listen}: ");
        assert!(err(&output).starts_with(&expected) && err(&output).contains(why), "{}", err(&output));
        assert_eq!(err(&output).lines().count(), 1, "{}", err(&output));
    }
    assert_eq!(fs::read_to_string(&file).expect("a file"), "mine");
    for listen in ["9190", "localhost:9190", "unix:"] {
        assert_eq!(refused(listen).status.code(), Some(2));
    }
    if !geteuid().is_root() {
        let said = err(&refused("127.0.0.1:1"));
        assert!(said.contains("Permission denied"), "{said}");
    }
}

#[test]
fn on_a_unix_socket_it_leaves_nothing_behind() {
    let (supervisor, _) = sleepers(1, &[]);
    let path = supervisor.folder.join("web");
    let listen = format!("unix:{}", path.display());
    drop(UnixListener::bind(&path).expect("a socket that is stale"));
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut exporter = Exporter::at(&supervisor.socket(), &listen, |_| {});
        assert_eq!(exporter.place, listen);
        assert!(refused(&listen).status.code() == Some(1) && path.exists());
        let mut stream = UnixStream::connect(&path).expect("it listens");
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").expect("it hears");
        assert_eq!(code(&read(&mut stream)), 200);
        let _idle = UnixStream::connect(&path).expect("it listens");
        assert_eq!(exporter.end(signal), Some(0));
        assert!(!path.exists());
    }
    let mut exporter = Exporter::at(&supervisor.socket(), &listen, |_| {});
    fs::remove_file(&path).expect("a socket");
    let _other = UnixListener::bind(&path).expect("a socket");
    assert_eq!(exporter.end(Signal::SIGTERM), Some(0));
    assert!(path.metadata().expect("the other's").file_type().is_socket());
}

#[test]
fn a_service_manager_is_told_that_it_serves() {
    let (supervisor, _) = sleepers(1, &[]);
    let path = supervisor.folder.join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(DEADLINE)).expect("a limit");
    let _exporter = Exporter::at(&supervisor.socket(), "127.0.0.1:0", |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    let mut said = [0; 64];
    let length = manager.recv(&mut said).expect("it says something");
    assert_eq!(&said[..length], b"READY=1");
}

const ALERTS: &str = ".dist/alerts.yml";
const DASHBOARD: &str = ".dist/grafana.json";

fn shipped(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn whatever_the_readme_the_dashboard_and_the_alerts_name_is_exported() {
    let (supervisor, _, _) = releases(1, &[]);
    let there = families(&Exporter::start(&supervisor).ok("/metrics"));
    let named = |text: &str| -> BTreeSet<String> {
        let words = text.split(|char: char| !(char.is_ascii_alphanumeric() || char == '_'));
        let family = |word: &str| {
            let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
            histogram.filter(|name| there.contains(*name)).unwrap_or(word).to_owned()
        };
        words.filter(|word| word.starts_with("einhyrningsins_")).map(family).collect()
    };
    for name in [DASHBOARD, ALERTS] {
        let names = named(&fs::read_to_string(shipped(name)).expect("it is shipped"));
        assert!(names.len() > 5, "{name}");
        assert!(names.is_subset(&there), "{name}: {:?}", names.difference(&there));
    }
    let dashboard = fs::read_to_string(shipped(DASHBOARD)).expect("it is shipped");
    assert!(json::from_str::<Value>(&dashboard).is_ok(), "it is JSON");
    let told = named(section("Metrics, probes and a page"));
    let difference: Vec<_> = told.symmetric_difference(&there).collect();
    assert!(difference.is_empty(), "{difference:?}");
}

#[test]
fn prometheus_own_tool_finds_nothing_wrong() {
    if !have("promtool", &["--version"]) {
        return skip("there is no promtool");
    }
    let (supervisor, _, _) = releases(2, &[]);
    let exporter = Exporter::start(&supervisor);
    let mut lint = Command::new("promtool");
    lint.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut lint = lint.spawn().expect("promtool can be run");
    let metrics = exporter.ok("/metrics");
    lint.stdin.take().expect("its standard input").write_all(metrics.as_bytes()).expect("it reads");
    let output = lint.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}{}", out(&output), err(&output));
    let said = out(&output) + &err(&output);
    assert_eq!(said, "", "it warns of nothing either");
    let rules = Command::new("promtool").args(["check", "rules"]).arg(shipped(ALERTS)).output();
    let rules = rules.expect("promtool can be run");
    assert!(rules.status.success(), "{}{}", out(&rules), err(&rules));
}

/// A worker that says what would be markup, were it not text.
const HOSTILE: &str = r#"
import os, socket, time
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
manager.send(b"READY=1\nSTATUS=<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">\"'&amp;")
time.sleep(600)
"#;

/// What the page is once its script has run for a while.
fn rendered(folder: &Folder, url: &str) -> String {
    let profile = folder.join("profile");
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(["--virtual-time-budget=4000", "--dump-dom", url])
        .stdin(Stdio::null())
        .output()
        .expect("the browser can be run");
    let _ = fs::remove_dir_all(profile);
    out(&output)
}

#[test]
fn a_browser_shows_the_page_and_runs_nothing_that_a_worker_says() {
    let Some(python) = python() else { return skip("there is no python3") };
    if !have("chromium", &["--version"]) {
        return skip("there is no chromium");
    }
    let folder = Folder::new();
    let worker = folder.join("hostile.py");
    fs::write(&worker, HOSTILE).expect("a script can be written");
    let worker = worker.display().to_string();
    let args = ["-n", "2", "-m", "-c", "sh<b>op", "-b", "127.0.0.1:0,name=web", "--", &python, &worker];
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    supervisor.await_healthy(2);
    let exporter = Exporter::start(&supervisor);
    supervisor.eventually("the workers have said it", |me| {
        let told = me.workers(|worker| matches!(member(worker, "status"), Value::String(_)));
        (told.len() == 2).then_some(())
    });
    eventually("events have been heard", || {
        exporter.ok("/status.json").contains("\"kind\":\"healthy\"").then_some(())
    });
    let dom = rendered(&supervisor.folder, &exporter.place);
    let body = dom.split("<script nonce").next().expect("what stands before the page's own script");
    assert!(body.contains("&lt;script&gt;document.title='taken'&lt;/script&gt;&lt;img src=x"), "{dom}");
    assert!(body.contains("\"'&amp;amp;</td>") && body.contains("sh&lt;b&gt;op"), "{dom}");
    assert!(!body.contains("<img") && !body.contains("<b>op") && !body.contains("<title>taken"), "{dom}");
    for part in [">2 / 2<", ">healthy<", ">web<", "<polyline points=", " is healthy after "] {
        assert!(body.contains(part), "{part}: {dom}");
    }
    supervisor.signal(Signal::SIGSTOP);
    eventually("it is noticed", || (exporter.get("/livez").0 == 503).then_some(()));
    let dom = rendered(&supervisor.folder, &exporter.place);
    supervisor.signal(Signal::SIGCONT);
    assert!(dom.contains("The supervisor does not answer<small>pid "), "{dom}");
}
