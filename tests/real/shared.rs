//! Sockets that are shared: what workers do to them, how many there may be, and which addresses there are.

use crate::{
    harness::{Folder, Supervisor, eventually, is_alive, raw},
    probe::{own_address, puppet, puppets, run, start_through},
    tools::skip,
};
use nix::sys::signal::{Signal, kill};
use std::{
    fs,
    net::{SocketAddr, TcpStream},
};

/// Ends the worker of a slot, and waits until all are healthy again.
#[track_caller]
fn respawn(supervisor: &mut Supervisor, slot: usize, count: usize) {
    let old = supervisor.await_healthy(count);
    kill(raw(old[slot]), Signal::SIGKILL).expect("the worker is there");
    supervisor.eventually("it is replaced", |me| {
        Some(me.healthy()).filter(|new| new.len() == count && new[slot] != old[slot])
    });
}

/// Whether a client is taken in. It waits for nobody: the kernel does that.
fn connects(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

#[test]
fn a_socket_that_a_worker_has_shut_down_listens_again() {
    let own = own_address().to_string();
    let mut supervisor = puppets(&["-n", "2", "--ack-after", "0.1", "-b", &own, "-b", "127.0.0.1:0"], &[]);
    supervisor.await_healthy(2);
    let said = |log: &str| log.matches("had ended the listening on").count();
    for number in 0..2 {
        let address = supervisor.address(number);
        let shut = format!("listeners[{number}].shutdown(socket.SHUT_RDWR)");
        assert!(connects(address));
        // Nobody need ask, and no worker need end.
        puppet(&supervisor, 1, &shut);
        eventually("it listens again", || connects(address).then_some(()));
        supervisor.status();
        assert_eq!(said(&supervisor.log()), 2 * number + 1, "{}", supervisor.log());
        // And before a worker is started.
        puppet(&supervisor, 1, &shut);
        let worker = supervisor.children()[0];
        kill(raw(worker), Signal::SIGKILL).expect("the worker is there");
        eventually("it listens again", || connects(address).then_some(()));
        supervisor.await_healthy(2);
        assert_eq!(said(&supervisor.log()), 2 * number + 2, "{}", supervisor.log());
        let accept =
            format!("listeners[{number}].settimeout(30); listeners[{number}].accept(); answer = 'yes'");
        assert_eq!(puppet(&supervisor, 0, &accept), "yes", "for those that run, too");
    }
    assert!(!supervisor.log().contains("there is a new one"), "{}", supervisor.log());
}

#[test]
fn o_nonblock_that_was_asked_for_is_set_again_and_what_workers_set_stays_while_they_run() {
    let addresses = [own_address(), own_address()];
    let binds = [addresses[0].to_string(), format!("{},n", addresses[1])];
    let mut supervisor = puppets(&["-n", "2", "--ack-after", "0.1", "-b", &binds[0], "-b", &binds[1]], &[]);
    let flags = "answer = [bool(fcntl.fcntl(it, fcntl.F_GETFL) & os.O_NONBLOCK) for it in listeners]";
    let change = "[os.set_blocking(it.fileno(), not os.get_blocking(it.fileno())) for it in listeners]";
    let old = supervisor.await_healthy(2);
    assert_eq!(puppet(&supervisor, 0, flags), "[False, True]");
    puppet(&supervisor, 1, change);
    for _ in 0..2 {
        assert_eq!(puppet(&supervisor, 0, flags), "[True, False]");
        respawn(&mut supervisor, 0, 2);
        assert_eq!(puppet(&supervisor, 1, flags), "[True, True]", "the other may rely on it");
        supervisor.status();
        puppet(&supervisor, 1, "os.set_blocking(listeners[1].fileno(), True)");
    }
    let said = |log: &str, what: &str, address: SocketAddr| {
        log.matches(&format!("{what} O_NONBLOCK on the socket of {address}")).count()
    };
    let log = supervisor.log();
    assert_eq!(said(&log, "a worker has set", addresses[0]), 1, "{log}");
    assert_eq!(said(&log, "had cleared", addresses[1]), 1, "{log}");

    // Where nobody is left to rely on it, it is as it was asked for.
    supervisor.signal(Signal::SIGSTOP);
    let last = supervisor.children();
    assert!(last.contains(&old[1]), "{last:?}");
    last.iter().for_each(|worker| kill(raw(*worker), Signal::SIGKILL).expect("a worker"));
    eventually("both have ended", || last.iter().all(|pid| !is_alive(*pid)).then_some(()));
    supervisor.signal(Signal::SIGCONT);
    supervisor.eventually("both are replaced", |me| {
        let new = me.healthy();
        (new.len() == 2 && !new.iter().any(|pid| last.contains(pid))).then_some(())
    });
    assert_eq!(puppet(&supervisor, 0, flags), "[False, True]");
    assert_eq!(said(&supervisor.log(), "had set", addresses[0]), 1, "{}", supervisor.log());
}

/// Starts with that limit of descriptors and that many sockets, and a worker that only sleeps.
fn limited(limit: &str, sockets: usize) -> Supervisor {
    let limit = format!("ulimit {limit}; exec \"$@\"");
    let addresses: Vec<String> = (0..sockets).map(|_| own_address().to_string()).collect();
    let binds = addresses.iter().flat_map(|address| ["-b", address]);
    // Exact, since it takes no other process: one is the folder's own.
    let count =
        "set -- /proc/self/fd/*; echo $(($# - 1)) > \"${EINHORN_SOCK_PATH%/*}/count.$$\"; exec sleep 900";
    let args: Vec<&str> =
        ["--ack-after", "0.1"].into_iter().chain(binds).chain(["/bin/sh", "-c", count]).collect();
    start_through(Folder::new(), &["/bin/sh", "-c", &limit, "sh"], &args)
}

#[test]
fn sockets_may_take_all_descriptors_but_a_few() {
    for (limit, sockets) in [("-n 1024", 600), ("-n 64", 44), ("-Sn 64", 44)] {
        let mut supervisor = limited(limit, sockets);
        for round in 0..2 {
            let worker = supervisor.await_healthy(1)[0];
            let count = supervisor.folder.join(&format!("count.{worker}"));
            let count =
                eventually("it counts", || fs::read_to_string(&count).ok().filter(|it| it.ends_with('\n')));
            assert_eq!(count.trim(), (sockets + 3).to_string(), "{limit}: sockets and the standard three");
            match round {
                0 => respawn(&mut supervisor, 0, 1),
                _ => drop(supervisor.ctl_ok(&["upgrade"])),
            }
        }
        assert!(!supervisor.log().contains("oo many open"), "{limit}: {}", supervisor.log());
    }
}

#[test]
fn more_sockets_than_a_worker_can_have_are_refused_before_anything_is_done() {
    for limit in ["-n 64", "-Sn 64"] {
        let mut supervisor = limited(limit, 45);
        assert_eq!(supervisor.await_exit(), 2);
        let log = supervisor.log();
        assert!(log.contains("45 sockets are too many") && log.contains("up to 44 sockets"), "{log}");
        assert!(!log.contains("listening on"), "{log}");
    }
}

#[test]
fn a_worker_is_replaced_however_many_connections_the_supervisor_has() {
    let limit = "ulimit -n 128; exec \"$@\"";
    let addresses: Vec<String> = (0..40).map(|_| own_address().to_string()).collect();
    let binds = addresses.iter().flat_map(|address| ["-b", address]);
    let options: Vec<&str> = ["-m", "-n", "60"].into_iter().chain(binds).collect();
    let args = crate::probe::puppet_args(&options, &["ack"]);
    let mut supervisor = start_through(Folder::new(), &["/bin/sh", "-c", limit, "sh"], &args);
    supervisor.await_healthy(60);
    respawn(&mut supervisor, 30, 60);
    assert!(!supervisor.log().contains("oo many open"), "{}", supervisor.log());
}

#[test]
fn a_worker_has_the_limit_that_was_set_for_it_and_the_supervisor_all_there_is() {
    let limit = "ulimit -Sn 100; ulimit -Hn 300; exec \"$@\"";
    let worker = "echo $(ulimit -Sn) $(ulimit -Hn) > \"${EINHORN_SOCK_PATH%/*}/limits\"; exec sleep 900";
    let args = ["--ack-after", "0.1", "/bin/sh", "-c", worker];
    let mut supervisor = start_through(Folder::new(), &["/bin/sh", "-c", limit, "sh"], &args);
    supervisor.await_healthy(1);
    let limits = fs::read_to_string(supervisor.folder.join("limits")).expect("the worker told");
    assert_eq!(limits.trim(), "100 300");
    let ours = fs::read_to_string(format!("/proc/{}/limits", supervisor.pid())).expect("it is there");
    let line = ours.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["300", "300"]);
}

