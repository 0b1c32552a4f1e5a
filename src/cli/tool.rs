//! The client's own commands: what no supervisor is asked for by that name. Each has a command line of its own, in
//! one table with all others.

use super::{
    error::{UsageError, brief},
    parse::Typed,
    table::{CommandLine, Opt, OptionsEnd, Section, Topic},
    value::{LONGEST_SOCKET_PATH, Value},
};
use crate::fsm::{config::SPAN, id::Generation, time::Millis};
use std::{
    ffi::{OsStr, OsString},
    fmt,
    net::SocketAddr,
    ops::RangeInclusive,
    path::PathBuf,
};

/// The options of all of them, one by one. What each does is told in [`TOOLS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the option of its name")]
pub enum Key {
    Live,
    Ready,
    Min,
    Generation,
    Wait,
    Timeout,
    Listen,
    Interval,
}

/// What a service that is probed must be, to pass.
const CHECK: &[Opt<Key>] = &[
    Opt::flag(
        Key::Ready,
        "ready",
        "Pass if as many workers are healthy as are wanted. It is so without an option, too.",
    ),
    Opt::flag(Key::Live, "live", "Pass if the supervisor answers, whatever its workers do."),
    Opt::valued(
        Key::Min,
        "min",
        "N|PERCENT%",
        "Pass if at least so many workers are healthy, or such a part of those that are wanted, rounded up.",
    ),
    Opt::valued(
        Key::Generation,
        "generation",
        "N",
        "Pass only if generation N is the one that serves; and count its workers alone.",
    ),
    Opt::valued(
        Key::Wait,
        "wait",
        "SECS",
        "Wait for that, also for a supervisor to be there, and give up after so long.",
    ),
];

const WAIT: &[Opt<Key>] = &[Opt::valued(
    Key::Timeout,
    "timeout",
    "SECS",
    "Give up waiting after so long, with status 3; the upgrade goes on. [default: wait as long as it takes]",
)];

const SERVE: &[Opt<Key>] = &[Opt::valued(
    Key::Listen,
    "listen",
    "ADDR:PORT",
    "Where to serve: an IPv4 address, or an IPv6 address in brackets, with a port; unix:PATH is a UNIX socket. Who \
     may reach it may see all that `status` shows.",
)
.defaults_to("127.0.0.1:9190")];

const TOP: &[Opt<Key>] =
    &[Opt::valued(Key::Interval, "interval", "SECS", "How often to look.").defaults_to("1")];

/// Everything that the client does itself, in the order in which it is told.
pub static TOOLS: &[Tool] = &[
    tool(
        What::Check,
        "check",
        "einhyrningsinsctl check",
        &["[OPTIONS]"],
        "Says in a line whether the service is as it should be, for probes and scripts. Exit status 0 if it is, 1 if \
         it is not, 2 if the command line is wrong, 3 if no supervisor answers.",
        &[Section { title: "Options", options: CHECK }],
    ),
    tool(
        What::Wait,
        "wait",
        "einhyrningsinsctl wait",
        &["[OPTIONS]"],
        "Waits until an upgrade that is under way, whoever began it, has ended. Exit status 0 if the new generation \
         serves or there was no upgrade, 1 if it was taken back.",
        &[Section { title: "Options", options: WAIT }],
    ),
    tool(
        What::Top,
        "top",
        "einhyrningsinsctl top",
        &["[OPTIONS]"],
        "Shows workers, sockets, an upgrade under way and the last events on the terminal, live; a key each upgrades, \
         aborts, signals, and makes them more or fewer.",
        &[Section { title: "Options", options: TOP }],
    ),
    tool(
        What::Serve,
        "serve",
        "einhyrningsinsctl serve",
        &["[OPTIONS]"],
        "Serves metrics for Prometheus, probes, and a page for people over HTTP, as a process of its own: /metrics, \
         /livez, /readyz, /status.json, and /.",
        &[Section { title: "Options", options: SERVE }],
    ),
    tool(
        What::Replay,
        "replay",
        "einhyrningsinsctl replay",
        &["FILE"],
        "Tells what einhyrningsins --trace recorded in FILE again, event by event, up to the first where this version \
         decides otherwise. Needs no supervisor.",
        &[],
    ),
];

