//! The `--bind` options on their way to sockets: resolved before anything is touched, bound when the
//! core says so, described to workers.

use super::{
    given::Described,
    journal::Journal,
    kept::{File, HeldListener, Kept},
    listen::{Address, Handed, ListenOptions, Listener, Maker, Mended, Refused, Rights},
    queue,
    reference::Roster,
    resolve::{self, link, resolve},
    token::LISTENERS,
};
use crate::{
    cli::{
        LONGEST_SOCKET_PATH,
        bind::{BindSpec, Endpoint, Host, Inet, UnixAddress, UnixSpec},
        daemon::Options,
    },
    fsm::{
        event::EventKind,
        id::{Errno, ListenerId},
        time::{Millis, Time},
    },
    protocol::{
        status::{Listening, Origin},
        words,
    },
};
use log::{Level, debug, log};
use mio::{Interest, Registry, unix::SourceFd};
use nix::libc::{EADDRINUSE, EINVAL};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    path::absolute,
};

/// How many descriptors a worker needs at the least, beside its sockets, to be a program at all: its
/// standard ones, a library, a file, a few connections.
const NEEDED: u64 = 20;

/// How long the sockets are left alone after one whose listening had ended was seen to: somebody may end it again and
/// again.
const PAUSE: Millis = Millis(100);

/// All sockets of the service: those that were handed over, then those of the options. Each is known by its
/// [`ListenerId`], its position: addresses need not differ.
#[derive(Debug)]
pub(crate) struct Sockets {
    wanted: BTreeMap<ListenerId, Wanted>,
    /// Those that were handed over and not taken up yet.
    handed: BTreeMap<ListenerId, Listener>,
    bound: BTreeMap<ListenerId, Bound>,
    /// Those of whoever was here before that nobody wants any more.
    gone: Vec<Listener>,
    /// Whether one may be taken from workers that have it and no supervisor.
    adopts: bool,
    /// Why the last one could not be bound, where there is more to say than the system does.
    refusal: Option<(ListenerId, String)>,
    /// Whether nothing can have happened to them since they were last looked at.
    sure: bool,
    /// Where to be told that the listening on one has ended.
    registry: Option<Registry>,
    /// When to see to that, once it was told; and not before when.
    due: Option<Time>,
    rest: Time,
    /// Where what is bound is noted.
    journal: Option<Journal>,
}

/// Why the options cannot be followed.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// One of them makes no sense here; the line names it, the value and what is accepted.
    Option(String),
    /// The system cannot tell now, and may later.
    ForNow(String),
}

/// A socket that is there.
#[derive(Debug)]
struct Bound {
    listener: Listener,
    /// What was last found to be wrong with it, which need not be said again.
    told: Option<Mended>,
}

/// One that is to be there.
#[derive(Debug)]
pub(crate) struct Planned<'a> {
    pub(crate) address: &'a Address,
    pub(crate) name: Option<&'a str>,
    pub(crate) maker: Maker,
}

/// What an option asks for, or a service manager.
#[derive(Debug)]
struct Wanted {
    address: Address,
    options: ListenOptions,
    name: Option<String>,
}

impl Sockets {
    /// Finds the address for each option; those that were `handed` over come first. Workers may have that many
    /// descriptors.
    ///
    /// # Errors
    /// If one of them makes no sense here, or the system cannot tell.
    pub(crate) fn resolve(options: &Options, handed: Vec<Handed>, files: u64) -> Result<Self, Unusable> {
        let total = options.binds.len().saturating_add(handed.len());
        let count = u64::try_from(total).unwrap_or(u64::MAX);
        let most = files.saturating_sub(NEEDED);
        if count > most {
            return Err(Unusable::Option(format!(
                "--bind: {count} sockets are too many for workers that may have {files} descriptors \
                 (`ulimit -n`); accepted: up to {most} sockets, which leaves {NEEDED} for all else"
            )));
        }
        let (mut wanted, mut taken) = (BTreeMap::new(), BTreeMap::new());
        for (listener, Handed { listener: socket, name }) in (0..).map(ListenerId).zip(handed) {
            let (address, options) = (socket.address().clone(), ListenOptions::default());
            wanted.insert(listener, Wanted { address, options, name });
            taken.insert(listener, socket);
        }
        for (position, spec) in options.binds.iter().enumerate() {
            let listener =
                ListenerId(u32::try_from(taken.len().saturating_add(position)).unwrap_or(u32::MAX));
            let name = spec.name.as_ref().map(|name| name.as_str().to_owned());
            if name.is_some() && taken.keys().any(|id| wanted.get(id).is_some_and(|it| it.name == name)) {
                return Err(Unusable::Option(format!(
                    "--bind: `{spec}` has the name of a socket that the service manager has handed over; \
                     accepted: a name for each"
                )));
            }
            let listen_options = listen_options(spec, options, rights(spec)?);
            wanted
                .insert(listener, Wanted { address: address(spec, options)?, options: listen_options, name });
        }
        Ok(Self { handed: taken, sure: true, ..Self::of(wanted, options) })
    }

