//! Sockets that a service manager has handed over, in the way of sd_listen_fds(3): they stand from descriptor 3
//! on, and `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES` tell of them. What is meant for another process is no
//! business of ours. To be called once, before anything else is opened.

use super::{
    deposit::{JOURNAL, PREFIX},
    given::{FIRST_FD, LISTEN_FDNAMES, LISTEN_FDS, LISTEN_PID},
    listen::{Handed, Listener},
    process,
};
use crate::{
    cli::{
        UsageError,
        bind::{LONGEST_SOCKET_NAME, UNKNOWN},
        brief,
    },
    protocol::{typed, words},
};
use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    os::fd::{OwnedFd, RawFd},
};

/// What is taken.
const ACCEPTED: &str = "TCP and UNIX stream sockets that listen, and UDP and UNIX datagram sockets";

/// What the manager keeps for a supervisor that has ended otherwise than in order.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) journal: OwnedFd,
    /// By the numbers that they had.
    pub(crate) descriptors: BTreeMap<RawFd, OwnedFd>,
}

/// Takes what is kept, if there is any. What belongs to nothing is closed.
pub(crate) fn stored() -> Option<Stored> {
    let names = announced(|name| env::var_os(name), std::process::id()).ok()??;
    let (mut journal, mut descriptors) = (None, BTreeMap::new());
    for (fd, name) in (FIRST_FD..).zip(names) {
        let Some(name) = name.as_deref().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let Ok(taken) = process::adopt_descriptor(fd) else { continue };
        match name.parse() {
            Ok(number) => drop(descriptors.insert(number, taken)),
            Err(_) if name == JOURNAL => journal = Some(taken),
            Err(_) => {}
        }
    }
    Some(Stored { journal: journal?, descriptors })
}

/// Takes the sockets. None is left to whoever is executed later, unless it is given it.
///
/// # Errors
/// If what is said of them is wrong, or one is nothing that workers can share: a line that tells what, where, and
/// what is accepted.
pub(crate) fn take() -> Result<Vec<Handed>, String> {
    let Some(names) = announced(|name| env::var_os(name), std::process::id())? else {
        return Ok(Vec::new());
    };
    let count = names.len();
    // What is stored was taken before.
    let is_stored = |name: &Option<String>| name.as_deref().is_some_and(|name| name.starts_with(PREFIX));
    let sockets = (FIRST_FD..).zip(names).filter(|(_, name)| !is_stored(name));
    let handed = sockets.map(|(number, name)| {
        let fd = process::adopt_descriptor(number).map_err(|errno| {
            let last = FIRST_FD.saturating_add(fd_count(count)).saturating_sub(1);
            format!(
                "{LISTEN_FDS}: `{count}` says that descriptors {FIRST_FD} to {last} are open, and {number} is not: {}; \
                 accepted: as many as there are",
                words::errno(errno)
            )
        })?;
        let called = words::called(name.as_deref());
        let listener = Listener::handed(fd).map_err(|why| {
            format!("{LISTEN_FDS}: descriptor {number}{called} {why}; accepted: {ACCEPTED}")
        })?;
        Ok(Handed { listener, name })
    });
    handed.collect()
}

