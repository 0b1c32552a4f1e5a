//! What a worker inherits: variables, and the descriptors that they name.

use super::Error;
use std::{
    collections::BTreeSet,
    env,
    ffi::{OsStr, OsString},
    fs,
    os::{
        fd::{FromRawFd as _, OwnedFd, RawFd},
        unix::{fs::FileTypeExt as _, process::parent_id},
    },
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Mutex, PoisonError},
};

/// Descriptors that have been handed out. A number stays in here for good: once the owner has closed
/// it, the kernel may give it to something else, which must not be taken for the inherited socket.
static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// The environment of this process.
pub(super) fn environment() -> Environment<impl Fn(&str) -> Option<OsString>> {
    let is_there = |pid| Path::new(&format!("/proc/{pid}")).exists();
    Environment { variable: |name: &str| env::var_os(name), parent: parent_id(), is_there }
}

/// What the supervisor wrote into the environment, read through a function so that tests need not
/// change the environment of their own process.
pub(super) struct Environment<L> {
    variable: L,
    parent: u32,
    /// Whether there is a process of that number.
    is_there: fn(u32) -> bool,
}

impl<L: Fn(&str) -> Option<OsString>> Environment<L> {
    pub(super) fn supervised(&self) -> Result<(), Error> {
        let supervisor = (self.variable)("EINHORN_MASTER_PID");
        let pid = supervisor.as_deref().and_then(number::<u32>);
        // One that was killed since it has made this process is taken over from, and with it this process.
        if pid.is_some_and(|pid| pid == self.parent || !(self.is_there)(pid)) {
            return Ok(());
        }
        Err(Error::NotSupervised { supervisor, parent: self.parent })
    }

    pub(super) fn socket_count(&self) -> Result<usize, Error> {
        self.required("EINHORN_FD_COUNT", "the number of inherited sockets", number)
    }

    pub(super) fn index(&self) -> Option<u32> {
        self.supervised().ok()?;
        (self.variable)("EINHORN_CHILD_INDEX").as_deref().and_then(number)
    }

    pub(super) fn fd(&self, index: usize) -> Result<RawFd, Error> {
        self.supervised()?;
        let count = self.socket_count()?;
        if index >= count {
            return Err(Error::NoSuchSocket { index, count });
        }
        self.required(&format!("EINHORN_FD_{index}"), "a file descriptor from 3 on", |value| {
            number(value).filter(|fd| *fd > 2)
        })
    }

    pub(super) fn control_path(&self) -> Result<PathBuf, Error> {
        self.required("EINHORN_SOCK_PATH", "the absolute path of the control socket", |value| {
            let path = Path::new(value);
            path.is_absolute().then(|| path.to_path_buf())
        })
    }

    /// The descriptor of the connection to the supervisor that was inherited, if one was.
    pub(super) fn connection(&self) -> Option<RawFd> {
        (self.variable)("EINHORN_SOCK_FD").as_deref().and_then(number)
    }

    fn required<T>(
        &self,
        name: &str,
        wanted: &'static str,
        read: impl Fn(&OsStr) -> Option<T>,
    ) -> Result<T, Error> {
        let value = (self.variable)(name);
        value.as_deref().and_then(read).ok_or(Error::Variable { name: name.to_owned(), value, wanted })
    }
}

fn number<T: FromStr>(value: &OsStr) -> Option<T> {
    value.to_str()?.parse().ok()
}

