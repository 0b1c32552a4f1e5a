//! What the shell keeps for whoever takes over, a line each in the [journal](super::journal): how each kind is written,
//! and what all of them together come to. Each room says what it keeps, and is put together again from that.
//!
//! Descriptors are named by their numbers, which stay theirs over execve(2).

use super::place::Identity;
use crate::{
    fsm::{
        event::Strategy,
        id::{ClientId, Generation, ListenerId, Pid, RequestId},
        text::{BadText, Field, Record as _, percent_decoded, record, records, words},
    },
    protocol::history::Outcome,
};
use log::LevelFilter;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fmt::Write as _,
    os::{
        fd::{IntoRawFd as _, OwnedFd, RawFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
};

/// Any bytes, percent-encoded where a line would give them a meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    pub(crate) fn of(text: impl AsRef<OsStr>) -> Self {
        Self(text.as_ref().as_bytes().to_vec())
    }

    pub(crate) fn text(self) -> OsString {
        OsString::from_vec(self.0)
    }
}

impl Field for Bytes {
    fn put(&self, out: &mut String) {
        for byte in &self.0 {
            match byte {
                b'%' | b',' | b'=' | 0..=b' ' | 0x7f.. => {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "%{byte:02X}");
                }
                _ => out.push(char::from(*byte)),
            }
        }
    }

    fn get(word: &str) -> Result<Self, BadText> {
        let bad = || BadText::new(format_args!("`{word}` is not percent-encoded"));
        percent_decoded(word).map(Self).ok_or_else(bad)
    }
}

words! {
    /// How much is logged.
    pub enum Level {
        /// Nothing.
        "off" => Off,
        /// Errors.
        "error" => Error,
        /// And warnings.
        "warn" => Warn,
        /// And what happens.
        "info" => Info,
        /// And how.
        "debug" => Debug,
        /// And more.
        "trace" => Trace,
    }
}

impl Level {
    pub(crate) fn of(filter: LevelFilter) -> Self {
        match filter {
            LevelFilter::Off => Self::Off,
            LevelFilter::Error => Self::Error,
            LevelFilter::Warn => Self::Warn,
            LevelFilter::Info => Self::Info,
            LevelFilter::Debug => Self::Debug,
            LevelFilter::Trace => Self::Trace,
        }
    }

    pub(crate) fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::Off,
            Self::Error => LevelFilter::Error,
            Self::Warn => LevelFilter::Warn,
            Self::Info => LevelFilter::Info,
            Self::Debug => LevelFilter::Debug,
            Self::Trace => LevelFilter::Trace,
        }
    }
}

record! {
    /// A descriptor, and what tells its file from another that has taken its place.
    #[derive(Copy)]
    pub struct File {
        pub fd: RawFd,
        pub device: u64,
        pub inode: u64,
    }
}

impl File {
    pub(crate) fn new(fd: RawFd, Identity { device, inode }: Identity) -> Self {
        Self { fd, device, inode }
    }

    pub(crate) fn identity(self) -> Identity {
        Identity { device: self.device, inode: self.inode }
    }
}

record! {
    /// Who writes all this.
    pub struct Writer {
        /// As `--version` says.
        pub version: String,
        /// How many descriptors workers may have, and the supervisor.
        pub soft: u64,
        pub hard: u64,
        /// Its process.
        pub pid: Option<Pid>,
    }
}

record! {
    /// Somebody who is connected.
    pub struct HeldClient {
        pub fd: RawFd,
        pub pid: Pid,
        pub user: u32,
        pub group: Option<Pid>,
        /// Whether it is a worker, over the connection that it has inherited.
        pub reports: bool,
    }
}

record! {
    /// What has passed between a client and the supervisor only in part: read and not taken yet, not sent yet.
    #[derive(Default)]
    pub struct Buffers {
        pub unread: Bytes,
        pub unsent: Bytes,
    }
}

