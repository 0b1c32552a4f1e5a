//! What a service is called and how nice its processes are: values of options that einhorn has, too.

use super::{
    error::UsageError,
    value::{LONGEST_SOCKET_PATH, Value},
};
use std::{
    fmt,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

/// What setpriority(2) knows.
const NICENESS: RangeInclusive<i32> = -20..=19;

/// What a service is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName(String);

impl ServiceName {
    /// A name that can be a part of a file's name and of a line.
    pub(super) fn read(value: Value<'_>) -> Result<Self, UsageError> {
        let refuse = |why| value.refuse(why, "a name in UTF-8, without / and control characters");
        let text = value.text.to_str().ok_or_else(|| refuse("is not UTF-8"))?;
        if text.is_empty() || text.contains('/') || text.contains(char::is_control) {
            return Err(refuse("cannot be the name of a service"));
        }
        Ok(Self(text.to_owned()))
    }

    /// As it was typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file of einhorn's in `folder`: `einhorn.sock`, or with the service's name `einhorn-NAME.sock`.
pub(super) fn default_path(folder: &Path, name: Option<&ServiceName>, extension: &str) -> PathBuf {
    folder.join(match name {
        Some(name) => format!("einhorn-{name}.{extension}"),
        None => format!("einhorn.{extension}"),
    })
}

/// The control socket in `folder` of a service with the name in `value`, if there is one.
pub(super) fn default_socket(
    folder: &Path,
    name: Option<(&ServiceName, Value<'_>)>,
) -> Result<PathBuf, UsageError> {
    let path = default_path(folder, name.map(|(name, _)| name), "sock");
    match name {
        Some((_, value)) if path.as_os_str().len() > LONGEST_SOCKET_PATH => {
            let (folder, most) = (folder.display(), LONGEST_SOCKET_PATH);
            Err(value.refuse(
                format_args!("makes the path of a control socket in `{folder}` longer than {most} bytes"),
                "a shorter name, or --socket-path",
            ))
        }
        _ => Ok(path),
    }
}

/// How nice processes are, from -20 (they go first) to 19 (they give way).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nice {
    /// The supervisor.
    pub supervisor: i32,
    /// Workers; as the supervisor if absent.
    pub worker: Option<i32>,
}

impl Nice {
    /// `SUPERVISOR[:WORKER]`.
    pub(super) fn read(value: Value<'_>) -> Result<Self, UsageError> {
        Self::read_from(value, &value.text())
    }

    /// The same of a part of the value.
    pub(super) fn read_from(value: Value<'_>, text: &str) -> Result<Self, UsageError> {
        let number = |text: &str| {
            let number = text.parse().ok().filter(|number| NICENESS.contains(number));
            number.ok_or_else(|| {
                let (least, most) = (NICENESS.start(), NICENESS.end());
                let accepted = format_args!("SUPERVISOR or SUPERVISOR:WORKER, each from {least} to {most}");
                value.refuse("is not how nice processes can be", accepted)
            })
        };
        let (supervisor, worker) = match text.split_once(':') {
            Some((supervisor, worker)) => (supervisor, Some(worker)),
            None => (text, None),
        };
        Ok(Self { supervisor: number(supervisor)?, worker: worker.map(number).transpose()? })
    }
}

impl fmt::Display for Nice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.supervisor)?;
        self.worker.map_or(Ok(()), |worker| write!(f, ":{worker}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    fn value(text: &str) -> Value<'_> {
        Value { option: "opt", text: text.as_ref(), place: None }
    }

    #[test]
    fn a_name_is_part_of_a_path_and_of_a_line() {
        let name = ServiceName::read(value("web 1")).unwrap();
        assert_eq!(default_path(Path::new("/run"), Some(&name), "pid"), Path::new("/run/einhorn-web 1.pid"));
        assert_eq!(default_path(Path::new("/run/"), None, "lock"), Path::new("/run/einhorn.lock"));
        for text in ["", "a/b", "/", "a\nb", "\u{7f}"] {
            let error = ServiceName::read(value(text)).unwrap_err().to_string();
            assert!(
                error.ends_with("accepted: a name in UTF-8, without / and control characters"),
                "{error}"
            );
        }
        let bad = Value { option: "opt", text: OsStr::from_bytes(b"\xff"), place: None };
        assert!(ServiceName::read(bad).unwrap_err().to_string().contains("is not UTF-8"));
    }

    #[test]
    fn a_name_must_fit_into_the_path_of_a_socket() {
        let text = "x".repeat(89);
        let name = ServiceName::read(value(&text)).unwrap();
        let path = default_socket(Path::new("/tmp"), Some((&name, value(&text)))).unwrap();
        assert_eq!(path.as_os_str().len(), 107);
        let error = default_socket(Path::new("/tmp1"), Some((&name, value(&text)))).unwrap_err().to_string();
        assert!(error.contains("in `/tmp1` longer than 107 bytes; accepted: a shorter name"), "{error}");
    }

    #[test]
    fn niceness_is_one_number_or_two() {
        for (text, supervisor, worker) in
            [("0", 0, None), ("-20", -20, None), ("19:-20", 19, Some(-20)), ("+1:2", 1, Some(2))]
        {
            assert_eq!(Nice::read(value(text)), Ok(Nice { supervisor, worker }), "{text}");
        }
        assert_eq!(Nice { supervisor: -1, worker: Some(3) }.to_string(), "-1:3");
        for text in ["", "20", "-21", "1:", ":1", "1:20", "1:2:3", "1.5", "x", "99999999999"] {
            let error = Nice::read(value(text)).unwrap_err().to_string();
            let rest = "is not how nice processes can be; accepted: SUPERVISOR or SUPERVISOR:WORKER, each from \
                        -20 to 19";
            assert!(error.ends_with(rest), "{error}");
        }
    }
}
