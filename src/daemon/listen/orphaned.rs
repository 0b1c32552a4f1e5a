//! Taking a socket from workers that have it and no supervisor any more, pidfd_getfd(2).

use super::{Address, ListenOptions, Listener, Maker, Refused};
use crate::{
    daemon::{
        facts,
        holders::{self, Holder, holders, supervisor_of},
        pidfd::PidFd,
        place::Identity,
    },
    fsm::id::Errno,
};
use nix::{
    errno::Errno as Sys,
    sys::stat::{fstat, lstat},
};
use std::os::fd::OwnedFd;

/// A socket that was somebody's, and who has it still.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) listener: Listener,
    pub(crate) holders: Vec<Holder>,
}

impl Address {
    /// Takes the socket that listens here from whoever has it.
    ///
    /// # Errors
    /// Why it cannot be taken.
    pub(crate) fn take(&self, options: ListenOptions) -> Result<Taken, Refused> {
        let refused = |why: String| Refused { errno: Errno(Sys::EADDRINUSE as i32), why: Some(why) };
        let sockets = self.sockets_there();
        let holders = holders(&sockets, |_| true);
        let mut why =
            "nobody who has it can be seen; accepted with --adopt: workers of the same user".to_owned();
        for holder in &holders {
            match taken(holder) {
                Ok(fd) => {
                    let listener = self.adopt(fd, options).map_err(refused)?;
                    return Ok(Taken { listener, holders });
                }
                Err(reason) => why = reason,
            }
        }
        Err(refused(format!("{}; {why}", Sys::EADDRINUSE.desc())))
    }

    fn adopt(&self, fd: OwnedFd, options: ListenOptions) -> Result<Listener, String> {
        let identity = match self {
            Self::Path(path) => lstat(path).map(Identity::from).unwrap_or_default(),
            Self::Tcp(_) | Self::Udp(_) | Self::Abstract(_) | Self::UnixMessages(_) => Identity::default(),
        };
        let mut listener = Listener::adopt(fd, identity, options, Maker::Us)?;
        listener.settle();
        if listener.address() == self {
            Ok(listener)
        } else {
            Err(format!(
                "who has it listens on {}; accepted with --adopt: the same address",
                listener.address()
            ))
        }
    }
}

fn taken(holder: &Holder) -> Result<OwnedFd, String> {
    let Holder { pid, name, inode } = holder;
    let who = format!("pid {pid} ({name}) has it");
    match supervisor_of(*pid) {
        None => return Err(format!("{who}; accepted with --adopt: workers whose supervisor is gone")),
        Some(supervisor) if holders::is_there(supervisor) => {
            return Err(format!("{who}, and its supervisor (pid {supervisor}) is there; stop that"));
        }
        Some(_) => {}
    }
    let get = || {
        let held = PidFd::open(*pid)?;
        let number = facts::descriptor_of(*pid, *inode).ok_or(Sys::EBADF)?;
        let fd = held.duplicate(number)?;
        if fstat(&fd)?.st_ino == *inode { Ok(fd) } else { Err(Sys::EBADF) }
    };
    get().map_err(|errno: Sys| {
        let hint = if errno == Sys::EPERM {
            "; it takes root, CAP_SYS_PTRACE, or 0 in /proc/sys/kernel/yama/ptrace_scope"
        } else {
            ""
        };
        format!("{who}, from whom it cannot be taken: {}{hint}", errno.desc())
    })
}
