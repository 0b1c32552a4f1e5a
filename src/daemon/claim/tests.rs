use super::{super::scratch::Scratch, *};
use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::PermissionsExt,
        net::{UnixDatagram, UnixStream},
    },
};

/// A socket on which nobody listens. Nobody ever did: children that other tests have just forked
/// would keep a copy of a listening one for a moment.
fn stale(path: &Path) {
    let fd = socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    socket::bind(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
}

#[test]
fn a_claimed_path_is_a_private_socket_that_listens_and_goes_away_on_release() {
    let scratch = Scratch::new();
    let claim = Claim::new(&scratch.join("socket")).unwrap();
    assert_eq!(fs::metadata(claim.path()).unwrap().permissions().mode() & 0o7777, 0o600);
    let _client = UnixStream::connect(claim.path()).unwrap();
    claim.listener().accept().unwrap();
    assert_eq!(claim.listener().accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(claim.still_there());
    claim.release();
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_live_supervisor_keeps_its_path() {
    let scratch = Scratch::new();
    let claim = Claim::new(&scratch.join("socket")).unwrap();
    let error = Claim::new(claim.path()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
    assert!(claim.still_there());
}

#[test]
fn a_live_supervisor_that_accepts_nobody_keeps_its_path_too() {
    let scratch = Scratch::new();
    let path = scratch.join("socket");
    let fd = socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    socket::bind(fd.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    socket::listen(&fd, socket::Backlog::new(0).unwrap()).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    let error = Claim::new(&path).unwrap_err();
    assert!(error.to_string().contains("a supervisor serves it"), "{error}");
}

#[test]
fn a_stale_socket_is_replaced() {
    let scratch = Scratch::new();
    let path = scratch.join("socket");
    stale(&path);
    let claim = Claim::new(&path).unwrap();
    UnixStream::connect(claim.path()).unwrap();
}

#[test]
fn what_is_not_a_stream_socket_is_refused_and_left_alone() {
    let scratch = Scratch::new();
    let target = scratch.file("file", "precious", 0o600);
    fs::create_dir(scratch.join("directory")).unwrap();
    std::os::unix::fs::symlink(scratch.join("nowhere"), scratch.join("link")).unwrap();
    let _datagrams = UnixDatagram::bind(scratch.join("datagrams")).unwrap();
    for name in ["file", "directory", "link", "datagrams"] {
        let error = Claim::new(&scratch.join(name)).unwrap_err();
        assert!(scratch.join(name).symlink_metadata().is_ok(), "{error}");
    }
    assert_eq!(fs::read_to_string(target).unwrap(), "precious");
}

#[test]
fn impossible_paths_are_explained() {
    let scratch = Scratch::new();
    let long = scratch.join(&"x".repeat(LONGEST_PATH));
    for (path, word) in [
        (long.as_path(), "at most 107"),
        (&scratch.join("missing/socket"), "no directory"),
        (&scratch.file("file", "", 0o600).join("socket"), "cannot lock directory"),
        (Path::new("/"), "names no file"),
        (Path::new(""), "absolute path"),
        (Path::new(OsStr::from_bytes(b"/tmp/a\0b")), "NUL"),
    ] {
        let error = Claim::new(path).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let fits = LONGEST_PATH - scratch.path().as_os_str().len() - 1;
    Claim::new(&scratch.join(&"x".repeat(fits))).unwrap();
}

#[test]
fn a_path_that_was_removed_is_noticed_and_claimed_again() {
    let scratch = Scratch::new();
    let mut claim = Claim::new(&scratch.join("socket")).unwrap();
    assert!(!claim.rebind().unwrap());
    fs::remove_file(claim.path()).unwrap();
    assert!(!claim.still_there());
    assert!(claim.rebind().unwrap());
    assert!(claim.still_there());
    UnixStream::connect(claim.path()).unwrap();
}

#[test]
fn a_path_that_somebody_else_has_taken_over_is_left_to_him() {
    let scratch = Scratch::new();
    let mut old = Claim::new(&scratch.join("socket")).unwrap();
    fs::remove_file(old.path()).unwrap();
    let new = Claim::new(old.path()).unwrap();
    assert!(old.rebind().is_err());
    old.release();
    assert!(new.still_there());
}

#[test]
fn of_many_that_start_at_once_over_a_stale_socket_one_wins() {
    let scratch = Scratch::new();
    for round in 0..20 {
        let path = scratch.join(&format!("socket-{round}"));
        stale(&path);
        let claims: Vec<_> = thread::scope(|scope| {
            let start = || scope.spawn(|| Claim::new(&path));
            let started: Vec<_> = (0..8).map(|_| start()).collect();
            started.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let won: Vec<_> = claims.iter().filter_map(|claim| claim.as_ref().ok()).collect();
        assert_eq!(won.len(), 1);
        assert!(won.iter().all(|claim| claim.still_there()));
        assert!(
            claims
                .iter()
                .filter_map(|claim| claim.as_ref().err())
                .all(|error| error.to_string().contains(&std::process::id().to_string()))
        );
    }
}

#[test]
fn a_lock_that_is_never_released_is_an_error_not_a_hang() {
    let scratch = Scratch::new();
    let _held = lock(scratch.path()).unwrap();
    let error = Claim::new(&scratch.join("socket")).unwrap_err().to_string();
    assert!(error.contains("kept the lock"), "{error}");
}
