//! The manual page of the control protocol: what workers and clients can rely on.

use super::{Chapter, Manual, Part, chapters, roff::Roff};
use crate::cli::{
    daemon::{DRAIN_SIGNALS, SIGNALS, VARIABLES},
    table::{Rows, Topic},
};

/// The page.
pub(in crate::cli) fn protocol() -> String {
    let mut out = Roff::page("einhyrningsins-protocol", 7, "Miscellanea", MANUAL.about);
    out.chapter("DESCRIPTION");
    super::parts(&mut out, MANUAL.description);
    chapters(&mut out, MANUAL.chapters);
    out.text()
}

static MANUAL: Manual = Manual {
    about: "what workers and clients can rely on",
    description: &[
        Part::Text(
            "A worker finds its sockets by variables, says over the control socket that it is ready, and gets a signal \
             when it is to go. Clients give commands over the same socket, as `einhyrningsinsctl`(1) does.",
        ),
        Part::Text(
            "No worker needs a library: it reads EINHORN_FD_0 and the like, connects to EINHORN_SOCK_PATH, writes a line, \
             and handles a signal. One that does nothing but serve is seen waiting for connections, unless `--ready` says \
             that this is not enough.",
        ),
    ],
    chapters: &[
        Chapter {
            title: "ENVIRONMENT",
            parts: &[
                Part::Rows(&VARIABLES),
                Part::Text(
                    "The sockets are file descriptors 3, 4 and so on, in that order, and behind them the connection of \
                     --command-socket-as-fd; nothing else above 2 is open. Standard input is /dev/null, output and error \
                     are the supervisor's. Signals have their default effects, and none is blocked. Each worker leads a \
                     process group of its own, and what it leaves behind in that is killed when it ends.",
                ),
            ],
        },
        Chapter {
            title: "SIGNALS",
            parts: &[
                Part::Topic(&TO_SUPERVISOR),
                Part::Rows(&SIGNALS),
                Part::Topic(&TO_WORKERS),
                Part::Topic(&DRAIN_SIGNALS),
            ],
        },
        Chapter {
            title: "MESSAGES",
            parts: &[
                Part::Text(
                    "The control socket is a UNIX stream socket of mode 0600. Requests and answers are lines of UTF-8. \
                     Requests of one connection are answered in their order, one at a time; who sent them need not read \
                     the answer.",
                ),
                Part::Topic(&REQUESTS),
                Part::Topic(&ANSWERS),
                Part::Topic(&DIALECTS),
                Part::Topic(&WHO),
                Part::Topic(&LIMITS),
            ],
        },
        Chapter {
            title: "COMMANDS",
            parts: &[
                Part::Text(
                    "As they are typed; what stands behind the name comes in `args`. In a name, - and _ are the same.",
                ),
                Part::Requests,
            ],
        },
        Chapter {
            title: "NOTIFICATIONS",
            parts: &[
                Part::Text(
                    "A worker and the processes of its group may also send datagrams to NOTIFY_SOCKET, with lines as \
                     sd_notify(3) has them. Other lines are passed over.",
                ),
                Part::Rows(&NOTIFICATIONS),
            ],
        },
        Chapter {
            title: "GUARANTEES",
            parts: &[
                Part::Topic(&UPGRADES),
                Part::Points(&[
                    "No healthy worker is asked to stop before its replacement in the same slot is healthy, on the way \
                     there and on the way back. What other slots do holds none up.",
                    "The sockets stay open throughout.",
                    "A generation is what its program, directory, arguments and environment were when the upgrade was asked \
                     for, also if a link leads elsewhere since, or the file's name is gone.",
                    "If there is nothing to execute, the upgrade is refused and no worker is touched.",
                    "An upgrade comes to an end, and the last line of its answer says what came of it. The newest one wins; a \
                     shutdown wins over all.",
                    "What is promised ends where a worker is: one that does not finish within the grace period is ended with \
                     its connections, and one that crashes takes its own along. A file that is overwritten in place is another \
                     program, for the old generation, too.",
                ]),
                Part::Topic(&ROLLBACKS),
                Part::Points(&[
                    "An upgrade goes back by itself if a slot of the new generation is given up, if a worker hangs before any \
                     of that generation was healthy, if one dies on trial (--soak), if its --timeout is over, and on abort.",
                    "On the way back new workers drain, and old ones that had been asked to go are started again from what was \
                     captured.",
                    "If the old generation cannot be started again either, whatever is healthy goes on serving.",
                    "A release that becomes healthy and fails after its trial is not taken back.",
                ]),
                Part::Topic(&REPLACING),
                Part::Points(&[
                    "With reexec the process id, the workers, the sockets, connections to the control socket and what they wait \
                     for, an upgrade under way, the history and the time stay the same ones.",
                    "A version that cannot take over is refused, and nothing has changed.",
                    "A supervisor that fails itself goes on in the same process, at most three times in a minute. A command of \
                     which nobody knows whether it was begun is refused; a stop signal may reach a worker twice.",
                ]),
                Part::Topic(&KILL),
                Part::Points(&[
                    "If the supervisor is killed, its workers serve on. The next start with the same command line takes over the \
                     workers, the sockets, an upgrade under way, the history, and clients that wait for an answer. Until then a \
                     keeper answers on the control socket that nobody supervises, and notes what workers report.",
                    "If supervisor and keeper are killed at the same time, workers serve on with nobody, and the next start \
                     cannot have their port, unless by --adopt.",
                    "A client that was connected and waited for nothing sees its connection end.",
                    "With --kill-children-on-exit, workers end with their supervisor.",
                ]),
            ],
        },
        Chapter {
            title: "EXAMPLES",
            parts: &[
                Part::Text("A worker is ready:"),
                Part::Lines(
                    "{\"command\":\"worker:ack\",\"pid\":26012}\n\
                     {\"message\":\"worker 26012 is acknowledged\",\"ok\":true,\"pid\":26012}",
                ),
                Part::Text(
                    "The same in a shell, over a connection that was inherited (--command-socket-as-fd):",
                ),
                Part::Lines("printf '{\"command\":\"worker:ack\",\"pid\":%d}\\n' $$ >&\"$EINHORN_SOCK_FD\""),
                Part::Text("One worker more:"),
                Part::Lines(
                    "{\"command\":\"inc\",\"id\":7}\n\
                     {\"message\":\"number of workers: 2 → 3\",\"ok\":true,\"request_id\":7,\"old\":2,\"target\":3}",
                ),
                Part::Text("The same from a client of einhorn's:"),
                Part::Lines("request_id: 7%0Acommand: inc%0A"),
            ],
        },
        Chapter {
            title: "SEE ALSO",
            parts: &[Part::Text(
                "`einhyrningsins`(1), `einhyrningsinsctl`(1), `sd_listen_fds`(3), `sd_notify`(3), `signal`(7), `unix`(7)",
            )],
        },
    ],
};

