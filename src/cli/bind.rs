//! What `--bind` takes: an address to listen on, and options for its socket.
//!
//! `ADDR:PORT[,OPT...]`, where ADDR is an IPv4 address, an IPv6 address in brackets or a host name;
//! `udp:ADDR:PORT`; or `unix:PATH`. Host names are told from mistyped addresses here, and resolved
//! elsewhere; so are the links that link-local addresses name, users and groups.

pub use host::{Family, Host, Zone};
pub use name::{LONGEST_SOCKET_NAME, SocketName, UNKNOWN};
pub use unix::{UnixAddress, UnixSpec};

use super::{error::brief, value::LONGEST_SOCKET_PATH};
use host::read_address;
use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A socket to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindSpec {
    /// Where, and by which means.
    pub endpoint: Endpoint,
    /// Whether to set `O_NONBLOCK`.
    pub nonblocking: bool,
    /// What it is called, if anything.
    pub name: Option<SocketName>,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// For connections over TCP.
    Tcp {
        /// The address and port.
        inet: Inet,
        /// Whether to set `SO_REUSEADDR`, which must come before bind(2).
        reuse_address: bool,
    },
    /// For messages over UDP.
    Udp(Inet),
    /// For connections from this machine.
    Unix(UnixSpec),
}

/// An address of the internet families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inet {
    /// Which host.
    pub host: Host,
    /// Which port; 0 lets the kernel choose.
    pub port: u16,
}

impl Inet {
    pub(super) fn read(text: &str) -> Result<Self, BindError> {
        let (host, port) = read_address(text)?;
        Ok(Self { host, port })
    }
}

impl BindSpec {
    /// The host and port, if it has such.
    #[must_use]
    pub fn inet(&self) -> Option<&Inet> {
        match &self.endpoint {
            Endpoint::Tcp { inet, .. } | Endpoint::Udp(inet) => Some(inet),
            Endpoint::Unix(_) => None,
        }
    }

    /// Whether the address is of the family asked for. A name may yet turn out not to be.
    #[must_use]
    pub fn fits(&self, family: Family) -> bool {
        let Some(Inet { host, .. }) = self.inet() else { return true };
        match (host, family) {
            (Host::V4(_), Family::V6) | (Host::V6(_) | Host::Link(..), Family::V4) => false,
            (Host::V4(_), Family::Any | Family::V4)
            | (Host::V6(_) | Host::Link(..), Family::Any | Family::V6)
            | (Host::Name(_), Family::Any | Family::V4 | Family::V6) => true,
        }
    }
}

/// Why something is not a [`BindSpec`]. Displayed, it continues a sentence that starts with the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindError {
    /// No colon and port at the end.
    NoPort,
    /// The port is not a number from 0 to 65535.
    BadPort,
    /// Nothing before the colon, or `*`.
    NoHost,
    /// Several colons outside brackets.
    BareIpv6,
    /// It ends in a number as an IPv4 address does, but is none.
    BadIpv4,
    /// What stands in brackets is no IPv6 address.
    BadIpv6,
    /// A link-local address that does not say on which link.
    NoZone(Ipv6Addr),
    /// What stands behind the `%` is neither the name nor the number of an interface.
    BadZone,
    /// A link is named for an address that is the same on all of them.
    NeedlessZone(Ipv6Addr),
    /// An IPv4 address, written as an IPv6 one. Sockets of ours take one family only.
    Mapped(Ipv4Addr),
    /// Neither an address nor a possible host name.
    BadName,
    /// No such flag.
    UnknownFlag(String),
    /// There is nothing behind `unix:`.
    NoPath,
    /// The path of a UNIX socket has so many bytes.
    LongPath(usize),
    /// The permissions are not octal digits.
    BadMode,
    /// The user or the group, as the option is called, cannot be one.
    BadOwner(&'static str),
    /// An option about a file, for a socket that is none.
    NoFile(&'static str),
    /// A flag for TCP alone.
    OnlyTcp(String),
    /// An option for UNIX sockets alone.
    OnlyUnix(String),
    /// What is to be the socket's name cannot be one.
    BadSocketName,
    /// Something is said more than once of which there is one.
    Twice(&'static str),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPort => "has no :PORT",
            Self::BadPort => "has a port that is not a number from 0 to 65535",
            Self::NoHost => "has no address (all of them are 0.0.0.0, or [::] for IPv6)",
            Self::BareIpv6 => "has several colons (an IPv6 address stands in brackets, as in [::1]:8080)",
            Self::BadIpv4 => "does not start with an IPv4 address of four numbers from 0 to 255",
            Self::BadIpv6 => "has no IPv6 address in its brackets",
            Self::NoZone(address) => {
                return write!(
                    f,
                    "is a link-local address, which every link has, and does not say on which link; as in \
                     [{address}%eth0]:8080 (`ip link` lists them)"
                );
            }
            Self::BadZone => "names no link behind its % (as in [fe80::1%eth0]:8080; `ip link` lists them)",
            Self::NeedlessZone(address) => {
                return write!(
                    f,
                    "names a link, and {address} is not link-local; leave out the % and the name"
                );
            }
            Self::Mapped(address) => {
                return write!(f, "is the IPv4 address {address} in the form of an IPv6 one; say {address}");
            }
            Self::BadName => "starts neither with an address nor with a host name",
            Self::UnknownFlag(flag) => {
                return write!(f, "has the flag `{}`, which does not exist", brief(flag.as_ref()));
            }
            Self::NoPath => "has no path behind its `unix:` (as in unix:/run/web.sock, or unix:@name)",
            Self::LongPath(length) => {
                return write!(
                    f,
                    "has a path of {length} bytes, of which a socket's can have 1 to {LONGEST_SOCKET_PATH}"
                );
            }
            Self::BadMode => "has a mode that is not 0 to 0777 in octal digits",
            Self::BadOwner(option) => {
                return write!(f, "has a {option} that is neither a name nor a number");
            }
            Self::NoFile(option) => {
                return write!(f, "has a {option}, and a socket in the abstract namespace has no file");
            }
            Self::OnlyTcp(flag) => return write!(f, "has the flag `{flag}`, which is for TCP only"),
            Self::OnlyUnix(option) => {
                return write!(f, "has a {option}, which is for `unix:` sockets only");
            }
            Self::BadSocketName => {
                return write!(
                    f,
                    "has a name that is not 1 to {LONGEST_SOCKET_NAME} printable ASCII characters without `:` \
                     and `}}`, or that is a number or `{UNKNOWN}`"
                );
            }
            Self::Twice(what) => return write!(f, "has `{what}` more than once"),
        })
    }
}

