//! A socket's place in the file system: taking it, noticing its loss, giving it back. Nothing here
//! knows what the socket is for; whoever takes a place binds it.
//!
//! Two supervisors that start at once may both find a stale socket, and one may remove what the other
//! has just bound; and a socket that is bound but does not listen yet looks stale to others. So all of
//! looking, removing, binding and listening happens under a [`lock`].

pub(crate) use lock::flock;

use crate::{cli::LONGEST_SOCKET_PATH, protocol::words::file_kind};
use lock::{Busy, PATIENCE_MS};
use nix::{
    errno::Errno,
    sys::{
        socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, sockopt::PeerCredentials},
        stat::{FileStat, Mode, lstat, umask},
    },
    unistd::{AccessFlags, eaccess, getpid, unlink},
};
use std::{
    fmt,
    fs::FileType,
    io,
    os::{fd::AsRawFd, unix::fs::FileTypeExt},
    path::{Path, PathBuf, absolute},
    sync::Mutex,
};

/// A path, and the socket that is ours there.
#[derive(Debug)]
pub(crate) struct Place<S> {
    path: PathBuf,
    identity: Identity,
    socket: S,
    /// Whether it is given back when this goes.
    is_given_back: bool,
}

/// What tells a file from another that has taken its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl From<FileStat> for Identity {
    fn from(stat: FileStat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

impl<S> Place<S> {
    /// Takes `path` for the socket that `bind` puts there and listens on. Removes a socket on which
    /// nobody listens; leaves everything else alone.
    pub(crate) fn take(path: &Path, bind: impl FnOnce(&Path) -> io::Result<S>) -> Result<Self, PlaceError> {
        let path = absolute(path).map_err(|error| PlaceError::new(path, Why::Path(error)))?;
        let Taken { socket, identity } =
            take(&path, bind, Busy::Wait).map_err(|why| PlaceError::new(&path, why))?;
        Ok(Self { path, identity, socket, is_given_back: true })
    }

    /// A place that whoever was here before has taken, and may have to have again: until it is [settled](Self::settle) it
    /// is not given back when this goes.
    pub(crate) fn adopt(path: PathBuf, identity: Identity, socket: S) -> Self {
        Self { path, identity, socket, is_given_back: false }
    }

    /// It is ours for good.
    pub(crate) fn settle(&mut self) {
        self.is_given_back = true;
    }

    /// What tells its file from another.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// What is there.
    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }

    /// The absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to our socket. If its file cannot be looked at, who listens there is
    /// asked: else it would be taken for lost while it serves, and stay behind in the end.
    pub(crate) fn is_ours(&self) -> bool {
        match identify(&self.path) {
            Ok(identity) => identity == self.identity,
            Err(_) => knock(&self.path) == Ok(Some(getpid().as_raw())),
        }
    }

    /// Takes the path again with a new socket, if it is not ours any more. The old socket and the
    /// connections that wait on it are lost. Answers whether it had to. Does not wait.
    pub(crate) fn retake(&mut self, bind: impl FnOnce(&Path) -> io::Result<S>) -> Result<bool, PlaceError> {
        if self.is_ours() {
            return Ok(false);
        }
        let fresh = take(&self.path, bind, Busy::Fail).map_err(|why| PlaceError::new(&self.path, why))?;
        (self.socket, self.identity) = (fresh.socket, fresh.identity);
        Ok(true)
    }

    /// Takes the path again with a new socket, whatever is the matter with the one that is ours.
    pub(crate) fn renew(&mut self, bind: impl FnOnce(&Path) -> io::Result<S>) -> Result<(), PlaceError> {
        self.release();
        self.retake(bind).map(drop)
    }

    /// Removes the path, if it is still ours. Before the socket is closed: until then nobody who plays by
    /// these rules takes it for stale and puts his own in its place.
    pub(crate) fn release(&self) {
        if self.is_ours() {
            let _ = unlink(&self.path);
        }
    }
}

