//! Listening at a path: the file has its permissions and its owner before anybody can connect.
//!
//! Nobody can connect before listen(2), and that comes last. The file is bound without any permission and is
//! changed by a descriptor of it, so whoever puts something else in its place meanwhile does not have that
//! changed, and is found out.

use super::super::place::{self, Identity};
use super::{ListenOptions, backlog, stream};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, open},
    sys::{
        socket::{self, AddressFamily, UnixAddr},
        stat::{Mode, SFlag, fstat, lstat},
    },
    unistd::{Gid, Uid, fchownat, geteuid, unlink},
};
use std::{
    fs::{self, Permissions},
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::PermissionsExt as _,
    },
    path::Path,
};

/// Whose a socket's file is to be, and who may connect. What is not said is as for any other new file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Permissions.
    pub(crate) mode: Option<u32>,
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
}

/// Binds a socket to a path where nothing is, and listens.
pub(super) fn listen(path: &Path, options: ListenOptions) -> io::Result<OwnedFd> {
    let fd = stream(AddressFamily::Unix, options)?;
    let address = UnixAddr::new(path)?;
    let bind = || socket::bind(fd.as_raw_fd(), &address);
    if options.rights == Rights::default() {
        bind()?;
    } else {
        let (umask, bound) = place::with_umask(Mode::from_bits_truncate(0o777), bind);
        bound?;
        give(path, options.rights, 0o777 & !umask.bits())?;
    }
    socket::listen(&fd, backlog(options.backlog))?;
    Ok(fd)
}

/// Gives a socket that was just bound the rights that it is to have. If that fails it is removed: without
/// permissions it could not be told from one of somebody else's.
fn give(path: &Path, rights: Rights, usual: u32) -> io::Result<()> {
    let file = open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    let stat = fstat(&file)?;
    let is_socket = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFSOCK.bits();
    if !is_socket || stat.st_uid != geteuid().as_raw() || stat.st_nlink != 1 {
        return Err(io::Error::other("somebody has put something else in its place"));
    }
    change(&file, rights, usual).inspect_err(|_| {
        if lstat(path).is_ok_and(|found| Identity::from(found) == Identity::from(stat)) {
            let _ = unlink(path);
        }
    })
}

fn change(file: &OwnedFd, rights: Rights, usual: u32) -> io::Result<()> {
    let Rights { mode, user, group } = rights;
    if user.is_some() || group.is_some() {
        let owner = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        fchownat(file, "", owner.0, owner.1, AtFlags::AT_EMPTY_PATH)
            .map_err(|errno| refused(errno, rights))?;
    }
    // chmod(2) takes a descriptor of that kind by its name only.
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    let permissions = Permissions::from_mode(mode.unwrap_or(usual));
    fs::set_permissions(&name, permissions)
        .map_err(|error| io::Error::other(format!("its permissions cannot be set by way of {name}: {error}")))
}

fn refused(errno: Errno, rights: Rights) -> io::Error {
    let to = [("user", rights.user), ("group", rights.group)];
    let to = to.iter().filter_map(|(what, id)| Some(format!("{what} {}", (*id)?)));
    let to = to.collect::<Vec<_>>().join(" and ");
    let next = if errno == Errno::EPERM {
        "; that takes root or CAP_CHOWN, or a group that the supervisor is in"
    } else {
        ""
    };
    io::Error::other(format!("it cannot be given to {to}: {}{next}", errno.desc()))
}
