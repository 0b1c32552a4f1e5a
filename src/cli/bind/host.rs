//! Hosts and ports, as they are typed.

use super::BindError;
use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

/// Which addresses may be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    Any,
    /// Only IPv4.
    V4,
    /// Only IPv6.
    V6,
}

/// The host part of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
    /// A link-local IPv6 address (fe80::/10). Every link has the same ones, so it names its own.
    Link(Ipv6Addr, Zone),
    /// A name to resolve.
    Name(String),
}

/// Which link a link-local address is on, as in RFC 4007, section 11: the name of an interface of this
/// machine, or its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(pub(super) String);

impl Zone {
    /// As it was typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(super) fn read_address(text: &str) -> Result<(Host, u16), BindError> {
    if let Some(inside) = text.strip_prefix('[') {
        let (host, rest) = inside.split_once(']').ok_or(BindError::BadIpv6)?;
        let host = read_v6(host)?;
        let port = rest.strip_prefix(':').ok_or(BindError::NoPort)?;
        return Ok((host, read_port(port)?));
    }
    let (host, port) = text.rsplit_once(':').ok_or(BindError::NoPort)?;
    if host.contains(':') {
        return Err(BindError::BareIpv6);
    }
    Ok((read_host(host)?, read_port(port)?))
}

fn read_v6(text: &str) -> Result<Host, BindError> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let address: Ipv6Addr = address.parse().map_err(|_| BindError::BadIpv6)?;
    if let Some(v4) = address.to_ipv4_mapped() {
        return Err(BindError::Mapped(v4));
    }
    match zone {
        None if address.is_unicast_link_local() => Err(BindError::NoZone(address)),
        None => Ok(Host::V6(address)),
        Some(_) if !address.is_unicast_link_local() => Err(BindError::NeedlessZone(address)),
        Some(zone) if is_zone(zone) => Ok(Host::Link(address, Zone(zone.to_owned()))),
        Some(_) => Err(BindError::BadZone),
    }
}

/// What Linux takes for the name of an interface, less what would end the address; numbers are such too.
fn is_zone(text: &str) -> bool {
    let forbidden = |byte| matches!(byte, b'/' | b':' | b'%' | b'[') || !byte.is_ascii_graphic();
    (1..=15).contains(&text.len()) && !matches!(text, "." | "..") && !text.bytes().any(forbidden)
}

fn read_port(text: &str) -> Result<u16, BindError> {
    // The standard library would take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(BindError::BadPort)
}

fn read_host(text: &str) -> Result<Host, BindError> {
    if text.is_empty() || text == "*" {
        return Err(BindError::NoHost);
    }
    if let Ok(address) = text.parse() {
        return Ok(Host::V4(address));
    }
    // RFC 1123, section 2.1: no host name ends in a number, so that it cannot be taken for an address.
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) && !last.is_empty() {
        return Err(BindError::BadIpv4);
    }
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(BindError::BadName);
    }
    Ok(Host::Name(text.to_owned()))
}

/// A part of a host name. Underscores are not allowed by RFC 1123, but they exist.
fn is_label(text: &str) -> bool {
    let characters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    (1..=63).contains(&text.len()) && characters && !text.starts_with('-') && !text.ends_with('-')
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => write!(f, "{address}"),
            Self::V6(address) => write!(f, "[{address}]"),
            Self::Link(address, zone) => write!(f, "[{address}%{}]", zone.as_str()),
            Self::Name(name) => f.write_str(name),
        }
    }
}
