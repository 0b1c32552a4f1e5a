//! What a worker finds when it starts, checked from inside.

use crate::{
    harness::{Folder, Supervisor, is_alive, member, number, raw, script, text},
    probe::{flag, members, own_address, python, report, start_through},
};
use miniserde::json::Value;
use nix::{
    sys::{
        resource::{Resource, getrlimit},
        signal::{Signal, kill},
    },
    unistd::{getpgid, getsid},
};
use std::{
    collections::BTreeMap,
    env, fs,
    net::{TcpListener, ToSocketAddrs as _},
    path::Path,
};

/// Starts one worker that reports what it was given, by way of a shell: so it is exact about signals.
fn reporter(folder: &Folder) -> Vec<String> {
    let words = ["-m", "--", "/bin/sh", &script("rogue.py"), "report"];
    words.into_iter().map(str::to_owned).chain([folder.join("report").display().to_string()]).collect()
}

/// The same, after these options.
fn with<S: AsRef<str>>(options: &[S], rest: Vec<String>) -> Vec<String> {
    options.iter().map(|option| option.as_ref().to_owned()).chain(rest).collect()
}

#[track_caller]
fn fd(told: &Value, number: usize) -> &Value {
    let fds = members(told, "fds");
    fds.get(&number.to_string()).unwrap_or_else(|| panic!("{number} is not open: {fds:?}"))
}

#[track_caller]
fn open_numbers(told: &Value) -> Vec<usize> {
    let mut numbers: Vec<usize> =
        members(told, "fds").keys().map(|name| name.parse().expect("a number")).collect();
    numbers.sort_unstable();
    numbers
}

/// Where a socket is bound, as Python tells it.
#[track_caller]
fn bound_to(told: &Value, number: usize) -> (String, i64) {
    let Value::Array(name) = member(fd(told, number), "sockname") else { panic!("no address: {told:?}") };
    let (Some(Value::String(host)), Some(Value::Number(port))) = (name.first(), name.get(1)) else {
        panic!("no address: {name:?}");
    };
    (host.clone(), port.to_string().parse().expect("a port"))
}

#[test]
fn sockets_come_from_three_on_in_order_and_set_as_asked() {
    let addresses = [own_address(), own_address(), own_address(), own_address()];
    let flags = ["", ",r", ",n", ",so_reuseaddr,o_nonblock"];
    let mut options = Vec::new();
    for (address, flags) in addresses.iter().zip(flags) {
        options.extend(["-b".to_owned(), format!("{address}{flags}")]);
    }
    let v6 = TcpListener::bind("[::1]:0").is_ok();
    if v6 {
        options.extend(["-b", "[::1]:0"].map(str::to_owned));
    }
    let folder = Folder::new();
    let args = with(&options, reporter(&folder));
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    let told = report(&mut supervisor, "report");

    for (position, address) in addresses.iter().enumerate() {
        let (it, host) = (fd(&told, position + 3), address.ip().to_string());
        assert_eq!(
            bound_to(&told, position + 3),
            (host, i64::from(address.port())),
            "in the order of --bind"
        );
        assert_eq!(text(it, "family"), "AF_INET");
        assert!(flag(it, "acceptconn") && !flag(it, "cloexec"), "{it:?}");
        assert_eq!(flag(it, "reuseaddr"), position % 2 == 1, "{it:?}");
        assert_eq!(flag(it, "nonblock"), position >= 2, "{it:?}");
    }
    if v6 {
        let it = fd(&told, 7);
        assert_eq!(text(it, "family"), "AF_INET6");
        assert!(flag(it, "v6only") && flag(it, "acceptconn") && !flag(it, "reuseaddr"), "{it:?}");
        let (host, port) = bound_to(&told, 7);
        assert_eq!((host.as_str(), port), ("::1", i64::from(supervisor.address(4).port())));
    }
    assert_eq!(open_numbers(&told), (0..7 + usize::from(v6)).collect::<Vec<_>>(), "and nothing else");

    let (input, output, error) = (fd(&told, 0), fd(&told, 1), fd(&told, 2));
    let log = supervisor.folder.join("log").display().to_string();
    assert_eq!([text(input, "link"), text(output, "link"), text(error, "link")], ["/dev/null", &log, &log]);
}

