//! Where the descriptors that the journal names are put, for whoever comes after a supervisor that was killed: with the
//! [`keeper`](super::keeper), or with a service manager that keeps them, sd_pid_notify_with_fds(3); under the numbers
//! that they have here.
//!
//! Nothing here waits. What cannot be put there is no longer good for anything, and whoever has made it makes another.

use super::{
    kept::{HeldClient, HeldRelease, Kept},
    socket_calls,
};
use crate::fsm::id::{ClientId, Generation, ListenerId};
use log::debug;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::{
        socket::{
            ControlMessage, ControlMessageOwned, MsgFlags, RecvMsg, recvmsg, sendmsg, setsockopt,
            sockopt::SendTimeout,
        },
        time::{TimeVal, TimeValLike as _},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{IoSlice, IoSliceMut},
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
};

/// What descriptors are for. What takes the place of another has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    Door,
    Notify,
    Pidfile,
    Lockfile,
    Listener(ListenerId),
    Release(Generation),
    Client(ClientId),
}

/// What a line of the journal means for descriptors.
enum Change {
    None,
    /// They are for that from here on.
    Names(Thing, Vec<RawFd>),
    /// That is there no more.
    Ends(Thing),
}

impl Change {
    fn of(kept: &Kept) -> Self {
        match kept {
            Kept::Door { file, .. } => Self::Names(Thing::Door, vec![file.fd]),
            Kept::Notify { fd } => Self::Names(Thing::Notify, vec![*fd]),
            Kept::Pidfile { file, .. } => Self::Names(Thing::Pidfile, vec![file.fd]),
            Kept::Lockfile { fd } => Self::Names(Thing::Lockfile, vec![*fd]),
            Kept::Listener { listener, held } => Self::Names(Thing::Listener(*listener), vec![held.file.fd]),
            Kept::Release { generation, release: HeldRelease { fd, directory, .. } } => Self::Names(
                Thing::Release(*generation),
                [Some(*fd), *directory].into_iter().flatten().collect(),
            ),
            // Others are put there when it is seen that they wait.
            Kept::Client { client, held: HeldClient { fd, reports: true, .. } } => {
                Self::Names(Thing::Client(*client), vec![*fd])
            }
            Kept::Left { client } => Self::Ends(Thing::Client(*client)),
            Kept::Forgotten { generation } => Self::Ends(Thing::Release(*generation)),
            Kept::Client { .. }
            | Kept::Writer { .. }
            | Kept::Level { .. }
            | Kept::Called { .. }
            | Kept::Typed { .. }
            | Kept::Keeper { .. }
            | Kept::Whereabouts { .. }
            | Kept::Next { .. }
            | Kept::Cut { .. }
            | Kept::Buffers { .. }
            | Kept::Request { .. }
            | Kept::Answered { .. }
            | Kept::Anew { .. }
            | Kept::History { .. }
            | Kept::Says { .. }
            | Kept::Successor { .. } => Self::None,
        }
    }
}

/// How a manager's descriptors are called: this, and their number.
pub(crate) const PREFIX: &str = "einhyrningsins-";

/// What stands in the place of the number for the one of the journal.
pub(crate) const JOURNAL: &str = "journal";

/// How long, in milliseconds, a manager may take to take one.
const PATIENCE: i64 = 100;

/// Who has them.
#[derive(Debug)]
pub(crate) enum Way {
    /// The keeper, at the other end.
    Keeper(OwnedFd),
    /// The service manager, at the other end.
    Manager(OwnedFd),
}

impl Way {
    /// Says that a descriptor is to be kept, or is not needed any more.
    fn say(&self, fd: RawFd, has_it: bool) -> Result<(), Errno> {
        match self {
            Self::Keeper(link) => send_to(link, &fd.to_ne_bytes(), has_it.then_some(fd)),
            Self::Manager(_) => {
                // What has a name already keeps it, and the one that is sent is forgotten.
                self.name(&fd.to_string(), None)?;
                if has_it { self.name(&fd.to_string(), Some(fd)) } else { Ok(()) }
            }
        }
    }

    fn name(&self, name: &str, fd: Option<RawFd>) -> Result<(), Errno> {
        let (Self::Keeper(link) | Self::Manager(link)) = self;
        let what = if fd.is_some() { "FDSTORE=1\nFDPOLL=0" } else { "FDSTOREREMOVE=1" };
        send_to(link, format!("{what}\nFDNAME={PREFIX}{name}").as_bytes(), fd)
    }
}

