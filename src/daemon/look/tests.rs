//! Looks at real processes, each of which waits in its own way.

use super::{
    super::{
        procfs::{self, Call, Doing},
        scratch::{Scratch, eventually},
    },
    calls::{Wait, wait},
    *,
};
use nix::{
    libc::{self, c_long},
    sys::signal::{Signal, killpg},
    unistd::geteuid,
};
use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::{
            net::{SocketAddr, UnixListener, UnixStream},
            process::CommandExt as _,
        },
    },
    process::{Child, Command, Stdio},
};

/// Not every architecture has these.
#[cfg(target_arch = "x86_64")]
const POLL: c_long = libc::SYS_poll;
#[cfg(target_arch = "x86_64")]
const SELECT: c_long = libc::SYS_select;
#[cfg(target_arch = "x86_64")]
const PAUSE: c_long = libc::SYS_pause;
#[cfg(target_arch = "x86_64")]
const EPOLL_WAIT: c_long = libc::SYS_epoll_wait;
#[cfg(not(target_arch = "x86_64"))]
const POLL: c_long = -1;
#[cfg(not(target_arch = "x86_64"))]
const SELECT: c_long = -1;
#[cfg(not(target_arch = "x86_64"))]
const PAUSE: c_long = -1;
#[cfg(not(target_arch = "x86_64"))]
const EPOLL_WAIT: c_long = -1;

/// A worker in a group of its own, which ends with this.
struct Worker {
    child: Child,
    /// The process that waits.
    waits: Pid,
    socket: OwnedFd,
}

impl Worker {
    /// `worker.py` with these arguments, and a socket for connections.
    fn start(arguments: &[&str]) -> Self {
        Self::with(TcpListener::bind("127.0.0.1:0").unwrap().into(), arguments)
    }

