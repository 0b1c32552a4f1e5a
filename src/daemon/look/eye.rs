//! Looking at one process after another, with one budget for all.

use super::{
    super::procfs::{self, Doing, Interest},
    Reach, Sight, Watched,
    calls::{self, Wait},
};
use crate::fsm::id::{Errno, Pid};
use nix::{
    errno::Errno as Sys,
    libc::{EPOLLET, EPOLLIN, EPOLLRDNORM, POLLIN, POLLRDNORM},
    sys::uio::{RemoteIoVec, process_vm_readv},
    unistd,
};
use std::{
    fmt::{self, Write as _},
    fs::{self, File},
    io::{self, IoSliceMut, Read as _},
    ops::ControlFlow,
    os::unix::ffi::OsStrExt as _,
};

/// How many threads are looked at, of all processes: the oldest ones of each.
const THREADS: usize = 256;

/// How many descriptors are looked at that threads poll or accept on.
const POLLED: usize = 1_024;

/// How many descriptors are looked at to find epoll instances. One that a thread waits for is found whatever
/// its number, so that those beyond are seen in one of the next looks.
const DESCRIPTORS: usize = 1_024;

/// How much of one file is read: an epoll instance that watches 10,000 files fits in.
const FILE: u64 = 1 << 20;

/// How much is read of the memory of a process at a time: 1,024 entries of a poll(2), the bits of 65,536
/// descriptors of a select(2).
const MEMORY: usize = 8 * 1_024;

/// What the link of a descriptor says that is an epoll instance.
const EPOLL: &[u8] = b"anon_inode:[eventpoll]";

/// What a descriptor is.
enum Kind {
    Epoll,
    Socket(u64),
    Other,
}

/// To break off is to have seen that a socket is waited for.
pub(super) type Flow = ControlFlow<()>;

/// Looks, and remembers what it could not see.
#[derive(Debug)]
pub(super) struct Eye<'w> {
    watched: &'w Watched,
    /// Whether connections are looked at.
    thorough: bool,
    wrapped: bool,
    hidden: Option<Errno>,
    /// Whether there was more than the budget is for.
    more: bool,
    /// Whether the kernel does not tell the children of a thread.
    childless: bool,
    threads: usize,
    polled: usize,
    descriptors: usize,
    path: String,
    text: Vec<u8>,
    tasks: Vec<u32>,
}

impl<'w> Eye<'w> {
    pub(super) fn new(watched: &'w Watched, reach: Reach) -> Self {
        Self {
            watched,
            thorough: reach == Reach::Group,
            wrapped: false,
            hidden: None,
            more: false,
            childless: false,
            threads: THREADS,
            polled: POLLED,
            descriptors: DESCRIPTORS,
            path: String::with_capacity(64),
            text: Vec::with_capacity(4_096),
            tasks: Vec::new(),
        }
    }

    /// What was seen, if nobody was seen waiting.
    pub(super) fn sight(&self) -> Sight {
        match self.hidden {
            _ if self.wrapped => Sight::Wrapped,
            Some(errno) => Sight::Hidden(errno),
            None if self.more => Sight::Vast,
            None => Sight::NotYet,
        }
    }

    /// Notes that there is more than can be looked at.
    pub(super) fn note_more(&mut self) {
        self.more = true;
    }

    /// Notes that something may not be looked into.
    pub(super) fn note_hidden(&mut self, errno: Sys) {
        self.hidden.get_or_insert(Errno(errno as i32));
    }