/// What is there, and how it gets there.
#[derive(Debug)]
pub(crate) struct Deposit {
    link: Option<Way>,
    shelf: BTreeMap<Thing, Vec<RawFd>>,
    /// Whether something that is to be there may not be.
    failed: bool,
}

impl Deposit {
    /// What all of these lines name. Nobody is told of it.
    pub(crate) fn of(lines: impl FnOnce(&mut dyn FnMut(&Kept))) -> Self {
        let mut deposit = Self { link: None, shelf: BTreeMap::new(), failed: false };
        lines(&mut |kept| deposit.note(kept));
        deposit
    }

    /// From here on, whoever is at the other end is told what changes.
    ///
    /// # Errors
    /// If that would have to be waited for.
    pub(crate) fn tell(&mut self, link: Way) -> Result<(), Errno> {
        match &link {
            Way::Keeper(end) => drop(fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?),
            // Its messages queue up, and of the first there are many.
            Way::Manager(end) => setsockopt(end, SendTimeout, &TimeVal::milliseconds(PATIENCE))?,
        }
        self.link = Some(link);
        Ok(())
    }

    /// Puts everything there, with the journal, behind that descriptor; and takes away what was there `before` and is
    /// not needed. For a manager, which has nothing yet.
    pub(crate) fn put_all(&mut self, journal: RawFd, before: &[RawFd]) {
        let all = self.descriptors();
        before.iter().filter(|fd| !all.contains(fd)).for_each(|fd| self.send(*fd, false));
        all.into_iter().for_each(|fd| self.send(fd, true));
        let sent = self.link.as_ref().map_or(Ok(()), |link| link.name(JOURNAL, Some(journal)));
        self.failed |= sent.is_err();
    }

    /// Takes everything away that a manager has.
    pub(crate) fn take_all(&mut self) {
        let Some(link @ Way::Manager(_)) = &self.link else { return };
        // First what all depends on.
        let _ = link.name(JOURNAL, None);
        self.descriptors().into_iter().for_each(|fd| self.send(fd, false));
    }

    /// The descriptors that are there.
    pub(crate) fn descriptors(&self) -> BTreeSet<RawFd> {
        self.shelf.values().flatten().copied().collect()
    }

    /// Whether it is good for nothing any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Does what a line of the journal means. To be called before that is written, and before what is not needed any more
    /// is closed.
    pub(crate) fn note(&mut self, kept: &Kept) {
        match Change::of(kept) {
            Change::None => {}
            Change::Names(thing, fds) => self.put(thing, fds),
            Change::Ends(thing) => self.end(thing),
        }
    }

    /// A client waits for an answer, and is to have it.
    pub(crate) fn entrust(&mut self, client: ClientId, fd: RawFd) {
        self.put(Thing::Client(client), vec![fd]);
    }

    fn put(&mut self, thing: Thing, fds: Vec<RawFd>) {
        // Whether a number stands for the same as before nobody knows.
        fds.iter().for_each(|fd| self.send(*fd, true));
        let before = self.shelf.insert(thing, fds);
        self.let_go(before.unwrap_or_default());
    }

    fn end(&mut self, thing: Thing) {
        let before = self.shelf.remove(&thing);
        self.let_go(before.unwrap_or_default());
    }

    fn let_go(&mut self, fds: Vec<RawFd>) {
        let named = |fd: &RawFd| self.shelf.values().flatten().any(|other| other == fd);
        let unnamed: Vec<RawFd> = fds.into_iter().filter(|fd| !named(fd)).collect();
        unnamed.into_iter().for_each(|fd| self.send(fd, false));
    }

    fn send(&mut self, fd: RawFd, has_it: bool) {
        let Some(link) = self.link.as_ref().filter(|_| !self.failed) else { return };
        if let Err(errno) = link.say(fd, has_it) {
            debug!("descriptor {fd} cannot be entrusted to anybody: {}", errno.desc());
            self.failed = true;
        }
    }
}

