//! The keeper when nobody supervises: watches the workers, says so to whoever asks, and hands everything over to a new
//! supervisor.

use super::{
    super::{
        claim,
        clock::monotonic,
        deposit,
        journal::{self, Journal, STARTS_AT},
        kept::{Bytes, Held, Kept, Store},
        memory::Memory,
        pidfd::PidFd,
        place::{Identity, Place},
        process,
    },
    Manner,
    visitors::{Asked, Visitors},
};
use crate::{
    fsm::{
        id::{ClientId, Pid, RequestId},
        journal::KEPT,
    },
    protocol::words,
};
use log::{error, info, warn};
use nix::{
    errno::Errno,
    libc::{self, c_int},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        socket::{
            UnixAddr, getsockname, getsockopt,
            sockopt::{AcceptConn, PeerCredentials},
        },
    },
};
use std::{
    cell::Cell,
    collections::BTreeMap,
    convert::Infallible,
    ffi::OsStr,
    fs,
    io::Read as _,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

/// What a new start says to whoever listens on its control socket, as the whole of a request.
pub(crate) const TAKE_OVER: &str = "{\"command\":\"take-over\"}";

/// How long, in milliseconds, workers that are to end with their supervisor may take before they are killed, beyond what
/// the kernel has told them.
const END_AT_LAST: u16 = 10_000;

/// For how long after a new supervisor has ended another keeper of its may show, and how often to look, in milliseconds.
const UNSURE: Duration = Duration::from_secs(2);
const DOUBT: u8 = 10;

/// Nobody supervises.
struct Orphan {
    memory: Rc<Memory>,
    held: Held,
    store: Store,
    workers: BTreeMap<Pid, PidFd>,
    supervisor: Pid,
    signals: Option<SignalFd>,
    /// The signals that are orders.
    orders: SigSet,
    /// Until when another keeper may show that somebody has made who is gone.
    doubtful_until: Cell<Option<Duration>>,
}

/// Sees to what is there until somebody takes over, or nothing is left.
pub(super) fn serve(memory: &Rc<Memory>, store: Store, supervisor: Pid, manner: Manner) -> Infallible {
    process::let_interrupt_in();
    let orders: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT].into_iter().collect();
    // What came while there was a supervisor was meant for that.
    process::forget(&orders);
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    let signals = SignalFd::with_flags(&orders, flags).ok();
    let (memory, doubtful_until) = (memory.clone(), Cell::new(None));
    let (held, workers) = (Held::default(), BTreeMap::new());
    let mut orphan = Orphan { memory, held, store, workers, supervisor, signals, orders, doubtful_until };
    orphan.look();
    if manner.ends_workers {
        orphan.end_workers();
    } else {
        orphan.keep_open();
    }
    orphan.tidy();
    process::leave(0)
}

impl Orphan {
    /// Looks at what is there: in the journal, and of workers. Whoever began to take over may have changed it.
    fn look(&mut self) {
        self.held = read(&self.memory).unwrap_or_else(|why| {
            let supervisor = self.supervisor;
            error!("the supervisor (pid {supervisor}) is gone, and nobody can take over from it: {why}");
            Held::default()
        });
        let hold = |pid| Some((pid, process::held(pid, u64::MAX).ok()??));
        self.workers = process::begun(&self.memory, STARTS_AT).into_iter().filter_map(hold).collect();
    }

    /// The kernel has told all workers to go. Whatever of their groups is left in the end is killed.
    fn end_workers(&mut self) {
        // Nobody is to find a service that ends.
        self.tidy();
        self.store = Store::default();
        // Of those as well that have ended by now.
        let groups = process::begun(&self.memory, STARTS_AT);
        while !self.workers.is_empty() {
            if self.await_end(PollTimeout::from(END_AT_LAST)) == Ok(0) {
                for worker in self.workers.values() {
                    let _ = worker.signal(libc::SIGKILL);
                }
            }
        }
        let none = process::Children::new();
        for group in groups {
            process::clear(group, &none);
        }
    }

