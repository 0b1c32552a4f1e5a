//! The terminal while the view has it, and how it gets its own back, whatever happens.

use super::look::Look;
use crate::ctl::terminal::{can_write_unicode, wants_colours};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::{getpid, getsid},
};
use ratatui::{
    backend::{Backend, ClearType, CrosstermBackend},
    buffer::Buffer,
    crossterm::{
        cursor::{Hide, Show},
        event::{DisableBracketedPaste, EnableBracketedPaste},
        execute,
        style::ResetColor,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size},
    },
    layout::Rect,
};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::fd::AsFd as _,
    panic, process,
    sync::atomic::{AtomicBool, Ordering},
};

/// Whether the terminal is as the view needs it, and not as it was.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal.
#[derive(Debug)]
pub struct Screen {
    backend: CrosstermBackend<BufWriter<Out>>,
    /// What is on it.
    shown: Buffer,
    /// What it can show.
    pub look: Look,
}

impl Screen {
    /// Takes the terminal. It gets its own back by [`restore`], or when this is dropped.
    ///
    /// # Errors
    /// If it cannot be written to, or is no terminal.
    pub fn take() -> io::Result<Self> {
        let look = Look { colours: wants_colours(), unicode: can_write_unicode() };
        let backend = CrosstermBackend::new(BufWriter::with_capacity(64 * 1_024, Out::new()?));
        let mut screen = Self { backend, shown: Buffer::empty(Rect::ZERO), look };
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            restore();
            before(info);
            // Whichever thread it was: without it the view is not what it says that it is.
            process::exit(101);
        }));
        screen.enter()?;
        Ok(screen)
    }

    /// Makes the terminal as the view needs it, also if it was so before: somebody may have changed it.
    ///
    /// # Errors
    /// If it cannot be written to.
    pub fn enter(&mut self) -> io::Result<()> {
        restore();
        TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        execute!(self.backend, EnterAlternateScreen, EnableBracketedPaste, Hide)?;
        self.forget()
    }

    /// Takes it that nothing is on the screen.
    ///
    /// # Errors
    /// If it cannot be written to.
    pub fn forget(&mut self) -> io::Result<()> {
        self.backend.clear_region(ClearType::All)?;
        self.shown.reset();
        Ok(())
    }

    /// The room that there is.
    #[must_use]
    pub fn area(&self) -> Rect {
        let (width, height) = size().unwrap_or((80, 24));
        // Whatever a terminal says, no person reads more than that.
        Rect::new(0, 0, width.min(1_000), height.min(500))
    }

    /// Shows that. Only what has changed is written.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn show(&mut self, next: Buffer) -> io::Result<()> {
        if next.area != self.shown.area {
            self.shown = Buffer::empty(next.area);
            self.backend.clear_region(ClearType::All)?;
        }
        self.backend.draw(self.shown.diff(&next).into_iter())?;
        Backend::flush(&mut self.backend)?;
        self.shown = next;
        Ok(())
    }

    /// Gives the terminal back, stops this process as Ctrl-Z does, and takes the terminal again once somebody
    /// continues it. Returns whether it was stopped: nobody could continue who has no shell above it.
    ///
    /// # Errors
    /// If the terminal cannot be taken again.
    pub fn suspend(&mut self) -> io::Result<bool> {
        if getsid(None) == Ok(getpid()) {
            return Ok(false);
        }
        restore();
        let stopped = kill(getpid(), Signal::SIGSTOP).is_ok();
        self.enter()?;
        Ok(stopped)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was, if it is not so already. It may have gone meanwhile; then nobody sees the
/// difference.
pub fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        if let Ok(mut out) = Out::new() {
            let _ = execute!(out, ResetColor, DisableBracketedPaste, Show, LeaveAlternateScreen);
        }
        let _ = disable_raw_mode();
    }
}

/// Only gives the keys their usual meaning back: that needs nobody to read.
pub fn restore_keys() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = disable_raw_mode();
    }
}

/// Standard output, without a lock that somebody else may hold, and also if somebody has made it one that does not
/// wait.
#[derive(Debug)]
struct Out(File);

impl Out {
    fn new() -> io::Result<Self> {
        io::stdout().as_fd().try_clone_to_owned().map(|fd| Self(fd.into()))
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
