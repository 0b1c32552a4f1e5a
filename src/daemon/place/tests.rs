use super::{
    super::{clock::Monotonic, scratch::Scratch},
    *,
};
use crate::fsm::time::Time;
use nix::fcntl::{Flock, FlockArg};
use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        net::{UnixDatagram, UnixListener, UnixStream},
    },
};

/// A socket on which nobody listens. Nobody ever did: children that other tests have just forked
/// would keep a copy of a listening one for a moment.
fn stale(path: &Path) {
    let fd = socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    socket::bind(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
}

fn take(path: &Path) -> Result<Place<UnixListener>, PlaceError> {
    Place::take(path, |path| UnixListener::bind(path))
}

#[test]
fn a_place_that_is_given_back_or_dropped_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let place = take(&scratch.join("released")).unwrap();
    take(&scratch.join("dropped")).unwrap();
    assert!(place.is_ours());
    place.release();
    assert!(!place.is_ours());
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_place_whose_taking_fails_midway_is_left_as_it_was() {
    let scratch = Scratch::new();
    let path = scratch.join("socket");
    let failing = |path: &Path| {
        stale(path);
        Err::<UnixListener, _>(io::ErrorKind::AddrInUse.into())
    };
    Place::take(&path, failing).unwrap_err();
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    // Also while it serves, and what is not ours stays.
    let mut place = take(&path).unwrap();
    fs::remove_file(&path).unwrap();
    place.retake(failing).unwrap_err();
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    fs::write(&path, "precious").unwrap();
    place.retake(failing).unwrap_err();
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_live_supervisor_keeps_its_path() {
    let scratch = Scratch::new();
    let place = take(&scratch.join("socket")).unwrap();
    let error = take(place.path()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
    assert!(place.is_ours());
}

#[test]
fn a_live_supervisor_that_accepts_nobody_keeps_its_path_too() {
    let scratch = Scratch::new();
    let path = scratch.join("socket");
    let fd = socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    socket::bind(fd.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    socket::listen(&fd, socket::Backlog::new(0).unwrap()).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    let error = take(&path).unwrap_err();
    assert!(error.to_string().contains("somebody listens there"), "{error}");
}

#[test]
fn a_stale_socket_is_replaced() {
    let scratch = Scratch::new();
    let path = scratch.join("socket");
    stale(&path);
    let place = take(&path).unwrap();
    UnixStream::connect(place.path()).unwrap();
}

#[test]
fn what_is_not_a_stream_socket_is_refused_and_left_alone() {
    let scratch = Scratch::new();
    let target = scratch.file("file", "precious", 0o600);
    fs::create_dir(scratch.join("directory")).unwrap();
    std::os::unix::fs::symlink(scratch.join("nowhere"), scratch.join("link")).unwrap();
    let _datagrams = UnixDatagram::bind(scratch.join("datagrams")).unwrap();
    for name in ["file", "directory", "link", "datagrams"] {
        let error = take(&scratch.join(name)).unwrap_err();
        assert!(scratch.join(name).symlink_metadata().is_ok(), "{error}");
    }
    assert_eq!(fs::read_to_string(target).unwrap(), "precious");
}

#[test]
fn impossible_paths_are_explained() {
    let scratch = Scratch::new();
    let long = scratch.join(&"x".repeat(LONGEST_SOCKET_PATH));
    for (path, word) in [
        (long.as_path(), "at most 107"),
        (&scratch.join("missing/socket"), "no directory"),
        (&scratch.file("file", "", 0o600).join("socket"), "is of no use"),
        (Path::new("/"), "names no file"),
        (Path::new(""), "absolute path"),
        (Path::new(OsStr::from_bytes(b"/tmp/a\0b")), "NUL"),
    ] {
        let error = take(path).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let fits = LONGEST_SOCKET_PATH - scratch.path().as_os_str().len() - 1;
    take(&scratch.join(&"x".repeat(fits))).unwrap();
}

#[test]
fn a_path_that_was_removed_is_noticed_and_taken_again() {
    let scratch = Scratch::new();
    let mut place = take(&scratch.join("socket")).unwrap();
    assert!(!place.retake(|path| UnixListener::bind(path)).unwrap());
    fs::remove_file(place.path()).unwrap();
    assert!(!place.is_ours());
    assert!(place.retake(|path| UnixListener::bind(path)).unwrap());
    assert!(place.is_ours());
    UnixStream::connect(place.path()).unwrap();
}

#[test]
fn a_path_that_somebody_else_has_taken_over_is_left_to_him() {
    let scratch = Scratch::new();
    let mut old = take(&scratch.join("socket")).unwrap();
    fs::remove_file(old.path()).unwrap();
    let new = take(old.path()).unwrap();
    assert!(old.retake(|path| UnixListener::bind(path)).is_err());
    old.release();
    assert!(new.is_ours());
}

#[test]
fn of_many_that_start_at_once_over_a_stale_socket_one_wins() {
    let scratch = Scratch::new();
    for round in 0..20 {
        let path = scratch.join(&format!("socket-{round}"));
        stale(&path);
        let places: Vec<_> = std::thread::scope(|scope| {
            let start = || scope.spawn(|| take(&path));
            let started: Vec<_> = (0..8).map(|_| start()).collect();
            started.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let won: Vec<_> = places.iter().filter_map(|place| place.as_ref().ok()).collect();
        assert_eq!(won.len(), 1);
        assert!(won.iter().all(|place| place.is_ours()));
        assert!(
            places
                .iter()
                .filter_map(|place| place.as_ref().err())
                .all(|error| error.to_string().contains(&std::process::id().to_string()))
        );
    }
}

/// What somebody can lock by opening it, locked.
fn flock(path: &Path) -> Option<Flock<fs::File>> {
    Flock::lock(fs::File::open(path).ok()?, FlockArg::LockExclusiveNonblock).ok()
}

/// The lock of a socket, held.
fn held(path: &Path) -> lock::Lock {
    lock::lock(path, Busy::Fail).unwrap().unwrap()
}

#[test]
fn a_lock_that_is_never_released_is_an_error_not_a_hang() {
    let scratch = Scratch::new();
    let path = scratch.join("socket");
    let mut place = take(&path).unwrap();
    let _held = held(&path);
    fs::remove_file(&path).unwrap();
    let error = take(&path).unwrap_err().to_string();
    assert!(error.contains("kept the lock"), "{error}");
    // Whoever serves already does not even wait.
    let clock = Monotonic::start();
    place.retake(|path| UnixListener::bind(path)).unwrap_err();
    assert!(clock.now() < Time(1_000));
}

#[test]
fn what_others_have_locked_or_put_in_the_lock_s_place_holds_up_nobody_and_stays() {
    let scratch = Scratch::new();
    // Anybody can hold that where the directory is open to all.
    let _held = flock(scratch.path());
    let lock = scratch.join(".socket.lock");
    let open_to_all = || scratch.file(".socket.lock", "", 0o644);
    let precious = || scratch.file(".socket.lock", "precious", 0o600);
    let link = || {
        std::os::unix::fs::symlink(scratch.join("nowhere"), &lock).unwrap();
        lock.clone()
    };
    let twice = || {
        fs::hard_link(scratch.file("other", "", 0o600), &lock).unwrap();
        lock.clone()
    };
    let makers: [&dyn Fn() -> std::path::PathBuf; 4] = [&open_to_all, &precious, &link, &twice];
    for make in makers {
        let path = make();
        let held = flock(&path);
        drop(take(&scratch.join("socket")).unwrap());
        drop(held);
        fs::remove_file(&path).unwrap();
    }
    // A lock that nobody holds was left by somebody who was killed.
    scratch.file(".socket.lock", "", 0o600);
    drop(take(&scratch.join("socket")).unwrap());
    assert!(!lock.exists());
}
