//! What the manual page of `einhyrningsinsctl` has that its `--help` does not.

use super::STATUSES;
use crate::cli::{
    man::{Chapter, Manual, Part},
    table::{Rows, Topic},
};

pub(super) static MANUAL: Manual = Manual {
    about: "tells a running einhyrningsins what to do",
    description: &[
        Part::Text(
            "On a terminal, progress is a bar. Elsewhere it is a line for each stage, and at most one a second besides. \
             Ctrl-C ends the wait for an answer and nothing else: what was begun goes on.",
        ),
        Part::Text(
            "Commands in `-e`, in the interactive shell and on standard input are read as a shell reads words: with \
             quotes, backslashes and comments. Standard input is read and run a line at a time; the first line that \
             cannot be read is named, and is the end.",
        ),
    ],
    chapters: &[
        Chapter {
            title: "COMMANDS",
            parts: &[
                Part::Text("In the name of a command, - and _ are the same."),
                Part::Commands,
                Part::Topic(&OWN),
                Part::Tools,
            ],
        },
        Chapter { title: "EXIT STATUS", parts: &[Part::Rows(&STATUSES)] },
        Chapter { title: "ENVIRONMENT", parts: &[Part::Rows(&READ)] },
        Chapter { title: "FILES", parts: &[Part::Rows(&FILES)] },
        Chapter { title: "SIGNALS", parts: &[Part::Rows(&SIGNALS)] },
        Chapter {
            title: "EXAMPLES",
            parts: &[
                Part::Text(
                    "To upgrade, with one worker ahead for a minute, and to have a script fail if it is taken back:",
                ),
                Part::Lines("einhyrningsinsctl upgrade --canary 1 --soak 60 || exit 1"),
                Part::Text("To run another program from now on, with a variable of its own:"),
                Part::Lines(
                    "einhyrningsinsctl upgrade --env STAGE=blue -- /srv/app/r2/server --port-from-env",
                ),
                Part::Text("Two commands, of which the second is run only if the first succeeds:"),
                Part::Lines("einhyrningsinsctl -e 'set_workers 8; upgrade'"),
                Part::Text("To have the workers open their log files anew:"),
                Part::Lines("einhyrningsinsctl signal USR1"),
                Part::Text("A probe for whoever watches the service, and a wait for its first start:"),
                Part::Lines(
                    "einhyrningsinsctl check --min 50%\n\
                     einhyrningsinsctl check --wait 30",
                ),
                Part::Text("To stop one supervisor and begin another in its place:"),
                Part::Lines("einhyrningsinsctl die --wait && einhyrningsins -n 4 -- /srv/app/server"),
            ],
        },
        Chapter {
            title: "SEE ALSO",
            parts: &[Part::Text("`einhyrningsins`(1), `einhyrningsins-protocol`(7)")],
        },
    ],
};

const OWN: Topic = Topic { title: "Commands of the client's own", rows: Rows::Here(&[]) };

const READ: Topic = Topic {
    title: "Environment",
    rows: Rows::Here(&[
        ("EINHORN_SOCK_PATH", "The control socket, unless --socket-path names one."),
        ("XDG_STATE_HOME, HOME", "Where the interactive shell keeps its history."),
        ("TERM, COLUMNS", "Whether progress can be drawn, and how wide."),
        ("USER", "Whom the interactive shell says hello for."),
    ]),
};

const FILES: Topic = Topic {
    title: "Files",
    rows: Rows::Here(&[
        ("/tmp/einhorn.sock", "The control socket, unless something else is named."),
        (
            "$XDG_STATE_HOME/einhyrningsinsctl_history",
            "Lines of the interactive shell; in ~/.local/state without that variable.",
        ),
    ]),
};

const SIGNALS: Topic = Topic {
    title: "Signals",
    rows: Rows::Here(&[("INT", "Ends the wait for an answer; the interactive shell is back at its prompt.")]),
};
