//! Learns without asking that somebody has removed or replaced the control socket.

use super::token::WATCH;
use log::debug;
use mio::{Interest, Registry, unix::SourceFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

/// A watch on one file.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: Inotify,
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
        let watch = Self { inotify };
        watch.add(path)?;
        Ok(watch)
    }

    fn add(&self, path: &Path) -> io::Result<()> {
        // Removing the last name of a file that is in use changes its attributes; the file itself goes
        // only once we let go of it.
        let flags = AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DONT_FOLLOW;
        self.inotify.add_watch(path, flags)?;
        Ok(())
    }

    /// Watches the file that is at `path` now.
    pub(crate) fn follow(&mut self, path: &Path) {
        if let Err(error) = self.add(path) {
            debug!("{} is not watched any more: {error}", path.display());
        }
    }

    /// Takes in what there is to tell; that there is something is enough.
    pub(crate) fn drain(&mut self) {
        while self.inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
}
