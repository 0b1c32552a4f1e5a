//! The connection that each worker inherits with `--command-socket-as-fd`: what may be said over it, that it
//! stays, and that nothing of it stays behind.

use crate::{
    another::{OTHER, can_be_another},
    harness::{Connection, Folder, Supervisor, is_alive, raw, rust_worker},
    probe::{open_files, puppet, puppets, start_through},
    tools::{open_many_files, quiet, releases, status_field},
};
use nix::sys::signal::{Signal, kill};
use std::{
    fs,
    io::Write as _,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

/// Has a worker open its connection as `own`, with `ask`, which sends a line and reads the answer.
const OPEN: &str = r#"
own = socket.socket(fileno=int(os.environ["EINHORN_SOCK_FD"]))
lines = own.makefile("rb")
def send(command, **fields):
    own.sendall(json.dumps(dict(fields, command=command)).encode() + b"\n")
def ask(command, **fields):
    send(command, **fields)
    return lines.readline().decode()
"#;

/// The answer to a line that a worker sends over its connection.
#[track_caller]
fn ask(supervisor: &Supervisor, slot: u32, call: &str) -> String {
    puppet(supervisor, slot, &format!("answer = ask({call})"))
}

#[test]
fn over_its_own_connection_a_worker_reports_on_itself_and_asks_for_nothing_else() {
    let mut supervisor = puppets(&["-n", "2", "-m", "-g", "-b", "127.0.0.1:0"], &[]);
    let both =
        supervisor.eventually("two workers are there", |me| Some(me.children()).filter(|all| all.len() == 2));
    for slot in 0..2 {
        puppet(&supervisor, slot, OPEN);
    }
    let pids: Vec<u32> = (0..2)
        .map(|slot| puppet(&supervisor, slot, "answer = os.getpid()").parse().expect("a pid"))
        .collect();
    assert!(pids.iter().all(|pid| both.contains(pid)));
    let number = puppet(
        &supervisor,
        0,
        "answer = (own.fileno(), own.getblocking(), os.get_inheritable(own.fileno()))",
    );
    assert_eq!(number, "(4, True, True)");

    for order in ["'upgrade'", "'die'", "'set_workers', args=['5']", "'status'", "'signal', args=['KILL']"] {
        let said = ask(&supervisor, 0, order);
        assert!(said.contains("\"ok\":false") && said.contains("worker:ack and worker:ping"), "{said}");
    }
    let said = ask(&supervisor, 0, &format!("'worker:ack', pid={}", pids[1]));
    assert!(said.contains("\"ok\":false") && said.contains("cannot speak for"), "{said}");
    let said = ask(&supervisor, 0, "'worker:ack', pid='me'");
    assert!(said.contains("`pid` is \\\"me\\\"; it must be the worker's process id"), "{said}");
    assert!(supervisor.healthy().is_empty(), "{}", supervisor.log());

    let said = ask(&supervisor, 0, "'worker:ack', pid=os.getpid(), id=7");
    assert!(said.contains("is acknowledged") && said.contains("\"request_id\":7"), "{said}");
    let said = ask(&supervisor, 1, "'worker:ack', pid=os.getpid()");
    assert!(said.contains("is acknowledged"), "{said}");
    assert_eq!(supervisor.await_healthy(2), pids);
    let said = ask(&supervisor, 1, "'worker:ping', pid=os.getpid()");
    assert!(said.contains("ping of worker"), "{said}");
    let warned = supervisor.log().matches(", which is refused: ").count();
    assert_eq!(warned, 1, "once for the worker that asked for it: {}", supervisor.log());
}

#[test]
fn a_worker_that_runs_as_another_user_reports_over_its_own_connection() {
    if !can_be_another() {
        return;
    }
    let report = r#"printf '{"command":"worker:ack","pid":%d}\n' $$ >&"$EINHORN_SOCK_FD"; exec sleep 600"#;
    let worker = ["setpriv", "--reuid", OTHER, "--clear-groups", "sh", "-c", report];
    let mut supervisor = Supervisor::start(&[&["-m", "-g", "--"][..], &worker].concat());
    supervisor.await_healthy(1);
}

#[test]
fn the_worker_library_reports_over_it_where_it_cannot_connect() {
    if !can_be_another() {
        return;
    }
    let folder = Folder::new();
    let program = folder.join("http").display().to_string();
    fs::copy(rust_worker(), &program).expect("a program can be copied to where everybody may run it");
    let worker = ["setpriv", "--reuid", OTHER, "--clear-groups", &program];
    let args = [&["-n", "2", "-m", "-g", "-b", "127.0.0.1:0,r,n", "--"][..], &worker].concat();
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    supervisor.await_healthy(2);
}

#[test]
fn a_worker_need_not_read_the_answers_to_its_reports() {
    let mut supervisor = puppets(&["-m", "-g"], &[]);
    let pings = "for number in range(10000): send('worker:ping', pid=os.getpid())";
    puppet(&supervisor, 0, &format!("{OPEN}{pings}"));
    let memory = status_field(supervisor.pid(), "VmRSS").expect("a number");
    puppet(&supervisor, 0, &format!("{pings}\nsend('worker:ack', pid=os.getpid())"));
    supervisor.await_healthy(1);
    let more = status_field(supervisor.pid(), "VmRSS").expect("a number").saturating_sub(memory);
    // The journal has what has happened since it was compacted last.
    assert!(more < 256, "{more} KiB");
}

#[test]
fn no_crowd_of_clients_takes_its_connection_from_a_worker() {
    open_many_files();
    let mut supervisor = puppets(&["-m", "-g"], &[]);
    puppet(&supervisor, 0, OPEN);
    let crowd: Vec<UnixStream> = (0..1_100)
        .map(|_| {
            let mut stream = UnixStream::connect(supervisor.socket()).expect("a connection");
            let _ = stream.write_all(b"half a line");
            stream
        })
        .collect();
    // Whoever is heard came after all of them.
    let mut last = Connection::open(&supervisor.socket()).expect("it listens");
    last.send(r#"{"command":"version"}"#).expect("it reads");
    last.line().expect("an answer");
    let said = ask(&supervisor, 0, "'worker:ack', pid=os.getpid()");
    assert!(said.contains("is acknowledged"), "{said}");
    supervisor.await_healthy(1);
    drop(crowd);
}

#[test]
fn there_is_a_descriptor_for_each_worker_and_none_for_those_that_were() {
    let (mut supervisor, _, _) = releases(2, &["-g", "-s", "0.001"]);
    let open = |supervisor: &mut Supervisor| {
        quiet(supervisor);
        open_files(supervisor.pid())
    };
    let before = open(&mut supervisor);
    for _ in 0..20 {
        supervisor.ctl_ok(&["upgrade"]);
    }
    supervisor.await_healthy(2);
    assert_eq!(open(&mut supervisor), before, "after 20 upgrades");
    supervisor.ctl_ok(&["set_workers", "9"]);
    supervisor.await_healthy(9);
    assert_eq!(open(&mut supervisor), before + 7, "with 7 workers more");
    for pid in supervisor.healthy() {
        kill(raw(pid), Signal::SIGKILL).expect("a worker");
    }
    supervisor.eventually("all are replaced", |me| Some(me.healthy()).filter(|all| all.len() == 9));
    supervisor.await_healthy(9);
    assert_eq!(open(&mut supervisor), before + 7, "after 9 were killed");
    supervisor.ctl_ok(&["set_workers", "2"]);
    supervisor.await_healthy(2);
    assert_eq!(open(&mut supervisor), before, "with 2 again");
}

#[test]
fn what_a_dead_worker_has_handed_on_speaks_for_nobody() {
    let mut supervisor = puppets(&["-g", "--ack-after", "0.1"], &[]);
    let pid = supervisor.await_healthy(1)[0];
    let before = {
        quiet(&mut supervisor);
        open_files(supervisor.pid())
    };
    puppet(&supervisor, 0, OPEN);
    let heir: u32 = puppet(&supervisor, 0, "answer = stray(own)").parse().expect("a pid");
    kill(raw(pid), Signal::SIGKILL).expect("a worker");
    supervisor
        .eventually("it is replaced", |me| Some(me.healthy()).filter(|new| new.len() == 1 && new[0] != pid));
    quiet(&mut supervisor);
    assert_eq!(open_files(supervisor.pid()), before);
    assert!(is_alive(heir));
    kill(raw(heir), Signal::SIGKILL).expect("the heir");
    puppet(&supervisor, 0, &format!("{OPEN}lines.close(); own.close()"));
    supervisor
        .eventually("it is closed on both sides", |me| (open_files(me.pid()) == before - 1).then_some(()));
}

/// A supervisor that may have a hundred descriptors, with so many workers.
fn with_few_descriptors(workers: &str) -> Supervisor {
    let starter = ["/bin/sh", "-c", "ulimit -n 100; exec \"$@\"", "sh"];
    start_through(
        Folder::new(),
        &starter,
        &["-g", "-r", "1", "-n", workers, "--ack-after", "0", "sleep", "600"],
    )
}

#[test]
fn clients_make_room_for_the_connections_of_workers_and_what_is_kept_back_is_not_for_them() {
    let mut supervisor = with_few_descriptors("20");
    supervisor.await_healthy(20);
    let crowd: Vec<_> =
        (0..60).map(|_| UnixStream::connect(supervisor.socket()).expect("it listens")).collect();
    supervisor.ctl_ok(&["set_workers", "40"]);
    supervisor.await_healthy(40);
    assert!(!supervisor.log().contains("oo many open files"), "{}", supervisor.log());
    drop(crowd);
    let start = Instant::now();
    supervisor.ctl_ok(&["set_workers", "80"]);
    // Each of 40 slots or so tries twice a second, and one line a second tells of them.
    supervisor.eventually("three lines tell of it", |me| {
        (me.log().matches("oo many open files").count() >= 3).then_some(())
    });
    assert!(start.elapsed() > Duration::from_secs(2), "{:?}: {}", start.elapsed(), supervisor.log());
    assert!(supervisor.log().contains(" more like it since the last line\n"), "{}", supervisor.log());
    // There is still a descriptor for who asks for fewer.
    supervisor.ctl_ok(&["set_workers", "20"]);
    supervisor.await_healthy(20);
    assert!(!supervisor.log().contains("given up"), "{}", supervisor.log());
}

#[test]
fn more_workers_than_there_can_be_connections_are_refused_before_anything_is_done() {
    let mut supervisor = with_few_descriptors("37");
    assert_eq!(supervisor.await_exit(), 2);
    let starter = ["/bin/sh", "-c", "ulimit -n 60; exec \"$@\"", "sh"];
    let mut none = start_through(Folder::new(), &starter, &["-g", "-n", "2", "sleep", "600"]);
    assert_eq!(none.await_exit(), 2);
    let accepted = "may have 60 (`ulimit -Hn`); accepted: a limit of at least 66\n";
    assert!(none.log().contains(accepted), "{}", none.log());
    let log = supervisor.log();
    assert!(
        log.contains("--command-socket-as-fd: ") && log.contains("accepted: --number up to 36\n"),
        "{log}"
    );
}