impl std::error::Error for BindError {}

impl FromStr for BindSpec {
    type Err = BindError;

    fn from_str(text: &str) -> Result<Self, BindError> {
        let mut parts = text.split(',');
        let address = parts.next().unwrap_or_default();
        let endpoint = if let Some(path) = address.strip_prefix(UNIX) {
            Endpoint::Unix(UnixSpec::read(path)?)
        } else if let Some(address) = address.strip_prefix(UDP) {
            Endpoint::Udp(Inet::read(address)?)
        } else {
            Endpoint::Tcp { inet: Inet::read(address)?, reuse_address: false }
        };
        let mut spec = Self { endpoint, nonblocking: false, name: None };
        parts.try_for_each(|option| spec.take(option))?;
        Ok(spec)
    }
}

/// How the address of a UNIX socket begins, and one for messages.
const UNIX: &str = "unix:";
const UDP: &str = "udp:";

impl BindSpec {
    fn take(&mut self, option: &str) -> Result<(), BindError> {
        let unknown = || BindError::UnknownFlag(option.to_owned());
        match option {
            "r" | "so_reuseaddr" => match &mut self.endpoint {
                Endpoint::Tcp { reuse_address, .. } => *reuse_address = true,
                Endpoint::Udp(_) | Endpoint::Unix(_) => return Err(BindError::OnlyTcp(option.to_owned())),
            },
            "n" | "o_nonblock" => self.nonblocking = true,
            _ => match (option.split_once('=').ok_or_else(unknown)?, &mut self.endpoint) {
                (("name", name), _) => {
                    if self.name.replace(name.parse()?).is_some() {
                        return Err(BindError::Twice("name"));
                    }
                }
                ((name, value), Endpoint::Unix(unix)) => {
                    if !unix.take(name, value)? {
                        return Err(unknown());
                    }
                }
                ((name @ ("mode" | "user" | "group"), _), _) => {
                    return Err(BindError::OnlyUnix(name.to_owned()));
                }
                _ => return Err(unknown()),
            },
        }
        Ok(())
    }
}

/// As it would be typed.
impl fmt::Display for BindSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Endpoint::Tcp { inet: Inet { host, port }, reuse_address } => {
                write!(f, "{host}:{port}{}", if *reuse_address { ",r" } else { "" })
            }
            Endpoint::Udp(Inet { host, port }) => write!(f, "{UDP}{host}:{port}"),
            Endpoint::Unix(unix) => unix.fmt(f),
        }?;
        f.write_str(if self.nonblocking { ",n" } else { "" })?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, ",name={name}"))
    }
}

mod host;
mod name;
#[cfg(test)]
mod tests;
mod unix;