    /// Waits for a new supervisor, until no worker is left.
    fn keep_open(&mut self) {
        self.workers.retain(|_, worker| !worker.has_ended());
        if self.workers.is_empty() {
            return;
        }
        warn!(
            "the supervisor (pid {}) is gone, and {} on without one; start it again with the same command line \
             to have it take over, or stop them with `einhyrningsinsctl die`",
            self.supervisor,
            self.serving()
        );
        let Some(listener) = self.door() else { return self.watch_only() };
        let mut visitors = Visitors::new(self.supervisor);
        for stream in self.unnamed() {
            visitors.admit(stream);
        }
        while !self.workers.is_empty() {
            if self.is_replaced() {
                // A new supervisor had made another, and has ended before it could say so. That one has everything.
                process::leave(0);
            }
            let timeout = if self.is_sure() { visitors.timeout() } else { PollTimeout::from(DOUBT) };
            let mut waiting: Vec<PollFd<'_>> = self.workers.values().map(watched).collect();
            waiting
                .extend(self.signals.as_ref().map(|signals| PollFd::new(signals.as_fd(), PollFlags::POLLIN)));
            waiting.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
            waiting.extend(visitors.watched());
            let _ = poll(&mut waiting, timeout);
            drop(waiting);
            self.workers.retain(|_, worker| !worker.has_ended());
            if self.signal_has_come() {
                self.become_supervisor(&visitors);
            }
            visitors.accept(&listener);
            while let Some(asked) = visitors.next(&self.serving()) {
                match asked {
                    Asked::Stop => self.become_supervisor(&visitors),
                    Asked::TakeOver(stream) => {
                        if self.hand_over(&stream, &visitors) {
                            process::leave(0);
                        }
                        self.look();
                    }
                }
            }
        }
        info!("the last worker has ended, and there is no supervisor to replace it: the service has ended");
    }

    /// The connections that were accepted a moment before the end, and of which nothing is noted yet.
    fn unnamed(&mut self) -> Vec<UnixStream> {
        let named = self.held.descriptors();
        let unnamed: Vec<RawFd> = self.store.0.keys().copied().filter(|fd| !named.contains(fd)).collect();
        let all = unnamed.into_iter().filter_map(|fd| self.store.take(fd).ok());
        // Whatever else it is, whoever made it has ended before it was noted, and it is made again.
        let is_connection =
            |fd: &OwnedFd| getsockopt(fd, PeerCredentials).is_ok() && getsockopt(fd, AcceptConn) == Ok(false);
        all.filter(is_connection).map(UnixStream::from).collect()
    }

    /// Without a control socket nobody can ask.
    fn watch_only(&mut self) {
        while !self.workers.is_empty() {
            let _ = self.await_end(PollTimeout::NONE);
        }
    }

    /// Waits for the end of workers, and forgets those that have ended.
    fn await_end(&mut self, timeout: PollTimeout) -> Result<c_int, Errno> {
        let mut waiting: Vec<PollFd<'_>> = self.workers.values().map(watched).collect();
        let woken = poll(&mut waiting, timeout);
        self.workers.retain(|_, worker| !worker.has_ended());
        woken
    }

    /// Whether another keeper was made since.
    fn is_replaced(&self) -> bool {
        journal::word(&self.memory, journal::head::KEEPER) != u64::from(std::process::id())
    }

    /// Whether none can show any more.
    fn is_sure(&self) -> bool {
        self.doubtful_until.get().is_none_or(|until| until < monotonic())
    }

    fn serving(&self) -> String {
        let count = self.workers.len();
        let workers = words::count(u32::try_from(count).unwrap_or(u32::MAX), "worker");
        format!("{workers} {}", if count == 1 { "serves" } else { "serve" })
    }

    /// The control socket. From here on those who connect are told that it is this process which listens.
    fn door(&self) -> Option<UnixListener> {
        let (_, file) = self.held.door.as_ref()?;
        let listener = UnixListener::from(self.store.0.get(&file.fd)?.try_clone().ok()?);
        claim::listen_anew(&listener);
        Some(listener)
    }

