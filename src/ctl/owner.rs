//! Whose control socket it is.
//!
//! In a folder that everybody can write to, anybody can put a socket where a supervisor's is expected, and
//! tell who connects whatever they like. Two things cannot be forged: whose the socket file is (stat(2)), and
//! who listens on it (`SO_PEERCRED`, unix(7)).

use nix::{
    sys::{
        socket::{
            getsockopt,
            sockopt::{PeerCredentials, PeerPidfd},
        },
        stat::stat,
    },
    unistd::geteuid,
};
use std::{
    fmt, io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
};

/// Whose sockets a client talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Root's and the own user's.
    RootOrSelf,
    /// Anybody's.
    Anybody,
}

/// Somebody else has made the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What is theirs.
    what: What,
    /// Who they are.
    owner: u32,
    /// Who we are.
    own: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Socket,
    Listener,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Socket => "the socket belongs to",
            What::Listener => "who listens there is",
        };
        let own =
            if self.own == 0 { "not root".to_owned() } else { format!("neither root nor user {}", self.own) };
        write!(f, "{what} user {}, {own}; --any-owner talks to it all the same", self.owner)
    }
}

/// The process at the other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Its number; `None` if it is of another pid namespace.
    pub pid: Option<i32>,
    /// A handle of it, where the kernel has that: from Linux 6.5 on.
    pub handle: Option<OwnedFd>,
}

/// Who answers on `stream`, which is connected to `path`.
///
/// # Errors
/// If the system does not tell.
pub fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let pid = getsockopt(stream, PeerCredentials)?.pid();
    Ok(Peer { pid: Some(pid).filter(|pid| *pid > 0), handle: getsockopt(stream, PeerPidfd).ok() })
}

/// Whether `stream`, which is connected to `path`, is somebody else's. Listening may have begun before the
/// check or the path have changed since; so both have to be in order.
///
/// # Errors
/// If the system does not tell.
pub fn foreign(path: &Path, stream: &UnixStream) -> io::Result<Option<Foreign>> {
    let own = geteuid().as_raw();
    let owners =
        [(What::Socket, stat(path)?.st_uid), (What::Listener, getsockopt(stream, PeerCredentials)?.uid())];
    let found = owners.into_iter().find(|(_, owner)| *owner != 0 && *owner != own);
    Ok(found.map(|(what, owner)| Foreign { what, owner, own }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::fake::Fake;

    #[test]
    fn our_own_socket_is_no_foreign_one_and_its_process_is_known() {
        let fake = Fake::new(&[&[]]);
        let stream = UnixStream::connect(fake.path()).unwrap();
        assert_eq!(foreign(&fake.path(), &stream).unwrap(), None);
        assert_eq!(peer(&stream).unwrap().pid, i32::try_from(std::process::id()).ok());
    }

    #[test]
    fn a_foreign_one_is_told_with_whose_it_is_and_the_way_out() {
        let told = |what, own| Foreign { what, owner: 65_534, own }.to_string();
        let rest = "--any-owner talks to it all the same";
        let expected = format!("the socket belongs to user 65534, neither root nor user 1000; {rest}");
        assert_eq!(told(What::Socket, 1_000), expected);
        assert_eq!(told(What::Listener, 0), format!("who listens there is user 65534, not root; {rest}"));
    }
}
