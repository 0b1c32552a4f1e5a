//! Where clients come in: the listener of the control socket, and the file that leads to it.
//!
//! The file may be removed or replaced, and its folder removed, renamed, or made again. A watch tells of most
//! of that; what it cannot tell of, such as a folder further up that was renamed, is found when somebody
//! [looks](Door::is_in_place). What cannot be put right at once is tried again, after growing pauses.

use super::{claim::Claim, kept::Kept, token::CONTROL, watch::Watch};
use crate::{
    fsm::time::{Millis, Time},
    protocol::words::io_error,
};
use log::{debug, info, warn};
use mio::{Interest, Registry, net::UnixStream, unix::SourceFd};
use std::{
    io::{self, ErrorKind},
    mem,
    os::fd::AsRawFd as _,
    path::Path,
};

/// The pause before a second try, and the longest.
const FIRST_PAUSE: Millis = Millis(500);
const LONGEST_PAUSE: Millis = Millis(5_000);

/// How long nobody is told again that nobody can be let in, if that comes and goes.
const QUIET: Millis = Millis(60_000);

/// The way in.
#[derive(Debug)]
pub(crate) struct Door {
    claim: Claim,
    registry: Registry,
    watch: Option<Watch>,
    /// Whether the event loop tells of those who knock.
    heard: bool,
    lost: Option<Lost>,
    /// When it was last told that nobody can be let in.
    told: Option<Time>,
    /// Whether that is what was told last.
    shut: bool,
}

/// The path leads elsewhere or nowhere, or nobody hears who takes it, and that could not be helped yet.
#[derive(Clone, Copy, Debug)]
struct Lost {
    pause: Millis,
    again: Time,
}

impl Door {
    /// Events with the tokens [`CONTROL`] and [`WATCH`](super::token::WATCH) tell of those who knock and of
    /// what happens to the file.
    pub(crate) fn new(claim: Claim, registry: Registry) -> io::Result<Self> {
        let watch = Watch::new(claim.path(), &registry)
            .inspect_err(|error| {
                warn!("the control socket is not watched, its removal is noticed late: {error}");
            })
            .ok();
        let mut door = Self { claim, registry, watch, heard: false, lost: None, told: None, shut: false };
        door.listen()?;
        Ok(door)
    }

    /// The absolute path.
    pub(crate) fn path(&self) -> &Path {
        self.claim.path()
    }

    /// What is kept of it.
    pub(crate) fn kept(&self) -> Kept {
        self.claim.kept()
    }

    /// Lets the next one in.
    pub(crate) fn accept(&mut self) -> io::Result<UnixStream> {
        let accepted = self.claim.listener().accept().map(|(stream, _)| stream);
        let works = accepted.as_ref().map_or_else(|error| error.kind() == ErrorKind::WouldBlock, |_| true);
        if works && mem::take(&mut self.shut) {
            info!("control socket: connections are accepted again");
        }
        accepted
    }

    /// Tells that nobody can be let in, for that reason, if it is news.
    pub(crate) fn complain(&mut self, error: &io::Error, now: Time) {
        let words = format!("control socket: cannot accept: {}", io_error(error));
        if self.shut || self.told.is_some_and(|told| now < told + QUIET) {
            return debug!("{words}");
        }
        warn!(
            "{words}; tried again and again; until then workers cannot acknowledge and no command can be given"
        );
        (self.told, self.shut) = (Some(now), true);
    }

    /// When to look again, whatever happens.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.lost.map(|lost| lost.again)
    }

    /// Whether no pause is to be kept any more after a try that failed. What a try makes and removes the
    /// watch tells of as well, so nothing that it tells may end a pause.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        self.deadline().is_none_or(|again| again <= now)
    }

    /// Whether the path leads to us, and we hear who takes it, as of now.
    pub(crate) fn is_in_place(&mut self) -> bool {
        if let Some(watch) = &mut self.watch {
            watch.drain();
        }
        let there = self.heard && self.claim.still_there();
        if there && self.lost.take().is_some() {
            info!("control socket {} is there again", self.path().display());
            self.follow();
        }
        there
    }

    /// Binds the path again, which leads to us no more. Whoever waits at the old listener is lost then.
    pub(crate) fn mend(&mut self, now: Time) {
        let path = self.path().display().to_string();
        if self.lost.is_none() {
            warn!("control socket {path} was removed or replaced while in use; binding it again");
        }
        match self.bind_again() {
            Ok(()) if self.lost.take().is_some() => info!("control socket {path} is bound again"),
            Ok(()) => {}
            Err(why) => self.lose(&why, now),
        }
        self.follow();
    }

    fn bind_again(&mut self) -> Result<(), String> {
        let is_new = self.claim.rebind().map_err(|error| error.reason())?;
        self.heard &= !is_new;
        self.listen().map_err(|error| error.to_string())
    }

    fn lose(&mut self, why: &str, now: Time) {
        let pause = match self.lost {
            Some(Lost { pause, .. }) => LONGEST_PAUSE.min(Millis(pause.0.saturating_mul(2))),
            None => {
                warn!(
                    "control socket cannot be bound again: {why} ({}); it is, by itself, once that is out of the \
                     way; until then workers cannot acknowledge and no command can be given",
                    self.path().display()
                );
                FIRST_PAUSE
            }
        };
        self.lost = Some(Lost { pause, again: now + pause });
    }

    /// Has the event loop tell of those who knock, if it does not yet.
    fn listen(&mut self) -> io::Result<()> {
        if !self.heard {
            let fd = self.claim.listener().as_raw_fd();
            self.registry.register(&mut SourceFd(&fd), CONTROL, Interest::READABLE)?;
            self.heard = true;
        }
        Ok(())
    }

    fn follow(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.follow(self.claim.path());
        }
    }

    /// Gives the path back. Called once, at the end.
    pub(crate) fn close(&self) {
        self.claim.release();
    }
}

#[cfg(test)]
mod tests {
    use super::{super::scratch::Scratch, *};
    use mio::Poll;
    use std::fs;

    #[test]
    fn after_each_try_that_failed_a_longer_pause_is_kept_whatever_is_seen_meanwhile() {
        let scratch = Scratch::new();
        let poll = Poll::new().unwrap();
        let claim = Claim::new(&scratch.join("socket")).unwrap();
        let mut door = Door::new(claim, poll.registry().try_clone().unwrap()).unwrap();
        fs::remove_file(door.path()).unwrap();
        scratch.file("socket", "precious", 0o600);
        let mut now = Time(7);
        assert!(door.is_due(now));
        for pause in [500, 1_000, 2_000, 4_000, 5_000, 5_000] {
            door.mend(now);
            assert!(!door.is_in_place());
            assert!(!door.is_due(now + Millis(pause - 1)));
            now = now + Millis(pause);
            assert!(door.is_due(now));
            assert_eq!(door.deadline(), Some(now));
        }
        fs::remove_file(door.path()).unwrap();
        door.mend(now);
        assert!(door.is_in_place());
        assert_eq!(door.deadline(), None);
    }
}
