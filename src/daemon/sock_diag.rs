//! What the kernel is asked about sockets and what it answers, sock_diag(7): pure functions to and from bytes. Who is
//! asked when, and what follows, is known elsewhere.
//!
//! An answer may end anywhere, and a later kernel may have more to say. So every function here is total over any
//! bytes, which is what the fuzzers hold it to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Numbers of <linux/netlink.h> and <linux/sock_diag.h>.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const BY_FAMILY: u16 = 20;
/// A request for all that there is of the kind: `NLM_F_REQUEST`, `NLM_F_DUMP`.
const DUMP: u16 = 0x301;

/// Families and a protocol of <linux/socket.h> and <linux/in.h>.
const UNIX: u8 = 1;
const INET: u8 = 2;
const INET6: u8 = 10;
const TCP: u8 = 6;

/// Bits of states, <net/tcp_states.h>: connected, and connected to one that has said all it had to say.
const CONNECTED: u32 = 1 << 1 | 1 << 8;

/// `UDIAG_SHOW_NAME`, and what a name is marked by in the answer: `UNIX_DIAG_NAME`.
const SHOW_NAME: u32 = 1;
const NAME: u16 = 0;

/// How long the head of a message is, and of an attribute.
const HEAD: usize = 16;
const ATTRIBUTE: usize = 4;

/// Of which connections the kernel is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// TCP over IPv4, with that port at the near end; 0 for any.
    V4(u16),
    /// TCP over IPv6, likewise.
    V6(u16),
    /// UNIX stream sockets.
    Unix,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// What its near end is bound to.
    pub near: Name,
    /// Its number, as the links in `/proc/PID/fd` have it.
    pub inode: u64,
}

/// What a socket is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// An address and a port.
    Inet(IpAddr, u16),
    /// A path, or a byte of zero and a name in the abstract namespace.
    Unix(Vec<u8>),
}

/// The question.
#[must_use]
pub fn request(kind: Kind) -> Vec<u8> {
    let body = match kind {
        Kind::V4(port) => inet_request(INET, port),
        Kind::V6(port) => inet_request(INET6, port),
        // Family, protocol and padding; states; any inode; what to show; no cookie.
        Kind::Unix => {
            [&[UNIX, 0, 0, 0][..], &CONNECTED.to_ne_bytes(), &[0; 4], &SHOW_NAME.to_ne_bytes(), &[0; 8]]
                .concat()
        }
    };
    let length = u32::try_from(HEAD + body.len()).unwrap_or(u32::MAX);
    [&length.to_ne_bytes()[..], &BY_FAMILY.to_ne_bytes(), &DUMP.to_ne_bytes(), &[0; 8], &body].concat()
}

/// Family, protocol, no extensions, padding; states; the near port; and no matter which other port, addresses, link
/// and cookie.
fn inet_request(family: u8, port: u16) -> Vec<u8> {
    [&[family, TCP, 0, 0][..], &CONNECTED.to_ne_bytes(), &port.to_be_bytes(), &[0; 46]].concat()
}

/// `UDIAG_SHOW_RQLEN`, and what a queue is marked by in the answer: `UNIX_DIAG_RQLEN`.
const SHOW_QUEUE: u32 = 0x10;
const QUEUE: u16 = 4;

/// The question for what waits on the UNIX socket of that number.
#[must_use]
pub fn queue_request(inode: u32) -> Vec<u8> {
    // As of all that there are, but of one, for which no cookie has to be known.
    let (request, any_state) = (1_u16, u32::MAX);
    let body = [
        &[UNIX, 0, 0, 0][..],
        &any_state.to_ne_bytes(),
        &inode.to_ne_bytes(),
        &SHOW_QUEUE.to_ne_bytes(),
        &[0xff; 8],
    ]
    .concat();
    let length = u32::try_from(HEAD + body.len()).unwrap_or(u32::MAX);
    [&length.to_ne_bytes()[..], &BY_FAMILY.to_ne_bytes(), &request.to_ne_bytes(), &[0; 8], &body].concat()
}

