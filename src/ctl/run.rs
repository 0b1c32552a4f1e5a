//! What came on the command line.

use super::{
    client::Client,
    connection::Target,
    interactive,
    interrupt::Interrupts,
    outcome::Outcome,
    render::{Screen, Style},
    terminal::{self, Ruler},
};
use crate::cli::{DEFAULT_SOCKET_PATH, order::Order};
use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
    path::PathBuf,
};

/// In what form to show answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    People,
    /// Reply lines as they came.
    Json,
}

impl Format {
    /// How answers are shown so, where this program writes to.
    #[must_use]
    pub fn style(self) -> Style {
        match self {
            Self::Json => Style::Json,
            Self::People if terminal::can_draw() => Style::Terminal(Ruler::new()),
            Self::People => Style::Plain,
        }
    }
}

/// The control socket to connect to: the one that was named, or else the one that the environment names, as
/// it does for workers and for what they run, or else the default one.
#[must_use]
pub fn socket_path(named: Option<PathBuf>, environment: Option<OsString>) -> PathBuf {
    let environment = environment.filter(|path| !path.is_empty()).map(PathBuf::from);
    named.or(environment).unwrap_or_else(|| DEFAULT_SOCKET_PATH.into())
}

/// Carries orders out one after the other, up to the first that fails; without any, an interactive session,
/// or what comes on standard input if that is no terminal.
#[must_use]
pub fn run(target: Target, format: Format, orders: &[Order]) -> Outcome {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut screen = Screen::new(&mut out, &mut err, format.style());
    let mut client = Client::new(target, Interrupts::catch()).for_reader_of(io::stdout());
    let outcome = if !orders.is_empty() {
        run_all(&mut client, orders, &mut screen)
    } else if io::stdin().is_terminal() {
        interactive::session(&mut client, &mut screen)
    } else {
        interactive::batch(io::stdin().lock(), &mut client, &mut screen)
    };
    screen.conclude(outcome)
}

fn run_all(client: &mut Client, orders: &[Order], screen: &mut Screen<'_>) -> Outcome {
    orders
        .iter()
        .map(|order| client.run(order, screen))
        .find(|outcome| *outcome != Outcome::Done)
        .unwrap_or(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::fake::Fake;

    #[test]
    fn the_socket_is_the_named_one_or_the_environments_or_the_default() {
        let [named, ours] = ["/run/named", "/run/ours"].map(PathBuf::from);
        assert_eq!(socket_path(Some(named.clone()), Some("/run/ours".into())), named);
        assert_eq!(socket_path(None, Some("/run/ours".into())), ours);
        for environment in [None, Some(OsString::new())] {
            assert_eq!(socket_path(None, environment), PathBuf::from("/tmp/einhorn.sock"));
        }
    }

    #[test]
    fn several_commands_stop_at_the_first_that_fails() {
        let done = "{\"message\":\"done\",\"ok\":true}\n";
        let no = "{\"message\":\"no\",\"ok\":false}\n";
        let fake = Fake::new(&[&[done, no, done]]);
        let orders = ["inc", "retry", "dec"].map(|name| Order::read(&[name.to_owned()]).unwrap().unwrap());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut screen = Screen::new(&mut out, &mut err, Style::Plain);
        let mut client = Client::new(fake.target(), Interrupts::leave());
        assert_eq!(run_all(&mut client, &orders, &mut screen), Outcome::Failed);
        assert_eq!(fake.requests().len(), 2);
    }
}