/// Makes an inherited descriptor an owned, close-on-exec one; once per number.
pub(super) fn take(fd: RawFd) -> Result<OwnedFd, Error> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if taken.contains(&fd) {
        return Err(Error::Taken { fd });
    }
    // The one way to ask about a number that nobody owns yet.
    let kind = fs::metadata(format!("/proc/self/fd/{fd}"))
        .map_err(|source| Error::Socket { tried: "find an open socket at", fd, source })?
        .file_type();
    if fd < 3 || !kind.is_socket() {
        return Err(Error::NotASocket { fd });
    }
    taken.insert(fd);
    // SAFETY: `fd` is open, as was just seen, and nobody else owns it: the environment, written by our
    // parent for this process, names it as ours; `taken` keeps this module from claiming it twice; and
    // it is none of the three descriptors that the standard library uses.
    #[expect(unsafe_code, reason = "the standard library has no safe way from a number to an owner")]
    let inherited = unsafe { OwnedFd::from_raw_fd(fd) };
    // Inherited descriptors are not close-on-exec; a duplicate is.
    inherited.try_clone().map_err(|source| Error::Socket { tried: "duplicate", fd, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        net::TcpListener,
        os::fd::{AsRawFd as _, IntoRawFd as _},
    };

    fn given(pairs: &[(&str, &str)]) -> Environment<impl Fn(&str) -> Option<OsString>> {
        Environment {
            variable: |name: &str| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
            },
            parent: 41,
            is_there: |pid| pid != 43,
        }
    }

    #[test]
    fn only_the_child_of_the_named_supervisor_is_supervised() {
        assert!(given(&[("EINHORN_MASTER_PID", "41")]).supervised().is_ok());
        // Gone since.
        assert!(given(&[("EINHORN_MASTER_PID", "43")]).supervised().is_ok());
        for other in ["42", "", "4 1", "-41", "x"] {
            assert!(given(&[("EINHORN_MASTER_PID", other)]).supervised().is_err(), "{other:?}");
        }
        let message = given(&[]).supervised().unwrap_err().to_string();
        assert_eq!(message, "not started by a supervisor: EINHORN_MASTER_PID is not set");
        let message = given(&[("EINHORN_MASTER_PID", "7")]).supervised().unwrap_err().to_string();
        assert!(message.contains("\"7\"") && message.contains("process 41"), "{message}");
    }

    #[test]
    fn descriptors_are_read_in_order_and_checked() {
        let environment = given(&[
            ("EINHORN_MASTER_PID", "41"),
            ("EINHORN_FD_COUNT", "4"),
            ("EINHORN_FD_0", "3"),
            ("EINHORN_FD_1", "17"),
            ("EINHORN_FD_2", "2"),
        ]);
        assert_eq!(environment.socket_count().unwrap(), 4);
        assert_eq!(environment.fd(0).unwrap(), 3);
        assert_eq!(environment.fd(1).unwrap(), 17);
        assert!(matches!(environment.fd(2), Err(Error::Variable { value: Some(_), .. })));
        assert!(matches!(environment.fd(3), Err(Error::Variable { value: None, .. })));
        assert!(matches!(environment.fd(4), Err(Error::NoSuchSocket { index: 4, count: 4 })));
    }

    #[test]
    fn variables_of_somebody_elses_supervisor_are_not_used() {
        let environment = given(&[
            ("EINHORN_MASTER_PID", "1"),
            ("EINHORN_FD_COUNT", "1"),
            ("EINHORN_FD_0", "3"),
            ("EINHORN_CHILD_INDEX", "2"),
        ]);
        assert!(matches!(environment.fd(0), Err(Error::NotSupervised { .. })));
        assert_eq!(environment.index(), None);
    }

    #[test]
    fn the_slot_number_is_read() {
        let pairs = [("EINHORN_MASTER_PID", "41"), ("EINHORN_CHILD_INDEX", "2")];
        assert_eq!(given(&pairs).index(), Some(2));
    }

    #[test]
    fn a_relative_control_path_is_refused() {
        let message = given(&[("EINHORN_SOCK_PATH", "e.sock")]).control_path().unwrap_err().to_string();
        assert_eq!(
            message,
            "EINHORN_SOCK_PATH is \"e.sock\" in the environment; it should be the absolute path of the \
             control socket"
        );
    }

    #[test]
    fn only_an_open_socket_from_3_on_can_be_taken_and_only_once() {
        let file = File::open("/dev/null").unwrap();
        assert!(matches!(take(file.as_raw_fd()), Err(Error::NotASocket { .. })));
        assert!(matches!(take(0), Err(Error::NotASocket { .. })));
        let message = take(987_654).unwrap_err().to_string();
        assert!(message.starts_with("cannot find an open socket at file descriptor 987654: "), "{message}");

        let bound = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = bound.local_addr().unwrap();
        let fd = bound.into_raw_fd();
        let taken = TcpListener::from(take(fd).unwrap());
        assert_eq!(taken.local_addr().unwrap(), address);
        assert!(matches!(take(fd), Err(Error::Taken { fd: again }) if again == fd));
    }
}
