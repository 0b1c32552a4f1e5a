//! Files that stand for options: `@FILE` on a command line is as if the lines of FILE were typed there.
//!
//! A line is an option as on the command line, with its value. Words are as in a shell: blanks separate them, quotes and
//! backslashes take that meaning away from what they enclose, and `#` at the start of a word begins a comment. From a
//! line that begins with `--` and a blank on, all words are PROGRAM and its arguments. Nothing is expanded, and no file
//! stands in a file.
//!
//! What is in a file is read here; the file itself is read by whoever asks for it.

use super::{
    error::{UsageError, brief},
    order,
};
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

/// How long a file may be, in bytes: as long as all arguments together may be on most systems.
pub const MOST: usize = 1 << 20;

/// What begins a word that names a file.
const SIGN: &[u8] = b"@";

/// What a line may be.
const ACCEPTED: &str = "an option as on the command line, with its dashes, or `-- PROGRAM [ARGS...]`";

/// Reads a file; the error says why not, and is a clause.
pub type Reader<'a> = &'a dyn Fn(&Path) -> Result<Vec<u8>, String>;

/// The lines of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// Where each option stands, and its words: at least one.
    pub(super) options: Vec<(String, Vec<OsString>)>,
    /// PROGRAM and its arguments, if they are named.
    pub(super) program: Vec<OsString>,
}

/// Whether a word names a file.
pub(super) fn is_named(word: &OsStr) -> bool {
    word.as_bytes().starts_with(SIGN)
}

/// The lines of the file that a word names.
///
/// # Errors
/// If it cannot be read, or one of its lines is nothing that may stand there; says where.
pub(super) fn lines(word: &OsStr, read: Reader<'_>) -> Result<Lines, UsageError> {
    let path = OsStr::from_bytes(word.as_bytes().get(SIGN.len()..).unwrap_or_default());
    let refuse = |why: &str, accepted: &str| UsageError::NotRead {
        why: format!("`{}` {why}; accepted: {accepted}", brief(word)),
    };
    if path.is_empty() {
        return Err(refuse("names no file", "@ and the path of a file with options"));
    }
    let file = Path::new(path);
    let text = read(file).map_err(|why| {
        refuse(
            &format!("cannot be read: {why}"),
            "@ and the path of a file with options; a program of that name behind --, or with its folder, as ./@NAME",
        )
    })?;
    if text.len() > MOST {
        return Err(refuse("is too long", &format!("a file with options, up to {MOST} bytes")));
    }
    let mut found = Lines::default();
    let mut in_program = false;
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let place = format!("{}:{number}", file.display());
        let mut words = words(line).map_err(|error| error.at(Some(&place)))?.into_iter().peekable();
        if words.next_if(|word| !in_program && word == "--").is_some() {
            in_program = true;
        }
        if in_program {
            found.program.extend(words.map(OsString::from));
        } else if let Some(first) = words.peek() {
            check(first).map_err(|error| error.at(Some(&place)))?;
            found.options.push((place, words.map(OsString::from).collect()));
        }
    }
    Ok(found)
}

/// The words of a line, none if it is blank or a comment.
fn words(line: &[u8]) -> Result<Vec<String>, UsageError> {
    let refuse = |why: String| UsageError::NotRead { why };
    let Ok(text) = str::from_utf8(line) else {
        let shown = brief(OsStr::new(&*String::from_utf8_lossy(line)));
        return Err(refuse(format!("`{shown}` is not UTF-8; accepted: text in UTF-8")));
    };
    let shown = || brief(OsStr::new(text.trim()));
    if text.contains('\0') {
        return Err(refuse(format!(
            "`{}` has a zero byte in it, which no argument can have; accepted: text in UTF-8",
            shown()
        )));
    }
    order::words(text).map_err(|why| {
        refuse(format!("`{}` {why}; accepted: words as in a shell, each closed in its own line", shown()))
    })
}

/// Sees that a word can begin an option.
fn check(first: &str) -> Result<(), UsageError> {
    let shown = brief(OsStr::new(first));
    let why = match first.as_bytes() {
        [b'-', _, ..] => return Ok(()),
        [b'@', ..] => format!("`{shown}` would be a file within a file; accepted: {ACCEPTED}"),
        _ => format!("`{shown}` is no option; accepted: {ACCEPTED}"),
    };
    Err(UsageError::NotRead { why })
}

