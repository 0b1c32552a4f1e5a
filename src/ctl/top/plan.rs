//! Which part of the view has how many lines, and what is said in those that may need two.

use super::{
    look::{Tone, fold},
    model::{Link, Model},
    words::{alarm, time, troubles},
};
use crate::protocol::visible::visible;
use ratatui::layout::Rect;
use std::time::Duration;

/// So many lines are enough for words that need two.
const ROOMY: u16 = 16;

/// How many lines each part has, from top to bottom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) head: u16,
    pub(super) lost: u16,
    pub(super) alarm: u16,
    pub(super) upgrade: u16,
    pub(super) sockets: u16,
    pub(super) troubles: u16,
    /// With its titles.
    pub(super) table: u16,
    pub(super) detail: u16,
    /// With their title.
    pub(super) events: u16,
    pub(super) said: u16,
    pub(super) keys: u16,
}

impl Plan {
    /// What fits into a terminal: the first of these before the others.
    pub(super) fn new(model: &Model, now: Duration, Rect { width, height: lines, .. }: Rect) -> Self {
        let mut left = lines;
        // What is worth two lines, where there are enough.
        let most = if lines >= ROOMY { 2 } else { 1 };
        let spoken = |words: Option<(String, Tone)>| {
            words.map_or(0, |(words, _)| length(fold(&words, usize::from(width), most).len()))
        };
        let report = model.report.as_ref();
        let has = |condition: bool| u16::from(condition);
        let rows = length(model.list.len());
        let mut plan = Self {
            head: take(&mut left, 1),
            keys: take(&mut left, 1),
            said: take(&mut left, spoken(said(model)).max(1)),
            lost: take(&mut left, spoken(lost(model, now))),
            alarm: take(&mut left, spoken(alarms(model))),
            ..Self::default()
        };
        let upgrades = report.is_some_and(|report| report.upgrade.is_some());
        plan.upgrade = take(&mut left, has(upgrades));
        plan.table = take(&mut left, 3);
        plan.sockets = take(
            &mut left,
            report.map_or(0, |report| length(report.sockets.len()).min(lines.saturating_sub(6) / 6)),
        );
        plan.upgrade += take(&mut left, has(upgrades));
        plan.detail = take(&mut left, has(report.is_some()));
        // An alarm has told of the worst already.
        let fails = report.is_some_and(|report| alarm(report).is_none() && troubles(report).is_some());
        plan.troubles = take(&mut left, has(fails));
        plan.events = match model.no_events {
            Some(_) => take(&mut left, 1),
            None if left >= 5 => take(&mut left, 4),
            None => 0,
        };
        plan.table += take(&mut left, rows.saturating_sub(plan.table.saturating_sub(1)));
        if plan.events > 1 {
            plan.events += take(&mut left, length(model.events.len()).saturating_sub(3));
        }
        plan.table += left;
        plan
    }
}

/// As much of what is left as is wanted.
fn take(left: &mut u16, wanted: u16) -> u16 {
    let taken = wanted.min(*left);
    *left -= taken;
    taken
}

fn length(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// That the supervisor does not answer.
pub(super) fn lost(model: &Model, now: Duration) -> Option<(String, Tone)> {
    match &model.link {
        Link::Live => None,
        Link::Lost(since, why) => {
            Some((format!("NO ANSWER for {}: {why}", time(now.saturating_sub(*since))), Tone::Bad))
        }
    }
}

/// That it shuts down, or nobody serves.
pub(super) fn alarms(model: &Model) -> Option<(String, Tone)> {
    let report = model.report.as_ref()?;
    let stopping = report.stopping.as_ref().map(|how| format!("shutting down ({})", visible(how)));
    Some((stopping.or_else(|| alarm(report))?, Tone::Bad))
}

/// A question, or what came of an order, or how far it is.
pub(super) fn said(model: &Model) -> Option<(String, Tone)> {
    if let Some(question) = model.question() {
        return Some((question, Tone::Strong));
    }
    if let Some(said) = &model.said {
        let (mark, tone) = if said.ok { ("", Tone::Good) } else { ("REFUSED: ", Tone::Bad) };
        return Some((format!("{mark}{}", said.words), tone));
    }
    model.doing.values().next_back().map(|doing| (doing.clone(), Tone::Busy))
}
