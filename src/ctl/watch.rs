//! Waiting for the end of an upgrade that somebody else has begun.

use super::{
    clock::Clock,
    connection::{Lost, Target},
    failing::Failing,
    interrupt::{Attended, Interrupts, Waited},
    outcome::Outcome,
    render::Screen,
    report::{Past, Upgrade},
    run::Format,
    session::{Session, Trouble},
};
use crate::{
    fsm::{id::Generation, text::Field as _, time::Millis, upgrade::Stage},
    protocol::{Envelope, Progress},
};
use std::{io, time::Duration};

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until no upgrade of the service at `target` is under way, at most for `within`, shows how far it is, and says
/// what came of it.
#[must_use]
pub fn await_upgrade(target: &Target, within: Option<Millis>, format: Format) -> Outcome {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut screen = Screen::new(&mut out, &mut err, format.style());
    let interrupts = Interrupts::catch();
    let attended = interrupts.attend();
    let within = within.map(|Millis(ms)| Duration::from_millis(ms));
    let outcome = match follow(target, within, &attended, &mut screen) {
        Ok(last) => {
            let outcome = if last.ok { Outcome::Done } else { Outcome::Failed };
            screen.show(&last.into());
            outcome
        }
        Err(trouble) => {
            let goes_on =
                matches!(trouble, Trouble::Lost { lost: Lost::Interrupted | Lost::Unfinished(_), .. });
            let rest = if goes_on { "; the upgrade goes on" } else { "" };
            screen.complain(&format_args!("wait: {trouble}{rest}"));
            trouble.outcome()
        }
    };
    screen.conclude(outcome)
}

fn follow(
    target: &Target,
    within: Option<Duration>,
    attended: &Attended<'_>,
    screen: &mut Screen<'_>,
) -> Result<Envelope, Trouble> {
    let clock = Clock::start();
    let patience = || match within {
        Some(within) => target.patience.within(within.saturating_sub(clock.now())),
        None => target.patience,
    };
    let mut session = Session::open(&Target { patience: patience(), ..target.clone() }, attended)?;
    let (mut seen, mut shown) = (None, None);
    loop {
        session.bound(patience());
        let report = session.report()?;
        let Some(upgrade) = &report.upgrade else {
            return match seen {
                None => Ok(Envelope::done(format!(
                    "no upgrade is under way; generation {} serves",
                    report.generation
                ))),
                Some(first) => Ok(conclusion(first, &session.history()?, report.generation)),
            };
        };
        // The way back leads to one from before.
        let coming = if upgrade.rolling_back { 0 } else { upgrade.generation };
        seen = seen.max(Some(coming));
        let progress = progress(upgrade, report.target);
        if shown != Some(progress) {
            screen.show(&progress.envelope().into());
            shown = Some(progress);
        }
        screen.tell_failing(Failing::of(&report));
        screen.catch_up();
        let left = within.map(|within| within.saturating_sub(clock.now()));
        if let (Some(within), Some(Duration::ZERO)) = (within, left) {
            return Err(session.lost(Lost::Unfinished(within)));
        }
        if attended.wait(None, Some(left.map_or(LOOK, |left| left.min(LOOK)))) == Waited::Interrupted {
            return Err(session.lost(Lost::Interrupted));
        }
    }
}

/// The same as the progress lines of an upgrade carry.
pub(super) fn progress(upgrade: &Upgrade, target: u32) -> Progress {
    let otherwise = if upgrade.rolling_back { Stage::Back } else { Stage::Spread };
    Progress {
        generation: Generation(upgrade.generation),
        healthy: upgrade.healthy,
        target,
        retired: upgrade.retired,
        stage: Stage::get(&upgrade.stage).unwrap_or(otherwise),
    }
}

/// What came of the last generation that was under way since, which may have superseded the one that was seen first.
fn conclusion(seen: u32, history: &[Past], serving: u32) -> Envelope {
    let Some(last) = history.iter().rev().find(|past| past.generation >= seen) else {
        // Twenty others have come since.
        let words = format!("generation {seen} is no longer under way; generation {serving} serves");
        return if serving >= seen { Envelope::done(words) } else { Envelope::refused(words) };
    };
    let Past { generation, result, reason } = last;
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let link = if result == "serves" { "" } else { ":" };
    let words = format!("generation {generation}{link} {result}{reason}");
    if *generation == serving { Envelope::done(words) } else { Envelope::refused(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(generation: u32, result: &str, reason: &str) -> Past {
        Past { generation, result: result.into(), reason: reason.into() }
    }

    #[test]
    fn the_last_generation_since_decides() {
        let history = [past(1, "replaced", "by generation 3"), past(2, "superseded", "by generation 3")];
        let good = [&history[..], &[past(3, "serves", "took over after 2 s")]].concat();
        let last = conclusion(2, &good, 3);
        assert!(last.ok);
        assert_eq!(last.message, "generation 3 serves: took over after 2 s");
        let bad = [&history[..], &[past(3, "rolled back", "it was aborted")]].concat();
        let last = conclusion(2, &bad, 1);
        assert!(!last.ok);
        assert_eq!(last.message, "generation 3: rolled back: it was aborted");
        // Who comes when it is going back has not seen its number.
        assert!(!conclusion(0, &bad, 1).ok);
        assert!(!conclusion(9, &[], 1).ok && conclusion(9, &[], 12).ok);
    }
}
