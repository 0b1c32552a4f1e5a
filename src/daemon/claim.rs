//! The control socket's own file: a [`Place`] with a listener for its owner alone.

use super::{
    kept::{Bytes, File, Kept},
    place::{self, Identity, Place, PlaceError},
};
use mio::net::UnixListener;
use nix::sys::{
    socket::{Backlog, listen as listen_on},
    stat::Mode,
};
use std::{
    fmt, io,
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::net,
    },
    path::{Path, PathBuf},
};

/// A control socket that is ours.
#[derive(Debug)]
pub(crate) struct Claim {
    place: Place<UnixListener>,
}

impl Claim {
    /// Binds the control socket to `path`, with permissions for its owner only from the moment it
    /// exists, and listens without blocking. Removes a socket on which nobody listens; leaves everything
    /// else alone.
    pub(crate) fn new(path: &Path) -> Result<Self, ClaimError> {
        Ok(Self { place: Place::take(path, listen).map_err(ClaimError)? })
    }

    /// Whether it could be, as far as can be seen without touching or asking anything.
    pub(crate) fn look(path: &Path) -> Result<(), ClaimError> {
        place::look(path).map_err(ClaimError)
    }

    /// The one that whoever was here before has claimed.
    pub(crate) fn adopt(path: PathBuf, identity: Identity, socket: OwnedFd) -> Self {
        let listener = UnixListener::from_std(net::UnixListener::from(socket));
        Self { place: Place::adopt(path, identity, listener) }
    }

    /// What is kept of it.
    pub(crate) fn kept(&self) -> Kept {
        let file = File::new(self.listener().as_raw_fd(), self.place.identity());
        Kept::Door { path: Bytes::of(self.path()), file }
    }

    /// Where clients connect. It does not block.
    pub(crate) fn listener(&self) -> &UnixListener {
        self.place.socket()
    }

    /// The absolute path.
    pub(crate) fn path(&self) -> &Path {
        self.place.path()
    }

    /// Whether the path still leads to our socket.
    pub(crate) fn still_there(&self) -> bool {
        self.place.is_ours()
    }

    /// Claims the path again with a new socket, if it has been removed. The old one and the connections
    /// that wait on it are lost; to be registered with the event loop anew. Answers whether it had to.
    pub(crate) fn rebind(&mut self) -> Result<bool, ClaimError> {
        self.place.retake(listen).map_err(ClaimError)
    }

    /// Removes the path, if it is still ours.
    pub(crate) fn release(&self) {
        self.place.release();
    }
}

/// From here on those who connect are told that it is this process which listens, unix(7).
pub(crate) fn listen_anew(listener: &impl AsFd) {
    // Fails for no reason that matters: it listens.
    let _ = listen_on(listener, Backlog::MAXALLOWABLE);
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let listener = bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(UnixListener::from_std(listener))
}

/// Binds with the umask that gives mode 0600.
fn bind(path: &Path) -> io::Result<net::UnixListener> {
    place::with_umask(Mode::from_bits_truncate(0o177), || net::UnixListener::bind(path)).1
}

/// Why a path could not be claimed.
#[derive(Debug)]
pub(crate) struct ClaimError(PlaceError);

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(why) = self;
        write!(f, "cannot use `{}` as the control socket: {why}", why.path().display())
    }
}

impl ClaimError {
    /// Why not, without what to do about it.
    pub(crate) fn reason(&self) -> String {
        self.0.reason()
    }
}

impl std::error::Error for ClaimError {}

#[cfg(test)]
mod tests {
    use super::{super::scratch::Scratch, *};
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use std::{
        fs,
        os::unix::{fs::PermissionsExt, net::UnixStream},
    };

    /// Asked, since an accept that waits would do so for ever.
    fn is_nonblocking(claim: &Claim) -> bool {
        let flags = fcntl(claim.listener(), FcntlArg::F_GETFL).unwrap();
        OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK)
    }

    #[test]
    fn a_claimed_path_is_a_private_socket_that_listens_and_goes_away_on_release() {
        let scratch = Scratch::new();
        let claim = Claim::new(&scratch.join("socket")).unwrap();
        assert_eq!(fs::metadata(claim.path()).unwrap().permissions().mode() & 0o7777, 0o600);
        let _client = UnixStream::connect(claim.path()).unwrap();
        assert!(is_nonblocking(&claim));
        claim.listener().accept().unwrap();
        assert_eq!(claim.listener().accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(claim.still_there());
        claim.release();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn a_path_that_was_removed_is_claimed_again_as_private_as_before() {
        let scratch = Scratch::new();
        let mut claim = Claim::new(&scratch.join("socket")).unwrap();
        fs::remove_file(claim.path()).unwrap();
        assert!(claim.rebind().unwrap());
        assert_eq!(fs::metadata(claim.path()).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(is_nonblocking(&claim));
    }

    #[test]
    fn what_cannot_be_claimed_is_named_with_what_it_was_for() {
        let scratch = Scratch::new();
        let path = scratch.file("file", "precious", 0o600);
        let error = Claim::new(&path).unwrap_err().to_string();
        let start = format!("cannot use `{}` as the control socket: what is there", path.display());
        assert!(error.starts_with(&start), "{error}");
    }
}
