//! What an upgrade is to bring, from the words after `upgrade`.

use super::{asked::workers, typed::quoted, words::span};
use crate::fsm::time::Millis;

/// What the next generation runs; what is not said stays as it is in the generation that serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// The program and its arguments.
    pub program: Option<Vec<String>>,
    /// Variables to set in its environment.
    pub variables: Vec<(String, String)>,
}

/// What was said about an upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// How many new workers go ahead of the others.
    pub canary: Option<u32>,
    /// How long new workers must stay healthy before they are trusted.
    pub soak: Option<Millis>,
    /// How long the upgrade may take.
    pub timeout: Option<Millis>,
    /// What the next generation runs.
    pub release: Release,
}

const ACCEPTED: &str =
    "accepted: --canary N, --soak SECS, --timeout SECS, --env VAR=VALUE (repeats), -- PROGRAM ARGS...";

/// The longest time anyone can ask for: a day.
const LONGEST: Millis = Millis(86_400_000);

/// Reads the arguments of `upgrade` and `upgrade_fleet`.
pub(super) fn wishes(args: &[String]) -> Result<Wishes, String> {
    let mut wishes = Wishes::default();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let (option, inline) = match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        let mut value = || {
            let value = inline.clone().or_else(|| words.next().cloned());
            value.ok_or_else(|| format!("{option} needs a value; {ACCEPTED}"))
        };
        match option {
            "--canary" => wishes.canary = Some(canary(&value()?)?),
            "--soak" => wishes.soak = Some(seconds(option, &value()?)?),
            "--timeout" => wishes.timeout = Some(seconds(option, &value()?)?),
            "--env" => wishes.release.variables.push(variable(&value()?)?),
            "--" => {
                let program: Vec<String> = words.cloned().collect();
                if program.is_empty() {
                    return Err(format!("the program after `--` is missing; {ACCEPTED}"));
                }
                wishes.release.program = Some(program);
                break;
            }
            _ => return Err(format!("unexpected argument {}; {ACCEPTED}", quoted(word))),
        }
    }
    if wishes.canary.is_some() && wishes.soak.is_none() {
        return Err("--canary needs --soak: how long the canaries must stay healthy, in seconds".into());
    }
    let trials = wishes.soak.map_or(0, |soak| soak.0 * if wishes.canary.is_some() { 2 } else { 1 });
    if wishes.timeout == Some(Millis(0)) {
        return Err(
            "--timeout: an upgrade takes some time; accepted: a time in seconds that is more than 0".into()
        );
    }
    if let Some(Millis(timeout)) = wishes.timeout.filter(|timeout| timeout.0 <= trials) {
        let (timeout, trials) = (span(Millis(timeout)), span(Millis(trials)));
        return Err(format!("--timeout: {timeout} is not more than the {trials} that the trials take"));
    }
    Ok(wishes)
}

fn canary(word: &str) -> Result<u32, String> {
    workers(word).map_err(|message| format!("--canary: {message}"))
}

fn seconds(option: &str, word: &str) -> Result<Millis, String> {
    Millis::from_decimal_seconds(word).filter(|time| *time <= LONGEST).ok_or_else(|| {
        let most = LONGEST.0 / 1_000;
        let word = quoted(word);
        format!("{option}: {word} is not a time in seconds; accepted: 0 to {most}, decimals allowed")
    })
}

fn variable(word: &str) -> Result<(String, String), String> {
    match word.split_once('=') {
        Some((name, value)) if !name.is_empty() && !word.contains('\0') => Ok((name.into(), value.into())),
        _ => Err(format!("--env: {} is not VAR=VALUE; accepted: a name, =, and a value", quoted(word))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Wishes, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        wishes(&words)
    }

    #[test]
    fn all_that_can_be_wished_for_can_be_said() {
        let wishes =
            read("--canary 2 --soak=1.5 --timeout 4 --env A=b=c --env B= -- ./server --canary 9").unwrap();
        assert_eq!((wishes.canary, wishes.soak), (Some(2), Some(Millis(1_500))));
        assert_eq!(wishes.timeout, Some(Millis(4_000)));
        let variables = [("A", "b=c"), ("B", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(wishes.release.variables, variables);
        let program = ["./server", "--canary", "9"].map(str::to_owned);
        assert_eq!(wishes.release.program.as_deref(), Some(program.as_slice()));
        assert_eq!(read("").unwrap(), Wishes::default());
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_is_accepted() {
        for (line, named) in [
            ("--canary 0 --soak 1", "--canary: `0`"),
            ("--canary 1", "--canary needs --soak"),
            ("--canary", "--canary needs a value"),
            ("--soak soon", "--soak: `soon`"),
            ("--soak 86401", "--soak: `86401`"),
            ("--timeout never", "--timeout: `never`"),
            (
                "--timeout 0",
                "--timeout: an upgrade takes some time; accepted: a time in seconds that is more than 0",
            ),
            ("--soak 2 --timeout 0.0", "--timeout: an upgrade takes some time"),
            ("--canary 1 --soak 2 --timeout 4", "--timeout: 4.0 s is not more than the 4.0 s"),
            ("--env A", "--env: `A`"),
            ("--env =a", "--env: `=a`"),
            ("--", "the program after `--`"),
            ("now", "unexpected argument `now`"),
        ] {
            let message = read(line).unwrap_err();
            assert!(message.contains(named), "{line}: {message}");
        }
    }
}
