//! The keeper: a small process of the supervisor's own that has every descriptor which the journal names. While the
//! supervisor lives it sleeps; if that is killed, it sees to it that a new start finds everything as it was left.
//! Specified in `fsm-spec/handover.md`.

use super::{
    deposit::{self, Deposit, Message, Way},
    journal::{self, head},
    kept::Kept,
    memory::Memory,
    process,
};
use crate::fsm::id::Pid;
use log::{debug, error};
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, socketpair},
};
use std::{
    convert::Infallible,
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    rc::Rc,
};

mod orphan;
mod visitors;

pub(crate) use orphan::TAKE_OVER;

/// What lists of processes call it.
const NAME: &str = "einhyrn-keeper";

/// The keeper, for its supervisor.
#[derive(Debug)]
pub(crate) struct Keeper {
    pid: Pid,
    /// As long as this end is open, there is a supervisor. It belongs to whoever tells what is to be kept.
    link: RawFd,
    /// It belongs to nobody, since the keeper is that of whoever was here before.
    before: Option<OwnedFd>,
}

/// How it is when nobody supervises.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Whether workers are to end with their supervisor; the kernel has told them so.
    pub(crate) ends_workers: bool,
}

impl Keeper {
    /// Makes it. It has what `deposit` says, and is told from then on what changes there.
    ///
    /// # Errors
    /// If the system does not let us.
    pub(crate) fn start(memory: &Rc<Memory>, deposit: &mut Deposit, manner: Manner) -> Result<Self, Errno> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        // The number of our end is in use here, so nothing that is to be kept ever has it.
        let end = ours.as_raw_fd();
        let pid = process::part(|| match keep(memory, &theirs, end, deposit, manner) {})?;
        if let Err(errno) = deposit.tell(Way::Keeper(ours)) {
            process::end(pid);
            return Err(errno);
        }
        debug!("pid {pid} is the keeper: it has what is needed to go on if this process is killed");
        Ok(Self { pid, link: end, before: None })
    }

    /// The one of whoever was here before.
    pub(crate) fn adopt(pid: Pid, link: OwnedFd) -> Self {
        Self { pid, link: link.as_raw_fd(), before: Some(link) }
    }

    /// Whether it is that of whoever was here before: nobody tells it anything any more.
    pub(crate) fn is_old(&self) -> bool {
        self.before.is_some()
    }

    /// What is kept of it.
    pub(crate) fn kept(&self) -> Kept {
        Kept::Keeper { pid: self.pid, fd: self.link }
    }

    /// Which process it is.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Ends it. It is our child, so its number is its own.
    pub(crate) fn dismiss(self) {
        process::end(self.pid);
    }
}

/// The keeper's whole life.
fn keep(memory: &Rc<Memory>, link: &OwnedFd, end: RawFd, deposit: &Deposit, manner: Manner) -> Infallible {
    // Whichever was made before is one no more, should both be left.
    journal::set(memory, head::KEEPER, u64::from(std::process::id()));
    process::call_itself(NAME);
    let supervisor = process::parent();
    let Some(journal) = memory.file().map(|file| file.as_raw_fd()) else { process::leave(1) };
    let Some(link) = link.try_clone().ok().and_then(|link| process::settle(link, end).ok()) else {
        process::leave(1)
    };
    let mut store = process::adopt_descriptors(&deposit.descriptors(), &[journal, end]);
    // What it has run through so far is most of what it will ever look at, were it not let go.
    process::Slack::default().rest();
    loop {
        match deposit::receive(&link) {
            Ok(Message::Put(number, fd)) => match process::settle(fd, number) {
                Ok(fd) => store.put(number, fd),
                Err(errno) => error!("the keeper cannot hold descriptor {number}: {}", errno.desc()),
            },
            Ok(Message::Bare(number)) => drop(store.take(number)),
            Ok(Message::End) => break,
            // What was to come is lost; all else is here.
            Err(errno) => error!("the keeper cannot receive a descriptor: {}", errno.desc()),
        }
    }
    drop(link);
    orphan::serve(memory, store, supervisor, manner)
}
