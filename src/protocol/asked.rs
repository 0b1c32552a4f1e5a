//! What came along with a command, read as what the command takes.
//!
//! Each reader makes an operation of it, or says what was found and what is accepted. Which command has
//! which reader stands in the [table](super::command), and nowhere else.

use super::{
    command,
    events::{Since, Wanted},
    operation::{Change, Operation},
    release::{Wishes, wishes},
    typed::{number, quoted, shown},
};
use crate::fsm::{
    config::TARGET,
    event::{Command, Strategy},
    id::Pid,
    signal::{Shutdown, Signal},
};
use miniserde::json::{Number, Object, Value};

/// What came along with a command.
pub(super) struct Asked<'a> {
    args: Vec<String>,
    object: &'a Object,
}

impl<'a> Asked<'a> {
    /// What is in a request. Its fields are looked at when they are asked for.
    pub(super) fn new(object: &'a Object) -> Result<Self, String> {
        Ok(Self { args: args(object)?, object })
    }

    /// Nothing. The command is all there is to say.
    pub(super) fn plain(&self, operation: Operation) -> Result<Operation, String> {
        match self.args.as_slice() {
            [] => Ok(operation),
            [first, ..] => Err(format!("unexpected argument {}; it takes none", quoted(first))),
        }
    }

    /// Nothing, of a command that is the machine's.
    pub(super) fn machine(&self, command: Command) -> Result<Operation, String> {
        self.plain(Operation::Machine(command))
    }

    /// The process of the worker that is ready.
    pub(super) fn ack(&self) -> Result<Operation, String> {
        Ok(Operation::Ack { pid: self.pid_field()? })
    }

    /// The process of the worker that is alive, and what it was working on.
    pub(super) fn ping(&self) -> Result<Operation, String> {
        // Ruby's clients take any object for it.
        let request_id = match self.object.get("request_id") {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Null) | None => None,
            Some(value) => Some(shown(value)),
        };
        Ok(Operation::Ping { pid: self.pid_field()?, request_id })
    }

    /// The options of an upgrade.
    pub(super) fn upgrade(&self, strategy: Strategy) -> Result<Operation, String> {
        let Wishes { canary, soak, timeout, release } = wishes(&self.args)?;
        Ok(Operation::Upgrade { upgrade: Command::Upgrade { strategy, canary, soak, timeout }, release })
    }

    fn pid_field(&self) -> Result<Pid, String> {
        let accepted = format!("it must be the worker's process id, {PIDS}");
        match self.object.get("pid") {
            Some(Value::Number(Number::U64(number))) => {
                pid(*number).ok_or_else(|| format!("`pid` is {number}; {accepted}"))
            }
            // As words, for workers that are shell scripts: `einhyrningsinsctl worker:ack $$`.
            Some(Value::Null) | None => match self.args.as_slice() {
                [word] => number(word)
                    .and_then(pid)
                    .ok_or_else(|| format!("{} is not a process id; {accepted}", quoted(word))),
                _ => Err(format!("`pid` is missing; {accepted}")),
            },
            Some(value) => Err(format!("`pid` is {}; {accepted}", shown(value))),
        }
    }

    fn text_field(&self, name: &str) -> Result<Option<String>, String> {
        match self.object.get(name) {
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Null) | None => Ok(None),
            Some(value) => Err(format!("`{name}` is {}; it must be a string", shown(value))),
        }
    }

    /// The one argument of a command that takes at most one; `accepted` says which.
    fn at_most_one(&self, accepted: &str) -> Result<Option<&str>, String> {
        match self.args.as_slice() {
            [] => Ok(None),
            [word] => Ok(Some(word)),
            [_, second, ..] => Err(format!("unexpected argument {}; {accepted}", quoted(second))),
        }
    }

    /// A number of workers.
    pub(super) fn set_workers(&self) -> Result<Operation, String> {
        let accepted = "it takes one argument, the number of workers";
        let word = self.at_most_one(accepted)?;
        let word = word.ok_or_else(|| format!("the argument is missing; {accepted}"))?;
        Ok(Operation::Machine(Command::SetWorkers { count: workers(word)? }))
    }

    /// How many workers more, or fewer: one, which is the machine's own command, or a number.
    pub(super) fn scale(&self, one: Command, many: fn(u32) -> Change) -> Result<Operation, String> {
        match self.at_most_one("it takes a number of workers")? {
            None => Ok(Operation::Machine(one)),
            Some(word) => Ok(Operation::Scale(many(workers(word)?))),
        }
    }

    /// The program that is to take over from the supervisor, if not the usual one.
    pub(super) fn reexec(&self) -> Result<Operation, String> {
        let path = self.at_most_one("it takes the path of a program")?.map(str::to_owned);
        if path.as_ref().is_some_and(|path| path.is_empty() || path.contains('\0')) {
            return Err("the path of a program is empty, or has a zero byte".into());
        }
        Ok(Operation::Reexec { path })
    }

    /// The command to tell more of, if any.
    pub(super) fn help(&self) -> Result<Operation, String> {
        let name = self.at_most_one("it takes one command")?;
        let entry = name.map(|name| command::find(name).ok_or_else(|| command::unknown(name)));
        Ok(Operation::Help { command: entry.transpose()?.map(|entry| entry.name) })
    }

    /// A signal, and the workers that are to get it.
    pub(super) fn signal(&self) -> Result<Operation, String> {
        let Some((name, pids)) = self.args.split_first() else {
            return Err(format!("the signal is missing; accepted: {}, then process ids", signals()));
        };
        let signal = Signal::from_name(name)
            .ok_or_else(|| format!("{} is not a signal; accepted: {}", quoted(name), signals()))?;
        let read = |word: &String| {
            // Einhorn's own takes any number of them, and no process ids.
            if Signal::from_name(word).is_some() {
                return Err(format!("{} is a second signal; send one at a time", quoted(word)));
            }
            number(word)
                .and_then(pid)
                .ok_or_else(|| format!("{} is not a process id; it must be {PIDS}", quoted(word)))
        };
        let pids = pids.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Operation::Machine(Command::Signal { signal, pids }))
    }

    /// Which events.
    pub(super) fn events(&self) -> Result<Operation, String> {
        let mut wanted = Wanted { since: Since::Now, until_now: false };
        let mut words = self.args.iter();
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word.as_str(), None),
            };
            let mut value = || {
                value
                    .or_else(|| words.next().map(String::as_str))
                    .ok_or_else(|| format!("{name} needs a value"))
            };
            match name {
                "--since" => wanted.since = since(value()?)?,
                "--until" => match value()? {
                    "now" => wanted.until_now = true,
                    other => return Err(format!("--until: {} is not `now`", quoted(other))),
                },
                _ => {
                    let accepted = "accepted: --since WHEN, --until now";
                    return Err(format!("unexpected argument {}; {accepted}", quoted(word)));
                }
            }
        }
        Ok(Operation::Events(wanted))
    }

    /// A way to shut down, by its signal.
    pub(super) fn die(&self) -> Result<Operation, String> {
        let accepted =
            "accepted: INT or USR2 (graceful, the default), TERM (fast), QUIT (quick), KILL (at once)";
        let shutdown = match self.at_most_one(accepted)? {
            None => Shutdown::Graceful,
            Some(name) => Signal::from_name(name)
                .and_then(Shutdown::from_signal)
                .ok_or_else(|| format!("{} is not a way to shut down; {accepted}", quoted(name)))?,
        };
        Ok(Operation::Machine(Command::Die { shutdown }))
    }

    /// Who says hello.
    pub(super) fn ehlo(&self) -> Result<Operation, String> {
        let user = match self.at_most_one("it takes a user's name")? {
            None => self.text_field("user")?,
            Some(user) => Some(user.to_owned()),
        };
        Ok(Operation::Ehlo { user })
    }
}

