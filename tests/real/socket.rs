//! The control socket's file: who may hold it up, and what becomes of it when its folder goes.

use crate::harness::{Folder, Supervisor};
use nix::fcntl::{Flock, FlockArg};
use std::fs;

#[test]
fn a_lock_on_the_folder_that_somebody_keeps_holds_up_no_start() {
    let folder = Folder::new();
    let door = fs::File::open(folder.join("")).expect("anybody can open it");
    let held = Flock::lock(door, FlockArg::LockExclusiveNonblock).expect("anybody can lock it");
    let mut supervisor = Supervisor::start_in(folder, &["--ack-after", "0", "sleep", "600"], |_| {});
    supervisor.await_healthy(1);
    fs::remove_file(supervisor.socket()).expect("it can be removed");
    supervisor.eventually("it is there again", |me| me.request(r#"{"command":"version"}"#).ok());
    drop(held);
}