    /// Those that are wanted, none of which is there yet.
    fn of(wanted: BTreeMap<ListenerId, Wanted>, options: &Options) -> Self {
        Self {
            wanted,
            handed: BTreeMap::new(),
            bound: BTreeMap::new(),
            gone: Vec::new(),
            adopts: options.adopt,
            refusal: None,
            sure: false,
            registry: None,
            due: None,
            rest: Time(0),
            journal: None,
        }
    }

    /// Notes in the journal what is bound from here on.
    pub(crate) fn note_in(&mut self, journal: Journal) {
        self.journal = Some(journal);
    }

    /// All that is kept here.
    pub(crate) fn keep(&self, put: &mut dyn FnMut(&Kept)) {
        self.bound.iter().for_each(|(listener, bound)| put(&kept(*listener, self.name(*listener), bound)));
    }

    /// Whether one is bound.
    pub(crate) fn is_bound(&self, listener: ListenerId) -> bool {
        self.bound.contains_key(&listener)
    }

    /// Has an event with the token [`LISTENERS`] tell when the listening ends on one that is bound from here on.
    pub(crate) fn watch(&mut self, registry: Registry) {
        self.bound.values().for_each(|bound| watch(&registry, &bound.listener));
        self.registry = Some(registry);
    }

    /// How many there are, or are to be.
    pub(crate) fn count(&self) -> usize {
        self.wanted.len()
    }

    /// What they are called, for arguments that refer to them.
    pub(crate) fn roster(&self) -> Roster {
        Roster::new(self.wanted.values().map(|wanted| wanted.name.clone()))
    }

    /// Binds one of them.
    pub(crate) fn bind(&mut self, listener: ListenerId) -> EventKind {
        let Some(wanted) = self.wanted.get(&listener) else {
            return EventKind::BindFailed { listener, errno: Errno(EINVAL) };
        };
        let socket = match self.handed.remove(&listener) {
            Some(socket) => Ok(socket),
            None => wanted.address.bind(wanted.options).or_else(|refused| {
                let from_others = self.adopts && refused.errno == Errno(EADDRINUSE);
                if from_others { adopted::take(&wanted.address, wanted.options) } else { Err(refused) }
            }),
        };
        match socket {
            Ok(socket) => {
                let from = match socket.maker() {
                    Maker::Us => "",
                    Maker::Other => ", handed over by the service manager",
                };
                let name = words::called(wanted.name.as_deref());
                log::info!("listening on {}{name}{from}", socket.address());
                if let Some(registry) = &self.registry {
                    watch(registry, &socket);
                }
                let bound = Bound { listener: socket, told: None };
                if let Some(journal) = &self.journal {
                    journal.keep(&kept(listener, wanted.name.clone(), &bound));
                }
                self.bound.insert(listener, bound);
                EventKind::Bound { listener }
            }
            Err(Refused { errno, why }) => {
                self.refusal = why.map(|why| (listener, why));
                EventKind::BindFailed { listener, errno }
            }
        }
    }

    fn name(&self, listener: ListenerId) -> Option<String> {
        self.wanted.get(&listener).and_then(|wanted| wanted.name.clone())
    }

    /// Why one of them could not be bound, for people.
    pub(crate) fn trouble(&self, listener: ListenerId, errno: Errno) -> String {
        let Some(wanted) = self.wanted.get(&listener) else { return "a socket cannot be bound".into() };
        let holder = (errno.0 == EADDRINUSE).then(|| self.holder(&wanted.address)).flatten();
        match &self.refusal {
            Some((refused, why)) if *refused == listener => {
                let holder = holder.map(|holder| format!("; {holder}")).unwrap_or_default();
                format!("cannot listen on {}: {why}{holder}", wanted.address)
            }
            _ => wanted.address.describe(errno, holder),
        }
    }

    /// Who has an address already: one of our own options may.
    fn holder(&self, address: &Address) -> Option<String> {
        let own = self.bound.iter().find(|(_, bound)| bound.listener.address().conflicts(address));
        match own {
            Some((_, bound)) if bound.listener.maker() == Maker::Other => {
                Some(format!("the service manager has handed over {} already", bound.listener.address()))
            }
            Some((listener, bound)) => Some(format!(
                "this command line listens there itself: its `-b` number {} is {}",
                self.number(*listener),
                bound.listener.address()
            )),
            None => address.holder(),
        }
    }

    /// Which of the options a socket is of, from 1 on.
    fn number(&self, listener: ListenerId) -> usize {
        let handed = self.bound.values().filter(|bound| bound.listener.maker() == Maker::Other).count();
        usize::try_from(listener.0).unwrap_or(usize::MAX).saturating_sub(handed).saturating_add(1)
    }

