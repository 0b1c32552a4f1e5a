//! The signal that makes a program drain: finish what it has begun, take nothing new, and end. One table of
//! the programs of which that is known, for whoever sends the signal and for whoever tells of it.
//!
//! A program is in it if its documentation says so, and if it would be wrong or unsure without: it drains at
//! another signal than TERM, or it has a handler for USR2 which does something else. Programs that take no
//! signal for draining (Envoy, uWSGI without hooks) are not.

use crate::fsm::signal::Signal;
use std::str;

/// What makes a program drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// What the program is called, without the number of a version.
    pub program: &'static str,
    /// The signal.
    pub signal: Signal,
}

/// All programs of which it is known, in alphabetical order.
pub const DRAINS: &[Drain] = &[
    drain("apache2", Signal::Winch),
    drain("caddy", Signal::Term),
    drain("falcon", Signal::Int),
    drain("gunicorn", Signal::Term),
    drain("h2o", Signal::Term),
    drain("haproxy", Signal::Usr1),
    drain("httpd", Signal::Winch),
    drain("hypercorn", Signal::Term),
    // Its runtime has a handler for USR2, for purposes of its own.
    drain("java", Signal::Term),
    drain("lighttpd", Signal::Int),
    drain("nginx", Signal::Quit),
    drain("php-fpm", Signal::Quit),
    drain("puma", Signal::Term),
    drain("starman", Signal::Quit),
    drain("start_server", Signal::Term),
    drain("thin", Signal::Quit),
    drain("unicorn", Signal::Quit),
    drain("unicorn_rails", Signal::Quit),
    drain("uvicorn", Signal::Term),
];

/// Programs that send `READY=1` before they can answer: gunicorn does once it has its sockets, and loads the
/// application after that.
pub const NOTIFIES_EARLY: [&str; 1] = ["gunicorn"];

/// Programs that run another, which is named in their arguments.
const INTERPRETERS: [&str; 4] = ["python", "pypy", "ruby", "perl"];

/// Their options whose value is the next argument, if nothing is stuck to the letter.
const VALUED: [&[u8]; 5] = [b"-W", b"-X", b"-I", b"-r", b"-C"];

/// Their options behind which stands a program's text and not its name.
const TEXTS: [&[u8]; 3] = [b"-c", b"-e", b"-E"];

const fn drain(program: &'static str, signal: Signal) -> Drain {
    Drain { program, signal }
}

/// What is known of the program in a file of that name: `nginx`, `php-fpm8.2`.
#[must_use]
pub fn by_file(path: &[u8]) -> Option<&'static Drain> {
    let name = str::from_utf8(base(path)).ok()?;
    let find = |name: &str| DRAINS.iter().find(|drain| drain.program == name);
    find(name).or_else(|| find(without_version(name)))
}

/// What is known of the program that a process runs, by the texts of its `comm` and its `cmdline`; proc(5).
///
/// Both are needed. `comm` is the name of the file that was executed, of a script too, but of
/// `python3 -m gunicorn` it is `python3`. And programs put titles in the place of the one or the other:
/// `gunicorn: maste` and `starman master` in `comm`, `puma 6.4.2 (tcp://…)` in `cmdline`.
#[must_use]
pub fn by_process(comm: &[u8], cmdline: &[u8]) -> Option<&'static Drain> {
    let comm = by_file(first_word(comm));
    comm.or_else(|| {
        let mut arguments = cmdline.split(|byte| *byte == 0);
        let title = first_word(arguments.next()?);
        by_file(title).or_else(|| by_arguments(base(title), arguments))
    })
}

/// What is known of the program that an interpreter runs, by the interpreter's arguments.
fn by_arguments<'a>(
    interpreter: &[u8],
    mut arguments: impl Iterator<Item = &'a [u8]>,
) -> Option<&'static Drain> {
    let interpreter = without_version(str::from_utf8(interpreter).ok()?);
    if !INTERPRETERS.contains(&interpreter) {
        return None;
    }
    let has_modules = interpreter.starts_with("py");
    loop {
        let argument = arguments.next()?;
        if !argument.starts_with(b"-") {
            return by_script(argument, arguments);
        }
        if TEXTS.contains(&argument) {
            return None;
        }
        // Letters may be joined: `-um` is `-u -m`.
        if has_modules && argument.ends_with(b"m") && !argument.starts_with(b"--") {
            return by_file(arguments.next()?.split(|byte| *byte == b'.').next()?);
        }
        if VALUED.contains(&argument) {
            arguments.next()?;
        }
    }
}