#[test]
fn without_a_socket_nothing_above_two_is_open() {
    let folder = Folder::new();
    let args = reporter(&folder);
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    let told = report(&mut supervisor, "report");
    assert_eq!(open_numbers(&told), [0, 1, 2]);
    assert_eq!(text(member(&told, "environ"), "EINHORN_FD_COUNT"), "0");
}

#[test]
fn a_host_name_gives_the_address_of_the_family_asked_for() {
    let addresses: Vec<_> = ("localhost", 0).to_socket_addrs().expect("localhost").collect();
    let v6 = addresses.iter().any(|address| address.is_ipv6());
    let families = [("-4", "AF_INET")].into_iter().chain(v6.then_some(("-6", "AF_INET6")));
    for (option, family) in families {
        let folder = Folder::new();
        let args = with(&[option, "-b", "localhost:0"], reporter(&folder));
        let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
        let told = report(&mut supervisor, "report");
        assert_eq!(text(fd(&told, 3), "family"), family);
        assert_eq!(text(member(&told, "environ"), "EINHORN_FD_FAMILY_0"), family);
        assert_eq!(bound_to(&told, 3).1, i64::from(supervisor.address(0).port()));
    }
}

#[test]
fn the_environment_is_the_supervisors_less_what_is_not_for_workers() {
    let folder = Folder::new();
    let path = env::var("PATH").expect("a PATH");
    let kept = [("PATH", path.as_str()), ("HOME", "/nowhere"), ("EMPTY", ""), ("LISTEN_ADDR", "x=y")];
    let withheld = [
        ("SECRET", "1"),
        ("ANOTHER", "2"),
        ("LISTEN_FDS", "3"),
        ("LISTEN_PID", "4"),
        ("LISTEN_FDNAMES", "a:b"),
        ("NOTIFY_SOCKET", "/run/nowhere"),
        ("WATCHDOG_USEC", "1000"),
        ("EINHORN_FD_COUNT", "9"),
        ("EINHORN_FD_9", "9"),
        ("EINHORN_FDS", "7 8"),
        ("EINHORN_MASTER_PID", "1"),
        ("EINHORN_SOCK_PATH", "/nowhere"),
        ("EINHORN_SOCK_FD", "5"),
        ("EINHORN_CHILD_INDEX", "77"),
    ];
    let addresses = [own_address(), own_address()].map(|address| address.to_string());
    let [one, two] = &addresses;
    let drop = ["--drop-env-var", "SECRET", "--drop-env-var", "ANOTHER", "--drop-env-var", "NOT_SET"];
    let options = [&["-m", "-b", one, "-b", two][..], &drop].concat();
    // Straight to Python: a shell would add something to the environment.
    let file = folder.join("report").display().to_string();
    let (python, rogue) = (python(), script("rogue.py"));
    let args = [&options[..], &[&python, &rogue, "report", &file]].concat();
    let mut supervisor = Supervisor::start_in(folder, &args, |command| {
        command.env_clear().envs(kept).envs(withheld);
    });
    let told = report(&mut supervisor, "report");

    let socket = supervisor.socket().display().to_string();
    let pid = supervisor.pid().to_string();
    let own_pid = number(&told, "pid").to_string();
    let starter = format!("{one}=3;{two}=4");
    let given = [
        ("EINHORN_FD_COUNT", "2"),
        ("EINHORN_FD_0", "3"),
        ("EINHORN_FD_FAMILY_0", "AF_INET"),
        ("EINHORN_FD_1", "4"),
        ("EINHORN_FD_FAMILY_1", "AF_INET"),
        ("EINHORN_FDS", "3 4"),
        ("LISTEN_FDS", "2"),
        ("LISTEN_FDNAMES", "unknown:unknown"),
        ("LISTEN_PID", &own_pid),
        ("SERVER_STARTER_PORT", &starter),
        ("SERVER_STARTER_GENERATION", "1"),
        ("EINHORN_SOCK_PATH", &socket),
        ("EINHORN_MASTER_PID", &pid),
        ("EINHORN_CHILD_INDEX", "0"),
    ];
    let expected: BTreeMap<&str, &str> = kept.into_iter().chain(given).collect();
    let environ = member(&told, "environ");
    let mut found: BTreeMap<&str, &str> =
        members(&told, "environ").keys().map(|name| (name.as_str(), text(environ, name))).collect();
    // A name that the kernel has chosen.
    assert!(found.remove("NOTIFY_SOCKET").is_some_and(|name| name.starts_with('@')), "{found:?}");
    assert_eq!(found, expected);
    assert_eq!(number(&told, "ppid"), i64::from(supervisor.pid()));
}