    /// Notes that workers may have done something to the sockets, which are theirs as well.
    pub(crate) fn doubt(&mut self) {
        self.sure = false;
    }

    /// Notes that the listening on one has ended.
    pub(crate) fn stir(&mut self, now: Time) {
        let due = now.max(self.rest);
        self.due.get_or_insert(due);
    }

    /// When one whose listening has ended is to be seen to.
    pub(crate) fn due(&self) -> Option<Time> {
        self.due
    }

    /// Sees to one whose listening has ended, if it is time. They are `in_use` if there are workers.
    pub(crate) fn mend_if_due(&mut self, now: Time, in_use: bool) {
        if self.due.is_some_and(|due| due <= now) {
            (self.due, self.rest) = (None, now + PAUSE);
            self.doubt();
            self.mend(in_use);
        }
    }

    /// Sees to it that every socket is what was asked for, and says what was not. Does nothing unless there
    /// was a [doubt](Self::doubt) since the last time, so that many starts in a row cost one look. They are `in_use`
    /// if there are workers.
    pub(crate) fn mend(&mut self, in_use: bool) {
        if self.sure {
            return;
        }
        self.sure = true;
        for (id, bound) in &mut self.bound {
            for mended in bound.listener.mend(in_use) {
                let is_news = bound.told != Some(mended);
                let level = if is_news || mended == Mended::Listens { level(mended) } else { Level::Debug };
                log!(level, "{}", what(bound.listener.address(), mended));
                bound.told = Some(mended);
                if let (Mended::BoundAnew, Some(registry)) = (mended, &self.registry) {
                    watch(registry, &bound.listener);
                }
                if let (true, Some(journal)) = (is_news || mended == Mended::BoundAnew, &self.journal) {
                    let name = self.wanted.get(id).and_then(|wanted| wanted.name.clone());
                    journal.keep(&kept(*id, name, bound));
                }
            }
        }
    }

    /// The socket with that inode: where it listens. For all of them, in the order of the options.
    pub(crate) fn by_inode(&self) -> BTreeMap<u64, String> {
        let named = |bound: &Bound| Some((bound.listener.inode()?, bound.listener.address().to_string()));
        self.bound.values().filter_map(named).collect()
    }

    /// Where the service listens, in the order of the options.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.bound.values().map(|bound| bound.listener.address().to_string()).collect()
    }

    /// The same with all that `status` tells of them.
    pub(crate) fn listening(&self) -> Vec<Listening> {
        let listening = |(listener, bound): (&ListenerId, &Bound)| Listening {
            address: bound.listener.address().to_string(),
            name: self.name(*listener),
            from: match bound.listener.maker() {
                Maker::Us => Origin::Bind,
                Maker::Other => Origin::Manager,
            },
            queue: queue::of(bound.listener.as_fd()),
        };
        self.bound.iter().map(listening).collect()
    }

    /// The sockets, to be handed over, in the same order.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.bound.values().map(|bound| bound.listener.as_fd()).collect()
    }

    /// What workers are told of them, in the same order.
    pub(crate) fn described(&self) -> Vec<Described> {
        let described = |(listener, bound): (&ListenerId, &Bound)| {
            let address = bound.listener.address();
            let name = self.name(*listener);
            Described { family: address.family_name(), name, starter: address.starter() }
        };
        self.bound.iter().map(described).collect()
    }
}

/// What is kept of a socket.
fn kept(listener: ListenerId, name: Option<String>, Bound { listener: socket, told }: &Bound) -> Kept {
    let file = File::new(socket.as_fd().as_raw_fd(), socket.identity().unwrap_or_default());
    let handed = socket.maker() == Maker::Other;
    let nonblocking = socket.is_to_be_nonblocking() || *told == Some(Mended::LeftNonBlocking);
    Kept::Listener { listener, held: HeldListener { handed, name, nonblocking: Some(nonblocking), file } }
}

/// Has an event tell when the listening on a socket ends, epoll(7): that is told of any file, whatever else one asks
/// for, so that connections, which are the workers', wake nobody here.
fn watch(registry: &Registry, listener: &Listener) {
    if listener.listens() {
        let fd = listener.as_fd().as_raw_fd();
        if let Err(error) = registry.register(&mut SourceFd(&fd), LISTENERS, Interest::PRIORITY) {
            debug!("the end of the listening on {} will not be told: {error}", listener.address());
        }
    }
}

fn level(mended: Mended) -> Level {
    match mended {
        Mended::Listens | Mended::BoundAnew | Mended::Blocks | Mended::NonBlocking => Level::Warn,
        // Every event loop does it.
        Mended::LeftNonBlocking => Level::Info,
        Mended::Deaf(_) => Level::Error,
    }
}

