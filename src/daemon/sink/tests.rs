use super::{
    super::scratch::{Scratch, eventually},
    *,
};
use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::socket::{AddressFamily, SockFlag, SockType, socketpair},
    unistd::pipe2,
};
use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
};

/// Writes until a line is lost; a pipe that would block would hang here.
fn fill(stderr: &mut Outlet<impl AsFd>) {
    let line = [b'x'; 1000];
    assert!((0..10_000).any(|_| stderr.put(&line).is_err()), "it never got full");
}

#[test]
fn a_pipe_that_nobody_reads_loses_lines_and_the_shared_description_is_left_alone() {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let mut stderr = Outlet::new(&writer);
    assert!(matches!(stderr.way, Way::Own(_)));
    fill(&mut stderr);
    let flags = OFlag::from_bits_retain(fcntl(&writer, FcntlArg::F_GETFL).unwrap());
    assert!(!flags.contains(OFlag::O_NONBLOCK));
    File::from(reader.try_clone().unwrap()).read_exact(&mut [0; 8192]).unwrap();
    assert_eq!(stderr.put(b"there is room again\n"), Ok(()));
    drop(reader);
    // Children that other tests have just forked keep the reader for a moment.
    eventually("a closed pipe", || stderr.put(b"nobody\n").is_err().then_some(()));
}

#[test]
fn what_cannot_be_opened_again_is_asked_first_whether_there_is_room() {
    let (_reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let mut stderr = Outlet { fd: &writer, way: Way::Shared };
    assert_eq!(stderr.put(b"a line\n"), Ok(()));
    fill(&mut stderr);
    assert_eq!(stderr.put(b"a line\n"), Err(Lost::Whole));
}

#[test]
fn a_socket_that_nobody_reads_loses_lines() {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let mut stderr = Outlet::new(&ours);
    assert!(matches!(stderr.way, Way::Socket));
    fill(&mut stderr);
    drop(theirs);
    eventually("a closed socket", || (stderr.put(b"nobody\n") == Err(Lost::Whole)).then_some(()));
}

#[test]
fn lines_in_a_file_and_those_of_workers_do_not_overwrite_each_other() {
    let scratch = Scratch::new();
    let path = scratch.join("log");
    let mut shared = File::options().create_new(true).read(true).write(true).open(&path).unwrap();
    let mut stderr = Outlet::new(shared.try_clone().unwrap());
    stderr.put(b"ours\n").unwrap();
    shared.write_all(b"a worker's\n").unwrap();
    stderr.put(b"ours again\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "ours\na worker's\nours again\n");
    assert_eq!(shared.stream_position().unwrap(), 27);
}

#[test]
fn a_full_disk_or_a_closed_standard_error_is_no_error() {
    let mut stderr = Outlet::new(File::options().write(true).open("/dev/full").unwrap());
    assert_eq!(stderr.put(b"a line\n"), Err(Lost::Whole));
    let mut stderr = Outlet::new(File::open("/proc/self/status").unwrap());
    assert_eq!(stderr.put(b"a line\n"), Err(Lost::Whole));
}
