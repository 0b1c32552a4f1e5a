mod world;

use super::*;
use crate::fsm::{
    event::{Command, Event, EventKind, ExitStatus, Strategy},
    signal::Signal,
};
use std::{
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
};
use world::{CONFIG, Listener, Unit, World, announced};

#[test]
fn up_is_told_once_all_workers_are_healthy_and_time_is_asked_for_until_then() {
    let (mut world, mut manager) = World::new(None);
    assert_eq!(manager.hear(), ["STATUS=starting: 0/2 workers healthy\nEXTEND_TIMEOUT_USEC=30000000"]);
    world.pass(Millis(9_000));
    world.ack(world.pids[0]);
    assert_eq!((manager.hear().len(), manager.unit), (1, Unit::Activating));
    assert_eq!(manager.status, "starting: 1/2 workers healthy");
    world.pass(Millis(9_000));
    manager.hear();
    assert_eq!(manager.extensions, 2);
    // Also if the line before was only just told.
    world.ack(world.pids[1]);
    assert_eq!(manager.hear(), ["READY=1\nSTATUS=2/2 workers healthy, generation 1"]);
    assert_eq!(world.manager.due(), None);
    world.pass(Millis(100_000));
    assert!(manager.hear().is_empty());
}

#[test]
fn a_start_that_never_comes_to_an_end_is_not_prolonged_for_ever() {
    let (mut world, mut manager) = World::new(None);
    // One serves, and the other never does.
    world.ack(world.pids[0]);
    for _ in 0..100 {
        world.pass(Millis(5_000));
        world.bury();
        manager.hear();
    }
    assert_eq!(manager.unit, Unit::Activating);
    // Two tries of 30 s and 10 s for TERM and KILL each, and 30 s.
    assert_eq!(manager.extensions, 11);
}