/// A start that fails later on leaves no socket behind either.
impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        if self.is_given_back {
            self.release();
        }
    }
}

/// A socket that has just been bound, and what it is known by.
struct Taken<S> {
    socket: S,
    identity: Identity,
}

fn take<S>(path: &Path, bind: impl FnOnce(&Path) -> io::Result<S>, busy: Busy) -> Result<Taken<S>, Why> {
    let length = path.as_os_str().len();
    if length > LONGEST_SOCKET_PATH {
        return Err(Why::TooLong(length));
    }
    if path.file_name().is_none() {
        return Err(Why::NoFile);
    }
    let _lock = lock::lock(path, busy)?;
    make_room(path)?;
    let taken = bind(path).and_then(|socket| Ok(Taken { identity: identify(path)?, socket }));
    taken.map_err(|error| {
        // What was bound before the step that failed is stale by now.
        let _ = make_room(path);
        Why::Bind(error)
    })
}

/// Whether a socket could be put there, as far as can be seen without touching or asking anything.
///
/// # Errors
/// If not, with the reason.
pub(crate) fn look(path: &Path) -> Result<(), PlaceError> {
    let path = absolute(path).map_err(|error| PlaceError::new(path, Why::Path(error)))?;
    let length = path.as_os_str().len();
    let why = if length > LONGEST_SOCKET_PATH {
        Why::TooLong(length)
    } else if path.file_name().is_none() {
        Why::NoFile
    } else {
        match (may_make(&path), path.symlink_metadata()) {
            (Ok(()), Ok(metadata)) if !metadata.file_type().is_socket() => {
                Why::NotASocket(metadata.file_type())
            }
            (Ok(()), _) => return Ok(()),
            (Err(errno @ (Errno::ENOENT | Errno::ENOTDIR)), _) => Why::Directory(errno),
            (Err(errno), _) => Why::Bind(errno.into()),
        }
    };
    Err(PlaceError::new(&path, why))
}

/// Whether files may be made in the directory that a path is in.
pub(crate) fn may_make(path: &Path) -> Result<(), Errno> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory
        .metadata()
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))?
        .is_dir()
    {
        return Err(Errno::ENOTDIR);
    }
    eaccess(directory, AccessFlags::W_OK | AccessFlags::X_OK)
}

/// Sees to it that nothing is at `path`.
fn make_room(path: &Path) -> Result<(), Why> {
    let kind = match path.symlink_metadata() {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Why::Bind(error)),
    };
    if !kind.is_socket() {
        return Err(Why::NotASocket(kind));
    }
    match knock(path) {
        Ok(pid) => Err(Why::Live(pid)),
        Err(Errno::EAGAIN) => Err(Why::Live(None)),
        Err(Errno::ENOENT) => Ok(()),
        Err(Errno::ECONNREFUSED) => match unlink(path) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Why::Stale(errno)),
        },
        Err(errno) => Err(Why::Foreign(errno)),
    }
}

/// Connects, to see whether anybody listens, and who. Does not wait where too many wait already.
fn knock(path: &Path) -> Result<Option<i32>, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    socket::connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    // 0 stands for a process that this pid namespace does not contain.
    let pid = socket::getsockopt(&fd, PeerCredentials).ok().map(|peer| peer.pid());
    Ok(pid.filter(|pid| *pid > 0))
}

/// Does something with another umask, and returns the one before too. It belongs to the whole process, which
/// has one thread only; where tests have several, they take turns.
pub(crate) fn with_umask<T>(mask: Mode, action: impl FnOnce() -> T) -> (Mode, T) {
    static UMASK: Mutex<()> = Mutex::new(());
    let turn = UMASK.lock();
    let before = umask(mask);
    let done = action();
    umask(before);
    drop(turn);
    (before, done)
}

fn identify(path: &Path) -> Result<Identity, Errno> {
    lstat(path).map(Identity::from)
}