/// What is known of a script. Ruby's `bundle exec` is one that runs the script named behind it.
fn by_script<'a>(script: &[u8], mut arguments: impl Iterator<Item = &'a [u8]>) -> Option<&'static Drain> {
    let is_bundle = base(script) == b"bundle" && arguments.next() == Some(b"exec");
    by_file(if is_bundle { arguments.next()? } else { script })
}

/// A title goes on behind a blank or a colon, and a name does not.
fn first_word(text: &[u8]) -> &[u8] {
    text.split(|byte| matches!(byte, b' ' | b':' | b'\n')).next().unwrap_or_default()
}

fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

fn without_version(name: &str) -> &str {
    name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_names_fit_into_comm() {
        assert!(DRAINS.is_sorted_by(|one, other| one.program < other.program));
        assert!(DRAINS.iter().all(|drain| drain.program.len() <= 15), "the kernel keeps no more");
        assert!(DRAINS.iter().all(|drain| !matches!(drain.signal, Signal::Kill | Signal::Stop)));
    }

    #[test]
    fn programs_are_known_by_what_they_are_seen_as() {
        for (comm, cmdline, program) in [
            ("nginx", "nginx: master process nginx -p /srv", Some("nginx")),
            ("haproxy", "haproxy\0-f\0haproxy.cfg", Some("haproxy")),
            ("apache2", "apache2\0-DFOREGROUND", Some("apache2")),
            ("php-fpm8.2", "php-fpm: master process (/etc/php/fpm.conf)", Some("php-fpm")),
            ("gunicorn: maste", "gunicorn: master [app:app]", Some("gunicorn")),
            ("gunicorn", "/usr/bin/python3\0/usr/bin/gunicorn\0app:app", Some("gunicorn")),
            ("python3", "python3\0-m\0gunicorn\0app:app", Some("gunicorn")),
            ("python3.11", "/usr/bin/python3.11\0-um\0gunicorn.app.wsgiapp\0app:app", Some("gunicorn")),
            ("python3", "python3\0-X\0dev\0-u\0/venv/bin/uvicorn\0app:app", Some("uvicorn")),
            ("uvicorn", "/usr/bin/python3\0/usr/bin/uvicorn\0app:app", Some("uvicorn")),
            ("unicorn", "unicorn master -l 127.0.0.1:8080 config.ru", Some("unicorn")),
            ("ruby", "ruby\0-W0\0-I\0lib\0bin/unicorn_rails", Some("unicorn_rails")),
            ("puma", "puma 5.6.5 (tcp://127.0.0.1:8080) [app]", Some("puma")),
            ("bundle", "puma 6.4.2 (tcp://127.0.0.1:8080) [app]", Some("puma")),
            ("bundle", "ruby3.1\0/usr/bin/bundle\0exec\0thin\0start", Some("thin")),
            ("starman master", "starman master -l 127.0.0.1:8080 app.psgi", Some("starman")),
            ("start_server", "/usr/bin/perl\0/usr/bin/start_server\0--\0plackup", Some("start_server")),
            ("java", "java\0-jar\0app.jar", Some("java")),
            ("sh", "sh\0-c\0nginx", None),
            ("python3", "python3\0-c\0gunicorn", None),
            ("python3", "python3\0app.py\0gunicorn", None),
            ("python3", "python3\0-m", None),
            ("ruby", "ruby\0/usr/bin/bundle\0install\0puma", None),
            ("node", "node\0/srv/nginx", None),
            ("nginx-exporter", "nginx-exporter", None),
            ("", "", None),
        ] {
            let known = by_process(format!("{comm}\n").as_bytes(), cmdline.as_bytes());
            assert_eq!(known.map(|drain| drain.program), program, "{comm} {cmdline:?}");
        }
    }

    #[test]
    fn a_file_is_known_by_its_name_without_a_version() {
        let signal = |path: &str| by_file(path.as_bytes()).map(|drain| drain.signal);
        assert_eq!(signal("/usr/sbin/nginx"), Some(Signal::Quit));
        assert_eq!(signal("php-fpm8.2"), Some(Signal::Quit));
        assert_eq!(signal("/usr/sbin/apache2"), Some(Signal::Winch), "that is its name");
        for other in ["", "/", "nginx/", "2", "mynginx"] {
            assert_eq!(signal(other), None, "{other}");
        }
    }
}
