//! What `--bind` takes: an address to listen on, and flags for its socket.
//!
//! `ADDR:PORT[,OPT...]`, where ADDR is an IPv4 address, an IPv6 address in brackets or a host name.
//! Host names are told from mistyped addresses here, and resolved elsewhere; so are the links that
//! link-local addresses name.

use super::error::brief;
use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
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
pub struct Zone(String);

impl Zone {
    /// As it was typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

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
    /// A name for the socket.
    SocketName,
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
            Self::SocketName => "names its socket, and sockets cannot be named yet",
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
        let mut spec = Self { host, port, reuse_address: false, nonblocking: false };
        for flag in parts {
            match flag {
                "r" | "so_reuseaddr" => spec.reuse_address = true,
                "n" | "o_nonblock" => spec.nonblocking = true,
                _ if flag.starts_with("name=") => return Err(BindError::SocketName),
                _ => return Err(BindError::UnknownFlag(flag.to_owned())),
            }
        }
        Ok(spec)
    }
}

fn read_address(text: &str) -> Result<(Host, u16), BindError> {
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

/// As it would be typed.
impl fmt::Display for BindSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)?;
        f.write_str(if self.reuse_address { ",r" } else { "" })?;
        f.write_str(if self.nonblocking { ",n" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec(text: &str) -> BindSpec {
        text.parse().unwrap_or_else(|error| panic!("{text} {error}"))
    }

    fn error(text: &str) -> BindError {
        text.parse::<BindSpec>().expect_err(text)
    }

    #[test]
    fn addresses_and_names_are_told_apart() {
        assert_eq!(spec("127.0.0.1:80").host, Host::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(spec("[::1]:80").host, Host::V6(Ipv6Addr::LOCALHOST));
        for name in ["localhost", "web-1.example.com", "example.com.", "my_host", "1and1.com", "3com"] {
            assert_eq!(spec(&format!("{name}:80")).host, Host::Name(name.to_owned()));
        }
    }

    #[test]
    fn ports_are_read() {
        assert_eq!(spec("localhost:0").port, 0);
        assert_eq!(spec("localhost:65535").port, 65_535);
        for text in
            ["localhost:", "localhost:65536", "localhost:http", "localhost:+80", "[::1]:x", "h:-1", "h:80 "]
        {
            assert_eq!(error(text), BindError::BadPort, "{text}");
        }
        for text in ["localhost", "127.0.0.1", "[::1]", "[::1]80", "", ",r"] {
            assert_eq!(error(text), BindError::NoPort, "{text}");
        }
    }

    #[test]
    fn flags_are_read_in_any_order_and_spelling() {
        for text in ["h:1,r,n", "h:1,n,r", "h:1,so_reuseaddr,o_nonblock", "h:1,r,r,n"] {
            let spec = spec(text);
            assert!(spec.reuse_address && spec.nonblocking, "{text}");
        }
        assert!(spec("h:1,r").reuse_address && !spec("h:1,r").nonblocking);
        assert!(spec("h:1,n").nonblocking && !spec("h:1,n").reuse_address);
        for flag in ["", "x", "R", "r "] {
            assert_eq!(error(&format!("h:1,r,{flag}")), BindError::UnknownFlag(flag.to_owned()));
        }
    }

    #[test]
    fn an_ipv6_address_without_brackets_is_told_about_them() {
        for text in ["::1:80", "::1", "::", "fe80::1:2:3", "2001:db8::1"] {
            assert_eq!(error(text), BindError::BareIpv6, "{text}");
        }
        assert!(BindError::BareIpv6.to_string().contains("[::1]:8080"));
    }

    #[test]
    fn mistyped_addresses_are_not_taken_for_names() {
        for text in ["127.0.0.256:80", "127.1:80", "8080:80", "1.2.3.4.5:80", "1.2.3.4.:80"] {
            assert_eq!(error(text), BindError::BadIpv4, "{text}");
        }
        for text in ["[]:80", "[::1", "[%lo]:80", "[1.2.3.4]:80", "[localhost]:80"] {
            assert_eq!(error(text), BindError::BadIpv6, "{text}");
        }
        for text in [":80", "*:80"] {
            assert_eq!(error(text), BindError::NoHost, "{text}");
        }
        let long = format!("{}:80", ["a".repeat(63).as_str(); 4].join("."));
        for text in ["a b:80", "é:80", "-a:80", "a-.b:80", "a..b:80", ".:80", "a/b:80", &long] {
            assert_eq!(error(text), BindError::BadName, "{text}");
        }
    }

    #[test]
    fn a_link_local_address_names_its_link_and_no_other_does() {
        let address: Ipv6Addr = "fe80::1".parse().unwrap();
        for zone in ["lo", "eth0.7", "2", "wg-a_b", "fifteen-letters"] {
            let host = Host::Link(address, Zone(zone.to_owned()));
            assert_eq!(spec(&format!("[fe80::1%{zone}]:80,r")).host, host);
        }
        for zone in ["", "a b", "a/b", "a%b", "é", "sixteen-letters-", ".", ".."] {
            assert_eq!(error(&format!("[fe80::1%{zone}]:80")), BindError::BadZone, "{zone}");
        }
        assert_eq!(error("[fe80::1]:80"), BindError::NoZone(address));
        assert!(error("[fe80::1]:80").to_string().contains("[fe80::1%eth0]:8080"));
        assert_eq!(error("[::1%lo]:80"), BindError::NeedlessZone(Ipv6Addr::LOCALHOST));
        assert!(!spec("[fe80::1%lo]:80").fits(Family::V4) && spec("[fe80::1%lo]:80").fits(Family::V6));
    }

    #[test]
    fn an_ipv4_address_in_the_form_of_an_ipv6_one_is_told_what_it_is() {
        for text in ["[::ffff:127.0.0.1]:80", "[::ffff:7f00:1]:80", "[::ffff:127.0.0.1%lo]:80"] {
            assert_eq!(error(text), BindError::Mapped(Ipv4Addr::LOCALHOST), "{text}");
        }
        assert!(error("[::ffff:127.0.0.1]:80").to_string().contains("say 127.0.0.1"));
    }

    #[test]
    fn what_will_come_later_is_refused_clearly() {
        assert_eq!(error("unix:/run/web.sock,mode=0600"), BindError::UnixSocket);
        assert_eq!(error("127.0.0.1:80,name=web"), BindError::SocketName);
    }

    #[test]
    fn literals_fit_their_own_family_and_names_fit_any() {
        use Family::{Any, V4, V6};
        for (text, fits) in
            [("1.2.3.4:1", [Any, V4].as_slice()), ("[::]:1", &[Any, V6]), ("h:1", &[Any, V4, V6])]
        {
            for family in [Any, V4, V6] {
                assert_eq!(spec(text).fits(family), fits.contains(&family), "{text} {family:?}");
            }
        }
    }

    fn any_host() -> impl Strategy<Value = Host> {
        prop_oneof![
            any::<Ipv4Addr>().prop_map(Host::V4),
            any::<Ipv6Addr>().prop_filter("neither link-local nor mapped", is_plain).prop_map(Host::V6),
            (any::<u64>(), "[a-z][a-z0-9._-]{0,14}|[1-9][0-9]{0,4}")
                .prop_map(|(low, zone)| Host::Link((0xfe80 << 112 | u128::from(low)).into(), Zone(zone))),
            "[a-z]([a-z0-9_-]{0,20}[a-z0-9])?(\\.[a-z][a-z0-9]{0,9}){0,3}\\.?".prop_map(Host::Name),
        ]
    }

    fn is_plain(address: &Ipv6Addr) -> bool {
        !address.is_unicast_link_local() && address.to_ipv4_mapped().is_none()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read_back(host in any_host(), port: u16, reuse_address: bool, nonblocking: bool) {
            let spec = BindSpec { host, port, reuse_address, nonblocking };
            prop_assert_eq!(spec.to_string().parse(), Ok(spec));
        }

        #[test]
        fn what_is_read_is_written_as_the_same(text in "[\\[:]{0,2}[0-9a-f.:%]{0,9}[\\]:]{0,2}[0-9]{0,5}(,[rn])?") {
            if let Ok(spec) = text.parse::<BindSpec>() {
                prop_assert_eq!(spec.to_string().parse(), Ok(spec));
            }
        }
    }
}
