//! What a socket is called.

use super::BindError;
use std::{fmt, str::FromStr};

/// What a socket without a name is called where each must be called something, as systemd does in
/// sd_listen_fds_with_names(3).
pub const UNKNOWN: &str = "unknown";

/// The longest name, in bytes: that of systemd's `FileDescriptorName=`, systemd.socket(5).
pub const LONGEST_SOCKET_NAME: usize = 255;

/// The name of a socket: 1 to [`LONGEST_SOCKET_NAME`] printable characters of ASCII, blanks among them. Not
/// `:`, which separates names in `LISTEN_FDNAMES`, nor `,` and `}`, which end them in `--bind` and in
/// `{fd:NAME}`. Neither a number, which would be a position, nor [`UNKNOWN`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketName(String);

impl SocketName {
    /// As it was typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SocketName {
    type Err = BindError;

    fn from_str(text: &str) -> Result<Self, BindError> {
        let fits = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b':' | b',' | b'}');
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let length = (1..=LONGEST_SOCKET_NAME).contains(&text.len());
        if length && text.bytes().all(fits) && !is_number && text != UNKNOWN {
            Ok(Self(text.to_owned()))
        } else {
            Err(BindError::BadSocketName)
        }
    }
}

impl fmt::Display for SocketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
