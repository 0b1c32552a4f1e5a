//! UNIX sockets, as they are typed: `unix:PATH` or `unix:@NAME`, and who may connect.

use super::{super::value::LONGEST_SOCKET_PATH, BindError};
use std::fmt;

/// Where a UNIX socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnixAddress {
    /// A file; a relative path is one from where the supervisor is started.
    Path(String),
    /// A name in the abstract namespace, unix(7), without the zero byte at its start.
    Abstract(String),
}

/// A UNIX socket, and whose its file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSpec {
    /// Where.
    pub at: UnixAddress,
    /// The permissions of its file, at most 0o777; by the umask if absent.
    pub mode: Option<u32>,
    /// The user that the file is to belong to, by name or number.
    pub user: Option<String>,
    /// The group that the file is to belong to, by name or number.
    pub group: Option<String>,
}

impl UnixSpec {
    /// Reads what stands behind `unix:`, without options.
    pub(super) fn read(text: &str) -> Result<Self, BindError> {
        let at = match text.strip_prefix('@') {
            Some(name) => UnixAddress::Abstract(name.to_owned()),
            None => UnixAddress::Path(text.to_owned()),
        };
        let (UnixAddress::Abstract(name) | UnixAddress::Path(name)) = &at;
        match name.len() {
            0 => Err(BindError::NoPath),
            1..=LONGEST_SOCKET_PATH => Ok(Self { at, mode: None, user: None, group: None }),
            length => Err(BindError::LongPath(length)),
        }
    }

    /// Takes an option that is about the file; answers whether it was one.
    pub(super) fn take(&mut self, option: &str, value: &str) -> Result<bool, BindError> {
        let name = match option {
            "mode" => "mode",
            "user" => "user",
            "group" => "group",
            _ => return Ok(false),
        };
        if matches!(self.at, UnixAddress::Abstract(_)) {
            return Err(BindError::NoFile(name));
        }
        let twice = match name {
            "mode" => self.mode.replace(read_mode(value)?).is_some(),
            "user" => self.user.replace(read_owner(name, value)?).is_some(),
            _ => self.group.replace(read_owner(name, value)?).is_some(),
        };
        if twice { Err(BindError::Twice(name)) } else { Ok(true) }
    }
}

/// Permissions in octal, as chmod(1) takes them; without its fourth digit, which means nothing to a socket.
fn read_mode(text: &str) -> Result<u32, BindError> {
    let octal = (1..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777);
    mode.ok_or(BindError::BadMode)
}

/// A user or group; whether there is one of that name is found out elsewhere.
fn read_owner(option: &'static str, text: &str) -> Result<String, BindError> {
    let fits = |letter: char| !letter.is_control() && !letter.is_whitespace() && !matches!(letter, ':' | '/');
    if text.is_empty() || !text.chars().all(fits) {
        return Err(BindError::BadOwner(option));
    }
    Ok(text.to_owned())
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "unix:{path}"),
            Self::Abstract(name) => write!(f, "unix:@{name}"),
        }
    }
}

impl fmt::Display for UnixSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.at)?;
        self.mode.map_or(Ok(()), |mode| write!(f, ",mode={mode:04o}"))?;
        for (option, owner) in [("user", &self.user), ("group", &self.group)] {
            owner.as_ref().map_or(Ok(()), |owner| write!(f, ",{option}={owner}"))?;
        }
        Ok(())
    }
}