/// Why a path could not be taken.
#[derive(Debug)]
pub(crate) struct PlaceError {
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    /// It cannot be made absolute.
    Path(io::Error),
    /// By so many bytes in all.
    TooLong(usize),
    /// It ends in `..` or is the root.
    NoFile,
    /// Its directory is none.
    Directory(Errno),
    /// A process of ours does not let go of the lock in that file.
    Locked(PathBuf),
    /// There is something else.
    NotASocket(FileType),
    /// Somebody listens there.
    Live(Option<i32>),
    /// There is a socket that cannot be asked.
    Foreign(Errno),
    /// There is a socket that nobody listens on and that cannot be removed.
    Stale(Errno),
    /// The socket cannot be bound.
    Bind(io::Error),
}

impl PlaceError {
    fn new(path: &Path, why: Why) -> Self {
        Self { path: path.to_path_buf(), why }
    }

    /// The path; absolute, if it could be made so.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The reason and what to do about it, to go behind words on what the path was for.
impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.reason(), self.advice())
    }
}

impl PlaceError {
    /// The number that the system has for it, or one that comes near.
    pub(crate) fn errno(&self) -> Errno {
        match &self.why {
            Why::Directory(errno) | Why::Foreign(errno) | Why::Stale(errno) => *errno,
            Why::Path(error) | Why::Bind(error) => {
                error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw)
            }
            Why::TooLong(_) => Errno::ENAMETOOLONG,
            Why::NoFile => Errno::EINVAL,
            Why::Locked(_) => Errno::EWOULDBLOCK,
            Why::NotASocket(_) => Errno::EEXIST,
            Why::Live(_) => Errno::EADDRINUSE,
        }
    }

    /// Why the path could not be taken, without what to do about it.
    pub(crate) fn reason(&self) -> String {
        let directory = self.path.parent().unwrap_or(&self.path).display();
        match &self.why {
            Why::Path(error) => error.to_string(),
            Why::TooLong(length) => {
                format!("the path is {length} bytes long; at most {LONGEST_SOCKET_PATH} are possible")
            }
            Why::NoFile => "the path names no file".into(),
            Why::Directory(Errno::ENOENT) => format!("there is no directory `{directory}`"),
            Why::Directory(errno) => format!("`{directory}` is of no use: {}", errno.desc()),
            Why::Locked(lock) => format!(
                "another process of yours has kept the lock on `{lock}` for {} s; find it with `fuser -v {lock}`",
                PATIENCE_MS / 1_000,
                lock = lock.display()
            ),
            Why::NotASocket(kind) => format!("what is there is {}, not a socket", file_kind(*kind)),
            Why::Live(Some(pid)) => format!("pid {pid} listens there"),
            Why::Live(None) => "somebody listens there, look with `ss -lxp`".into(),
            Why::Foreign(errno) => {
                format!("there is a socket that cannot be asked whose it is: {}", errno.desc())
            }
            Why::Stale(errno) => format!("nobody listens there, but it cannot be removed: {}", errno.desc()),
            Why::Bind(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                format!("no permission to create it in `{directory}`")
            }
            Why::Bind(error) => error.to_string(),
        }
    }

    /// What to do at a start, where another path is as good: a clause with `; ` in front, or nothing.
    fn advice(&self) -> &'static str {
        match &self.why {
            Why::Path(_) => "; give an absolute path",
            Why::NoFile => "; give that of a socket to be made",
            Why::Directory(Errno::ENOENT) => "; create it, or choose another path",
            Why::NotASocket(_) => "; remove it yourself, or choose another path",
            Why::Live(_) => "; stop that, or choose another path",
            Why::Bind(error) if error.kind() == io::ErrorKind::PermissionDenied => "; choose another path",
            Why::TooLong(_)
            | Why::Directory(_)
            | Why::Locked(_)
            | Why::Foreign(_)
            | Why::Stale(_)
            | Why::Bind(_) => "",
        }
    }
}

impl std::error::Error for PlaceError {}

mod lock;
#[cfg(test)]
mod tests;