    fn with(socket: OwnedFd, arguments: &[&str]) -> Self {
        let theirs = socket.try_clone().unwrap();
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/src/daemon/look/tests/worker.py");
        let mut child = Command::new("python3")
            .arg(program)
            .args(arguments)
            .stdin(theirs)
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("python3 can be started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let waits = Pid(line.trim().parse().unwrap());
        Self { child, waits, socket }
    }

    fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    fn sight(&self) -> Sight {
        self.look(Reach::Family)
    }

    fn look(&self, reach: Reach) -> Sight {
        look(self.pid(), &Watched::new([self.socket.as_fd()]), reach)
    }

    fn is_eventually(&self, what: &str, expected: Sight) {
        eventually(what, || (self.sight() == expected).then_some(()));
    }

    /// Waits until the process that waits is in one of these system calls.
    fn is_eventually_in(&self, what: &str, calls: &[c_long]) {
        eventually(what, || {
            let text = fs::read(format!("/proc/{}/syscall", self.waits)).unwrap();
            match procfs::doing(&text) {
                Some(Doing::Call(call)) => calls.contains(&call.number).then_some(()),
                _ => None,
            }
        });
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = killpg(unistd::Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

#[test]
fn whoever_waits_for_a_connection_is_seen_in_whichever_call_and_place() {
    let ways = [
        ("accept", libc::SYS_accept),
        ("accept4", libc::SYS_accept4),
        ("poll", POLL),
        ("ppoll", libc::SYS_ppoll),
        ("select", SELECT),
        ("pselect6", libc::SYS_pselect6),
        ("epoll", libc::SYS_epoll_pwait),
    ];
    for (way, number) in ways.into_iter().filter(|(_, number)| *number >= 0) {
        let start = |place| (place, Worker::start(&[way, place, &number.to_string()]));
        for (place, worker) in ["self", "thread", "child", "grandchild"].map(start) {
            worker.is_eventually(&format!("{way} in {place}"), Sight::Accepting);
        }
    }
}

#[test]
fn every_kind_of_registration_that_stays_ready_is_seen() {
    for way in ["epoll-exclusive", "epoll-oneshot", "epoll-nested", "epoll-registered"] {
        Worker::start(&[way, "self"]).is_eventually(way, Sight::Accepting);
    }
}

#[test]
fn an_edge_triggered_registration_is_told_apart() {
    for place in ["self", "thread", "child"] {
        let worker = Worker::start(&["epoll-edge", place]);
        worker.is_eventually(place, Sight::Wrapped);
        assert_eq!(worker.look(Reach::Group), Sight::Wrapped);
    }
}

#[test]
fn who_waits_for_something_else_does_not_wait_for_a_connection() {
    let epoll = [libc::SYS_epoll_pwait, EPOLL_WAIT];
    for (way, calls) in [
        ("poll-write", &[POLL][..]),
        ("poll-other", &[POLL]),
        ("select-write", &[SELECT]),
        ("select-short", &[SELECT]),
        ("accept-other", &[libc::SYS_accept4]),
        ("epoll-write", &epoll),
        ("epoll-other", &epoll),
        ("epoll-removed", &epoll),
        ("sleep", &[PAUSE, libc::SYS_ppoll]),
    ] {
        if calls[0] < 0 {
            continue;
        }
        for place in ["self", "child"] {
            let worker = Worker::start(&[way, place, &calls[0].to_string()]);
            worker.is_eventually_in(way, calls);
            assert_eq!(worker.sight(), Sight::NotYet, "{way} in {place}");
            assert_eq!(worker.look(Reach::Group), Sight::NotYet, "{way} in {place}");
        }
    }
}

#[test]
fn who_receives_from_a_socket_of_messages_waits_as_well() {
    for (way, number) in [
        ("recvfrom", libc::SYS_recvfrom),
        ("recvmsg", libc::SYS_recvmsg),
        ("recvmmsg", libc::SYS_recvmmsg),
        ("read", libc::SYS_read),
        ("epoll", libc::SYS_epoll_pwait),
    ] {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let worker = Worker::with(socket.into(), &[way, "self", &number.to_string()]);
        worker.is_eventually(way, Sight::Accepting);
    }
}

/// A worker that serves a connection, and the other end of that.
fn serving(socket: impl Into<OwnedFd>, place: &str, connect: impl FnOnce() -> OwnedFd) -> (Worker, OwnedFd) {
    let worker = Worker::with(socket.into(), &["serve", place]);
    worker.is_eventually("it waits", Sight::Accepting);
    let client = connect();
    worker.is_eventually_in("it serves", &[libc::SYS_recvfrom]);
    (worker, client)
}

#[test]
fn who_serves_a_connection_accepts_although_it_does_not_wait_for_another() {
    for place in ["self", "child"] {
        for at in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let socket = TcpListener::bind(at).unwrap();
            let port = socket.local_addr().unwrap().port();
            // Mapped, where the socket takes both families.
            let to = if at == "[::1]:0" { format!("[::1]:{port}") } else { format!("127.0.0.1:{port}") };
            let (worker, client) = serving(socket, place, || TcpStream::connect(to).unwrap().into());
            assert_eq!(worker.sight(), Sight::NotYet, "that is not for every look");
            assert_eq!(worker.look(Reach::Group), Sight::Accepting, "{at} in {place}");
            // To one that has gone it may have something to say yet.
            drop(client);
            worker.is_eventually_in("nothing", &[PAUSE, libc::SYS_ppoll]);
            assert_eq!(worker.look(Reach::Group), Sight::Accepting, "{at} in {place}");
        }
    }
    let folder = Scratch::new();
    let path = folder.join("socket");
    let socket = UnixListener::bind(&path).unwrap();
    let (worker, _client) = serving(socket, "self", || UnixStream::connect(&path).unwrap().into());
    assert_eq!(worker.look(Reach::Group), Sight::Accepting);
    let name = format!("einhyrningsins-look-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixListener::bind_addr(&address).unwrap();
    let (worker, _client) = serving(socket, "self", || UnixStream::connect_addr(&address).unwrap().into());
    assert_eq!(worker.look(Reach::Group), Sight::Accepting);
}

#[test]
fn of_many_sockets_each_is_asked_for() {
    let sockets: Vec<TcpListener> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let last = sockets.last().unwrap();
    let to = last.local_addr().unwrap();
    let (worker, _client) =
        serving(last.try_clone().unwrap(), "self", || TcpStream::connect(to).unwrap().into());
    let sight = |count| {
        let watched = Watched::new(sockets.iter().take(count).map(|socket| socket.as_fd()));
        look(worker.pid(), &watched, Reach::Group)
    };
    assert_eq!((sight(3), sight(4)), (Sight::NotYet, Sight::Accepting));
}

#[test]
fn a_connection_to_the_socket_or_of_another_is_no_proof() {
    for way in ["connect", "serve-other"] {
        let worker = Worker::start(&[way, "self"]);
        worker.is_eventually_in(way, &[PAUSE, libc::SYS_ppoll]);
        assert_eq!(worker.look(Reach::Group), Sight::NotYet, "{way}");
    }
}

#[test]
fn an_orphan_in_the_group_is_found_where_the_whole_group_is_looked_at() {
    let worker = Worker::start(&["epoll", "orphan"]);
    let look = |reach| worker.look(reach);
    eventually("a look at the group", || (look(Reach::Group) == Sight::Accepting).then_some(()));
    // Until the one between them has ended it is no orphan.
    eventually("a look at the family", || (look(Reach::Family) == Sight::NotYet).then_some(()));
    assert_eq!(look(Reach::Group), Sight::Accepting);
}

#[test]
fn an_epoll_instance_beyond_all_limits_is_found_by_who_waits_for_it() {
    Worker::start(&["beyond", "self", "0", "1500"]).is_eventually("a look", Sight::Accepting);
}

#[test]
fn of_too_many_threads_it_is_said_that_not_all_were_looked_at() {
    let worker = Worker::start(&["crowd", "self", "0", "300"]);
    worker.is_eventually("a look", Sight::Vast);
}

#[test]
fn a_worker_that_has_ended_waits_no_more() {
    let mut worker = Worker::start(&["accept4", "self"]);
    worker.is_eventually("a look", Sight::Accepting);
    worker.child.kill().unwrap();
    worker.is_eventually("its end", Sight::NotYet);
    worker.child.wait().unwrap();
    assert_eq!(worker.sight(), Sight::NotYet, "its number is free");
    assert_eq!(look(Pid(u32::MAX), &Watched::default(), Reach::Group), Sight::NotYet);
}

/// Where the other half of the next test finds whom to look at.
const LOOK_AT: &str = "EINHYRNINGSINS_LOOK_AT";

#[test]
fn what_another_user_does_is_hidden() {
    if let Ok(pid) = env::var(LOOK_AT) {
        let sight = look(Pid(pid.parse().unwrap()), &Watched::default(), Reach::Family);
        assert_eq!(sight, Sight::Hidden(Errno(libc::EACCES)));
        return;
    }
    if !geteuid().is_root() {
        let sight = look(Pid(1), &Watched::default(), Reach::Family);
        assert!(matches!(sight, Sight::Hidden(_)), "{sight:?}");
        return;
    }
    let worker = Worker::start(&["epoll", "self"]);
    let copy = env::temp_dir().join(format!("einhyrningsins-look-{}", worker.pid()));
    fs::copy(env::current_exe().unwrap(), &copy).unwrap();
    let name = "daemon::look::tests::what_another_user_does_is_hidden";
    let other = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args([copy.as_os_str(), "--exact".as_ref(), name.as_ref()])
        .env(LOOK_AT, worker.pid().to_string())
        .current_dir("/")
        .output();
    fs::remove_file(&copy).unwrap();
    match other {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
        }
        Err(error) => eprintln!("skipped: there is no setpriv to be another user with: {error}"),
    }
}

#[test]
fn only_sockets_are_watched() {
    let (file, socket) = (fs::File::open("/dev/null").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let watched = Watched::new([file.as_fd(), socket.as_fd()]);
    assert_eq!(watched.sockets.len(), 1);
    assert!(watched.sockets.values().all(|socket| socket.is_for_messages));
}

#[test]
fn a_process_that_numbers_its_calls_in_another_way_is_known_by_its_stack() {
    let call = |stack| Call { number: libc::SYS_accept, arguments: [7, 0, 0, 0, 0, 0], stack };
    assert_eq!(wait(&call(0x7ffc_0000_1000)), Wait::Accept(7));
    assert_eq!(wait(&call(0xff80_1000)), Wait::Foreign);
}

#[test]
fn waiting_for_an_io_uring_is_told_from_handing_work_to_it() {
    let call = |least, flags| {
        let arguments = [5, 1, least, flags, 0, 0];
        wait(&Call { number: libc::SYS_io_uring_enter, arguments, stack: u64::MAX })
    };
    assert_eq!((call(1, 1), call(0, 1), call(1, 0)), (Wait::Ring, Wait::Other, Wait::Other));
}