/// A command of the client's own.
#[derive(Debug)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// Its own command line; that of the client as a whole goes for it, too.
    pub line: CommandLine<Key>,
    what: What,
}

/// Which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Check,
    Wait,
    Serve,
    Top,
    Replay,
}

const fn tool(
    what: What,
    name: &'static str,
    program: &'static str,
    usage: &'static [&'static str],
    summary: &'static str,
    sections: &'static [Section<Key>],
) -> Tool {
    let topics: &[Topic] = &[];
    let options_end = OptionsEnd::Dashes { is_theirs: |_, _| false };
    let line = CommandLine {
        program,
        usage,
        summary,
        sections,
        topics,
        options_end,
        abbreviates: false,
        foreign: |_| None,
    };
    Tool { name, line, what }
}

/// The tool of this name.
#[must_use]
pub fn find(name: &OsStr) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

/// What a tool is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// To probe the service.
    Check(Check),
    /// To wait for the end of an upgrade, at most so long.
    Wait(Option<Millis>),
    /// To serve that here.
    Serve(Listen),
    /// To show how things stand, looking so often.
    Top(Millis),
    /// To replay this trace.
    Replay(PathBuf),
}

/// What is to be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// How many have to be healthy.
    pub least: Least,
    /// Of which generation, which is then to be the one that serves.
    pub generation: Option<Generation>,
    /// How long to wait for that.
    pub wait: Option<Millis>,
}

/// How many workers have to be healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Least {
    /// None: it is enough that the supervisor answers.
    Live,
    /// As many as are wanted.
    All,
    /// So many.
    Number(u32),
    /// So many of a hundred that are wanted.
    Percent(u32),
}

/// Where to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port.
    Inet(SocketAddr),
    /// A path.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(f, "http://{address}/"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self::Inet(([127, 0, 0, 1], 9190).into())
    }
}

impl Least {
    /// Reads a number, or a part in percent.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let read = |digits: &str, most: u32| digits.parse().ok().filter(|number| *number <= most);
        match text.strip_suffix('%') {
            Some(percent) => read(percent, 100).map(Self::Percent),
            None => read(text, u32::MAX).map(Self::Number),
        }
    }

    /// How many that is, of so many that are wanted.
    #[must_use]
    pub fn of(self, target: u32) -> u32 {
        match self {
            Self::Live => 0,
            Self::All => target,
            Self::Number(number) => number,
            Self::Percent(percent) => {
                let exact = (u64::from(target) * u64::from(percent)).div_ceil(100);
                u32::try_from(exact).unwrap_or(u32::MAX)
            }
        }
    }
}

/// An upgrade takes some time, and so does what is waited for.
const WAITED: RangeInclusive<Millis> = Millis(0)..=*SPAN.end();

/// How often it makes sense to look.
const INTERVALS: RangeInclusive<Millis> = Millis(100)..=Millis(3_600_000);

impl Tool {
    /// Reads what stands behind the tool's name.
    ///
    /// # Errors
    /// If anything in it is unknown, malformed or contradictory.
    pub fn read(&self, words: &[OsString]) -> Result<Errand, UsageError> {
        let typed = Typed::read(&self.line, words.iter().cloned(), |_| false)?;
        if let Some(word) = typed.words.first().filter(|_| self.what != What::Replay) {
            return Err(self.refuse(word, "is one word too many"));
        }
        let seconds =
            |key, range: &RangeInclusive<Millis>| typed.value(key, |value| value.seconds(range.clone()));
        Ok(match self.what {
            What::Check => Errand::Check(check(&typed)?),
            What::Wait => Errand::Wait(seconds(Key::Timeout, &WAITED)?),
            What::Top => Errand::Top(seconds(Key::Interval, &INTERVALS)?.unwrap_or(Millis(1_000))),
            What::Serve => Errand::Serve(typed.value(Key::Listen, listen)?.unwrap_or_default()),
            What::Replay => Errand::Replay(self.file(&typed.words)?),
        })
    }