/// A link-local address of this machine, and the interface that has it.
fn link_local() -> Option<(std::net::Ipv6Addr, String, u32)> {
    let table = fs::read_to_string("/proc/net/if_inet6").ok()?;
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [address, index, _, _, _, name] = fields[..] else { return None };
        let address: std::net::Ipv6Addr = u128::from_str_radix(address, 16).ok()?.into();
        let index = u32::from_str_radix(index, 16).ok()?;
        address.is_unicast_link_local().then(|| (address, name.to_owned(), index))
    })
}

#[test]
fn a_link_local_address_is_bound_on_its_link() {
    let Some((address, name, index)) = link_local() else { return skip("no link has an address of its own") };
    for zone in [name.as_str(), &index.to_string()] {
        let bind = format!("[{address}%{zone}]:0");
        let mut supervisor = Supervisor::start(&["-b", &bind, "--ack-after", "0.1", "sleep", "900"]);
        let SocketAddr::V6(bound) = supervisor.address(0) else { panic!("another family") };
        assert_eq!((*bound.ip(), bound.scope_id()), (address, index));
        assert!(connects(bound.into()));
    }
}

#[test]
fn addresses_that_cannot_be_are_explained() {
    for (bind, code, said) in [
        ("[fe80::1]:8080", 2, "does not say on which link; as in [fe80::1%eth0]:8080"),
        ("[fe80::1%no-such-link]:8080", 2, "this machine has no link `no-such-link`"),
        ("[fe80::1%4000000]:8080", 1, "no such link"),
        ("[::ffff:127.0.0.1]:8080", 2, "is the IPv4 address 127.0.0.1 in the form of an IPv6 one"),
        ("[::1%lo]:8080", 2, "::1 is not link-local"),
    ] {
        let ended = run(&["-b", bind, "sleep", "900"]);
        assert_eq!(ended.code, code, "{bind}: {}", ended.stderr);
        assert!(ended.stderr.contains(said) && ended.stderr.contains(bind), "{bind}: {}", ended.stderr);
    }
}

#[test]
fn an_address_that_is_twice_on_the_command_line_is_its_own() {
    let address = own_address();
    let (one, all) = (address.to_string(), format!("0.0.0.0:{}", address.port()));
    for [first, second] in [[&one, &one], [&one, &all], [&all, &one]] {
        let spare = own_address().to_string();
        let ended = run(&["-b", &spare, "-b", first, "-b", second, "sleep", "900"]);
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        let said = format!(
            "cannot listen on {second}: Address already in use; this command line listens there \
                            itself: its `-b` number 2 is {first}"
        );
        assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    }
}
