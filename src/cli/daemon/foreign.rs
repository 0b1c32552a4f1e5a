//! Options of other supervisors and servers, and what does the same here.

use crate::fsm::time::Millis;

/// Names that mean the same, and what to do instead.
struct Foreign {
    names: &'static [&'static str],
    instead: &'static str,
}

const fn foreign(names: &'static [&'static str], instead: &'static str) -> Foreign {
    Foreign { names, instead }
}

const FOREIGN: &[Foreign] = &[
    foreign(
        &["daemon", "daemonize", "daemonise", "background", "detach", "fork", "D"],
        "it stays in the foreground: run it under a service manager, or with & in a shell",
    ),
    foreign(
        &["foreground", "no-daemon", "nodaemon", "no-daemonize"],
        "it always stays in the foreground; leave it out",
    ),
    foreign(
        &["workers", "worker", "processes", "worker-processes", "num-workers", "instances", "count", "w"],
        "use --number COUNT",
    ),
    foreign(&["port", "listen", "address", "addr", "host", "p"], "use --bind ADDR:PORT"),
    foreign(
        &["config", "config-file", "conf", "configuration"],
        "use @FILE, where FILE has options, one in a line",
    ),
    foreign(
        &[
            "log",
            "log-file",
            "logfile",
            "access-log",
            "access-logfile",
            "error-log",
            "error-logfile",
            "output",
        ],
        "the log goes to standard error: redirect it with 2>>FILE, or use --syslog",
    ),
    foreign(&["log-level", "loglevel", "debug"], "use --verbose or --quiet"),
    foreign(
        &["user", "uid", "group", "gid", "u"],
        "it does not change its user: start it as the one it is to run as, as with setpriv or a service's User=",
    ),
    foreign(&["ack-mode"], "use --manual, or --ack-after SECS"),
    foreign(&["control-socket", "command-socket", "socket"], "use --socket-path PATH"),
    foreign(&["graceful-timeout", "stop-timeout", "timeout"], "use --grace-period SECS"),
    foreign(
        &["env", "environment"],
        "workers have the environment that it is started with, as by `env VAR=VALUE einhyrningsins`",
    ),
    foreign(&["reload", "restart", "upgrade"], "it is `einhyrningsinsctl upgrade` that does that"),
    foreign(&["stop", "shutdown"], "it is `einhyrningsinsctl die` that does that"),
    foreign(&["status"], "it is `einhyrningsinsctl status` that does that"),
    foreign(&["V"], "did you mean `--version`?"),
    foreign(&["mmanual"], "did you mean `-m`?"),
];

/// What to do instead of an option that others have.
pub(super) fn instead(name: &str) -> Option<String> {
    if let Some(seconds) = name.strip_prefix('m').filter(|rest| is_einhorns_time(rest)) {
        return Some(format!("use --ack-after {seconds}, if that is what einhorn's -m is to say"));
    }
    let found = FOREIGN.iter().find(|foreign| foreign.names.contains(&name))?;
    Some(found.instead.to_owned())
}

/// Whether this, behind the letter of `-m`, is a time as einhorn takes it. `-m4` and `-m6` are letters of ours.
fn is_einhorns_time(text: &str) -> bool {
    !text.bytes().all(|byte| matches!(byte, b'4' | b'6')) && Millis::from_decimal_seconds(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::{super::COMMAND_LINE, *};

    #[test]
    fn no_option_that_there_is_counts_as_foreign_and_none_is_told_of_that_there_is_not() {
        for Foreign { names, instead } in FOREIGN {
            for name in *names {
                assert!(COMMAND_LINE.find(name).is_none(), "--{name}");
                let mut letters = name.chars();
                if let (Some(letter), None) = (letters.next(), letters.next()) {
                    assert!(COMMAND_LINE.find_letter(letter).is_none(), "-{name}");
                }
            }
            for long in instead.split(|char: char| !(char.is_ascii_lowercase() || char == '-')) {
                let known = long.strip_prefix("--").is_none_or(|long| COMMAND_LINE.find(long).is_some());
                assert!(known, "{long} in: {instead}");
            }
        }
    }
}
