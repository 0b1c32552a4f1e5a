//! The way to the manager: its address, and messages that are never waited for.

use crate::{
    cli::{UsageError, brief},
    fsm::time::{Millis, Time},
    protocol::typed,
};
use log::{info, warn};
use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    io::{self, ErrorKind},
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// The first and the longest wait before a message is sent again that the manager did not take.
const FIRST: Millis = Millis(50);
const LONGEST: Millis = Millis(5_000);

/// Messages that may wait. What is older than the newest of more tells the manager nothing any more.
const WAITING: usize = 16;

/// Messages to one address.
#[derive(Debug)]
pub(super) struct Link {
    socket: UnixDatagram,
    address: SocketAddr,
    waiting: VecDeque<String>,
    retry: Option<Time>,
    pause: Millis,
    /// Whether it was told that none get through.
    told: bool,
}

impl Link {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address, waiting: VecDeque::new(), retry: None, pause: FIRST, told: false })
    }

    /// A socket that is connected to the same.
    pub(super) fn another(&self) -> io::Result<OwnedFd> {
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&self.address)?;
        Ok(socket.into())
    }

    /// When to try again, if something waits.
    pub(super) fn due(&self) -> Option<Time> {
        self.retry
    }

    /// Whether nothing waits.
    pub(super) fn is_clear(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sends a message behind those that wait.
    pub(super) fn send(&mut self, text: String, now: Time) {
        if self.waiting.len() >= WAITING {
            self.waiting.clear();
        }
        self.waiting.push_back(text);
        self.flush(now);
    }

    /// Sends what waits, if it is time.
    pub(super) fn flush(&mut self, now: Time) {
        if self.retry.is_some_and(|time| time > now) {
            return;
        }
        while let Some(text) = self.waiting.front() {
            match self.socket.send_to_addr(text.as_bytes(), &self.address) {
                Ok(_) => {
                    self.waiting.pop_front();
                    self.pause = FIRST;
                    if std::mem::take(&mut self.told) {
                        info!("NOTIFY_SOCKET: the service manager takes messages again");
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    self.complain(&error, "tried again until it takes them");
                    self.retry = Some(now + self.pause);
                    self.pause = Millis(self.pause.0.saturating_mul(2)).min(LONGEST);
                    return;
                }
                Err(error) => {
                    self.complain(&error, "what it is not told now is lost");
                    self.waiting.clear();
                }
            }
        }
        self.retry = None;
    }

    fn complain(&mut self, error: &io::Error, what_now: &str) {
        if !std::mem::replace(&mut self.told, true) {
            warn!("NOTIFY_SOCKET: the service manager takes no messages: {error}; {what_now}");
        }
    }
}

fn refused(name: &str, value: &OsStr, why: &str, accepted: &str) -> String {
    let (option, value, why, accepted) = (name.to_owned(), brief(value), why.to_owned(), accepted.to_owned());
    UsageError::BadValue { option, value, why, accepted }.to_string()
}

/// Where the manager listens.
///
/// # Errors
/// A line that says what is wrong and what is accepted.
pub(super) fn address(value: &OsStr) -> Result<SocketAddr, String> {
    let bytes = value.as_bytes();
    let address = match bytes {
        [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(value),
        _ => Err(ErrorKind::InvalidInput.into()),
    };
    address.map_err(|_| {
        let accepted = "an absolute path, or `@` and a name in the abstract namespace, of up to 107 bytes";
        refused(super::NOTIFY_SOCKET, value, "is no address of a socket", accepted)
    })
}

/// How often the manager is to hear that the supervisor, process `own`, is alive: twice in the time that it allows.
///
/// # Errors
/// A line that says what is wrong and what is accepted.
pub(super) fn watchdog(
    variable: impl Fn(&str) -> Option<OsString>,
    own: u32,
) -> Result<Option<Millis>, String> {
    let Some(value) = variable(super::WATCHDOG_USEC) else { return Ok(None) };
    if let Some(pid) = variable(super::WATCHDOG_PID) {
        match number(&pid) {
            Some(pid) if pid == u64::from(own) => {}
            Some(_) => return Ok(None),
            None => {
                return Err(refused(
                    super::WATCHDOG_PID,
                    &pid,
                    "is no pid",
                    "the pid of whom it is meant for",
                ));
            }
        }
    }
    let micros = number(&value).filter(|micros| (1..u64::MAX).contains(micros));
    let micros = micros.ok_or_else(|| {
        refused(super::WATCHDOG_USEC, &value, "is no span of time", "a number of microseconds, 1 or more")
    })?;
    Ok(Some(Millis((micros / 2_000).max(1))))
}

fn number(value: &OsStr) -> Option<u64> {
    typed::number(value.to_str()?)
}