/// What is told of the UNIX socket of that number: how many connections wait, and how many may. `None` if the answer
/// says something else.
#[must_use]
pub fn queue(answer: &[u8], inode: u32) -> Option<(u32, u32)> {
    let length = usize::try_from(u32::from_ne_bytes(*answer.first_chunk()?)).ok()?;
    let message = answer.get(..length)?;
    let body =
        message.get(HEAD..).filter(|_| two(message.get(4..).unwrap_or_default()) == Some(BY_FAMILY))?;
    // A state that listens; see <net/tcp_states.h>.
    let listens = *body.first()? == UNIX && *body.get(2)? == 10;
    if !listens || four(body.get(4..)?)? != inode {
        return None;
    }
    let value = attribute(body.get(16..)?, QUEUE)?;
    Some((four(value)?, four(value.get(4..)?)?))
}

/// What a part of an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A connection.
    Is(Connection),
    /// That was all; or the question is refused.
    End,
}

/// All that one datagram of the kernel's says. Whatever is something else, or not all there, is passed over.
pub fn said(mut answer: &[u8]) -> impl Iterator<Item = Said> {
    std::iter::from_fn(move || {
        loop {
            let length = usize::try_from(u32::from_ne_bytes(*answer.first_chunk()?)).ok()?;
            let message = answer.get(..length)?;
            let (kind, body) = (two(message.get(4..)?)?, message.get(HEAD..)?);
            // The next one begins at a multiple of four.
            answer = answer.get(length.checked_next_multiple_of(4)?..).unwrap_or_default();
            match kind {
                ERROR | DONE => return Some(Said::End),
                BY_FAMILY => {
                    if let Some(connection) = connection(body) {
                        return Some(Said::Is(connection));
                    }
                }
                _ => {}
            }
        }
    })
}

fn connection(body: &[u8]) -> Option<Connection> {
    match *body.first()? {
        INET | INET6 => inet(body),
        UNIX => unix(body),
        _ => None,
    }
}

/// Family, state, two more bytes; two ports; two addresses of sixteen bytes, of which IPv4 takes four; and at last the
/// inode.
fn inet(body: &[u8]) -> Option<Connection> {
    let port = u16::from_be_bytes(*body.get(4..)?.first_chunk()?);
    let address = body.get(8..)?;
    let ip = if body.first() == Some(&INET) {
        Ipv4Addr::from(*address.first_chunk::<4>()?).into()
    } else {
        Ipv6Addr::from(*address.first_chunk::<16>()?).into()
    };
    Some(Connection { near: Name::Inet(ip, port), inode: four(body.get(68..)?)?.into() })
}

/// Family, kind, state, padding; the inode; a cookie; then attributes, one of which is the name.
fn unix(body: &[u8]) -> Option<Connection> {
    let inode = four(body.get(4..)?)?.into();
    let name = attribute(body.get(16..)?, NAME)?;
    Some(Connection { near: Name::Unix(named(name)), inode })
}

/// The value of the first attribute of that kind.
fn attribute(mut rest: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(two(rest)?);
        let value = rest.get(ATTRIBUTE..length)?;
        if two(rest.get(2..)?)? == kind {
            return Some(value);
        }
        rest = rest.get(length.checked_next_multiple_of(4)?..)?;
    }
}

/// A path without the zero byte behind it; a name in the abstract namespace, which begins with one, as it is.
fn named(name: &[u8]) -> Vec<u8> {
    match name.split_last() {
        Some((0, path)) if name.first() != Some(&0) => path.to_vec(),
        _ => name.to_vec(),
    }
}

fn two(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().copied().map(u16::from_ne_bytes)
}

