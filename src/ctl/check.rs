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
    let limit = check.wait.map_or(Duration::ZERO, |wait| Duration::from_millis(wait.0));
    loop {
        let found = look(target, check, attended);
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

fn look(target: &Target, check: &Check, attended: &Attended<'_>) -> Result<Finding, Trouble> {
    let mut session = Session::open(target, attended)?;
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
    let wanted = if least == *target { String::new() } else { format!(", {least} are enough") };
    let mut words =
        format!("{healthy} of {target} workers are healthy{wanted}; generation {generation} serves");
    let mut passes = healthy >= least;
    if let Some(expected) = check.generation.filter(|expected| expected.0 != *generation) {
        words += &format!(", not {expected}");
        passes = false;
    }
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