#[test]
fn every_upgrade_begins_and_ends_whatever_comes_of_it() {
    let (mut world, mut manager) = World::new(None);
    world.up();
    manager.hear();
    let old = world.pids.clone();
    world.upgrade();
    let said = manager.hear();
    assert!(said[0].starts_with("RELOADING=1\nMONOTONIC_USEC=") && said.len() == 2, "{said:?}");
    assert_eq!(said[1], "EXTEND_TIMEOUT_USEC=30000000");
    world.pass(Millis(1_000));
    manager.hear();
    assert_eq!(manager.status, "upgrading to generation 2: 0/2 workers healthy");
    // A newer one takes over.
    world.upgrade();
    assert!(manager.hear()[0].starts_with("RELOADING=1\n"));
    assert_eq!(manager.unit, Unit::Reloading);
    for (number, old) in old.into_iter().enumerate() {
        assert_eq!(manager.unit, Unit::Reloading, "{number}");
        world.ack(*world.pids.last().unwrap());
        world.gone(old, 0);
        manager.hear();
    }
    assert_eq!((manager.unit, &*manager.status), (Unit::Active, "2/2 workers healthy, generation 3"));
    // One that cannot be run.
    world.broken = true;
    world.upgrade();
    world.broken = false;
    let said = manager.hear();
    assert!(said[0].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{said:?}");
    assert_eq!(said[1], "READY=1\nSTATUS=2/2 workers healthy, generation 3; generation 4 was refused");
    // One that is given up, and one that fails.
    world.upgrade();
    let new = *world.pids.last().unwrap();
    world.ack(new);
    world.ask(Command::Abort);
    world.pass(Millis(200));
    manager.hear();
    assert_eq!(manager.status, "going back to generation 3: 1/2 workers healthy");
    world.ack(*world.pids.last().unwrap());
    world.bury();
    world.pass(Millis(200));
    manager.hear();
    let line = "2/2 workers healthy, generation 3; generation 5 was rolled back";
    assert_eq!((manager.unit, &*manager.status), (Unit::Active, line));
    world.upgrade();
    for _ in 0..2 {
        world.gone(*world.pids.last().unwrap(), 1);
        manager.hear();
        assert!(world.pids.len() == 2 || manager.unit == Unit::Reloading);
        world.pass(Millis(1_000));
    }
    manager.hear();
    let line = "2/2 workers healthy, generation 3; generation 6 was rolled back";
    assert_eq!((manager.unit, &*manager.status), (Unit::Active, line));
}

#[test]
fn an_upgrade_before_the_service_is_up_is_told_of_once_it_is() {
    let (mut world, mut manager) = World::new(None);
    let command = Command::Upgrade {
        strategy: Strategy::Fleet,
        canary: None,
        soak: Some(Millis(60_000)),
        timeout: None,
    };
    world.ask(command);
    assert!(manager.hear().iter().all(|message| !message.contains("RELOADING")));
    // Whoever comes up first, the service is up, or has been upgraded, and then up.
    for _ in 0..4 {
        world.up();
        world.pass(Millis(1_000));
    }
    manager.hear();
    assert_eq!(
        (manager.unit, &*manager.status),
        (Unit::Reloading, "generation 2 is on trial: 2/2 workers healthy")
    );
    world.pass(Millis(60_000));
    world.bury();
    manager.hear();
    assert_eq!(manager.unit, Unit::Active);
}

#[test]
fn the_end_is_told_behind_that_of_an_upgrade_and_takes_its_time() {
    let (mut world, mut manager) = World::new(None);
    world.up();
    world.upgrade();
    manager.hear();
    world.tell(EventKind::Signalled { signal: Signal::Int });
    // Time was asked for a moment ago, but not for that.
    let stopping = "STOPPING=1\nSTATUS=graceful shutdown; 3 workers to go\nEXTEND_TIMEOUT_USEC=30000000";
    assert_eq!(manager.hear(), ["READY=1", stopping]);
    let before = manager.extensions;
    world.pass(Millis(25_000));
    manager.hear();
    assert_eq!(manager.extensions, before + 2);
    for pid in world.pids.clone() {
        world.gone(pid, 0);
    }
    manager.hear();
    assert_eq!((manager.unit, &*manager.status), (Unit::Deactivating, "stopped"));
}

#[test]
fn the_reason_of_a_failure_is_the_last_line() {
    let (mut world, mut manager) = World::new(None);
    for _ in 0..4 {
        let pid = world.pids[0];
        world.gone(pid, 1);
        world.pass(Millis(1_000));
    }
    manager.hear();
    assert_eq!(manager.status, "failed with status 1: why\\nit is");
    assert_eq!(manager.unit, Unit::Deactivating);
}

#[test]
fn the_end_is_told_also_if_it_comes_at_once() {
    let (mut world, mut manager) = World::new(None);
    world.up();
    manager.hear();
    let at = world.now;
    world.machine.step(Event { at, kind: EventKind::Signalled { signal: Signal::Term } });
    for pid in world.pids.clone() {
        let status = ExitStatus::Signal(15);
        world
            .machine
            .step(Event { at, kind: EventKind::Exited { pid, status, error: None, orphans: false } });
    }
    world.settle();
    assert_eq!(manager.hear(), ["STOPPING=1\nSTATUS=stopped"]);
}

#[test]
fn the_watchdog_hears_twice_in_its_time_and_only_if_it_asks_this_process() {
    let (mut world, mut manager) = World::new(Some("3000000"));
    world.up();
    for _ in 0..2 {
        // Only so many messages may wait for whoever reads them.
        world.pass(Millis(7_550));
        manager.hear();
    }
    assert_eq!(manager.pings, 11);
    let due = world.manager.due();
    assert_eq!(due, Some(Time(16_500)));
    let path = "/nowhere";
    for (usec, pid, every) in [
        (Some("3000000"), Some("42"), Some(Millis(1_500))),
        (Some("3000000"), Some("43"), None),
        (Some("1"), None, Some(Millis(1))),
        (None, Some("42"), None),
        (Some(""), None, None),
        (Some("0"), None, None),
        (Some("-1"), None, None),
        (Some("1s"), None, None),
        (Some("18446744073709551615"), None, None),
        (Some("3000000"), Some("me"), None),
    ] {
        let watchdog = announced(path, usec, pid).0.unwrap().watchdog;
        assert_eq!(watchdog.map(|watchdog| watchdog.every), every, "{usec:?} {pid:?}");
    }
    let error = link::watchdog(|name| (name == WATCHDOG_USEC).then(|| "1s".into()), 42).unwrap_err();
    assert_eq!(
        error,
        "WATCHDOG_USEC: `1s` is no span of time; accepted: a number of microseconds, 1 or more"
    );
}

#[test]
fn an_address_is_a_path_or_an_abstract_name_and_anything_else_is_refused() {
    let name = format!("einhyrningsins-{}", process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let mut manager = Listener::new(UnixDatagram::bind_addr(&address).unwrap());
    let machine = Supervisor::new(CONFIG);
    let mut talk = announced(&format!("@{name}"), None, None).0.unwrap();
    talk.settle(&machine, Time(0));
    assert_eq!(manager.hear().len(), 1);
    let long = format!("/{}", "x".repeat(108));
    for wrong in ["", "@", "notify", "vsock:2:9", &long, &format!("@{long}")] {
        assert!(announced(wrong, None, None).0.is_none(), "{wrong}");
        let error = link::address(wrong.as_ref()).unwrap_err();
        assert!(
            error.starts_with("NOTIFY_SOCKET: ") && error.contains("accepted: an absolute path"),
            "{error}"
        );
    }
    assert!(Manager::announced(|name| (name == WATCHDOG_USEC).then(|| "1".into()), 42).0.is_none());
}

#[test]
fn what_a_full_socket_does_not_take_comes_later_in_its_order() {
    let (mut world, mut manager) = World::new(Some("2000000"));
    manager.hear();
    let path = world.folder.join("notify");
    let mut stuffed = 0;
    // How much a sender may have under way is bounded, and how much a socket takes: until nobody can send any more.
    loop {
        let (stuffing, before) = (UnixDatagram::unbound().unwrap(), stuffed);
        stuffing.set_nonblocking(true).unwrap();
        while stuffing.send_to(b"STATUS=x", &path).is_ok() {
            stuffed += 1;
        }
        if stuffed == before {
            break;
        }
    }
    assert!(stuffed > 0);
    world.up();
    let old = world.pids.clone();
    world.upgrade();
    for old in old {
        world.ack(*world.pids.last().unwrap());
        world.gone(old, 0);
    }
    // It is tried again at growing distances, and not at once all the time.
    let tries = (0..).take_while(|_| {
        world.now = world.manager.due().unwrap();
        world.settle();
        world.now < Time(20_000)
    });
    assert!((5..15).contains(&tries.count()));
    let mut buffer = [0; 64];
    for _ in 0..stuffed {
        manager.socket.recv(&mut buffer).unwrap();
    }
    world.pass(Millis(5_000));
    let said = manager.hear();
    assert!(said[0].starts_with("READY=1\nSTATUS=2/2") && said[1].starts_with("RELOADING=1"), "{said:?}");
    assert_eq!((manager.unit, &*manager.status), (Unit::Active, "2/2 workers healthy, generation 2"));
    assert!(manager.pings > 0);
}

#[test]
fn however_much_is_lost_the_newest_is_told() {
    let (mut world, _) = World::new(None);
    let path = world.folder.join("notify");
    rebind(&path);
    world.up();
    // Nobody is there, and that costs nothing.
    std::fs::remove_file(&path).unwrap();
    let old = world.pids.clone();
    world.upgrade();
    assert!(world.manager.0.as_ref().unwrap().link.is_clear());
    let mut manager = rebind(&path);
    manager.unit = Unit::Reloading;
    for old in old {
        world.ack(*world.pids.last().unwrap());
        world.gone(old, 0);
    }
    world.pass(Millis(1_000));
    manager.hear();
    assert_eq!((manager.unit, &*manager.status), (Unit::Active, "2/2 workers healthy, generation 2"));
}

fn rebind(path: &Path) -> Listener {
    let _ = std::fs::remove_file(path);
    Listener::new(UnixDatagram::bind(path).unwrap())
}
