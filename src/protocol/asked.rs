//! What came along with a command, read as what the command takes.

use super::{
    operation::Operation,
    release::{Wishes, wishes},
    typed::{number, quoted, shown},
};
use crate::fsm::{
    event::{Command, Strategy},
    id::Pid,
    signal::{Shutdown, Signal},
};
use miniserde::json::{Number, Object, Value};

pub(super) fn args(object: &Object) -> Result<Vec<String>, String> {
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

/// A command that is known by name, with what came along.
pub(super) struct Asked<'a> {
    pub(super) name: &'static str,
    pub(super) args: Vec<String>,
    pub(super) object: &'a Object,
}

impl Asked<'_> {
    pub(super) fn operation(&self) -> Result<Operation, String> {
        Ok(match self.name {
            "worker:ack" => Operation::Ack { pid: self.pid_field()? },
            "worker:ping" => {
                Operation::Ping { pid: self.pid_field()?, request_id: self.text_field("request_id")? }
            }
            "status" => self.plain(Operation::Machine(Command::Status))?,
            "upgrade" => self.upgrade(Strategy::Rolling)?,
            "upgrade_fleet" => self.upgrade(Strategy::Fleet)?,
            "abort" => self.plain(Operation::Machine(Command::Abort))?,
            "history" => self.plain(Operation::History)?,
            "inc" => self.plain(Operation::Machine(Command::Inc))?,
            "dec" => self.plain(Operation::Machine(Command::Dec))?,
            "set_workers" => Operation::Machine(Command::SetWorkers { count: self.count()? }),
            "signal" => {
                let (signal, pids) = self.signal()?;
                Operation::Machine(Command::Signal { signal, pids })
            }
            "retry" => self.plain(Operation::Machine(Command::Retry))?,
            "die" => Operation::Machine(Command::Die { shutdown: self.shutdown()? }),
            "ehlo" => Operation::Ehlo { user: self.user()? },
            "help" => self.plain(Operation::Help)?,
            "version" => self.plain(Operation::Version)?,
            "louder" => self.plain(Operation::Louder)?,
            "quieter" => self.plain(Operation::Quieter)?,
            // In the table of commands but not here: a test sees to it that there is none.
            _ => return Err("not available".into()),
        })
    }

    fn upgrade(&self, strategy: Strategy) -> Result<Operation, String> {
        let Wishes { canary, soak, release } = wishes(&self.args)?;
        Ok(Operation::Upgrade { upgrade: Command::Upgrade { strategy, canary, soak }, release })
    }

    /// A command that takes no arguments.
    fn plain(&self, operation: Operation) -> Result<Operation, String> {
        match self.args.as_slice() {
            [] => Ok(operation),
            [first, ..] => Err(format!("unexpected argument {}; it takes none", quoted(first))),
        }
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
                    .ok_or_else(|| format!("{} is not it; {accepted}", quoted(word))),
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

    fn count(&self) -> Result<u32, String> {
        let accepted = "it takes one argument, the number of workers";
        match self.args.as_slice() {
            [count] => number(count).ok_or_else(|| format!("{} is not a number of workers", quoted(count))),
            [] => Err(format!("the argument is missing; {accepted}")),
            [_, second, ..] => Err(format!("unexpected argument {}; {accepted}", quoted(second))),
        }
    }

    fn signal(&self) -> Result<(Signal, Vec<Pid>), String> {
        let Some((name, pids)) = self.args.split_first() else {
            return Err(format!("the signal is missing; accepted: {}, then process ids", signals()));
        };
        let signal = Signal::from_name(name)
            .ok_or_else(|| format!("{} is not a signal; accepted: {}", quoted(name), signals()))?;
        let read = |word: &String| {
            number(word)
                .and_then(pid)
                .ok_or_else(|| format!("{} is not a process id; it must be {PIDS}", quoted(word)))
        };
        Ok((signal, pids.iter().map(read).collect::<Result<_, _>>()?))
    }

    fn shutdown(&self) -> Result<Shutdown, String> {
        let accepted =
            "accepted: INT or USR2 (graceful, the default), TERM (fast), QUIT (quick), KILL (kill)";
        match self.args.as_slice() {
            [] => Ok(Shutdown::Graceful),
            [name] => Signal::from_name(name)
                .and_then(Shutdown::from_signal)
                .ok_or_else(|| format!("{} is not a way to shut down; {accepted}", quoted(name))),
            [_, second, ..] => Err(format!("unexpected argument {}; {accepted}", quoted(second))),
        }
    }

    fn user(&self) -> Result<Option<String>, String> {
        match self.args.as_slice() {
            [] => self.text_field("user"),
            [user] => Ok(Some(user.clone())),
            [_, second, ..] => Err(format!("unexpected argument {}; it takes a user's name", quoted(second))),
        }
    }
}

const PIDS: &str = "a whole number from 1 to 2147483647";

fn pid(number: u64) -> Option<Pid> {
    // The kernel's pid_t is signed; 0 and the negative ones mean groups to kill(2).
    i32::try_from(number).ok().filter(|number| *number > 0).map(|number| Pid(number.unsigned_abs()))
}

fn signals() -> String {
    Signal::ALL.iter().map(|signal| signal.word()).collect::<Vec<_>>().join(", ")
}
