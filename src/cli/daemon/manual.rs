//! What the manual page of `einhyrningsins` has that its `--help` does not.

use super::{DRAIN_SIGNALS, SIGNALS, STATUSES, VARIABLES};
use crate::cli::{
    man::{Chapter, Manual, Part},
    table::{Rows, Topic},
};

pub(super) static MANUAL: Manual = Manual {
    about: "keeps workers running on shared sockets",
    description: &[
        Part::Text(
            "The supervisor never touches a connection: workers accept from the sockets themselves, which they inherit \
             from file descriptor 3 on and find by the variables under ENVIRONMENT. A worker is healthy once it reports \
             so on the control socket, or by notifying as sd_notify(3) has it, or is seen waiting for connections, as \
             `--ready` says. It stays in the foreground; a script in between must exec the program.",
        ),
        Part::Text(
            "A worker that ends is replaced. `einhyrningsinsctl upgrade`, or HUP, replaces all of them by what PROGRAM \
             leads to by then: new ones are started, and as they become healthy old ones get the stop signal, on which \
             they stop accepting, finish what they have accepted, and exit. A new version that does not come up is \
             taken back, and the old one serves on.",
        ),
        Part::Text(
            "The supervisor itself is replaced by `einhyrningsinsctl reexec`. If it is killed, workers serve on, and the \
             next start with the same command line takes everything over. What is promised about all that stands in \
             `einhyrningsins-protocol`(7).",
        ),
    ],
    chapters: &[
        Chapter { title: "EXIT STATUS", parts: &[Part::Rows(&STATUSES)] },
        Chapter {
            title: "ENVIRONMENT",
            parts: &[
                Part::Text("The supervisor reads:"),
                Part::Rows(&READ),
                Part::Text(
                    "Workers get the rest of the environment too, but for other variables that begin with EINHORN_ and \
                     for what a service manager meant for the supervisor.",
                ),
                Part::Topic(&VARIABLES),
            ],
        },
        Chapter { title: "FILES", parts: &[Part::Rows(&FILES)] },
        Chapter { title: "SIGNALS", parts: &[Part::Rows(&SIGNALS), Part::Topic(&DRAIN_SIGNALS)] },
        Chapter {
            title: "EXAMPLES",
            parts: &[
                Part::Text("To try it, with a server that is built in:"),
                Part::Lines("einhyrningsins --demo"),
                Part::Text(
                    "Four workers of a server that takes LISTEN_FDS, on a port that several may bind:",
                ),
                Part::Lines("einhyrningsins -n 4 -b 0.0.0.0:8080,r,n -- gunicorn app:app"),
                Part::Text(
                    "A server that is told its file descriptor, with releases in directories of their own, of which \
                     `current` is a link to the one in use:",
                ),
                Part::Lines(
                    "cd /srv/app/current\n\
                     einhyrningsins -b 127.0.0.1:8080,r,n,name=web -- uvicorn --fd {fd:web} app:app",
                ),
                Part::Text("To bring the next release, and to see what came of it:"),
                Part::Lines(
                    "ln -sfn r2 /srv/app/next && mv -T /srv/app/next /srv/app/current\n\
                     einhyrningsinsctl upgrade --soak 30",
                ),
                Part::Text("A worker that is a shell script says that it is ready, and becomes the program:"),
                Part::Lines(
                    "#!/bin/sh\n\
                     einhyrningsinsctl -d \"$EINHORN_SOCK_PATH\" worker:ack $$ && exec /srv/app/server",
                ),
            ],
        },
        Chapter {
            title: "SEE ALSO",
            parts: &[Part::Text(
                "`einhyrningsinsctl`(1), `einhyrningsins-protocol`(7), `sd_listen_fds`(3), `sd_notify`(3), \
                 `systemd.service`(5), `systemd.socket`(5), `signal`(7), `unix`(7)",
            )],
        },
    ],
};

const READ: Topic = Topic {
    title: "Environment of the supervisor",
    rows: Rows::Here(&[
        (
            "LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES",
            "Sockets that a service manager hands over, sd_listen_fds(3). They become the first ones of the workers.",
        ),
        ("NOTIFY_SOCKET", "Where a service manager is told of the service, sd_notify(3)."),
        ("WATCHDOG_USEC, WATCHDOG_PID", "How often it wants to hear, and of which process."),
        ("FDSTORE", "How many file descriptors it keeps for the service, as --fdstore has it."),
        ("PATH", "Where PROGRAM is looked for, if it is a name without a slash."),
        (
            "PWD",
            "The name of the current directory, if it leads there; it is looked up anew for each generation.",
        ),
    ]),
};

const FILES: Topic = Topic {
    title: "Files",
    rows: Rows::Here(&[
        (
            "/tmp/einhorn.sock",
            "The control socket, of mode 0600, unless --socket-path or --command-name says otherwise. With --command-name \
             NAME it is /tmp/einhorn-NAME.sock. It is removed at the end.",
        ),
        (
            ".NAME.lock",
            "Beside a socket that is called NAME, while it is being bound: an empty file, for whoever binds it at the same \
             time.",
        ),
        ("FILE of @FILE", "Options, one in a line, and perhaps PROGRAM, as they would be typed."),
        ("PATH of --pidfile", "The supervisor's process id; removed at the end."),
        ("PATH of --lockfile", "Locked as long as the supervisor runs; it stays."),
        ("FILE of --trace", "What happened, for `einhyrningsinsctl replay`; it is appended to."),
    ]),
};
