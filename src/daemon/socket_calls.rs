//! What can be done with sockets and has no safe form elsewhere: receiving a datagram with who has sent it, unix(7), or a
//! descriptor, taking back that both directions of a TCP socket were shut down, and reading what the kernel tells of one.
#![expect(unsafe_code, reason = "system calls that have no safe form for this")]

use nix::{
    errno::Errno,
    libc::{self, c_uint, c_void, iovec, msghdr, ucred},
};
use std::{
    mem,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

/// How much room the word on who has sent it takes.
// SAFETY: a computation.
const ROOM: usize = unsafe { libc::CMSG_SPACE(SENDER) } as usize;
const SENDER: c_uint = size_of::<ucred>() as c_uint;

/// What has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    /// How many bytes of it are in the buffer.
    pub(super) length: usize,
    /// It was longer than the buffer.
    pub(super) cut: bool,
    /// Process and user, if the kernel tells.
    pub(super) sender: Option<(i32, u32)>,
}

/// As aligned as the head of what the kernel writes.
#[repr(C)]
union Control {
    head: libc::cmsghdr,
    bytes: [u8; ROOM],
}

/// A descriptor that the kernel has just made for us: one that has come with a message, or a duplicate.
pub(super) fn received(fd: RawFd) -> OwnedFd {
    // SAFETY: nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Takes one datagram from a socket with `SO_PASSCRED`, without waiting for one if the socket does not. Descriptors that
/// come along are closed by the kernel, since no room is made for them: none can be left open, however few there may
/// be. (The safe form of the call that nix has does not tell the sender of such a one.)
///
/// # Errors
/// `EAGAIN` if there is none; or what keeps it from being read.
pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Received, Errno> {
    let mut part = iovec { iov_base: buffer.as_mut_ptr().cast::<c_void>(), iov_len: buffer.len() };
    let mut control = Control { bytes: [0; ROOM] };
    // SAFETY: a structure of integers and pointers, for which zero is a valid value.
    let mut message: msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast::<c_void>();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: the message leads to two places of the lengths that it tells, which live until the end of this.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = Errno::result(length)?;
    // SAFETY: filled in by the call, and not changed since.
    let sender = unsafe { sender(&message) };
    let cut = message.msg_flags & libc::MSG_TRUNC != 0;
    Ok(Received { length: usize::try_from(length).unwrap_or_default(), cut, sender })
}

/// Who has sent a message: the kernel says that before all else.
///
/// # Safety
/// The message must be as recvmsg(2) has left it.
unsafe fn sender(message: &msghdr) -> Option<(i32, u32)> {
    // SAFETY: as the caller promises.
    let head = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    // SAFETY: a computation.
    let whole = head.cmsg_len as usize >= unsafe { libc::CMSG_LEN(SENDER) } as usize;
    if !whole || (head.cmsg_level, head.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) {
        return None;
    }
    // SAFETY: there are so many bytes behind the head, which need not be aligned for the structure.
    let who: ucred = unsafe { ptr::read_unaligned(libc::CMSG_DATA(head).cast()) };
    Some((who.pid, who.uid))
}

/// Makes a TCP socket that does not listen any more one that never did. shutdown(2) of one that somebody else has shut
/// down already is refused, and leaves a mark all the same, with which whatever it accepts from then on is born shut
/// down; listen(2) does not clear it, this does. See connect(2), `AF_UNSPEC`. The port stays, if it was asked for.
pub(super) fn reset(socket: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: a structure of integers, for which zero is a valid value.
    let mut none: libc::sockaddr = unsafe { mem::zeroed() };
    none.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
    let length = size_of::<libc::sockaddr>() as libc::socklen_t;
    // SAFETY: the address is of the length that is told, and lives until the end of this.
    Errno::result(unsafe { libc::connect(socket.as_raw_fd(), &raw const none, length) }).map(drop)
}

/// What tcp(7) tells of a socket by `TCP_INFO`, as far as there is room. Returns how much that is.
pub(super) fn tcp_info(socket: BorrowedFd<'_>, room: &mut [u8]) -> Result<usize, Errno> {
    let mut length = libc::socklen_t::try_from(room.len()).unwrap_or(0);
    let at = room.as_mut_ptr().cast::<c_void>();
    // SAFETY: no more is written than there is room for.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, at, &raw mut length)
    };
    Errno::result(done)?;
    Ok(usize::try_from(length).unwrap_or(0).min(room.len()))
}
