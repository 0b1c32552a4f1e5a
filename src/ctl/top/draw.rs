//! How the view is laid out, and drawn.

use super::{
    help,
    look::{Look, Pen, Tone, fold, width},
    model::{Event, Model},
    plan::{Plan, alarms, lost, said},
    table,
    words::{clock, one_line, serving, troubles},
};
use crate::{
    ctl::{
        bar::Bar,
        failing::Failing,
        report::{Report, Socket, Upgrade},
        watch::progress,
    },
    fsm::time::Millis,
    protocol::{visible::visible, words::span},
};
use ratatui::{buffer::Buffer, layout::Rect};
use std::time::Duration;

/// The smallest terminal that has room for what matters.
pub const LEAST: (u16, u16) = (40, 8);

/// Prepares the list for a terminal of that size.
pub fn fit(model: &mut Model, now: Duration, area: Rect) {
    let plan = Plan::new(model, now, area);
    model.list.fit(usize::from(plan.table.saturating_sub(1)));
}

/// Draws everything.
pub fn draw(model: &Model, look: Look, now: Duration, area: Rect, buffer: &mut Buffer) {
    if area.width < LEAST.0 || area.height < LEAST.1 {
        return too_small(look, area, buffer);
    }
    if let super::asking::Mode::Help(line) = model.mode {
        return help::draw(look, line, area, buffer);
    }
    let plan = Plan::new(model, now, area);
    let mut rest = area;
    let mut part = |height: u16| {
        let part = Rect { height, ..rest };
        (rest.y, rest.height) = (rest.y + height, rest.height - height);
        part
    };
    let mut line = |height: u16, buffer: &mut Buffer, write: &dyn Fn(&mut Pen<'_>)| {
        let part = part(height);
        if height > 0 {
            write(&mut Pen::new(buffer, look, part));
        }
        part
    };
    let report = model.report.as_ref();
    line(plan.head, buffer, &|pen| head(report, pen));
    let area = line(plan.lost, buffer, &|_| {});
    speak(lost(model, now), look, area, buffer);
    let area = line(plan.alarm, buffer, &|_| {});
    speak(alarms(model), look, area, buffer);
    if let Some((report, upgrade)) = report.and_then(|report| Some((report, report.upgrade.as_ref()?))) {
        line(plan.upgrade.min(1), buffer, &|pen| upgrades(report, upgrade, pen));
        line(plan.upgrade.saturating_sub(1), buffer, &|pen| stages(upgrade, pen));
    }
    let area = line(plan.sockets, buffer, &|_| {});
    sockets(model, look, area, buffer);
    line(plan.troubles, buffer, &|pen| {
        pen.put(&report.and_then(troubles).unwrap_or_default(), Tone::Bad);
    });
    let area = line(plan.table, buffer, &|_| {});
    table::draw(model, look, area, buffer);
    line(plan.detail, buffer, &|pen| pen.put(&table::detail(model), Tone::Faint));
    let area = line(plan.events, buffer, &|_| {});
    events(model, look, area, buffer);
    let area = line(plan.said, buffer, &|_| {});
    speak(said(model), look, area, buffer);
    line(plan.keys, buffer, &|pen| keys(pen));
}

/// Writes words into as many lines as there are.
fn speak(words: Option<(String, Tone)>, look: Look, area: Rect, buffer: &mut Buffer) {
    let Some((words, tone)) = words else { return };
    let lines = fold(&words, usize::from(area.width), usize::from(area.height));
    for (text, line) in lines.into_iter().zip(area.rows()) {
        Pen::new(buffer, look, line).put(text, tone);
    }
}

fn too_small(look: Look, area: Rect, buffer: &mut Buffer) {
    let words = format!("needs {}x{}, is {}x{}", LEAST.0, LEAST.1, area.width, area.height);
    Pen::new(buffer, look, area).put(&words, Tone::Plain);
}