    /// Whether the process that was just looked at seems to have no thread, as none has that is there.
    pub(super) fn saw_no_thread(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Whether children could not be found by [`children_of`](Self::children_of).
    pub(super) fn misses_children(&self) -> bool {
        self.childless
    }

    /// Looks at the threads of a process, then at its epoll instances, then at its connections.
    pub(super) fn look_at(&mut self, pid: Pid) -> Flow {
        let before = self.hidden;
        self.look_into(pid)?;
        // Of a process that has ended and is not reaped, all that is left is hidden from all but root.
        if self.hidden != before && self.has_ended(pid) {
            self.hidden = before;
        }
        Flow::Continue(())
    }

    fn has_ended(&mut self, pid: Pid) -> bool {
        let state = self.read(format_args!("{pid}/stat")).and_then(procfs::state);
        matches!(state, Some('Z' | 'X'))
    }

    fn look_into(&mut self, pid: Pid) -> Flow {
        self.tasks.clear();
        let tasks = fs::read_dir(self.path(format_args!("{pid}/task")));
        let tasks = tasks.map_err(|error| self.failed(&error)).into_iter().flatten();
        for task in tasks.filter_map(number) {
            if self.threads == 0 {
                self.more = true;
                break;
            }
            self.threads = self.threads.saturating_sub(1);
            self.tasks.push(task);
            self.thread(pid, task)?;
        }
        let descriptors = fs::read_dir(self.path(format_args!("{pid}/fd")));
        let descriptors = descriptors.map_err(|error| self.failed(&error)).into_iter().flatten();
        for fd in descriptors.filter_map(number) {
            if self.descriptors == 0 {
                break;
            }
            self.descriptors = self.descriptors.saturating_sub(1);
            let kind = self.link(format_args!("{pid}/fd/{fd}"), |link| match procfs::socket_inode(link) {
                Some(inode) => Kind::Socket(inode),
                None if link == EPOLL => Kind::Epoll,
                None => Kind::Other,
            });
            match kind {
                Some(Kind::Epoll) => self.epoll(format_args!("{pid}/fdinfo/{fd}"))?,
                // The one that is looked for every worker has.
                Some(Kind::Socket(inode)) if self.thorough && self.watched.get(inode).is_none() => {
                    if self.watched.has_accepted(inode) {
                        return Flow::Break(());
                    }
                }
                Some(Kind::Socket(_) | Kind::Other) | None => {}
            }
        }
        Flow::Continue(())
    }

    /// The children of the process that was just looked at.
    pub(super) fn children_of(&mut self, pid: Pid) -> Vec<Pid> {
        let mut children = Vec::new();
        for task in std::mem::take(&mut self.tasks) {
            if let Some(text) = self.read(format_args!("{pid}/task/{task}/children")) {
                children.extend(procfs::children(text));
            } else {
                self.childless |= self.lacks("children");
            }
        }
        children
    }

    fn thread(&mut self, pid: Pid, task: u32) -> Flow {
        let Some(text) = self.read(format_args!("{pid}/task/{task}/syscall")) else {
            if self.lacks("syscall") {
                self.note_hidden(Sys::ENOENT);
            }
            return Flow::Continue(());
        };
        let Some(Doing::Call(call)) = procfs::doing(text) else { return Flow::Continue(()) };
        match calls::wait(&call) {
            Wait::Accept(fd) => self.socket(pid, task, fd, |for_messages| !for_messages),
            Wait::Receive(fd) => self.socket(pid, task, fd, |for_messages| for_messages),
            Wait::Poll(base, count) => {
                let Some(array) = self.memory(pid, base, count.saturating_mul(8)) else {
                    return Flow::Continue(());
                };
                self.sockets(pid, task, procfs::polled(&array, POLLIN | POLLRDNORM))
            }
            Wait::Select(base, bits) => {
                let Some(set) = self.memory(pid, base, bits.div_ceil(64).saturating_mul(8)) else {
                    return Flow::Continue(());
                };
                let end = i32::try_from(bits).unwrap_or(i32::MAX);
                self.sockets(pid, task, procfs::selected(&set).take_while(|fd| *fd < end))
            }
            Wait::Epoll(fd) => self.epoll(format_args!("{pid}/task/{task}/fdinfo/{fd}")),
            Wait::Ring => {
                self.wrapped = true;
                Flow::Continue(())
            }
            Wait::Foreign => {
                self.note_hidden(Sys::ENOSYS);
                Flow::Continue(())
            }
            Wait::Other => Flow::Continue(()),
        }
    }

    /// Whether one of these is a socket that we look for.
    fn sockets(&mut self, pid: Pid, task: u32, descriptors: impl Iterator<Item = i32>) -> Flow {
        for fd in descriptors {
            self.socket(pid, task, fd, |_| true)?;
        }
        Flow::Continue(())
    }

    /// Whether a descriptor is a socket that we look for, of that kind: for messages or not.
    fn socket(&mut self, pid: Pid, task: u32, fd: i32, kind: impl FnOnce(bool) -> bool) -> Flow {
        if self.polled == 0 {
            self.more = true;
            return Flow::Continue(());
        }
        self.polled = self.polled.saturating_sub(1);
        let inode = self.link(format_args!("{pid}/task/{task}/fd/{fd}"), procfs::socket_inode).flatten();
        match inode.and_then(|inode| self.watched.get(inode)) {
            Some(socket) if kind(socket.is_for_messages) => Flow::Break(()),
            _ => Flow::Continue(()),
        }
    }

    /// Whether an epoll instance watches a socket that we look for.
    fn epoll(&mut self, fdinfo: fmt::Arguments<'_>) -> Flow {
        let watched = self.watched;
        let Some(text) = self.read(fdinfo) else { return Flow::Continue(()) };
        let for_reading = (EPOLLIN | EPOLLRDNORM).cast_unsigned();
        let mut wrapped = false;
        for Interest { events, inode, device } in procfs::interests(text) {
            let is_ours = watched.get(inode).is_some_and(|socket| socket.device == device);
            if !is_ours || events & for_reading == 0 {
                continue;
            }
            if events & EPOLLET.cast_unsigned() == 0 {
                return Flow::Break(());
            }
            wrapped = true;
        }
        self.wrapped |= wrapped;
        Flow::Continue(())
    }

    /// A path below `/proc`.
    fn path(&mut self, below: fmt::Arguments<'_>) -> &str {
        self.path.clear();
        self.path.push_str("/proc/");
        // Nothing can fail in memory.
        let _ = self.path.write_fmt(below);
        &self.path
    }

    /// Whether the kernel has no such file for any thread. To be asked where there was none for one that may
    /// have ended.
    fn lacks(&mut self, file: &str) -> bool {
        !fs::exists(self.path(format_args!("thread-self/{file}"))).unwrap_or(true)
    }

    fn read(&mut self, below: fmt::Arguments<'_>) -> Option<&[u8]> {
        self.path(below);
        self.text.clear();
        let read = |file: File| file.take(FILE).read_to_end(&mut self.text);
        match File::open(&self.path).and_then(read) {
            Ok(_) => Some(&self.text),
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    fn link<T>(&mut self, below: fmt::Arguments<'_>, seen: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let link = fs::read_link(self.path(below));
        let link = link.map_err(|error| self.failed(&error)).ok()?;
        Some(seen(link.as_os_str().as_bytes()))
    }

    fn memory(&mut self, pid: Pid, base: u64, length: u64) -> Option<Vec<u8>> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.more |= length > MEMORY;
        let len = length.min(MEMORY);
        let mut memory = vec![0; len];
        let remote = RemoteIoVec { base: usize::try_from(base).ok()?, len };
        let pid = unistd::Pid::from_raw(i32::try_from(pid.0).ok()?);
        match process_vm_readv(pid, &mut [IoSliceMut::new(&mut memory)], &[remote]) {
            Ok(read) => {
                memory.truncate(read);
                Some(memory)
            }
            Err(errno) => {
                self.failed(&errno.into());
                None
            }
        }
    }

    /// Notes an error, unless it tells that something has ended or changed meanwhile, or that we lack
    /// something for the moment.
    fn failed(&mut self, error: &io::Error) {
        let errno = Sys::from_raw(error.raw_os_error().unwrap_or_default());
        let passing = [Sys::EMFILE, Sys::ENFILE, Sys::ENOMEM, Sys::EINTR, Sys::EAGAIN];
        let gone = [Sys::ENOENT, Sys::ESRCH, Sys::EFAULT];
        if !passing.contains(&errno) && !gone.contains(&errno) {
            self.note_hidden(errno);
        }
    }
}

/// The number that an entry is called by.
fn number(entry: io::Result<fs::DirEntry>) -> Option<u32> {
    entry.ok()?.file_name().to_str()?.parse().ok()
}