/// A heading for what follows it.
const fn heading(title: &'static str) -> Topic {
    Topic { title, rows: Rows::Here(&[]) }
}

const UPGRADES: Topic = heading("Upgrades");
const ROLLBACKS: Topic = heading("Going back");
const REPLACING: Topic = heading("Replacing the supervisor");
const KILL: Topic = heading("A supervisor that is killed");
const TO_SUPERVISOR: Topic = heading("To the supervisor");

const TO_WORKERS: Topic = Topic {
    title: "To workers",
    rows: Rows::Here(&[
        (
            "the stop signal",
            "Stop accepting, finish what has been accepted, and exit. Which it is, --stop-signal says.",
        ),
        (
            "TERM",
            "The grace period (--grace-period) is over, or the worker was not ready in time, or is to stop fast.",
        ),
        ("KILL", "It is there 5 seconds after TERM still. The whole process group gets it."),
        ("USR1, CONT", "The supervisor got it. USR1 reaches only workers that handle it."),
        ("any", "A client asked for it (`signal`)."),
    ]),
};

const REQUESTS: Topic = Topic {
    title: "Requests",
    rows: Rows::Here(&[
        ("command", "What is asked for, by the names under COMMANDS."),
        ("args", "A list of strings and numbers; what else stands behind a command when it is typed."),
        ("id, request_id", "Of any kind; it comes back as the request_id of each line of the answer."),
        ("pid", "Of a report: the process of the worker."),
    ]),
};

const ANSWERS: Topic = Topic {
    title: "Answers",
    rows: Rows::Here(&[
        ("message", "What there is to say, in words."),
        ("ok", "Whether it is so; false with what is wrong in the message, and what is accepted."),
        (
            "wait",
            "true in a line that is progress: more lines follow. The last line of an answer is without.",
        ),
        ("request_id", "What the request had, if it had one."),
        (
            "other fields",
            "The same as the message for programs, such as status, history, upgrade, old and target.",
        ),
    ]),
};

const DIALECTS: Topic = Topic {
    title: "Dialects",
    rows: Rows::Here(&[
        ("JSON", "An object in a line, and so is the answer."),
        (
            "YAML",
            "As einhorn's clients write it: a flat mapping, its line ends written %0A and its percent signs %25. The answer is \
             a line of JSON that those clients read as YAML, in which % is %25.",
        ),
    ]),
};

const WHO: Topic = Topic {
    title: "Who may",
    rows: Rows::Here(&[
        ("clients", "Root and the supervisor's own user may connect, and ask for anything but reports."),
        (
            "workers",
            "worker:ack and worker:ping are taken from the worker's process and those of its process group, and not for \
             another worker. Over the connection of --command-socket-as-fd nothing else can be asked for, by whatever \
             user. A report that is refused is warned of in the log.",
        ),
    ]),
};

const LIMITS: Topic = Topic {
    title: "Limits",
    rows: Rows::Here(&[
        ("64 KiB", "A line. A longer one is answered, and the connection ends."),
        ("64", "Levels of nesting in a request."),
        ("1000", "Connections. Idle ones make room for new ones."),
        ("256 KiB", "Answers on one connection that are not read."),
    ]),
};

const NOTIFICATIONS: Topic = Topic {
    title: "Notifications",
    rows: Rows::Here(&[
        ("READY=1", "The worker is ready."),
        ("STOPPING=1", "It finishes what it has begun and goes; its replacement is started at once."),
        ("STATUS=...", "What `status` shows for it, up to 200 characters."),
        ("WATCHDOG=1", "It is alive, as by worker:ping."),
        (
            "EXTEND_TIMEOUT_USEC=...",
            "Its present deadline is so far from now at least, up to ten times what it was.",
        ),
    ]),
};
