//! The descriptors that the supervisor keeps back for itself.

use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit},
    unistd::dup,
};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

/// How many of the highest descriptors clients do not get: new generations, new workers and a new control
/// socket need some.
pub(super) const KEPT_BACK: RawFd = 32;

/// Whether a connection has got one of the descriptors that are kept back.
pub(super) fn is_kept_back(stream: &impl AsRawFd) -> bool {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_NOFILE) else { return false };
    RawFd::try_from(limit).is_ok_and(|limit| stream.as_raw_fd() >= limit.saturating_sub(KEPT_BACK))
}

/// Whether so many descriptors are to be had.
pub(super) fn can_be_had(count: RawFd) -> bool {
    let some: Result<Vec<OwnedFd>, Errno> = (0..count).map(|_| dup(io::stderr())).collect();
    some.is_ok()
}
