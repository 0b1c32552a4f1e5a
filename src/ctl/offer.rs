//! What can be typed, for a shell that completes a command line: what only a running supervisor knows.

use super::{
    connection::Target,
    interrupt::Interrupts,
    outcome::Outcome,
    patience::Patience,
    report::{Past, Report},
    session::{Session, Trouble},
};
use crate::{cli::completions::Offer, protocol::visible::visible};
use std::{
    io::{self, Write as _},
    time::Duration,
};

/// Whoever has pressed a key waits for it: a connection and an answer may take twice this.
const PATIENCE: Duration = Duration::from_millis(400);

/// Prints what can be typed, a line each, with a tab and a few words on it behind. If nobody answers soon, that is
/// nothing, and nothing is said of it.
#[must_use]
pub fn offer(target: Target, offer: Offer) -> Outcome {
    let target = Target { patience: Patience { first: PATIENCE, next: Some(PATIENCE) }, ..target };
    match lines(&target, offer) {
        // Whoever reads them may have gone away.
        Ok(lines) => match io::stdout().write_all(lines.as_bytes()) {
            Ok(()) => Outcome::Done,
            Err(_) => Outcome::Unwritten,
        },
        Err(trouble) => trouble.outcome(),
    }
}

fn lines(target: &Target, offer: Offer) -> Result<String, Trouble> {
    let interrupts = Interrupts::catch();
    let attended = interrupts.attend();
    let mut session = Session::open(target, &attended)?;
    Ok(match offer {
        Offer::Pids => pids(&session.report()?),
        Offer::Generations => generations(&session.history()?),
    })
}

/// Workers in the order of their slots.
fn pids(report: &Report) -> String {
    let mut workers: Vec<_> = report.workers.iter().collect();
    workers.sort_by_key(|worker| (worker.slot, worker.worker));
    let line = |pid: u32, slot: u32, generation: u32, phase: &str| {
        format!("{pid}\tslot {slot}, generation {generation}, {}\n", visible(phase))
    };
    let lines = workers.into_iter().filter_map(|it| Some(line(it.pid?, it.slot, it.generation, &it.phase)));
    lines.collect()
}

/// Generations, the newest first.
fn generations(history: &[Past]) -> String {
    let line = |past: &Past| format!("{}\t{}\n", past.generation, visible(&past.result));
    history.iter().rev().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::{clock::Clock, fake::Fake, owner::Owner};
    use std::os::unix::net::UnixListener;

    const HISTORY: &str = r#"{"message":"","ok":true,"history":[{"generation":1,"result":"replaced","reason":""},{"generation":2,"result":"serves\u001b[2J","reason":"x"}]}"#;

    #[test]
    fn generations_come_newest_first_and_give_no_orders() {
        let answer = format!("{HISTORY}\n");
        let fake = Fake::new(&[&[&answer]]);
        let said = lines(&fake.target(), Offer::Generations).unwrap();
        assert_eq!(said, "2\tserves\\u{1b}[2J\n1\treplaced\n");
    }

    #[test]
    fn nobody_waits_for_who_does_not_answer() {
        let path = std::env::temp_dir().join(format!("einhyrningsins-offer-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let _listener = UnixListener::bind(&path).unwrap();
        let target = Target { path: path.clone(), owner: Owner::RootOrSelf, patience: Patience::of(None) };
        let clock = Clock::start();
        assert_eq!(offer(target, Offer::Pids), Outcome::Unreachable);
        assert!(clock.now() < Duration::from_secs(2), "{:?}", clock.now());
        let _ = std::fs::remove_file(&path);
    }
}