fn four(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEAD + body.len()).unwrap();
        let mut message =
            [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &2_u16.to_ne_bytes(), &[0; 8], body].concat();
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    fn inet_body(family: u8, port: u16, address: &[u8], inode: u32) -> Vec<u8> {
        let mut body = [&[family, 1, 0, 0][..], &port.to_be_bytes(), &[0, 9], address].concat();
        body.resize(68, 0);
        [body, inode.to_ne_bytes().to_vec()].concat()
    }

    fn unix_body(name: &[u8], inode: u32) -> Vec<u8> {
        let attribute = |kind: u16, value: &[u8]| {
            let length = u16::try_from(ATTRIBUTE + value.len()).unwrap();
            let mut all = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
            all.resize(all.len().next_multiple_of(4), 0);
            all
        };
        let head = [&[UNIX, 1, 1, 0][..], &inode.to_ne_bytes(), &[7; 8]].concat();
        [head, attribute(5, b"x"), attribute(NAME, name)].concat()
    }

    #[test]
    fn connections_are_read_with_their_names_and_numbers() {
        let mapped: Ipv6Addr = "::ffff:127.0.0.1".parse().unwrap();
        let answer = [
            message(BY_FAMILY, &inet_body(INET, 8080, &[127, 0, 0, 1], 4242)),
            message(99, &[1; 7]),
            message(BY_FAMILY, &inet_body(INET6, 81, &mapped.octets(), 7)),
            message(BY_FAMILY, &unix_body(b"/run/app\0", 8)),
            message(BY_FAMILY, &unix_body(b"\0app", 9)),
            message(BY_FAMILY, &[INET6, 1]),
            message(DONE, &[0; 4]),
        ]
        .concat();
        let is = |near, inode| Said::Is(Connection { near, inode });
        let expected = [
            is(Name::Inet([127, 0, 0, 1].into(), 8080), 4242),
            is(Name::Inet(mapped.into(), 81), 7),
            is(Name::Unix(b"/run/app".to_vec()), 8),
            is(Name::Unix(b"\0app".to_vec()), 9),
            Said::End,
        ];
        assert_eq!(said(&answer).collect::<Vec<_>>(), expected);
        // It may be cut off anywhere.
        for end in 0..answer.len() {
            let read: Vec<_> = said(answer.get(..end).unwrap()).collect();
            assert!(expected.starts_with(&read), "{end}: {read:?}");
        }
        assert_eq!(said(&message(ERROR, &[0; 20])).collect::<Vec<_>>(), [Said::End]);
    }

    #[test]
    fn what_waits_on_a_socket_is_read_if_it_is_that_socket_and_listens() {
        let body = |state, inode: u32| {
            let head = [&[UNIX, 1, state, 0][..], &inode.to_ne_bytes(), &[7; 8]].concat();
            let attribute = |kind: u16, value: &[u8]| {
                [&u16::try_from(4 + value.len()).unwrap().to_ne_bytes()[..], &kind.to_ne_bytes(), value]
                    .concat()
            };
            [head, attribute(6, &[0, 0, 0, 0]), attribute(QUEUE, &[3, 0, 0, 0, 128, 0, 0, 0])].concat()
        };
        let answer = message(BY_FAMILY, &body(10, 77));
        assert_eq!(queue(&answer, 77), Some((3, 128)));
        assert_eq!(queue(&answer, 78), None);
        assert_eq!(queue(&message(BY_FAMILY, &body(1, 77)), 77), None, "it is connected");
        assert_eq!(queue(&message(ERROR, &body(10, 77)), 77), None);
        for end in 0..answer.len() {
            assert_eq!(queue(answer.get(..end).unwrap(), 77), None, "{end}");
        }
    }

    #[test]
    fn a_message_that_claims_to_have_no_length_ends_the_answer() {
        assert_eq!(said(&[0; 64]).count(), 0);
        let short = [&15_u32.to_ne_bytes()[..], &[0; 60]].concat();
        assert_eq!(said(&short).count(), 0);
    }

    #[test]
    fn a_question_is_as_long_as_it_says() {
        for (kind, length) in [(Kind::V4(80), 72), (Kind::V6(0), 72), (Kind::Unix, 40)] {
            let request = request(kind);
            assert_eq!((request.len(), four(&request)), (length, u32::try_from(length).ok()), "{kind:?}");
        }
    }
}
