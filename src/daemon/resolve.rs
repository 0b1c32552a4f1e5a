//! The address of a host, by the system's resolver, and the number of a link.

use crate::{
    cli::bind::{Family, Zone},
    protocol::typed,
};
use nix::{
    errno::Errno,
    net::if_::if_nametoindex,
    unistd::{Group, User},
};
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
};

fn allows(family: Family, address: &SocketAddr) -> bool {
    match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    }
}

fn kind(family: Family) -> &'static str {
    match family {
        Family::Any => "IP",
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// Finds the address of a host: the first one of the family that is allowed, in the order of the
/// system's resolver. Literal addresses are hosts too.
pub(crate) fn resolve(host: &str, port: u16, family: Family) -> Result<SocketAddr, ResolveError> {
    let failed = |why| ResolveError { host: host.into(), family, why };
    let found = (host, port).to_socket_addrs().map_err(|error| {
        failed(if may_pass(&error) { Unresolved::ForNow(error) } else { Unresolved::Lookup(error) })
    })?;
    let mut other = None;
    for address in found {
        if allows(family, &address) {
            return Ok(address);
        }
        other = Some(address.ip());
    }
    Err(failed(Unresolved::OtherFamily(other)))
}

/// The number of a link, which is given by the name of its interface or as that number.
pub(crate) fn link(zone: &Zone) -> Option<u32> {
    let zone = zone.as_str();
    if_nametoindex(zone).ok().or_else(|| zone.parse().ok().filter(|number| *number > 0))
}

/// What the C library calls EAI_AGAIN, getaddrinfo(3): no server of names can be reached, or none of them has an
/// answer yet. The standard library passes on the words and keeps the number for itself.
const NOBODY_TO_ASK: [&str; 2] = ["Temporary failure in name resolution", "Try again"];

/// Whether a look-up that failed may succeed later, with nothing changed in what was asked.
fn may_pass(error: &io::Error) -> bool {
    let words = error.to_string();
    error.raw_os_error().is_some() || NOBODY_TO_ASK.iter().any(|passing| words.ends_with(passing))
}

/// The number of a user, who is given by name or by that number.
pub(crate) fn user(name: &str) -> Result<u32, String> {
    owner("user", name, User::from_name(name).map(|user| user.map(|user| user.uid.as_raw())))
}

/// The number of a group, which is given by name or as that number.
pub(crate) fn group(name: &str) -> Result<u32, String> {
    owner("group", name, Group::from_name(name).map(|group| group.map(|group| group.gid.as_raw())))
}

fn owner(kind: &str, name: &str, found: Result<Option<u32>, Errno>) -> Result<u32, String> {
    // The highest number stands for nobody at all, chown(2).
    let number = || typed::number(name).filter(|number| *number < u32::MAX);
    match found {
        Ok(Some(number)) => Ok(number),
        Ok(None) => number().ok_or_else(|| format!("this machine has no {kind} `{name}`")),
        Err(errno) => {
            number().ok_or_else(|| format!("the {kind} `{name}` cannot be looked up: {}", errno.desc()))
        }
    }
}

/// Why there is no address to bind.
#[derive(Debug)]
pub(crate) struct ResolveError {
    host: String,
    family: Family,
    why: Unresolved,
}

#[derive(Debug)]
enum Unresolved {
    /// Nobody knows the host.
    Lookup(io::Error),
    /// Nobody can be asked.
    ForNow(io::Error),
    OtherFamily(Option<IpAddr>),
}

impl ResolveError {
    /// Whether it may be found later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self.why, Unresolved::ForNow(_))
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, family, why } = self;
        let family = kind(*family);
        match why {
            Unresolved::Lookup(error) => write!(
                f,
                "cannot find the address of host `{host}`: {error}; accepted are an IPv4 address, \
                 an IPv6 address in brackets, and a name that resolves (getent ahosts {host})"
            ),
            Unresolved::ForNow(error) => write!(
                f,
                "cannot find the address of host `{host}` now: {error}; it may work later, and an address \
                 instead of the name needs no look-up"
            ),
            Unresolved::OtherFamily(Some(address)) if address.to_string() == *host => {
                write!(f, "`{host}` is not an {family} address, and only those are allowed")
            }
            Unresolved::OtherFamily(Some(address)) => write!(
                f,
                "host `{host}` has no {family} address, and only those are allowed; it has {address}"
            ),
            Unresolved::OtherFamily(None) => write!(f, "host `{host}` has no address"),
        }
    }
}

impl std::error::Error for ResolveError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bind::{BindSpec, Host, Inet};

    #[test]
    fn a_link_is_found_by_name_and_by_number() {
        let zone = |text: &str| match format!("[fe80::1%{text}]:80").parse::<BindSpec>().unwrap().inet() {
            Some(Inet { host: Host::Link(_, zone), .. }) => link(zone),
            other => panic!("{other:?}"),
        };
        assert_eq!(zone("lo"), Some(if_nametoindex("lo").unwrap()));
        assert_eq!(zone("17"), Some(17));
        assert_eq!([zone("0"), zone("no-such-link")], [None, None]);
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_by_number() {
        assert_eq!((user("root"), group("root")), (Ok(0), Ok(0)));
        assert_eq!((user("4000000000"), group("7")), (Ok(4_000_000_000), Ok(7)));
        for name in ["no such user", "+7", "-1", "4294967295", "99999999999"] {
            assert_eq!(user(name), Err(format!("this machine has no user `{name}`")));
            assert!(group(name).is_err());
        }
    }

    #[test]
    fn a_host_gives_its_first_address_of_the_allowed_family() {
        assert_eq!(resolve("127.0.0.1", 80, Family::Any).unwrap().to_string(), "127.0.0.1:80");
        assert_eq!(resolve("::1", 80, Family::V6).unwrap().to_string(), "[::1]:80");
        assert!(resolve("localhost", 80, Family::V4).unwrap().is_ipv4());
        let error = resolve("127.0.0.1", 80, Family::V6).unwrap_err().to_string();
        assert_eq!(error, "`127.0.0.1` is not an IPv6 address, and only those are allowed");
        let error = resolve("host.invalid", 80, Family::Any).unwrap_err();
        let told = if error.may_pass() { "it may work later" } else { "IPv6 address in brackets" };
        let error = error.to_string();
        assert!(error.contains("`host.invalid`") && error.contains(told), "{error}");
    }

    #[test]
    fn only_a_resolver_that_cannot_be_asked_may_have_an_answer_later() {
        let said = |words: &str| {
            may_pass(&io::Error::other(format!("failed to lookup address information: {words}")))
        };
        assert!(said("Temporary failure in name resolution") && said("Try again"));
        assert!(!said("Name or service not known") && !said("No address associated with hostname"));
        assert!(may_pass(&io::Error::from_raw_os_error(nix::libc::EMFILE)), "that is the system's fault");
    }
}
