//! How many connections wait on a socket to be accepted: the first thing to rise when workers are too few or hang.
//!
//! The kernel tells of a TCP socket by tcp(7), `TCP_INFO`, and of a UNIX socket by sock_diag(7). Where it does not,
//! nothing is known, and nothing is said.

use super::{
    sock_diag::{queue, queue_request},
    socket_calls::tcp_info,
};
use crate::protocol::status::Queue;
use nix::{
    errno::Errno,
    sys::{
        socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
        stat::fstat,
    },
};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

/// `TCP_LISTEN` of <net/tcp_states.h>.
const LISTEN: u8 = 10;

/// Where `tcpi_unacked` and `tcpi_sacked` of <linux/tcp.h> are, which tell of a socket that listens how many
/// connections wait, and how many may.
const LENGTH: usize = 24;
const LIMIT: usize = 28;

/// What waits on a socket, if it listens and the kernel tells.
pub(crate) fn of(socket: BorrowedFd<'_>) -> Option<Queue> {
    of_tcp(socket).or_else(|| of_unix(socket).ok().flatten())
}

fn of_tcp(socket: BorrowedFd<'_>) -> Option<Queue> {
    let mut info = [0; 64];
    let length = tcp_info(socket, &mut info).ok()?;
    let info = info.get(..length)?;
    let four = |at: usize| info.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes);
    let listens = *info.first()? == LISTEN;
    Some(Queue { length: four(LENGTH)?, limit: four(LIMIT)? }).filter(|_| listens)
}

fn of_unix(of: BorrowedFd<'_>) -> Result<Option<Queue>, Errno> {
    let inode = u32::try_from(fstat(of)?.st_ino).map_err(|_| Errno::ERANGE)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let kernel =
        socket(AddressFamily::Netlink, SockType::Datagram, flags, Some(SockProtocol::NetlinkSockDiag))?;
    send(kernel.as_fd().as_raw_fd(), &queue_request(inode), MsgFlags::empty())?;
    let mut answer = [0; 512];
    let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let told = queue(answer.get(..length).unwrap_or_default(), inode);
    Ok(told.map(|(length, limit)| Queue { length, limit }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        net::{TcpListener, TcpStream, UdpSocket},
        os::{
            linux::net::SocketAddrExt as _,
            unix::net::{SocketAddr, UnixListener, UnixStream},
        },
        process,
    };

    #[test]
    fn connections_that_wait_are_counted_on_tcp_and_unix_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let before = of(listener.as_fd()).unwrap();
        assert_eq!((before.length, before.limit > 0), (0, true));
        let address = listener.local_addr().unwrap();
        let _clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
        assert_eq!(of(listener.as_fd()), Some(Queue { length: 2, ..before }));
        let _one = listener.accept().unwrap();
        assert_eq!(of(listener.as_fd()), Some(Queue { length: 1, ..before }));

        let name = SocketAddr::from_abstract_name(format!("queue-{}", process::id())).unwrap();
        let listener = UnixListener::bind_addr(&name).unwrap();
        // Where the kernel has no sock_diag(7), nothing is told.
        if let Some(before) = of(listener.as_fd()) {
            assert_eq!((before.length, before.limit > 0), (0, true));
            let _client = UnixStream::connect_addr(&name).unwrap();
            assert_eq!(of(listener.as_fd()), Some(Queue { length: 1, ..before }));
        }
    }

    #[test]
    fn a_socket_that_accepts_nothing_has_no_queue() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(of(client.as_fd()), None);
        assert_eq!(of(UdpSocket::bind("127.0.0.1:0").unwrap().as_fd()), None);
    }
}
