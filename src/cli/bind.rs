//! What `--bind` takes: an address to listen on, and flags for its socket.
//!
//! `ADDR:PORT[,OPT...]`, where ADDR is an IPv4 address, an IPv6 address in brackets or a host name.
//! Host names are told from mistyped addresses here, and resolved elsewhere; so are the links that
//! link-local addresses name.

pub use host::{Family, Host, Zone};
pub use name::{LONGEST_SOCKET_NAME, SocketName, UNKNOWN};

use super::error::brief;
use host::read_address;
use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A socket to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindSpec {
    /// Where.
    pub host: Host,
    /// Which port; 0 lets the kernel choose.
    pub port: u16,
    /// Whether to set `SO_REUSEADDR`, which must come before bind(2).
    pub reuse_address: bool,
    /// Whether to set `O_NONBLOCK`.
    pub nonblocking: bool,
    /// What it is called, if anything.
    pub name: Option<SocketName>,
}

impl BindSpec {
    /// Whether the address is of the family asked for. A name may yet turn out not to be.
    #[must_use]
    pub fn fits(&self, family: Family) -> bool {
        match (&self.host, family) {
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
    /// A UNIX socket.
    UnixSocket,
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
            Self::UnixSocket => "is a UNIX socket, and those cannot be bound yet",
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
        if text.starts_with("unix:/") {
            return Err(BindError::UnixSocket);
        }
        let mut parts = text.split(',');
        let (host, port) = read_address(parts.next().unwrap_or_default())?;
        let mut spec = Self { host, port, reuse_address: false, nonblocking: false, name: None };
        for flag in parts {
            match flag {
                "r" | "so_reuseaddr" => spec.reuse_address = true,
                "n" | "o_nonblock" => spec.nonblocking = true,
                _ => match flag.split_once('=') {
                    Some(("name", _)) if spec.name.is_some() => return Err(BindError::Twice("name")),
                    Some(("name", name)) => spec.name = Some(name.parse()?),
                    _ => return Err(BindError::UnknownFlag(flag.to_owned())),
                },
            }
        }
        Ok(spec)
    }
}

/// As it would be typed.
impl fmt::Display for BindSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)?;
        f.write_str(if self.reuse_address { ",r" } else { "" })?;
        f.write_str(if self.nonblocking { ",n" } else { "" })?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, ",name={name}"))
    }
}

mod host;
mod name;
#[cfg(test)]
mod tests;
