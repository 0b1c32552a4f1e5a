//! The table of workers.

use super::{
    list::{Group, Row},
    look::{Look, Pen, Tone},
    model::Model,
    words::{fails, memory, one_line, percent, phase, trouble, vacancy},
};
use crate::{
    ctl::report::{Report, Slot, Worker},
    fsm::time::Millis,
    protocol::words::span,
};
use ratatui::{buffer::Buffer, layout::Rect, style::Modifier};

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Column {
    title: &'static str,
    width: u16,
    is_number: bool,
    /// The narrowest table that has it.
    from: u16,
}

const fn column(title: &'static str, width: u16, is_number: bool, from: u16) -> Column {
    Column { title, width, is_number, from }
}

const COLUMNS: [Column; 9] = [
    column("SLOT", 5, true, 0),
    column("PHASE", 14, false, 0),
    column("PID", 7, true, 0),
    column("GEN", 4, true, 60),
    column("AGE", 11, true, 60),
    column("RESTARTS", 8, true, 74),
    column("CPU%", 5, true, 36),
    column("RSS", 5, true, 42),
    column("PSS", 5, true, 77),
];

/// Draws as many rows as there is room for, under their titles.
pub fn draw(model: &Model, look: Look, area: Rect, buffer: &mut Buffer) {
    let columns: Vec<Column> = COLUMNS.into_iter().filter(|column| column.from <= area.width).collect();
    let mut lines = area.rows();
    let Some(head) = lines.next() else { return };
    let mut pen = Pen::new(buffer, look, head);
    for Column { title, width, is_number, .. } in &columns {
        let put = if *is_number { Pen::right } else { Pen::left };
        put(&mut pen, title, *width, Tone::Plain);
        pen.skip(1);
    }
    pen.skip(1);
    pen.put_whole("NOTE", Tone::Plain);
    buffer.set_style(head, look.style(Tone::Title));
    let Some(report) = &model.report else { return };
    for ((row, is_chosen), line) in model.list.shown().zip(lines) {
        let pen = Pen::new(buffer, look, line);
        match row {
            Row::Group(group) => draw_group(pen, group),
            Row::Worker(index) => {
                if let Some(worker) = report.workers.get(*index) {
                    draw_worker(pen, &columns, model, report, worker);
                }
            }
            Row::Vacant(index) => {
                if let Some(slot) = report.slots.get(*index) {
                    draw_vacant(pen, slot);
                }
            }
        }
        if is_chosen {
            buffer.set_style(line, look.style(Tone::Title).add_modifier(Modifier::REVERSED));
        }
    }
}

/// Which rows are shown, if that is not all of them.
fn place(model: &Model) -> String {
    let (from, count, all) = (model.list.offset(), model.list.shown().count(), model.list.len());
    if count == all { String::new() } else { format!("({}-{} of {all}) ", from + 1, from + count) }
}

fn slot_of<'a>(report: &'a Report, worker: &Worker) -> Option<&'a Slot> {
    let at = report.slots.binary_search_by_key(&worker.slot, |slot| slot.slot).ok()?;
    report.slots.get(at)
}

fn tone(worker: &Worker) -> Tone {
    match worker.phase.as_str() {
        _ if worker.stopped => Tone::Bad,
        "healthy" => Tone::Good,
        "spawning" | "pending-ack" => Tone::Busy,
        "draining" if worker.detail.as_deref() == Some("stuck") => Tone::Bad,
        _ => Tone::Faint,
    }
}