fn fd_count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The name of each socket that is announced to this process; `None` if none are.
fn announced(
    variable: impl Fn(&str) -> Option<OsString>,
    own: u32,
) -> Result<Option<Vec<Option<String>>>, String> {
    let refused = |name: &str, value: &OsString, why: String, accepted: String| {
        UsageError::BadValue { option: name.to_owned(), value: brief(value), why, accepted }.to_string()
    };
    let (Some(count), Some(pid)) = (variable(LISTEN_FDS), variable(LISTEN_PID)) else { return Ok(None) };
    let meant = pid.to_str().and_then(typed::number::<u32>).ok_or_else(|| {
        let why = "is no process".to_owned();
        refused(
            LISTEN_PID,
            &pid,
            why,
            format!("the number of the process that the sockets are for, here {own}"),
        )
    })?;
    if meant != own {
        return Ok(None);
    }
    let number = count.to_str().and_then(typed::number::<u16>);
    let number = number.filter(|number| *number > 0).ok_or_else(|| {
        let why = "is not how many sockets there are".to_owned();
        refused(LISTEN_FDS, &count, why, format!("1 to {}", u16::MAX))
    })?;
    let Some(names) = variable(LISTEN_FDNAMES) else { return Ok(Some(vec![None; number.into()])) };
    let text = names.to_string_lossy();
    let found: Vec<&str> = text.split(':').collect();
    let accepted = || {
        format!(
            "{number} names as {LISTEN_FDS} says, separated by colons, of up to {LONGEST_SOCKET_NAME} printable ASCII characters each"
        )
    };
    if found.len() != usize::from(number) {
        let why = format!("has {}", words::count(u32::try_from(found.len()).unwrap_or(u32::MAX), "name"));
        return Err(refused(LISTEN_FDNAMES, &names, why, accepted()));
    }
    let printable = |name: &&str| {
        name.len() <= LONGEST_SOCKET_NAME && name.bytes().all(|byte| matches!(byte, b' '..=b'~'))
    };
    if let Some(position) = found.iter().position(|name| !printable(name)) {
        let why = format!("has a name of socket {position} that cannot be one");
        return Err(refused(LISTEN_FDNAMES, &names, why, accepted()));
    }
    let name = |name: &str| (!name.is_empty() && name != UNKNOWN).then(|| name.to_owned());
    Ok(Some(found.into_iter().map(name).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        pid: &str,
        fds: Option<&str>,
        names: Option<&str>,
    ) -> Result<Option<Vec<Option<String>>>, String> {
        let variable = |name: &str| match name {
            "LISTEN_PID" => Some(pid.into()),
            "LISTEN_FDS" => fds.map(OsString::from),
            "LISTEN_FDNAMES" => names.map(OsString::from),
            _ => panic!("{name}"),
        };
        announced(variable, 42)
    }

    #[test]
    fn sockets_for_this_process_are_counted_and_named() {
        assert_eq!(read("42", Some("2"), None), Ok(Some(vec![None, None])));
        let named = Some(vec![Some("web.socket".to_owned()), None, None]);
        assert_eq!(read("42", Some("3"), Some("web.socket:unknown:")), Ok(named));
        assert_eq!(read("42", None, Some("a")), Ok(None));
        assert_eq!(announced(|_| None, 42), Ok(None));
    }

    #[test]
    fn what_is_meant_for_another_process_is_not_even_read() {
        assert_eq!(read("41", Some("nonsense"), Some("\u{1}")), Ok(None));
    }

    #[test]
    fn for_whom_they_are_must_be_a_number() {
        for pid in ["", "042x", "-42", "4 2", "99999999999999999999"] {
            let error = read(pid, Some("1"), None).unwrap_err();
            assert!(error.starts_with("LISTEN_PID: ") && error.ends_with("here 42"), "{error}");
            assert_eq!(read(pid, None, None), Ok(None), "without sockets that is nothing");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_the_variable_and_what_is_accepted() {
        for count in ["", "0", "-1", "+1", "1x", "65536", "1 "] {
            let error = read("42", Some(count), None).unwrap_err();
            assert!(error.starts_with("LISTEN_FDS: ") && error.ends_with("accepted: 1 to 65535"), "{error}");
        }
        for (names, why) in [
            ("a", "has 1 name;"),
            ("a:b:c", "has 3 names;"),
            ("", "has 1 name;"),
            ("a:\u{1b}", "of socket 1 that cannot be one;"),
            ("é:b", "of socket 0 that cannot be one;"),
        ] {
            let error = read("42", Some("2"), Some(names)).unwrap_err();
            let accepted = "accepted: 2 names as LISTEN_FDS says, separated by colons";
            assert!(error.starts_with("LISTEN_FDNAMES: ") && error.contains(why), "{error}");
            assert!(error.contains(accepted) && !error.contains(char::is_control), "{error}");
        }
    }
}
