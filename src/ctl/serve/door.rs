//! Where guests come in: a port, or a path.

use crate::{
    cli::tool::Listen,
    protocol::words::{file_kind, io_error},
};
use core::fmt;
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, connect, listen, socket},
};
use std::{
    fs, io,
    net::TcpListener,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _},
            net::UnixListener,
        },
    },
    path::Path,
};

/// How many may wait outside; the kernel has a limit of its own.
const BACKLOG: i32 = 4_096;

/// What listens.
#[derive(Debug)]
pub(super) struct Door {
    listener: OwnedFd,
    place: Listen,
    /// What tells the file of a path from another that has taken its place.
    file: Option<(u64, u64)>,
}

/// It cannot be listened there, and why.
#[derive(Debug)]
pub(super) struct Closed {
    place: Listen,
    why: String,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Listen::Inet(address) => write!(f, "cannot listen on {address}: {}", self.why),
            Listen::Unix(path) => write!(f, "cannot listen on unix:{}: {}", path.display(), self.why),
        }
    }
}

impl Door {
    pub(super) fn open(place: &Listen) -> Result<Self, Closed> {
        let closed = |why| Closed { place: place.clone(), why };
        let failed = |error: &io::Error| closed(told(error));
        let (listener, place, file) = match place {
            Listen::Inet(address) => {
                let listener = TcpListener::bind(address).map_err(|error| failed(&error))?;
                let address = listener.local_addr().map_err(|error| failed(&error))?;
                (OwnedFd::from(listener), Listen::Inet(address), None)
            }
            Listen::Unix(path) => {
                make_room(path).map_err(closed)?;
                let listener = UnixListener::bind(path).map_err(|error| failed(&error))?;
                (listener.into(), place.clone(), identity(path))
            }
        };
        let door = Self { listener, place, file };
        let open = || -> io::Result<()> {
            listen(&door.listener, Backlog::new(BACKLOG)?)?;
            UnixListener::from(door.listener.try_clone()?).set_nonblocking(true)
        };
        match open() {
            Ok(()) => Ok(door),
            Err(error) => Err(Closed { place: door.place.clone(), why: told(&error) }),
        }
    }

    /// Where it is; the port is the one that it has.
    pub(super) fn place(&self) -> &Listen {
        &self.place
    }

    /// Lets the next one in; fails if nobody waits, as sockets that do not wait do.
    pub(super) fn accept(&self) -> io::Result<OwnedFd> {
        let fd = self.listener.try_clone()?;
        Ok(match &self.place {
            Listen::Inet(_) => {
                let (stream, _) = TcpListener::from(fd).accept()?;
                stream.set_nonblocking(true)?;
                // An answer is a few writes, none of which has to wait for anything.
                stream.set_nodelay(true)?;
                stream.into()
            }
            Listen::Unix(_) => {
                let (stream, _) = UnixListener::from(fd).accept()?;
                stream.set_nonblocking(true)?;
                stream.into()
            }
        })
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Whoever has taken the path since keeps it.
impl Drop for Door {
    fn drop(&mut self) {
        if let Listen::Unix(path) = &self.place
            && self.file.is_some()
            && identity(path) == self.file
        {
            let _ = fs::remove_file(path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|file| (file.dev(), file.ino()))
}

/// Removes a socket on which nobody listens; leaves everything else alone, and says what it is.
fn make_room(path: &Path) -> Result<(), String> {
    let kind = match path.symlink_metadata() {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(told(&error)),
    };
    if !kind.is_socket() {
        return Err(format!("what is there is {}, not a socket", file_kind(kind)));
    }
    match knock(path) {
        Ok(()) | Err(Errno::EAGAIN) => Err("somebody listens there already".into()),
        Err(Errno::ECONNREFUSED) => {
            let removed = fs::remove_file(path);
            removed.map_err(|error| format!("the socket there is stale, but stays: {}", told(&error)))
        }
        Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(format!("somebody's socket is there: {}", told(&errno.into()))),
    }
}

/// Connects, to see whether anybody listens. Does not wait where too many wait already.
fn knock(path: &Path) -> Result<(), Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)
}

/// What the system says, with what helps.
fn told(error: &io::Error) -> String {
    let hints = [
        (io::ErrorKind::AddrInUse, "; somebody listens there already, and port 0 is any that is free"),
        (io::ErrorKind::AddrNotAvailable, "; no network interface of this machine has it"),
        (io::ErrorKind::PermissionDenied, "; ports below 1024, and folders of others, are for root"),
    ];
    let hint = hints.iter().find(|(kind, _)| *kind == error.kind()).map_or("", |(_, hint)| hint);
    format!("{}{hint}", io_error(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, path::PathBuf, process};

    fn path(name: &str) -> PathBuf {
        env::temp_dir().join(format!("einhyrningsinsctl-door-{}-{name}", process::id()))
    }

    #[test]
    fn a_port_that_is_taken_is_refused_and_the_one_that_was_given_is_told() {
        let door = Door::open(&Listen::Inet(([127, 0, 0, 1], 0).into())).unwrap();
        let Listen::Inet(address) = door.place() else { panic!("no address") };
        assert_ne!(address.port(), 0);
        let error = Door::open(door.place()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {address}: Address already in use")), "{error}");
        let waits = door.accept().unwrap_err();
        assert_eq!(waits.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_path_is_taken_from_nobody_and_given_back() {
        let path = path("taken");
        let place = Listen::Unix(path.clone());
        drop(UnixListener::bind(&path).unwrap());
        let door = Door::open(&place).expect("nobody listens there");
        let error = Door::open(&place).unwrap_err().to_string();
        assert!(error.ends_with(": somebody listens there already"), "{error}");
        drop(door);
        assert!(!path.exists());
        fs::write(&path, "mine").unwrap();
        let error = Door::open(&place).unwrap_err().to_string();
        assert!(error.ends_with(": what is there is a regular file, not a socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn whoever_has_taken_the_path_keeps_it() {
        let path = path("kept");
        let door = Door::open(&Listen::Unix(path.clone())).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        drop(door);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        fs::remove_file(&path).unwrap();
    }
}