fn head(report: Option<&Report>, pen: &mut Pen<'_>) {
    let Some(report) = report else {
        return pen.put("einhyrningsins: no answer yet", Tone::Strong);
    };
    let Report { generation, pid, uptime_ms, .. } = report;
    let version = format!("einhyrningsins {}", visible(&report.version));
    let (name, last) = match &report.name {
        Some(name) => (visible(name), version),
        None => (version, String::new()),
    };
    let tone = match report.healthy {
        0 => Tone::Bad,
        healthy if healthy < report.target => Tone::Busy,
        _ => Tone::Good,
    };
    // A name may have any length; the numbers matter more.
    let most =
        u16::try_from(width(&name)).unwrap_or(u16::MAX).min(u16::try_from(pen.room() / 2).unwrap_or(0));
    pen.left(&name, most, Tone::Strong);
    let parts = [
        (serving(report), tone),
        (format!("generation {generation}"), Tone::Plain),
        (format!("pid {pid}"), Tone::Plain),
        (format!("up {}", span(Millis(*uptime_ms))), Tone::Plain),
        (last, Tone::Plain),
    ];
    for (words, tone) in parts {
        if pen.room() < 2 + width(&words) {
            return;
        }
        pen.skip(2);
        pen.put(&words, tone);
    }
}

fn upgrades(report: &Report, upgrade: &Upgrade, pen: &mut Pen<'_>) {
    let Upgrade { generation, strategy, rolling_back, age_ms, .. } = upgrade;
    let doing = if *rolling_back { "going back" } else { "upgrading" };
    let (strategy, age) = (visible(strategy), span(Millis(*age_ms)));
    let words = if *rolling_back { String::new() } else { format!(" ({strategy})") };
    let words = format!("{doing} to generation {generation}{words}, {age}  ");
    if width(&words) * 2 <= pen.room() + 16 {
        pen.put(&words, Tone::Strong);
    } else {
        pen.put(&format!("{doing} to {generation}: "), Tone::Strong);
    }
    let tone = if *rolling_back { Tone::Bad } else { Tone::Busy };
    // The words before it say which way it goes.
    let forward = Upgrade { rolling_back: false, stage: "spread".into(), ..upgrade.clone() };
    let bar = Bar::new(&progress(&forward, report.target), &Failing::default(), pen.room() + 1);
    pen.put(&bar.plain(), tone);
}

/// The stages as people call them, by the words of the status.
const STAGES: [(&str, &str); 5] = [
    ("canary", "canary"),
    ("canary-soak", "canary's trial"),
    ("spread", "spread"),
    ("probation", "trial"),
    ("proven", "leaving"),
];

fn stages(upgrade: &Upgrade, pen: &mut Pen<'_>) {
    let waits = format!("  waits for {}", one_line(&upgrade.waiting_for));
    let known = STAGES.iter().find(|(word, _)| *word == upgrade.stage);
    let now = known.map_or_else(|| visible(&upgrade.stage), |(_, name)| (*name).to_owned());
    let is_back = upgrade.rolling_back || upgrade.stage == "back";
    let names: Vec<_> = STAGES.iter().map(|(_, name)| *name).collect();
    let all = width(&names.join(" > ")) + 2;
    if is_back || known.is_none() || all + width(&waits) > pen.room() {
        let now = if is_back { "going back".to_owned() } else { now };
        pen.put(&format!("[{now}]"), Tone::Strong);
    } else {
        for (number, (_, name)) in STAGES.iter().enumerate() {
            if number > 0 {
                pen.put(" > ", Tone::Faint);
            }
            if *name == now {
                pen.put(&format!("[{name}]"), Tone::Strong);
            } else {
                pen.put(name, Tone::Faint);
            }
        }
    }
    pen.put(&waits, Tone::Plain);
}

