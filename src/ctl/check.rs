//! Probing a service: a line, and an exit status.

use super::{
    clock::Clock,
    connection::Target,
    interrupt::{Attended, Interrupts, Waited},
    outcome::Outcome,
    render::{Screen, Style},
    report::Report,
    run::Format,
    session::{Session, Trouble},
};
use crate::{
    cli::tool::{Check, Least},
    protocol::{
        Envelope,
        json::{members, text},
    },
};
use std::{io, time::Duration};

/// How often it is looked again, while a service that is not yet as it should be is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) passes: bool,
    pub(super) words: String,
}

/// Probes the service at `target`, says in a line what was found, and whether that is as it should be. If that is to
/// be waited for, it is looked again until it is so, or the time is over.
#[must_use]
pub fn check(target: &Target, check: &Check, format: Format) -> Outcome {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let style = if format == Format::Json { Style::Json } else { Style::Plain };
    let mut screen = Screen::new(&mut out, &mut err, style);
    let interrupts = Interrupts::catch();
    let attended = interrupts.attend();
    let outcome = match wait_for(target, check, &attended) {
        Ok(Finding { passes, words }) => {
            let fields = members([("check", text(if passes { "pass" } else { "fail" }))]);
            screen.show(&Envelope { ok: passes, fields, ..Envelope::done(words) }.into());
            if passes { Outcome::Done } else { Outcome::Failed }
        }
        Err(trouble) => {
            let outcome = trouble.outcome();
            if format == Format::Json {
                let fields = members([("check", text("unknown"))]);
                screen.show(&Envelope { fields, ..Envelope::refused(trouble.to_string()) }.into());
            } else {
                screen.complain(&trouble);
            }
            outcome
        }
    };
    screen.conclude(outcome)
}

fn wait_for(target: &Target, check: &Check, attended: &Attended<'_>) -> Result<Finding, Trouble> {
    let clock = Clock::start();
    let limit = limit(check).unwrap_or_default();
    loop {
        let found = look(target, check, attended, &clock);
        let settled = match &found {
            Ok(finding) => finding.passes,
            // Whoever is not there may come; whoever is another's will not be ours.
            Err(trouble) => trouble.outcome() == Outcome::Interrupted,
        };
        let left = limit.saturating_sub(clock.now());
        if settled || left.is_zero() {
            return found;
        }
        if attended.wait(None, Some(left.min(LOOK))) == Waited::Interrupted {
            return found;
        }
    }
}

/// How long it is waited for, if it is.
fn limit(check: &Check) -> Option<Duration> {
    check.wait.filter(|wait| wait.0 > 0).map(|wait| Duration::from_millis(wait.0))
}

/// Looks once. Where it is waited for, it is asked no longer than that.
fn look(target: &Target, check: &Check, attended: &Attended<'_>, clock: &Clock) -> Result<Finding, Trouble> {
    let patience = || match limit(check) {
        Some(limit) => target.patience.within(limit.saturating_sub(clock.now())),
        None => target.patience,
    };
    let mut session = Session::open(&Target { patience: patience(), ..target.clone() }, attended)?;
    session.bound(patience());
    if check.least == Least::Live {
        let answer = session.ask("version", &[])?;
        return Ok(Finding { passes: true, words: format!("{} answers", answer.message) });
    }
    Ok(judge(&session.report()?, check))
}

/// Whether that is as it should be, in words.
pub(super) fn judge(report: &Report, check: &Check) -> Finding {
    let Report { generation, target, .. } = report;
    let least = check.least.of(*target);
    let healthy = if check.generation.is_some() { report.healthy_of_generation } else { report.healthy };
    let mut passes = healthy >= least;
    let mut words = format!("{healthy} of {target} workers are healthy");
    if least != *target {
        let are = if least == 1 { "is" } else { "are" };
        words += &format!(", {least} {are} {}", if passes { "enough" } else { "needed" });
    }
    let other = check.generation.filter(|expected| expected.0 != *generation);
    words += &match (report.healthy, other) {
        (0, None) => "; nobody serves".to_owned(),
        (0, Some(expected)) => format!("; nobody serves, and generation {generation} would, not {expected}"),
        (_, None) => format!("; generation {generation} serves"),
        (_, Some(expected)) => format!("; generation {generation} serves, not {expected}"),
    };
    passes &= other.is_none();
    if let Some(upgrade) = &report.upgrade {
        let doing = if upgrade.rolling_back { "going back" } else { "upgrading" };
        words += &format!("; {doing} to generation {}", upgrade.generation);
    }
    if let Some(stopping) = &report.stopping {
        words += &format!("; shutting down ({stopping})");
        passes = false;
    }
    Finding { passes, words }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::id::Generation;

    fn report(healthy: u32, own: u32) -> Report {
        Report {
            pid: 1,
            name: None,
            version: "1".into(),
            uptime_ms: 1,
            generation: 2,
            target: 4,
            healthy,
            healthy_of_generation: own,
            upgrade: None,
            stopping: None,
            sockets: Vec::new(),
            slots: Vec::new(),
            workers: Vec::new(),
            totals: None,
        }
    }

    fn judged(report: &Report, least: Least, generation: Option<u32>) -> (bool, String) {
        let Finding { passes, words } =
            judge(report, &Check { least, generation: generation.map(Generation), wait: None });
        (passes, words)
    }

    #[test]
    fn a_service_passes_with_as_many_healthy_workers_as_are_asked_for() {
        for (healthy, least, passes) in [
            (4, Least::All, true),
            (5, Least::All, true),
            (3, Least::All, false),
            (3, Least::Number(3), true),
            (2, Least::Number(3), false),
            (2, Least::Percent(50), true),
            (1, Least::Percent(50), false),
            (0, Least::Number(0), true),
        ] {
            assert_eq!(judged(&report(healthy, healthy), least, None).0, passes, "{healthy} {least:?}");
        }
        let (_, words) = judged(&report(2, 2), Least::Percent(50), None);
        assert_eq!(words, "2 of 4 workers are healthy, 2 are enough; generation 2 serves");
        let (_, words) = judged(&report(2, 2), Least::Number(3), None);
        assert_eq!(words, "2 of 4 workers are healthy, 3 are needed; generation 2 serves");
        let (_, words) = judged(&report(0, 0), Least::Number(1), None);
        assert_eq!(words, "0 of 4 workers are healthy, 1 is needed; nobody serves");
    }

    #[test]
    fn with_a_generation_only_its_own_workers_count_and_it_has_to_serve() {
        assert!(judged(&report(4, 4), Least::All, Some(2)).0);
        assert!(!judged(&report(4, 3), Least::All, Some(2)).0, "one stands in");
        let (passes, words) = judged(&report(4, 4), Least::All, Some(3));
        assert!(!passes);
        assert_eq!(words, "4 of 4 workers are healthy; generation 2 serves, not 3");
    }

    #[test]
    fn a_service_that_shuts_down_is_not_ready() {
        let stopping = Report { stopping: Some("graceful".into()), ..report(4, 4) };
        let (passes, words) = judged(&stopping, Least::All, None);
        assert!(!passes && words.ends_with("; shutting down (graceful)"), "{words}");
    }
}