    fn signal_has_come(&self) -> bool {
        let waits = |signals: &SignalFd| {
            let mut waiting = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            poll(&mut waiting, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        };
        self.signals.as_ref().is_some_and(waits)
    }

    /// Notes in the journal whose connections wait for a supervisor.
    fn note(&self, visitors: &Visitors) -> Vec<RawFd> {
        let journal = Journal::found(self.memory.clone());
        if let Some((_, client)) = self.held.doubtful {
            // That would be forgotten when something is written behind it.
            journal.keep(&Kept::Cut { client, cut: true });
        }
        // The numbers of those that are not here may be others' by now.
        for (client, held) in &self.held.clients {
            if !self.store.0.contains_key(&held.fd) {
                journal.keep(&Kept::Left { client: *client });
            }
        }
        let (mut noted, mut client) = (Vec::new(), self.held.next.0);
        for held in visitors.there() {
            noted.push(held.fd);
            journal.keep(&Kept::Client { client: ClientId(client), held });
            client = client.saturating_add(1);
        }
        for (number, (held, line)) in (self.held.next.1..).zip(visitors.reports()) {
            let id = ClientId(client);
            journal.keep(&Kept::Client { client: id, held: held.clone() });
            journal.keep(&Kept::Request {
                request: RequestId(number),
                client: id,
                line: Bytes(line.clone()),
            });
            client = client.saturating_add(1);
        }
        noted
    }

    /// Executes the program, which takes over in this process. Returns only if that fails.
    fn become_supervisor(&self, visitors: &Visitors) {
        info!("told to stop the service, the keeper takes the supervisor's place for that");
        self.note(visitors);
        process::forget_the_way_back(&self.memory);
        process::arm(&self.memory, Vec::new());
        let errno = process::go_on_as(OsStr::new("/proc/self/exe"));
        error!("the keeper cannot become a supervisor: {}", errno.desc());
        process::forget(&self.orders);
    }

    /// Hands everything over to a new supervisor. Answers whether that has begun its work.
    fn hand_over(&self, stream: &UnixStream, visitors: &Visitors) -> bool {
        let noted = self.note(visitors);
        let link = stream.as_fd().try_clone_to_owned();
        let journal = self.memory.file().map(|file| file.as_raw_fd());
        let (Ok(link), Some(journal)) = (link, journal) else { return false };
        let all = [journal].into_iter().chain(self.store.0.keys().copied()).chain(noted);
        let sent = stream.set_nonblocking(false).is_ok()
            && all.into_iter().all(|fd| deposit::send(&link, fd, Some(fd)).is_ok())
            && deposit::send(&link, RawFd::MAX, None).is_ok();
        // Until it has begun, or has ended without.
        let begun = sent && matches!((&*stream).read(&mut [0]), Ok(1));
        if !begun {
            warn!("a new supervisor has ended before it had taken over");
            self.doubtful_until.set(Some(monotonic() + UNSURE));
        }
        begun
    }

    /// Removes what is in the file system of what nobody needs any more, as a supervisor does at its end.
    fn tidy(&self) {
        let places = self.held.door.iter().chain(&self.held.pidfile);
        for (path, file) in places {
            remove(PathBuf::from(path.clone().text()), file.identity());
        }
        for listener in self.held.listeners.values().filter(|listener| !listener.handed) {
            if let Some(path) = self.store.0.get(&listener.file.fd).and_then(path_of) {
                remove(path, listener.file.identity());
            }
        }
    }
}

/// What the journal says of descriptors.
fn read(memory: &Rc<Memory>) -> Result<Held, String> {
    let text = journal::read_in(memory.clone())?.text;
    let kept = text.lines().filter_map(|line| line.strip_prefix(KEPT));
    let ends_kept = text.lines().last().is_some_and(|line| line.starts_with(KEPT));
    let answered = journal::word(memory, journal::head::ANSWERED);
    Held::read(kept, ends_kept, RequestId(answered)).map_err(|why| why.message)
}

fn watched(worker: &PidFd) -> PollFd<'_> {
    PollFd::new(worker.as_fd(), PollFlags::POLLIN)
}

fn remove(path: PathBuf, identity: Identity) {
    // Who listens there is not asked if there is nothing.
    if fs::symlink_metadata(&path).is_ok() {
        Place::adopt(path, identity, ()).release();
    }
}

fn path_of(socket: &OwnedFd) -> Option<PathBuf> {
    let address: UnixAddr = getsockname(socket.as_raw_fd()).ok()?;
    address.path().map(Path::to_path_buf)
}