record! {
    /// What a generation runs.
    #[derive(Default)]
    pub struct HeldRelease {
        /// The executable, and whether an interpreter reads it.
        pub fd: RawFd,
        pub script: bool,
        pub path: Bytes,
        /// The program's name, and its arguments.
        pub arguments: Vec<Bytes>,
        pub environment: Vec<Bytes>,
        /// The directory, unless that is the supervisor's own; its names, and the best of them or what leads there.
        pub directory: Option<RawFd>,
        pub names: Vec<Bytes>,
        pub base: Bytes,
        /// What the next one is specified from: command, arguments, and variables that were set.
        pub command: Bytes,
        pub words: Vec<Bytes>,
        pub set: Vec<Bytes>,
    }
}

record! {
    /// A generation, for people.
    pub struct HeldEntry {
        pub asked_at: u64,
        /// The client that asked for it, if one did.
        pub user: Option<u32>,
        pub pid: Option<Pid>,
        pub program: String,
        pub strategy: Option<Strategy>;
        pub outcome: Outcome,
    }
}

record! {
    /// Another program is to take over.
    pub struct Successor {
        /// Who waits for it, if anybody.
        pub request: Option<RequestId>,
        pub path: Bytes,
        /// The version of the one before, and its program.
        pub version: String,
        pub fd: RawFd,
    }
}

record! {
    /// A socket that workers share.
    pub struct HeldListener {
        /// Whether a service manager has handed it over, and what it is called.
        pub handed: bool,
        pub name: Option<String>,
        /// Whether O_NONBLOCK is set, as asked for or by a worker.
        pub nonblocking: Option<bool>;
        pub file: File,
    }
}

records! {
    /// A line.
    pub enum Kept {
        "writer" => Writer { ; writer: Writer },
        "level" => Level { level: Level },
        "listener" => Listener { listener: ListenerId; held: HeldListener },
        /// The words that it was called with; those of files in the places of these.
        "called" => Called { words: Vec<Bytes> },
        /// The same as they were typed, if there are files among them.
        "typed" => Typed { words: Vec<Bytes> },
        /// The control socket.
        "door" => Door { path: Bytes; file: File },
        /// Who has all descriptors if the supervisor is killed, and the connection to it.
        "keeper" => Keeper { pid: Pid, fd: RawFd },
        /// Where workers notify.
        "notify" => Notify { fd: RawFd },
        "pidfile" => Pidfile { path: Bytes; file: File },
        "lockfile" => Lockfile { fd: RawFd },
        /// Where workers of later generations run, unless that is where the supervisor is.
        "whereabouts" => Whereabouts { name: Bytes },
        /// The names that clients and requests are given next.
        "next" => Next { client: ClientId, request: RequestId },
        /// A client has connected.
        "client" => Client { client: ClientId; held: HeldClient },
        /// There is something of a client that a crash would lose, or there is not any more.
        "cut" => Cut { client: ClientId, cut: bool },
        /// What that is; written when another program takes over on command.
        "buffers" => Buffers { client: ClientId; buffers: Buffers },
        /// A client has gone.
        "left" => Left { client: ClientId },
        /// A client has asked for something, in this line.
        "request" => Request { request: RequestId, client: ClientId, line: Bytes },
        /// That is about to be answered.
        "answered" => Answered { request: RequestId },
        "release" => Release { generation: Generation; release: HeldRelease },
        /// A generation is not needed any more.
        "forgotten" => Forgotten { generation: Generation },
        /// Whether what the command line says has yet to serve, as it was changed meanwhile.
        "anew" => Anew { anew: bool },
        "history" => History { generation: Generation; entry: HeldEntry },
        /// What a worker has last said that it does.
        "says" => Says { pid: Pid, text: String },
        "successor" => Successor { ; successor: Successor },
    }
}

