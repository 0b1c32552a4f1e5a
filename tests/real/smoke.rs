//! The main job in one breath.

use crate::harness::{Supervisor, rust_worker};
use nix::sys::signal::Signal;

#[test]
fn four_workers_serve_are_upgraded_and_go() {
    let mut supervisor = Supervisor::start(&["-n", "4", "-b", "127.0.0.1:0,r,n", "-m", "--", &rust_worker()]);
    let old = supervisor.await_healthy(4);
    let address = supervisor.address(0);
    assert_eq!(crate::load::get(address).expect("an answer").status, 200);

    supervisor.ctl_ok(&["-e", "upgrade"]);
    let new = supervisor.await_healthy(4);
    assert!(new.iter().all(|pid| !old.contains(pid)), "{old:?} {new:?}");

    supervisor.signal(Signal::SIGINT);
    assert_eq!(supervisor.await_exit(), 0);
    assert!(!supervisor.socket().exists(), "the control socket is left behind");
}
