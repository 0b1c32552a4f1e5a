//! What a supervisor that was killed has left behind, from whoever has it: the service manager, which hands it to the one
//! that it starts, or the keeper, which is found by the control socket. All of it is before a new start does anything
//! that others see.

use super::{
    deposit::{self, Message},
    handed::{self, Stored},
    journal,
    keeper::TAKE_OVER,
    process::{self, FileLimit},
    socket_calls,
};
use crate::fsm::journal::{Until, resume};
use log::{debug, warn};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::{
        socket::{
            self, AddressFamily, SockFlag, SockType, UnixAddr, getsockopt, setsockopt,
            sockopt::{PeerCredentials, ReceiveTimeout, SendTimeout},
        },
        time::{TimeVal, TimeValLike as _},
    },
    unistd::geteuid,
};
use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::{
        fd::{AsRawFd as _, IntoRawFd as _, OwnedFd, RawFd},
        unix::{fs::FileTypeExt as _, net::UnixStream},
    },
    path::Path,
};

/// How long whoever listens there may take for an answer, in seconds.
const PATIENCE: i64 = 5;

/// Who has kept everything until now.
#[derive(Debug)]
pub(crate) struct Benefactor(UnixStream);

impl Benefactor {
    /// Tells that we have begun: it is not needed any more.
    pub(crate) fn begun(mut self) {
        if let Err(error) = self.0.write_all(&[1]) {
            debug!("the keeper from before is gone: {error}");
        }
    }

    /// The descriptor of the connection.
    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What was left behind.
#[derive(Debug)]
pub(crate) struct Legacy {
    /// The descriptor of the journal. All others are under the numbers that are named there.
    pub(crate) journal: OwnedFd,
    /// The keeper, if that had it.
    pub(crate) benefactor: Option<Benefactor>,
    /// What the service manager has, by number.
    pub(crate) stored: Vec<RawFd>,
    pub(crate) files: FileLimit,
}

/// What there is from the service manager, or from whoever listens at the path of the control socket, if it is a keeper.
/// To be called before anything is opened.
///
/// # Errors
/// If there is something, and it cannot be taken over.
pub(crate) fn find(path: &Path) -> Result<Option<Legacy>, String> {
    let found = match handed::stored() {
        Some(Stored { journal, descriptors }) if is_of_use(&journal) => {
            Some(All { journal, descriptors, stream: None })
        }
        // The service has ended in order.
        Some(Stored { .. }) => None,
        None => ask_who_listens(path)?,
    };
    let Some(All { journal, descriptors, stream }) = found else { return Ok(None) };
    let failed = |errno: Errno| {
        format!("what the supervisor before this one has left cannot be taken over: {}", errno.desc())
    };
    let files = FileLimit::raise();
    let stored = if stream.is_some() { Vec::new() } else { descriptors.keys().copied().collect() };
    let above = descriptors.keys().max().copied().unwrap_or_default().saturating_add(1);
    // First all of them out of the way, then each to its place.
    let journal = raised(journal, above).map_err(failed)?;
    let stream = stream.map(|stream| raised(stream.into(), above)).transpose().map_err(failed)?;
    let raise = |(number, fd)| Ok((number, raised(fd, above)?));
    let descriptors: Result<Vec<_>, Errno> = descriptors.into_iter().map(raise).collect();
    for (number, fd) in descriptors.map_err(failed)? {
        // Whoever reads the journal finds it by its number.
        let _ = process::settle(fd, number).map_err(failed)?.into_raw_fd();
    }
    let benefactor = stream.map(|stream| Benefactor(UnixStream::from(stream)));
    Ok(Some(Legacy { journal, benefactor, stored, files }))
}

/// Whether somebody is still to go on from it.
fn is_of_use(journal: &OwnedFd) -> bool {
    let text = journal.try_clone().ok().and_then(|file| journal::read(file).ok()).map(|found| found.text);
    let resumed = text.as_ref().and_then(|text| resume(text, Until::Last).ok());
    resumed.is_some_and(|resumed| !resumed.supervisor.life().is_done())
}

fn raised(fd: OwnedFd, above: RawFd) -> Result<OwnedFd, Errno> {
    let number = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(above))?;
    Ok(socket_calls::received(number))
}

/// Asks whoever listens there, if anybody.
fn ask_who_listens(path: &Path) -> Result<Option<All>, String> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    match is_socket.then(|| connect(path)).flatten() {
        Some(stream) => ask(stream),
        None => Ok(None),
    }
}

/// Connects to whoever listens there, if that is one of ours and can be heard at once.
fn connect(path: &Path) -> Option<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    socket::connect(socket.as_raw_fd(), &UnixAddr::new(path).ok()?).ok()?;
    let peer = getsockopt(&socket, PeerCredentials).ok()?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false).ok()?;
    let patience = TimeVal::seconds(PATIENCE);
    setsockopt(&stream, ReceiveTimeout, &patience).ok()?;
    setsockopt(&stream, SendTimeout, &patience).ok()?;
    // Whose it is shows in the complaint that the path is taken.
    (peer.uid() == geteuid().as_raw()).then_some(stream)
}

/// All that was handed over.
struct All {
    journal: OwnedFd,
    descriptors: BTreeMap<RawFd, OwnedFd>,
    stream: Option<UnixStream>,
}

/// Asks for everything; `None` if it is no keeper that listens there.
fn ask(mut stream: UnixStream) -> Result<Option<All>, String> {
    if stream.write_all(format!("{TAKE_OVER}\n").as_bytes()).is_err() {
        return Ok(None);
    }
    let link = stream.try_clone().map(OwnedFd::from).map_err(|error| error.to_string())?;
    let mut descriptors = BTreeMap::new();
    let mut journal = None;
    loop {
        match deposit::receive(&link) {
            Ok(Message::Put(number, fd)) => {
                if journal.is_none() {
                    journal = Some(fd);
                } else {
                    descriptors.insert(number, fd);
                }
            }
            Ok(Message::Bare(RawFd::MAX)) => break,
            // That is the beginning of a line, of a supervisor that lives, or of a keeper that is not ours.
            Ok(Message::Bare(_) | Message::End) if journal.is_none() => return Ok(None),
            Ok(Message::Bare(_) | Message::End) => {
                return Err("the keeper has ended while it handed everything over".into());
            }
            Err(errno) => {
                if journal.is_none() {
                    return Ok(None);
                }
                return Err(format!("the keeper's descriptors cannot be received: {}", errno.desc()));
            }
        }
    }
    let Some(journal) = journal else {
        warn!("the keeper has handed nothing over");
        return Ok(None);
    };
    Ok(Some(All { journal, descriptors, stream: Some(stream) }))
}