/// What all lines come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    pub(crate) writer: Option<Writer>,
    pub(crate) level: Option<Level>,
    pub(crate) called: Vec<Bytes>,
    pub(crate) door: Option<(Bytes, File)>,
    pub(crate) keeper: Option<(Pid, RawFd)>,
    pub(crate) notify: Option<RawFd>,
    pub(crate) pidfile: Option<(Bytes, File)>,
    pub(crate) lockfile: Option<RawFd>,
    pub(crate) whereabouts: Option<Bytes>,
    pub(crate) listeners: BTreeMap<ListenerId, HeldListener>,
    pub(crate) next: (u64, u64),
    pub(crate) clients: BTreeMap<ClientId, HeldClient>,
    /// Clients of which something was lost.
    pub(crate) cut: BTreeSet<ClientId>,
    pub(crate) buffers: BTreeMap<ClientId, Buffers>,
    /// Requests without an answer.
    pub(crate) requests: BTreeMap<RequestId, (ClientId, Vec<u8>)>,
    /// The request that was about to be answered last of all, and the client.
    pub(crate) doubtful: Option<(RequestId, ClientId)>,
    pub(crate) releases: BTreeMap<Generation, HeldRelease>,
    pub(crate) anew: bool,
    pub(crate) history: BTreeMap<Generation, HeldEntry>,
    pub(crate) says: BTreeMap<Pid, String>,
    pub(crate) successor: Option<Successor>,
}

impl Held {
    /// Puts lines together. `ends_kept` tells whether nothing came behind the last, and `answered` which request was answered
    /// last, so that there is no doubt about it.
    ///
    /// # Errors
    /// If one cannot be read.
    pub(crate) fn read<'t>(
        lines: impl IntoIterator<Item = &'t str>,
        ends_kept: bool,
        answered: RequestId,
    ) -> Result<Self, BadText> {
        let mut held = Self::default();
        for line in lines {
            held.take(Kept::from_line(line)?);
        }
        held.doubtful = held.doubtful.filter(|(request, _)| ends_kept && *request != answered);
        Ok(held)
    }

    fn take(&mut self, kept: Kept) {
        self.doubtful = None;
        match kept {
            Kept::Writer { writer } => self.writer = Some(writer),
            Kept::Called { words } => self.called = words,
            // What files say is in force as it was then.
            Kept::Typed { .. } => {}
            Kept::Level { level } => self.level = Some(level),
            Kept::Listener { listener, held } => {
                self.listeners.insert(listener, held);
            }
            Kept::Door { path, file } => self.door = Some((path, file)),
            Kept::Keeper { pid, fd } => self.keeper = Some((pid, fd)),
            Kept::Notify { fd } => self.notify = Some(fd),
            Kept::Pidfile { path, file } => self.pidfile = Some((path, file)),
            Kept::Lockfile { fd } => self.lockfile = Some(fd),
            Kept::Whereabouts { name } => self.whereabouts = Some(name),
            Kept::Next { client, request } => self.name(client.0, request.0),
            Kept::Client { client, held } => {
                self.name(client.0.saturating_add(1), 0);
                self.clients.insert(client, held);
            }
            Kept::Cut { client, cut: true } => {
                self.cut.insert(client);
            }
            Kept::Cut { client, cut: false } => {
                self.cut.remove(&client);
            }
            Kept::Buffers { client, buffers } => {
                self.cut.remove(&client);
                self.buffers.insert(client, buffers);
            }
            Kept::Left { client } => {
                self.clients.remove(&client);
                self.cut.remove(&client);
                self.buffers.remove(&client);
                self.requests.retain(|_, (of, _)| *of != client);
            }
            Kept::Request { request, client, line } => {
                self.name(0, request.0.saturating_add(1));
                self.requests.insert(request, (client, line.0));
            }
            Kept::Answered { request } => {
                self.doubtful = self.requests.remove(&request).map(|(client, _)| (request, client));
            }
            Kept::Release { generation, release } => {
                self.releases.insert(generation, release);
            }
            Kept::Forgotten { generation } => {
                self.releases.remove(&generation);
            }
            Kept::Anew { anew } => self.anew = anew,
            Kept::History { generation, entry } => {
                self.history.insert(generation, entry);
            }
            Kept::Says { pid, text } => {
                self.says.insert(pid, text);
            }
            Kept::Successor { successor } => self.successor = Some(successor),
        }
    }

    fn name(&mut self, client: u64, request: u64) {
        self.next = (self.next.0.max(client), self.next.1.max(request));
    }

    /// All descriptors that are named.
    pub(crate) fn descriptors(&self) -> BTreeSet<RawFd> {
        let files =
            [self.door.as_ref(), self.pidfile.as_ref()].into_iter().flatten().map(|(_, file)| file.fd);
        let listeners = self.listeners.values().map(|listener| listener.file.fd);
        let clients = self.clients.values().map(|client| client.fd);
        let releases = self.releases.values().flat_map(|release| [Some(release.fd), release.directory]);
        let successor = self.successor.as_ref().map(|successor| successor.fd);
        let keeper = self.keeper.map(|(_, fd)| fd);
        let others = [self.notify, self.lockfile, keeper, successor].into_iter().chain(releases).flatten();
        files.chain(listeners).chain(clients).chain(others).collect()
    }
}