/// Refuses a word behind an option that has all it takes.
pub(super) fn too_many(option: &OsStr, word: &OsStr) -> UsageError {
    UsageError::BadValue {
        option: brief(option),
        value: brief(word),
        why: "is one word too many".to_owned(),
        accepted:
            "one option in a line; a value with blanks in quotes; `-- PROGRAM [ARGS...]` in a line of its own"
                .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Lines, String> {
        lines(OsStr::new("@/etc/web"), &|path| {
            assert_eq!(path, Path::new("/etc/web"));
            Ok(text.to_vec())
        })
        .map_err(|error| error.to_string())
    }

    fn options(text: &str) -> Vec<(String, Vec<OsString>)> {
        read(text.as_bytes()).unwrap().options
    }

    fn at(number: usize, words: &[&str]) -> (String, Vec<OsString>) {
        (format!("/etc/web:{number}"), words.iter().map(OsString::from).collect())
    }

    #[test]
    fn each_line_is_an_option_and_blank_ones_and_comments_are_none() {
        let text = "# the service\n\n  --bind 127.0.0.1:80,r\n\t\n-n4\r\n   # more\n--chdir '/srv/my app' # here\n--trace=a;b";
        assert_eq!(
            options(text),
            [
                at(3, &["--bind", "127.0.0.1:80,r"]),
                at(5, &["-n4"]),
                at(7, &["--chdir", "/srv/my app"]),
                at(8, &["--trace=a;b"]),
            ]
        );
        assert_eq!(read(b""), Ok(Lines::default()));
        assert_eq!(options(r#"--pidfile "$HOME/~/*"\ x"#), [at(1, &["--pidfile", "$HOME/~/* x"])]);
    }

    #[test]
    fn behind_two_dashes_all_is_the_program_to_the_end_of_the_file() {
        let text = "-m\n-- /srv/server 'a b'\n  --port {fd:0}\n\n# a comment\n@x -- -n\n";
        let found = read(text.as_bytes()).unwrap();
        assert_eq!(found.program, ["/srv/server", "a b", "--port", "{fd:0}", "@x", "--", "-n"]);
        assert_eq!(found.options, [at(1, &["-m"])]);
        assert_eq!(read(b"--\nserver\n").unwrap().program, ["server"]);
        assert!(read(b"--\n").unwrap().program.is_empty());
    }

    #[test]
    fn what_may_not_stand_in_a_line_is_told_with_where_it_is() {
        for (text, said) in [
            (
                &b"-m\nserver -x"[..],
                "/etc/web:2: `server` is no option; accepted: an option as on the command line",
            ),
            (b"-", "/etc/web:1: `-` is no option; accepted: "),
            (b"''", "/etc/web:1: `` is no option; accepted: "),
            (b"\xef\xbb\xbf-m", "/etc/web:1: `\\u{feff}-m` is no option; accepted: "),
            (b"\n@other", "/etc/web:2: `@other` would be a file within a file; accepted: "),
            (
                b"--chdir 'a\nb'",
                "/etc/web:1: `--chdir 'a` has a ' that is not closed; accepted: words as in a shell",
            ),
            (b"--chdir \"a", "/etc/web:1: `--chdir \"a` has a \" that is not closed; accepted: "),
            (b"-n \\", "/etc/web:1: `-n \\` has nothing behind its last \\; accepted: "),
            (b"-n 4\n-d /\xff", "/etc/web:2: `-d /\u{fffd}` is not UTF-8; accepted: text in UTF-8"),
            (
                b"-d a\0b",
                "/etc/web:1: `-d a\\0b` has a zero byte in it, which no argument can have; accepted: ",
            ),
            (b"-- sh\n'", "/etc/web:2: `'` has a ' that is not closed; accepted: "),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.starts_with(said), "{found}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_with_the_reason() {
        let gone = |_: &Path| Err("No such file or directory".to_owned());
        let error = lines(OsStr::new("@web\n.conf"), &gone).unwrap_err().to_string();
        let said =
            "`@web\\n.conf` cannot be read: No such file or directory; accepted: @ and the path of a file";
        assert!(error.starts_with(said), "{error}");
        let error = lines(OsStr::new("@"), &gone).unwrap_err().to_string();
        assert!(error.starts_with("`@` names no file; accepted: @ and the path"), "{error}");
        let long = |_: &Path| Ok(vec![b'\n'; MOST + 1]);
        let error = lines(OsStr::new("@x"), &long).unwrap_err().to_string();
        assert_eq!(error, "`@x` is too long; accepted: a file with options, up to 1048576 bytes");
        assert!(lines(OsStr::new("@x"), &|_| Ok(vec![b'\n'; MOST])).is_ok());
    }
}
