//! Learns without asking that somebody has removed or replaced the control socket, or its folder.

use super::token::WATCH;
use log::debug;
use mio::{Interest, Registry, unix::SourceFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

/// A watch on one file and its folder.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: Inotify,
    watched: Vec<WatchDescriptor>,
}

impl Watch {
    /// Watches `path`. An event with the token [`WATCH`] tells that it should be looked at.
    ///
    /// # Errors
    /// If the system has no watches left. The service can do without.
    pub(crate) fn new(path: &Path, registry: &Registry) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let fd = inotify.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&fd), WATCH, Interest::READABLE)?;
        let mut watch = Self { inotify, watched: Vec::new() };
        watch.add(path)?;
        Ok(watch)
    }

    fn add(&mut self, path: &Path) -> io::Result<()> {
        // Removing the last name of a file that is in use changes its attributes; the file itself goes
        // only once we let go of it. Of a folder only its own fate: what else happens in `/tmp` is much, and
        // concerns nobody here.
        let file = AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DONT_FOLLOW;
        let folder = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_ONLYDIR;
        self.watched.push(self.inotify.add_watch(path, file)?);
        if let Some(parent) = path.parent() {
            self.watched.push(self.inotify.add_watch(parent, folder)?);
        }
        Ok(())
    }

    /// Watches the file that is at `path` now, and no other.
    pub(crate) fn follow(&mut self, path: &Path) {
        for old in self.watched.drain(..) {
            // Fails if what it watched is gone.
            let _ = self.inotify.rm_watch(old);
        }
        if let Err(error) = self.add(path) {
            debug!("{} is not watched any more: {error}", path.display());
        }
    }

    /// Takes in what there is to tell; that there is something is enough.
    pub(crate) fn drain(&mut self) {
        while self.inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
}
