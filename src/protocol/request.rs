//! One line of a request, and what is wrong with it.

use super::{
    command,
    release::{Release, Wishes, wishes},
    typed::{number, quoted, shown},
};
use crate::fsm::{
    event::{Command, Strategy},
    id::Pid,
    signal::{Shutdown, Signal},
};
use core::{fmt, str};
use miniserde::json::{self, Number, Object, Value};

/// How deep a request may be nested. Reading, writing and dropping a value take no more stack the
/// deeper it is, but cloning one and printing it for debugging do.
pub const NESTING_MAX: usize = 64;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Comes back with every line of the answer. Any value; numbers that are no integers of
    /// 64 bits may come back with another last digit.
    pub id: Option<Value>,
    /// What is asked for.
    pub operation: Operation,
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A worker is ready.
    Ack {
        /// Its process, as claimed.
        pid: Pid,
    },
    /// A worker is alive.
    Ping {
        /// Its process, as claimed.
        pid: Pid,
        /// What it was working on, as it likes to call that.
        request_id: Option<String>,
    },
    /// Something for the machine to decide about.
    Machine(Command),
    /// The same, with what the next generation is to run.
    Upgrade {
        /// For the machine.
        upgrade: Command,
        /// For the shell.
        release: Release,
    },
    /// What came of the generations so far.
    History,
    /// Hello.
    Ehlo {
        /// Who says so.
        user: Option<String>,
    },
    /// Which commands there are.
    Help,
    /// Which version this is.
    Version,
    /// Log more.
    Louder,
    /// Log less.
    Quieter,
}

/// Why a line is not a request.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The request's id, if that much could be read.
    pub id: Option<Value>,
    /// What was found, and what is accepted.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for Refusal {}

/// Reads a request from a line without its line end.
///
/// A request is a JSON object with a `command`, perhaps an `id`, perhaps `args` (a list of strings and
/// numbers), and the fields that the command takes; what else is there is ignored. Of members with the
/// same name the last one counts. `-` and `_` are the same in a command's name. A null counts as
/// absent, except as the `id`.
///
/// # Errors
/// If it is not, with a message that names the command or field and what is accepted.
pub fn decode(line: &[u8]) -> Result<Request, Refusal> {
    let mut object = object(line).map_err(|message| Refusal { id: None, message })?;
    let id = object.remove("id");
    match operation(&object) {
        Ok(operation) => Ok(Request { id, operation }),
        Err(message) => Err(Refusal { id, message }),
    }
}

/// Reads the line as an object, in whatever dialect it is written.
fn object(line: &[u8]) -> Result<Object, String> {
    let text = str::from_utf8(line).map_err(|_| "a request must be UTF-8".to_owned())?;
    if nesting(text) > NESTING_MAX {
        return Err(format!("a request may be nested at most {NESTING_MAX} deep"));
    }
    match json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(value) => Err(format!("a request must be a JSON object with a `command`; got {}", shown(&value))),
        Err(_) => Err(format!("a request must be a JSON object on one line; got {}", quoted(text))),
    }
}

/// How deep the brackets outside of strings go. Counts too much in text that is not JSON, never too
/// little in text that is.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn operation(object: &Object) -> Result<Operation, String> {
    let name = match object.get("command") {
        Some(Value::String(name)) => name,
        Some(Value::Null) | None => {
            return Err(format!("`command` is missing; accepted: {}", command::names()));
        }
        Some(value) => {
            return Err(format!("`command` is {}; accepted: {}", shown(value), command::names()));
        }
    };
    let known = known(name)
        .ok_or_else(|| format!("unknown command {}; accepted: {}", quoted(name), command::names()))?;
    let asked = Asked { name: known.name, args: args(object).map_err(in_command(known.name))?, object };
    asked.operation().map_err(in_command(known.name))
}

fn in_command(name: &str) -> impl Fn(String) -> String {
    move |message| format!("{name}: {message}")
}

fn known(name: &str) -> Option<&'static command::Entry> {
    let name = name.replace('-', "_");
    command::COMMANDS.iter().find(|entry| entry.name == name)
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

/// A command that is known by name, with what came along.
struct Asked<'a> {
    name: &'static str,
    args: Vec<String>,
    object: &'a Object,
}

impl Asked<'_> {
    fn operation(&self) -> Result<Operation, String> {
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

#[cfg(test)]
mod tests;