    /// Whether the next word, behind the one before, is an option of the tool's own, or the value of one.
    pub(super) fn takes(&self, last: Option<&OsString>, next: &OsStr) -> bool {
        let find = |word: &OsStr| self.line.find(word.to_str()?.strip_prefix("--")?.split('=').next()?);
        let is_due = |last: &OsString| {
            !last.as_encoded_bytes().contains(&b'=') && find(last).is_some_and(|it| it.value.is_some())
        };
        last.is_some_and(is_due) || find(next).is_some()
    }

    /// Whether there is nothing in it for programs to read.
    #[must_use]
    pub fn is_for_people(&self) -> bool {
        matches!(self.what, What::Top | What::Serve | What::Replay)
    }

    fn file(&self, words: &[OsString]) -> Result<PathBuf, UsageError> {
        match words {
            [] => Err(self.refuse(self.name.as_ref(), "needs the file of a trace")),
            [file] if file.is_empty() => Err(self.refuse(file, "is not the path of a file")),
            [file] => Ok(file.into()),
            [_, second, ..] => Err(self.refuse(second, "is one word too many")),
        }
    }

    fn refuse(&self, word: &OsStr, why: &str) -> UsageError {
        let usage = self.line.usage.first().copied().unwrap_or_default();
        UsageError::BadValue {
            option: "COMMAND".to_owned(),
            value: brief(word),
            why: why.to_owned(),
            accepted: format!("{} {usage}", self.name),
        }
    }

    /// The command as it is typed.
    #[must_use]
    pub fn synopsis(&self) -> String {
        let options = self.line.options().filter(|option| !option.hidden);
        let options = options.map(|option| {
            let value = option.value.map(|value| format!(" {value}")).unwrap_or_default();
            format!(" [--{}{value}]", option.long)
        });
        let words = self.line.usage.iter().filter(|usage| !usage.starts_with('['));
        [self.name.to_owned()]
            .into_iter()
            .chain(options)
            .chain(words.map(|word| format!(" {word}")))
            .collect()
    }
}

fn check(typed: &Typed<Key>) -> Result<Check, UsageError> {
    let given = [(Key::Live, "--live"), (Key::Ready, "--ready"), (Key::Min, "--min")];
    let mut given = given.into_iter().filter(|(key, _)| typed.has(*key));
    if let (Some((_, one)), Some((_, other))) = (given.next(), given.next()) {
        return Err(UsageError::Conflict { one, other, why: "each says what has to be" });
    }
    let generation =
        typed.value(Key::Generation, |value| value.number("the number of a generation", 1..=u32::MAX))?;
    if typed.has(Key::Live) && generation.is_some() {
        let why = "a supervisor that answers is alive, whatever serves";
        return Err(UsageError::Conflict { one: "--live", other: "--generation", why });
    }
    let least = match typed.value(Key::Min, least)? {
        Some(least) => least,
        None if typed.has(Key::Live) => Least::Live,
        None => Least::All,
    };
    let wait = typed.value(Key::Wait, |value| value.seconds(WAITED))?;
    Ok(Check { least, generation: generation.map(Generation), wait })
}

fn least(value: Value<'_>) -> Result<Least, UsageError> {
    Least::parse(&value.text()).ok_or_else(|| value.refuse("is not how many workers are enough", LEAST))
}

/// What says how many workers are enough.
pub const LEAST: &str = "a number, or 0% to 100%";