/// Where events begin.
fn since(word: &str) -> Result<Since, String> {
    let since = match word {
        "start" => Some(Since::Event(0)),
        "now" => Some(Since::Now),
        word => number(word).map(Since::Event),
    };
    since.ok_or_else(|| {
        let word = quoted(word);
        format!("--since: {word} is not where to begin; accepted: start, now, or the number of an event")
    })
}

fn args(object: &Object) -> Result<Vec<String>, String> {
    let word = |value: &Value| match value {
        Value::String(word) => Ok(word.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("`args` has {} in it; it must be a list of strings and numbers", shown(value)))
        }
    };
    match object.get("args") {
        Some(Value::Array(values)) => values.iter().map(word).collect(),
        Some(Value::Null) | None => Ok(Vec::new()),
        Some(value) => Err(format!("`args` is {}; it must be a list of strings and numbers", shown(value))),
    }
}

/// A number of workers that there can be.
pub(super) fn workers(word: &str) -> Result<u32, String> {
    number(word).filter(|count| TARGET.contains(count)).ok_or_else(|| {
        let (least, most) = (TARGET.start(), TARGET.end());
        format!("{} is not a number of workers; it can be from {least} to {most}", quoted(word))
    })
}

const PIDS: &str = "a whole number from 1 to 2147483647";

fn pid(number: u64) -> Option<Pid> {
    // The kernel's pid_t is signed; 0 and the negative ones mean groups to kill(2).
    i32::try_from(number).ok().filter(|number| *number > 0).map(|number| Pid(number.unsigned_abs()))
}

fn signals() -> String {
    Signal::ALL.iter().map(|signal| signal.word()).collect::<Vec<_>>().join(", ")
}