/// Sends a message, with a descriptor if one is given. Does not wait, unless the socket has a limit for that.
fn send_to(link: &OwnedFd, message: &[u8], fd: Option<RawFd>) -> Result<(), Errno> {
    let descriptors = [fd.unwrap_or_default()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let attached = if fd.is_some() { rights.as_slice() } else { &[] };
    loop {
        match sendmsg::<()>(
            link.as_raw_fd(),
            &[IoSlice::new(message)],
            attached,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Err(Errno::EINTR) => {}
            sent => return sent.map(drop),
        }
    }
}

/// What a message says.
#[derive(Debug)]
pub(crate) enum Message {
    /// That descriptor is to be kept under that number.
    Put(RawFd, OwnedFd),
    /// What is under that number is not needed any more; or, where all is handed over, that was all.
    Bare(RawFd),
    /// Nobody will say anything any more.
    End,
}

/// Sends a number, and what it stands for if that is given; waits for room.
pub(crate) fn send(link: &OwnedFd, number: RawFd, fd: Option<RawFd>) -> Result<(), Errno> {
    send_to(link, &number.to_ne_bytes(), fd)
}

/// Waits for the next message.
///
/// # Errors
/// If it is none, or cannot be received.
pub(crate) fn receive(link: &OwnedFd) -> Result<Message, Errno> {
    let mut number = [0_u8; size_of::<RawFd>()];
    let mut room = nix::cmsg_space!([RawFd; 1]);
    let (length, attached) = loop {
        let mut buffers = [IoSliceMut::new(&mut number)];
        let received: Result<RecvMsg<'_, '_, ()>, Errno> =
            recvmsg(link.as_raw_fd(), &mut buffers, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC);
        match received {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(message) => {
                let attached = message.cmsgs()?.find_map(|control| {
                    if let ControlMessageOwned::ScmRights(fds) = control {
                        fds.into_iter().next()
                    } else {
                        None
                    }
                });
                break (message.bytes, attached);
            }
        }
    };
    let attached = attached.map(socket_calls::received);
    match (length, attached) {
        (0, None) => Ok(Message::End),
        (length, attached) if length == number.len() => {
            let number = RawFd::from_ne_bytes(number);
            Ok(attached.map_or(Message::Bare(number), |fd| Message::Put(number, fd)))
        }
        _ => Err(Errno::EBADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::kept::File;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::{fs, os::fd::AsFd as _};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    fn told(end: &OwnedFd) -> (RawFd, bool) {
        match receive(end).unwrap() {
            Message::Put(number, _) => (number, true),
            Message::Bare(number) => (number, false),
            Message::End => panic!("the end"),
        }
    }

    #[test]
    fn what_lines_name_is_put_there_and_let_go_when_nothing_names_it() {
        let files: Vec<fs::File> = (0..4).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let [one, two, three, four] = [0, 1, 2, 3].map(|index: usize| files[index].as_fd().as_raw_fd());
        let client = ClientId(7);
        let release = |fd, directory| Kept::Release {
            generation: Generation(1),
            release: HeldRelease { fd, directory, ..HeldRelease::default() },
        };
        let door = |fd| Kept::Door {
            path: super::super::kept::Bytes::of("x"),
            file: File { fd, device: 1, inode: 2 },
        };
        let mut deposit = Deposit::of(|put| put(&door(one)));
        assert_eq!(deposit.descriptors(), BTreeSet::from([one]));
        let (ours, theirs) = pair();
        deposit.tell(Way::Keeper(ours)).unwrap();
        deposit.note(&release(two, Some(three)));
        deposit.note(&door(four));
        deposit.entrust(client, one);
        deposit.note(&Kept::Left { client });
        deposit.note(&Kept::Left { client });
        deposit.note(&Kept::Forgotten { generation: Generation(1) });
        deposit.note(&door(four));
        let expected = [
            (two, true),
            (three, true),
            (four, true),
            (one, false),
            (one, true),
            (one, false),
            (two, false),
            (three, false),
            (four, true),
        ];
        assert_eq!(expected.map(|_| told(&theirs)), expected);
        assert_eq!(deposit.descriptors(), BTreeSet::from([four]));
        drop(theirs);
        assert!(!deposit.has_failed());
        deposit.note(&door(four));
        assert!(deposit.has_failed());
    }

    #[test]
    fn a_keeper_that_takes_nothing_is_not_waited_for() {
        let (ours, theirs) = pair();
        let file = fs::File::open("/dev/null").unwrap();
        let mut deposit = Deposit::of(|_| {});
        deposit.tell(Way::Keeper(ours)).unwrap();
        let many = 100_000;
        let failed = (0..many).find(|_| {
            deposit.entrust(ClientId(1), file.as_raw_fd());
            deposit.has_failed()
        });
        assert!(failed.is_some(), "{many} were taken");
        assert_eq!(told(&theirs), (file.as_raw_fd(), true));
        drop(deposit);
        while !matches!(receive(&theirs).unwrap(), Message::End) {}
    }
}