fn listen(value: Value<'_>) -> Result<Listen, UsageError> {
    let accepted = "ADDR:PORT, [IPV6]:PORT or unix:PATH";
    let text = value.text();
    match text.strip_prefix("unix:") {
        Some("") => Err(value.refuse("names no path", accepted)),
        Some(path) if path.len() > LONGEST_SOCKET_PATH => {
            let accepted = format_args!("a path of 1 to {LONGEST_SOCKET_PATH} bytes");
            Err(value.refuse("cannot be the path of a socket", accepted))
        }
        Some(path) => Ok(Listen::Unix(path.into())),
        None => text.parse().map(Listen::Inet).map_err(|_| value.refuse("is not where to listen", accepted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Result<Errand, String> {
        let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        let (name, rest) = words.split_first().unwrap();
        find(name).unwrap().read(rest).map_err(|error| error.to_string())
    }

    #[test]
    fn a_probe_says_what_has_to_be() {
        let check = |least, generation: Option<u32>, wait: Option<u64>| {
            Ok(Errand::Check(Check { least, generation: generation.map(Generation), wait: wait.map(Millis) }))
        };
        for (words, expected) in [
            ("check", check(Least::All, None, None)),
            ("check --ready --wait 2.5", check(Least::All, None, Some(2_500))),
            ("check --live", check(Least::Live, None, None)),
            ("check --min 3 --generation 7", check(Least::Number(3), Some(7), None)),
            ("check --min=50%", check(Least::Percent(50), None, None)),
        ] {
            assert_eq!(read(words), expected, "{words}");
        }
        for (words, said) in [
            (
                "check --min 101%",
                "--min: `101%` is not how many workers are enough; accepted: a number, or 0% to 100%",
            ),
            ("check --min few", "--min: `few` is not how many"),
            ("check --live --min 1", "--live and --min do not go together: "),
            ("check --live --generation 1", "--live and --generation do not go together: "),
            ("check --generation 0", "--generation: `0` is not the number of a generation"),
            ("check me", "COMMAND: `me` is one word too many; accepted: check [OPTIONS]"),
            ("serve --listen 9190", "--listen: `9190` is not where to listen; accepted: ADDR:PORT, "),
            ("serve --listen unix:", "--listen: `unix:` names no path"),
            ("serve 9190", "COMMAND: `9190` is one word too many; accepted: serve [OPTIONS]"),
            ("check --mni 2", "unknown option `--mni`"),
            ("top --interval 0", "--interval: `0` "),
        ] {
            let error = read(words).unwrap_err();
            assert!(error.starts_with(said), "{words}: {error}");
        }
    }

    #[test]
    fn a_part_of_the_workers_is_rounded_up() {
        for (percent, target, least) in [(50, 4, 2), (50, 3, 2), (1, 1, 1), (0, 9, 0), (100, 10_000, 10_000)]
        {
            assert_eq!(Least::Percent(percent).of(target), least);
        }
        assert_eq!((Least::All.of(3), Least::Live.of(3), Least::Number(9).of(3)), (3, 0, 9));
    }

    #[test]
    fn others_read_what_they_need() {
        assert_eq!(read("wait"), Ok(Errand::Wait(None)));
        assert_eq!(read("wait --timeout 3"), Ok(Errand::Wait(Some(Millis(3_000)))));
        let here = |text: &str| Ok(Errand::Serve(Listen::Inet(text.parse().unwrap())));
        assert_eq!(read("serve"), here("127.0.0.1:9190"));
        assert_eq!(read("serve --listen [::1]:0"), here("[::1]:0"));
        assert_eq!(read("serve --listen unix:/run/x"), Ok(Errand::Serve(Listen::Unix("/run/x".into()))));
        assert_eq!(read("top"), Ok(Errand::Top(Millis(1_000))));
        assert_eq!(read("top --interval 0.5"), Ok(Errand::Top(Millis(500))));
        assert_eq!(read("replay f"), Ok(Errand::Replay("f".into())));
    }

    #[test]
    fn a_synopsis_has_every_option() {
        let check = find("check".as_ref()).unwrap();
        let options = "[--ready] [--live] [--min N|PERCENT%] [--generation N] [--wait SECS]";
        assert_eq!(check.synopsis(), format!("check {options}"));
        assert_eq!(find("replay".as_ref()).unwrap().synopsis(), "replay FILE");
    }
}