#[test]
fn a_worker_has_a_group_of_its_own_and_the_supervisors_place() {
    let folder = Folder::new();
    let inner = folder.join("inner");
    fs::create_dir(&inner).expect("a directory can be made");
    let args = reporter(&folder);
    let starter = format!("cd '{}'; umask 027; exec \"$@\"", inner.display());
    let mut supervisor = start_through(folder, &["/bin/sh", "-c", &starter, "sh"], &args);
    let told = report(&mut supervisor, "report");
    let ours = raw(supervisor.pid());
    assert_eq!(number(&told, "pgid"), number(&told, "pid"));
    assert_ne!(getpgid(Some(ours)).expect("it is there").as_raw(), ours.as_raw(), "it stays in its group");
    let session = getsid(Some(ours)).expect("it is there").as_raw();
    assert_eq!(number(&told, "sid"), i64::from(session));
    assert_eq!(text(&told, "stdin"), "/dev/null");
    assert_eq!(Path::new(text(&told, "cwd")), inner.canonicalize().expect("it is there"));
    assert_eq!(number(&told, "umask"), 0o027);
    assert_eq!(number(&told, "nice"), nice(supervisor.pid()));
}

/// A process's nice value, which is field 19 of its line in /proc; its name may contain anything.
#[track_caller]
fn nice(pid: u32) -> i64 {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    let (_, after_name) = line.rsplit_once(") ").expect("a name in parentheses");
    after_name.split(' ').nth(16).and_then(|field| field.parse().ok()).expect("a number")
}

/// What /proc says of a set of signals; that of ignored ones may have bits for none.
#[track_caller]
fn signals(told: &Value, name: &str) -> u64 {
    u64::from_str_radix(text(member(told, "signals"), name), 16).expect("a set of signals")
}

#[test]
fn no_signal_is_blocked_or_ignored() {
    let folder = Folder::new();
    let args = reporter(&folder);
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    let told = report(&mut supervisor, "report");
    assert_eq!(text(member(&told, "signals"), "source"), "sh");
    assert_eq!((signals(&told, "SigBlk"), signals(&told, "SigIgn")), (0, 0));
}

/// Blocks and ignores every signal that can be, leaves descriptors open, and becomes the supervisor. But
/// for SIGHUP, which is blocked only: who has it ignored means that.
const HOSTILE: &str = r#"
import os, signal, sys
signals = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
for number in signals - {signal.SIGHUP}:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
null = os.open("/dev/null", os.O_RDWR)
for number in (3, 4, 5, 6, 9, 10, 50, int(sys.argv[1])):
    os.dup2(null, number, inheritable=True)
os.execv(sys.argv[2], sys.argv[2:])
"#;

#[test]
fn a_hostile_start_does_not_reach_workers_nor_deafen_the_supervisor() {
    let (most, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let highest = most.saturating_sub(1).min(5_000).to_string();
    let addresses = [own_address(), own_address(), own_address()].map(|address| address.to_string());
    let binds: Vec<&str> = addresses.iter().flat_map(|address| ["-b", address]).collect();
    let folder = Folder::new();
    let args = with(&binds, reporter(&folder));
    let mut supervisor = start_through(folder, &[&python(), "-c", HOSTILE, &highest], &args);
    let told = report(&mut supervisor, "report");
    assert_eq!(open_numbers(&told), [0, 1, 2, 3, 4, 5], "no descriptor of the starter's comes through");
    assert!((3..6).all(|number| flag(fd(&told, number), "acceptconn")));
    assert_eq!((signals(&told, "SigBlk"), signals(&told, "SigIgn")), (0, 0));

    // Dead children are noticed, and orders.
    let worker = supervisor.await_healthy(1);
    kill(raw(worker[0]), Signal::SIGKILL).expect("the worker is there");
    let other = supervisor.eventually("the worker is replaced", |me| {
        Some(me.healthy()).filter(|new| new.len() == 1 && *new != worker)
    });
    supervisor.signal(Signal::SIGHUP);
    supervisor.eventually("the worker is upgraded", |me| {
        Some(me.healthy()).filter(|new| new.len() == 1 && *new != other)
    });
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
}

/// Becomes the supervisor with timers that have gone off, and will again, before it is the supervisor.
const TIMED: &str = r#"
import os, signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF})
for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
    signal.setitimer(timer, 0.0001, 0.0001)