fn what(address: &Address, mended: Mended) -> String {
    let ended = match address {
        Address::Path(_) => "somebody had removed the file, or ended the listening, of",
        Address::Tcp(_) | Address::Udp(_) | Address::Abstract(_) | Address::UnixMessages(_) => {
            "a worker had ended the listening on"
        }
    };
    match mended {
        Mended::Listens => format!("{ended} {address}, which is shared by all; it listens again"),
        Mended::BoundAnew => format!(
            "{ended} {address}, and that socket cannot listen again; there is a new one, which the workers \
             that run do not have: `upgrade` gives it to all"
        ),
        Mended::Deaf(errno) => format!(
            "{ended} {address}: {}; tried again before the next start of a worker",
            address.describe(errno, address.holder())
        ),
        Mended::Blocks => format!(
            "a worker had set O_NONBLOCK on the socket of {address}, which is shared by all; as none is left, it \
             is cleared, as `-b` asks. If workers need it, say `-b {address},n`"
        ),
        Mended::LeftNonBlocking => format!(
            "a worker has set O_NONBLOCK on the socket of {address}, which is shared by all; it stays so while \
             there are workers, for they may rely on it. To have it so from the start, say `-b {address},n`"
        ),
        Mended::NonBlocking => format!(
            "a worker had cleared O_NONBLOCK on the socket of {address}, which is shared by all; it is set \
             again, as `-b {address},n` asks"
        ),
    }
}

fn address(spec: &BindSpec, options: &Options) -> Result<Address, Unusable> {
    match &spec.endpoint {
        Endpoint::Tcp { inet: of, .. } => Ok(Address::Tcp(inet(spec, of, options)?)),
        Endpoint::Udp(of) => Ok(Address::Udp(inet(spec, of, options)?)),
        Endpoint::Unix(UnixSpec { at: UnixAddress::Abstract(name), .. }) => {
            Ok(Address::Abstract(name.clone()))
        }
        Endpoint::Unix(UnixSpec { at: UnixAddress::Path(path), .. }) => {
            let path =
                absolute(path).map_err(|error| Unusable::Option(format!("--bind: `{spec}`: {error}")))?;
            let length = path.as_os_str().len();
            if length > LONGEST_SOCKET_PATH {
                return Err(Unusable::Option(format!(
                    "--bind: `{spec}`: from here that is a path of {length} bytes, `{}`; accepted: 1 to \
                     {LONGEST_SOCKET_PATH}",
                    path.display()
                )));
            }
            Ok(Address::Path(path))
        }
    }
}

fn inet(spec: &BindSpec, Inet { host, port }: &Inet, options: &Options) -> Result<SocketAddr, Unusable> {
    Ok(match host {
        Host::V4(ip) => SocketAddr::new(IpAddr::V4(*ip), *port),
        Host::V6(ip) => SocketAddr::new(IpAddr::V6(*ip), *port),
        Host::Link(ip, zone) => {
            let link = link(zone).ok_or_else(|| {
                let zone = zone.as_str();
                Unusable::Option(format!(
                    "--bind: `{spec}`: this machine has no link `{zone}`, see `ip link`"
                ))
            })?;
            SocketAddrV6::new(*ip, *port, 0, link).into()
        }
        Host::Name(name) => resolve(name, *port, options.family).map_err(|error| {
            let unusable = if error.may_pass() { Unusable::ForNow } else { Unusable::Option };
            unusable(format!("--bind: `{spec}`: {error}"))
        })?,
    })
}

/// How to listen where an option asks for it.
fn listen_options(spec: &BindSpec, options: &Options, rights: Rights) -> ListenOptions {
    ListenOptions {
        reuse_address: matches!(spec.endpoint, Endpoint::Tcp { reuse_address: true, .. }),
        nonblocking: spec.nonblocking,
        backlog: options.backlog,
        rights,
    }
}

/// Whose the file of a UNIX socket is to be.
fn rights(spec: &BindSpec) -> Result<Rights, Unusable> {
    let Endpoint::Unix(UnixSpec { mode, user, group, .. }) = &spec.endpoint else {
        return Ok(Rights::default());
    };
    let owner = |kind, name: &Option<String>, find: fn(&str) -> Result<u32, String>| {
        match name {
        None => Ok(None),
        Some(name) => find(name).map(Some).map_err(|why| {
            Unusable::Option(format!(
                "--bind: `{spec}`: {why}; accepted: the name of a {kind} that `getent {database}` lists, or a \
                 number",
                database = if kind == "user" { "passwd" } else { "group" }
            ))
        }),
    }
    };
    Ok(Rights {
        mode: *mode,
        user: owner("user", user, resolve::user)?,
        group: owner("group", group, resolve::group)?,
    })
}

mod adopted;
