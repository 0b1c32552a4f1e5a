//! Workers that notify their manager as sd_notify(3) does: what each word does, and what is refused.

use crate::{
    harness::{Folder, Supervisor, is_alive, number, text},
    tools::{python, skip, within},
};
use std::{
    fs,
    os::linux::net::SocketAddrExt as _,
    os::unix::net::{SocketAddr, UnixDatagram},
};

/// Does what files in its folder say, and notes the signals that it gets.
const WORKER: &str = r#"
import array, os, select, signal, socket, sys, time

place, first = sys.argv[1], sys.argv[2]
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = os.environ["NOTIFY_SOCKET"]
if not os.path.exists(place + "name"):
    with open(place + "name.new", "w") as file:
        file.write(name)
    os.rename(place + "name.new", place + "name")

def notify(words, *fds):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    manager.sendmsg([words], rights, 0, name.replace("@", "\0", 1))

def stopped(number, _):
    open(place + "signalled", "w").close()
    os._exit(0)

signal.signal(signal.SIGUSR2, stopped)
signal.signal(signal.SIGTERM, stopped)
if first == "slow":
    for _ in range(8):
        notify(b"EXTEND_TIMEOUT_USEC=2000000")
        time.sleep(0.25)
notify(b"READY=1\nSTATUS=warm")
while True:
    for file in os.listdir(place):
        if file.startswith("say-"):
            try:
                os.rename(place + file, place + "said")
            except OSError:
                continue
            with open(place + "said", "rb") as said:
                notify(said.read())
            if file == "say-stopping":
                while not os.path.exists(place + "end"):
                    time.sleep(0.01)
                os._exit(0)
        if file == "barrier":
            os.rename(place + "barrier", place + "barred")
            mine, theirs = os.pipe()
            notify(b"BARRIER=1", theirs)
            os.close(theirs)
            select.poll().poll(0)
            waits = select.poll()
            waits.register(mine, select.POLLHUP)
            waits.poll(30000)
            open(place + "passed", "w").close()
    time.sleep(0.01)
"#;

fn start(options: &[&str], first: &str) -> Option<Supervisor> {
    let Some(python) = python() else {
        skip("there is no python3");
        return None;
    };
    let folder = Folder::new();
    let program = folder.script("worker.py", WORKER);
    let words = folder.join("words");
    fs::create_dir(&words).expect("a folder can be made");
    let place = format!("{}/", words.display());
    let args = [options, &["--", &python, &program, &place, first]].concat();
    Some(Supervisor::start_in(folder, &args, |_| {}))
}

fn put(supervisor: &Supervisor, name: &str, content: &[u8]) {
    let file = |name: &str| within(supervisor, &format!("words/{name}"));
    fs::write(file("new"), content).expect("a file can be written");
    fs::rename(file("new"), file(name)).expect("and be renamed");
}

fn is_there(supervisor: &Supervisor, name: &str) -> bool {
    fs::exists(within(supervisor, &format!("words/{name}"))).expect("a folder can be read")
}

#[test]
fn who_is_ready_is_healthy_and_who_is_stopping_is_replaced_and_left_in_peace() {
    let Some(mut supervisor) = start(&["-m", "-n", "1"], "quick") else {
        return;
    };
    let old = supervisor.await_healthy(1);
    supervisor.await_log(": it has notified");
    let worker = supervisor.workers(|_| true).remove(0);
    assert_eq!((text(&worker, "ready"), text(&worker, "status")), ("notified", "warm"));
    assert!(supervisor.ctl_ok(&["status"]).contains(&format!("\npid {} says: warm\n", old[0])));
    put(&supervisor, "say-stopping", b"STOPPING=1\n");
    let new = supervisor
        .eventually("another serves", |me| Some(me.healthy()).filter(|new| new.len() == 1 && *new != old));
    supervisor.await_log("says that it is stopping");
    assert!(is_alive(old[0]) && !is_there(&supervisor, "signalled"), "{}", supervisor.log());
    put(&supervisor, "end", b"");
    supervisor.await_log("exited with status 0 as it had said");
    assert_eq!(supervisor.healthy(), new);
    assert!(!supervisor.log().contains("[WARN]"), "{}", supervisor.log());
}

#[test]
fn who_asks_for_time_has_it_and_a_sign_of_life_is_a_ping() {
    let Some(mut supervisor) = start(&["-m", "-n", "1", "--ack-timeout", "1"], "slow") else {
        return;
    };
    supervisor.await_healthy(1);
    assert!(!supervisor.log().contains("was not ready in time"), "{}", supervisor.log());
    put(&supervisor, "say-alive", b"WATCHDOG=1");
    supervisor.eventually("its ping is shown", |me| {
        let worker = me.workers(|_| true).remove(0);
        (!crate::tools::is_null(&worker, "last_ping_ms") && number(&worker, "last_ping_ms") >= 0)
            .then_some(())
    });
}

#[test]
fn what_makes_no_sense_or_comes_from_strangers_is_warned_of_and_what_comes_along_is_closed() {
    let Some(mut supervisor) = start(&["-m", "-n", "1"], "quick") else {
        return;
    };
    supervisor.await_healthy(1);
    put(&supervisor, "say-nonsense", b"EXTEND_TIMEOUT_USEC=soon");
    supervisor.await_log("`EXTEND_TIMEOUT_USEC=soon` makes no sense; accepted: EXTEND_TIMEOUT_USEC= with");
    put(&supervisor, "barrier", b"");
    supervisor.eventually("the barrier is passed", |me| is_there(me, "passed").then_some(()));

    // This process is no worker.
    let name = fs::read_to_string(within(&supervisor, "words/name")).expect("the socket's name");
    let address = SocketAddr::from_abstract_name(&name[1..]).expect("an address");
    let stranger = UnixDatagram::unbound().expect("a socket");
    for words in [&b"BARRIER=1"[..], b"READY=1\nSTATUS=mine", &[b'x'; 9_000]] {
        stranger.send_to_addr(words, &address).expect("it is taken");
    }
    supervisor.await_log(
        "sent `READY=1\\nSTATUS=mine`, which is refused: only a worker and the processes of its group",
    );
    assert!(!supervisor.log().contains("BARRIER"), "it asks for nothing: {}", supervisor.log());
    for _ in 0..2_000 {
        // A full queue is no failure; a flood keeps nobody from being answered.
        stranger.set_nonblocking(true).expect("a socket can be told");
        let _ = stranger.send_to_addr(b"READY=1", &address);
    }
    assert_eq!(supervisor.healthy().len(), 1);
    let warned = supervisor.log().matches("which is refused: only a worker").count();
    assert!(warned < 5, "{}", supervisor.log());
}