while len(signal.sigpending()) < 3:
    pass
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn timers_of_the_starter_do_not_end_the_supervisor() {
    let args = ["--ack-after", "0.1", "sleep", "900"];
    let mut supervisor = start_through(Folder::new(), &[&python(), "-c", TIMED], &args);
    supervisor.await_healthy(1);
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.await_exit(), 0);
}

#[test]
fn a_start_with_closed_standard_descriptors_is_a_start() {
    for closed in ["<&- >&- 2>&-", "<&-", ">&-", "2>&-", "<&- 2>&-"] {
        let address = own_address();
        let folder = Folder::new();
        let args = with(&["-b", &address.to_string()], reporter(&folder));
        let starter = format!("exec \"$@\" {closed}");
        let mut supervisor = start_through(folder, &["/bin/sh", "-c", &starter, "sh"], &args);
        let told = report(&mut supervisor, "report");
        assert_eq!(open_numbers(&told), [0, 1, 2, 3], "{closed}");
        assert_eq!(bound_to(&told, 3).0, address.ip().to_string(), "{closed}");
        let log = supervisor.folder.join("log").display().to_string();
        for (number, redirection) in ["<&-", ">&-", "2>&-"].iter().enumerate() {
            let shut = number == 0 || closed.split(' ').any(|word| word == *redirection);
            let link = text(fd(&told, number), "link");
            assert_eq!(link, if shut { "/dev/null" } else { &log }, "{closed}: {number}");
        }
        supervisor.await_healthy(1);
        supervisor.signal(Signal::SIGTERM);
        assert_eq!(supervisor.await_exit(), 0);
    }
}

#[test]
fn a_worker_keeps_the_number_of_its_slot_over_replacements() {
    let folder = Folder::new();
    let note = "echo \"$EINHORN_CHILD_INDEX\" > \"${EINHORN_SOCK_PATH%/*}/$$\"; exec sleep 1000";
    let args = ["-n", "3", "--ack-after", "0", "/bin/sh", "-c", note];
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    let index = |supervisor: &mut Supervisor, pid: u32| {
        let file = supervisor.folder.join(&pid.to_string());
        supervisor.eventually("it notes its number", |_| {
            fs::read_to_string(&file).ok()?.trim().parse::<usize>().ok()
        })
    };
    let mut pids = supervisor.await_healthy(3);
    for victim in [1, 0, 2, 1] {
        let found = [0, 1, 2].map(|slot| index(&mut supervisor, pids[slot]));
        assert_eq!(found, [0, 1, 2], "as in the status");
        kill(raw(pids[victim]), Signal::SIGKILL).expect("the worker is there");
        let old = pids.clone();
        pids = supervisor.eventually("it is replaced, and nobody else", |me| {
            let new = me.healthy();
            let same = new.len() == 3 && (0..3).all(|slot| (new[slot] == old[slot]) == (slot != victim));
            same.then_some(new)
        });
        assert!(!is_alive(old[victim]));
    }
}

#[test]
fn arguments_arrive_as_they_were_given() {
    let folder = Folder::new();
    let odd = ["", " ", "--", "-n", "a b", "$HOME", "*", "\\", "é\n", "'\""];
    let print = "printf '%s\\0' \"$@\" > \"${EINHORN_SOCK_PATH%/*}/part\"; \
                 mv \"${EINHORN_SOCK_PATH%/*}/part\" \"${EINHORN_SOCK_PATH%/*}/all\"; exec sleep 1000";
    let args = [&["--ack-after", "0", "--", "/bin/sh", "-c", print, "sh"][..], &odd].concat();
    let mut supervisor = Supervisor::start_in(folder, &args, |_| {});
    let file = supervisor.folder.join("all");
    let found = supervisor.eventually("it prints", |_| fs::read_to_string(&file).ok());
    assert_eq!(found.split_terminator('\0').collect::<Vec<_>>(), odd);
}