fn sockets(model: &Model, look: Look, area: Rect, buffer: &mut Buffer) {
    let Some(report) = &model.report else { return };
    let called = |socket: &Socket| {
        let name = socket.name.as_ref().map(|name| format!(" ({})", visible(name))).unwrap_or_default();
        visible(&socket.address) + &name
    };
    let all = report.sockets.len();
    let room = usize::from(area.height);
    // The last line is for those that do not fit.
    let fit = if all > room { room.saturating_sub(1).max(1) } else { all };
    let longest =
        report.sockets.iter().take(fit).map(|socket| width(&called(socket))).max().unwrap_or_default();
    let columns = u16::try_from(longest).unwrap_or(u16::MAX).min(area.width / 2);
    let mut lines = area.rows();
    for (socket, line) in report.sockets.iter().take(fit).zip(lines.by_ref()) {
        let mut pen = Pen::new(buffer, look, line);
        pen.left(&called(socket), columns, Tone::Plain);
        let Some(queue) = socket.queue else { continue };
        let limit = socket.queue_limit.unwrap_or_default();
        let tone = match queue.saturating_mul(100).checked_div(limit) {
            Some(80..) => Tone::Bad,
            Some(50..80) => Tone::Busy,
            Some(..50) | None => Tone::Plain,
        };
        let of = if limit > 0 { format!(" of {limit}") } else { String::new() };
        pen.put(&format!("  {queue}{of} wait "), tone);
        let looks = model.queues.get(&socket.address).into_iter().flatten().copied();
        let looks: Vec<u32> = looks.collect();
        let from = looks.len().saturating_sub(pen.room());
        let most = looks.iter().copied().max().unwrap_or_default().max(8);
        pen.put(&look.line(looks.into_iter().skip(from), most), tone);
    }
    if let (true, Some(line)) = (fit < all, lines.next()) {
        Pen::new(buffer, look, line).put(&format!("and {} sockets more", all - fit), Tone::Faint);
    }
}

fn events(model: &Model, look: Look, area: Rect, buffer: &mut Buffer) {
    let mut lines = area.rows();
    let Some(title) = lines.next() else { return };
    let words = match &model.no_events {
        Some(why) => format!("EVENTS: none: {why}"),
        None => "EVENTS (UTC)".to_owned(),
    };
    Pen::new(buffer, look, title).put(&words, Tone::Plain);
    buffer.set_style(title, look.style(Tone::Title));
    let room = usize::from(area.height.saturating_sub(1));
    let from = model.events.len().saturating_sub(room);
    for (Event { at_ms, level, message, .. }, line) in model.events.iter().skip(from).zip(lines) {
        let tone = match level.as_str() {
            "error" => Tone::Bad,
            "warn" => Tone::Busy,
            _ => Tone::Plain,
        };
        let mut pen = Pen::new(buffer, look, line);
        pen.put(&clock(*at_ms), Tone::Faint);
        pen.skip(1);
        pen.put(message, tone);
    }
}

/// What keys do, as much of it as fits; each of these is as wide as the one behind it is not.
fn keys(pen: &mut Pen<'_>) {
    let all: [&[(&str, &str)]; 3] = [
        &[
            ("q", " quit  "),
            ("?", " help  "),
            ("g", " groups  "),
            ("r", " retry  "),
            ("+ -", " workers  asking first: "),
            ("u", " upgrade  "),
            ("a", " abort  "),
            ("s", " signal"),
        ],
        &[
            ("q", " quit "),
            ("?", " help "),
            ("g", " group "),
            ("r", " retry "),
            ("+/-", " workers; ask first: "),
            ("u", " upgrade "),
            ("a", " abort "),
            ("s", " signal"),
        ],
        &[("q", " quit "), ("?", " help "), ("g r + -", " ask first: "), ("u a s", "")],
    ];
    let length = |keys: &&&[(&str, &str)]| {
        keys.iter().map(|(key, does)| key.len() + does.len()).sum::<usize>() <= pen.room()
    };
    let fitting = all.iter().find(length).or(all.last()).copied().unwrap_or_default();
    for (key, does) in fitting {
        pen.put(key, Tone::Strong);
        pen.put(does, Tone::Faint);
    }
}