fn draw_worker(mut pen: Pen<'_>, columns: &[Column], model: &Model, report: &Report, worker: &Worker) {
    let dash = || "-".to_owned();
    let usage = worker.pid.and_then(|pid| model.usages.get(&pid));
    let cell = |title: &str| match title {
        "SLOT" => worker.slot.to_string(),
        "PHASE" => phase(worker),
        "PID" => worker.pid.map_or_else(dash, |pid| pid.to_string()),
        "GEN" => worker.generation.to_string(),
        "AGE" => span(Millis(worker.age_ms)),
        "RESTARTS" => worker.restarts.map_or_else(dash, |restarts| restarts.to_string()),
        "CPU%" => usage.and_then(|usage| usage.cpu).map_or_else(dash, percent),
        "RSS" => usage.map_or_else(dash, |usage| memory(usage.rss)),
        _ => usage.and_then(|usage| usage.pss).map_or_else(dash, memory),
    };
    for column in columns {
        let put = if column.is_number { Pen::right } else { Pen::left };
        let tone = if column.title == "PHASE" { tone(worker) } else { Tone::Plain };
        put(&mut pen, &cell(column.title), column.width, tone);
        pen.skip(1);
    }
    pen.skip(1);
    let (note, tone) = note(report, worker);
    pen.put(&note, tone);
}

/// What else there is to tell of a worker.
fn note(report: &Report, worker: &Worker) -> (String, Tone) {
    let failing = slot_of(report, worker).filter(|slot| fails(slot));
    match (failing.and_then(trouble), &worker.status) {
        (Some(trouble), _) => (trouble, Tone::Bad),
        (None, Some(status)) => (one_line(status), Tone::Plain),
        (None, None) => (String::new(), Tone::Plain),
    }
}

fn draw_vacant(mut pen: Pen<'_>, slot: &Slot) {
    let tone = if fails(slot) { Tone::Bad } else { Tone::Busy };
    pen.right(&slot.slot.to_string(), 5, Tone::Plain);
    pen.skip(1);
    pen.left(vacancy(slot), 14, tone);
    pen.skip(1);
    pen.put(&trouble(slot).unwrap_or_default(), tone);
}

fn draw_group(mut pen: Pen<'_>, group: &Group) {
    let (generation, word) = &group.kind;
    let generation = generation.map(|generation| format!(" of generation {generation}")).unwrap_or_default();
    let mark = if group.is_open { "-" } else { "+" };
    pen.put(&format!("{mark}{:>4} {word}{generation}", group.count), Tone::Strong);
    if group.rss > 0 {
        pen.put(&format!("; CPU {}%, RSS {}", percent(group.cpu), memory(group.rss)), Tone::Plain);
    }
}

/// All there is to tell of the row that is chosen, in a line.
#[must_use]
pub fn detail(model: &Model) -> String {
    let Some(report) = &model.report else { return String::new() };
    let chosen = match model.list.chosen() {
        Some(Row::Worker(index)) => report.workers.get(*index).map(|worker| of_worker(report, worker)),
        Some(Row::Vacant(index)) => report.slots.get(*index).map(|slot| {
            let last = slot.last_exit.as_ref().map(|last| one_line(&last.message));
            let last = last.map(|last| format!("the last one {last}"));
            let parts = [trouble(slot), last].into_iter().flatten().collect::<Vec<_>>();
            format!("slot {}: {}", slot.slot, parts.join("; "))
        }),
        Some(Row::Group(_)) => Some("Enter shows them one by one, or no longer".into()),
        None => None,
    };
    place(model) + &chosen.unwrap_or_default()
}

fn of_worker(report: &Report, worker: &Worker) -> String {
    let slot = slot_of(report, worker);
    let mut parts = Vec::new();
    let detail = worker.detail.as_deref().map(|detail| format!("/{}", one_line(detail))).unwrap_or_default();
    let stopped = if worker.stopped { ", stopped by a signal: it does nothing" } else { "" };
    parts.push(format!("slot {}: {}{detail}{stopped}", worker.slot, one_line(&worker.phase)));
    parts.extend(worker.ready.as_deref().map(|ready| format!("ready: {}", one_line(ready))));
    parts.extend(slot.filter(|slot| fails(slot)).and_then(trouble));
    let last = slot.and_then(|slot| slot.last_exit.as_ref());
    parts.extend(last.map(|last| format!("the one before {}", one_line(&last.message))));
    parts.extend(worker.status.as_deref().map(|status| format!("it says: {}", one_line(status))));
    parts.join("; ")
}