/// The descriptors that whoever was here before has left, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Store(pub(crate) BTreeMap<RawFd, OwnedFd>);

impl Store {
    /// Copies of all, for the case that whoever was here before needs them again.
    pub(crate) fn copies(&self) -> Vec<(RawFd, OwnedFd)> {
        // Where there is no room for a copy, that one is lost with the attempt.
        self.0.iter().filter_map(|(fd, owned)| Some((*fd, owned.try_clone().ok()?))).collect()
    }

    /// Adds one, in the place of another with that number, which is closed already.
    pub(crate) fn put(&mut self, number: RawFd, fd: OwnedFd) {
        if let Some(before) = self.0.insert(number, fd) {
            let _ = before.into_raw_fd();
        }
    }

    /// Hands one over.
    ///
    /// # Errors
    /// If it is not there, or two things would have it.
    pub(crate) fn take(&mut self, fd: RawFd) -> Result<OwnedFd, String> {
        self.0.remove(&fd).ok_or_else(|| format!("descriptor {fd} is not there"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_survive_the_way_through_a_line() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let mut word = String::new();
        Bytes(all.clone()).put(&mut word);
        assert!(word.is_ascii() && !word.contains([' ', '\n', '=', ',']), "{word}");
        assert_eq!(Bytes::get(&word).unwrap(), Bytes(all));
        for bad in ["%", "%1", "%GG"] {
            assert!(Bytes::get(bad).is_err());
        }
    }

    #[test]
    fn lines_come_to_what_was_kept_last() {
        let lines = [
            "writer version=0.1.0 soft=256 hard=1024",
            "next client=4 request=9",
            "client client=6 fd=12 pid=100 user=0 group=100",
            "client client=7 fd=13 pid=101 user=0 reports=yes",
            "cut client=7 cut=yes",
            "request request=11 client=6 line={}",
            "request request=12 client=7 line=x",
            "left client=7",
            "listener listener=0 fd=5 device=0 inode=0",
            "release generation=1 fd=8 path=/bin/a arguments=a,b%2Cc environment=A%3Db directory=9 base=/ command=a",
            "release generation=2 fd=18 path=/bin/a base=/ command=a",
            "forgotten generation=2",
            "history generation=1 asked_at=5 program=/bin/a rolled-back cause=aborted generation=1 healthy=1 target=2",
        ];
        let held = Held::read(lines, true, RequestId(0)).unwrap();
        assert_eq!(held.next, (8, 13));
        assert_eq!(held.descriptors(), BTreeSet::from([5, 8, 9, 12]));
        assert_eq!(held.requests[&RequestId(11)], (ClientId(6), b"{}".to_vec()));
        assert!(held.cut.is_empty() && held.doubtful.is_none());
        assert_eq!(held.releases[&Generation(1)].arguments, [Bytes::of("a"), Bytes::of("b,c")]);
        let answered = lines.into_iter().chain(["answered request=11"]);
        assert_eq!(
            Held::read(answered.clone(), true, RequestId(0)).unwrap().doubtful,
            Some((RequestId(11), ClientId(6)))
        );
        assert_eq!(Held::read(answered, false, RequestId(0)).unwrap().doubtful, None);
        assert!(Held::read(["client client=x"], true, RequestId(0)).unwrap_err().message.contains("client"));
        for line in lines {
            assert_eq!(Kept::from_line(line).unwrap().to_line(), line);
        }
    }
}
