//! How things stand, as a table for people and as data for programs.

use super::{
    json::{list, members, number, or_null, text},
    reply::Envelope,
    totals::Totals,
    words::{called, count, exit_status, exit_value, failure, failure_value, span, times},
};
use crate::fsm::{
    id::{Pid, SlotId},
    status::{SlotStatus, Status, UpgradeStatus, WorkerStatus},
    time::Millis,
    upgrade::Stage,
    worker::PhaseTag,
};
use core::fmt::Write as _;
use miniserde::json::{self, Object, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What there is to say about the supervisor itself, which only the shell knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About<'a> {
    /// The supervisor's process.
    pub pid: u32,
    /// What the service is called, if anything.
    pub name: Option<&'a str>,
    /// Its version.
    pub version: &'a str,
    /// How long it has been running.
    pub uptime: Millis,
    /// The sockets that it shares with workers, in the order of their descriptors there.
    pub sockets: Vec<Listening>,
    /// Workers that are stopped, as by SIGSTOP: whatever their phase, they do nothing.
    pub stopped: BTreeSet<Pid>,
    /// What workers have last said that they do.
    pub statuses: &'a BTreeMap<Pid, String>,
    /// What has happened since its start.
    pub totals: &'a Totals,
}

/// A socket that is shared with workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Where it listens.
    pub address: String,
    /// What it is called, if anything.
    pub name: Option<String>,
    /// Where it comes from.
    pub from: Origin,
    /// What waits there to be accepted, if the kernel tells.
    pub queue: Option<Queue>,
}

/// Connections that wait to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How many do.
    pub length: u32,
    /// How many may; the kernel lets in one more.
    pub limit: u32,
}

/// Where a socket comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An option of the command line.
    Bind,
    /// A service manager, which has handed it over.
    Manager,
}

impl Origin {
    fn word(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Manager => "manager",
        }
    }
}

impl About<'_> {
    fn is_stopped(&self, worker: &WorkerStatus) -> bool {
        worker.pid.is_some_and(|pid| self.stopped.contains(&pid))
    }
}

/// The answer to `status`, but for the request's id.
#[must_use]
pub fn envelope(status: &Status, about: &About<'_>) -> Envelope {
    Envelope { written: vec![("status", data(status, about))], ..Envelope::done(table(status, about)) }
}

/// For people. Several lines, the last one without a line end.
#[must_use]
pub fn table(status: &Status, about: &About<'_>) -> String {
    let mut lines: Vec<String> = alarm(status).into_iter().collect();
    lines.extend(heading(status, about));
    lines.push(rows(status, about));
    lines.extend(about.statuses.iter().map(|(pid, status)| format!("pid {pid} says: {status}")));
    lines.extend(status.slots.iter().filter_map(trouble));
    lines.join("\n")
}

/// What has to be said first: that nobody serves, and what is known of the reason.
fn alarm(status: &Status) -> Option<String> {
    if status.healthy > 0 || status.stopping.is_some() {
        return None;
    }
    let failing = status.slots.iter().filter(|slot| slot.failures > 0 || slot.lacks > 0);
    let failing = failing.max_by_key(|slot| (slot.gave_up, slot.failures, slot.lacks)).and_then(trouble);
    let ended = || {
        let last = |slot: &SlotStatus| {
            let how = exit_status(slot.last_exit?);
            Some(format!("slot {}: the last one ended, {how}", slot.slot))
        };
        status.slots.iter().find_map(last)
    };
    let starting = status.workers.iter().filter(|worker| worker.phase.is_starting()).count();
    let starting = match starting {
        0 => "none is starting".into(),
        1 => "1 is starting".into(),
        _ => format!("{starting} are starting"),
    };
    let why = failing.or_else(ended).map(|why| format!("{why}; ")).unwrap_or_default();
    Some(format!("NO WORKER IS HEALTHY: {why}{starting}"))
}

fn heading(status: &Status, about: &About<'_>) -> Vec<String> {
    let Status { target, generation, .. } = status;
    let mut lines = vec![
        format!(
            "einhyrningsins {}{}, pid {}, up {}",
            about.version,
            called(about.name),
            about.pid,
            span(about.uptime)
        ),
        format!("generation {generation}, {}", serving(status)),
    ];
    if let Some(upgrade) = &status.upgrade {
        let UpgradeStatus { generation, strategy, stage, healthy, retired, age, .. } = upgrade;
        let doing = if *stage == Stage::Back { "rolling back" } else { "upgrading" };
        lines.push(format!(
            "{doing} to generation {generation} ({strategy}): {healthy}/{target} healthy, \
             {retired} retired, for {}; waiting for {}",
            span(*age),
            waiting_for(upgrade)
        ));
    }
    lines.extend(status.stopping.map(|shutdown| format!("shutting down ({shutdown})")));
    if !about.sockets.is_empty() {
        let socket = |socket: &Listening| {
            let from = if socket.from == Origin::Manager { ", from the service manager" } else { "" };
            let name = socket.name.as_deref().unwrap_or_default();
            let about = format!("{name}{from}");
            let about = about.strip_prefix(", ").unwrap_or(&about);
            format!("{}{}", socket.address, called((!about.is_empty()).then_some(about)))
        };
        let sockets: Vec<_> = about.sockets.iter().map(socket).collect();
        lines.push(format!("listening on {}", sockets.join(", ")));
    }
    lines
}

/// How many serve. Outside an upgrade, those that stand in for one of the generation that is to serve are not
/// counted as such.
fn serving(status: &Status) -> String {
    let Status { target, healthy, generation, .. } = status;
    let own = own(status);
    if status.upgrade.is_some() || own == *healthy {
        return format!("{healthy}/{target} workers healthy");
    }
    let others = status.workers.iter().filter(|worker| worker.phase == PhaseTag::Healthy);
    let others: BTreeSet<_> = others.map(|worker| worker.generation).filter(|it| it != generation).collect();
    let others: Vec<String> = others.iter().map(ToString::to_string).collect();
    format!(
        "{own}/{target} workers healthy; {} of generation {} in their stead",
        *healthy - own,
        others.join(", ")
    )
}

/// How many healthy workers are of the generation that is to serve.
fn own(status: &Status) -> u32 {
    let own =
        |worker: &&WorkerStatus| worker.phase == PhaseTag::Healthy && worker.generation == status.generation;
    u32::try_from(status.workers.iter().filter(own).count()).unwrap_or(u32::MAX)
}

/// What an upgrade is waiting for.
fn waiting_for(upgrade: &UpgradeStatus) -> String {
    let UpgradeStatus { stage, untouched, unready, trial_left, .. } = upgrade;
    match (stage, trial_left) {
        (Stage::CanarySoak, Some(left)) => format!("the canaries' trial to end, {} to go", span(*left)),
        (_, Some(left)) => format!("the trial of all workers to end, {} to go", span(*left)),
        _ if *unready > 0 => format!("{} to become healthy", count(*unready, "worker")),
        _ if *untouched > 0 => format!("room to replace {}", count(*untouched, "worker")),
        _ => "old workers to go".into(),
    }
}

const COLUMNS: [&str; 9] =
    ["SLOT", "PID", "GENERATION", "PHASE", "READY", "AGE", "RESTARTS", "LAST PING", "LAST EXIT"];

/// A row for each worker. Nothing of a row is kept while the next is made, which is what makes a long table cheap.
fn rows(status: &Status, about: &About<'_>) -> String {
    let mut workers: Vec<&WorkerStatus> = status.workers.iter().collect();
    workers.sort_by_key(|worker| (worker.slot, worker.worker));
    let dash = || "-".to_owned();
    let cells = |worker: &WorkerStatus| {
        let slot = slot_of(status, worker.slot);
        [
            worker.slot.to_string(),
            worker.pid.map_or_else(dash, |pid| pid.to_string()),
            worker.generation.to_string(),
            format!("{}{}", worker.phase, if about.is_stopped(worker) { ", stopped" } else { "" }),
            worker.proof.map_or_else(dash, |proof| proof.word().to_owned()),
            span(worker.age),
            slot.map_or_else(dash, |slot| slot.restarts.to_string()),
            worker.pinged.map_or_else(dash, |pinged| format!("{} ago", span(pinged))),
            slot.and_then(|slot| slot.last_exit).map_or_else(dash, exit_status),
        ]
    };
    if workers.is_empty() {
        return "no workers".into();
    }
    let rows = || core::iter::once(COLUMNS.map(str::to_owned)).chain(workers.iter().copied().map(cells));
    let mut widths = [0; COLUMNS.len()];
    for row in rows() {
        for (width, cell) in widths.iter_mut().zip(&row) {
            *width = cell.len().max(*width);
        }
    }
    let mut out = String::new();
    for row in rows() {
        if !out.is_empty() {
            out.push('\n');
        }
        for (width, cell) in widths.iter().zip(&row) {
            // Writing to a String cannot fail.
            let _ = write!(out, "{cell:width$}  ");
        }
        out.truncate(out.trim_end().len());
    }
    out
}

/// What people must know about a slot that fails.
fn trouble(slot: &SlotStatus) -> Option<String> {
    let SlotStatus { slot: number, failures, lacks, last_failure, retry_in, gave_up, .. } = slot;
    let why = last_failure.as_ref().map(|why| format!(", at last: {}", failure(why))).unwrap_or_default();
    match retry_in {
        _ if *gave_up => Some(format!(
            "slot {number}: given up after {}{why}; `retry` tries again",
            count(*failures, "failed start")
        )),
        retry if *lacks > 0 => {
            let next = retry.map(|delay| format!("; next try in {}", span(delay))).unwrap_or_default();
            Some(format!(
                "slot {number}: the machine lacked something for {}{why}{next}",
                count(*lacks, "start")
            ))
        }
        Some(delay) if *failures > 0 => Some(format!(
            "slot {number}: failed to start {}{why}; next try in {}",
            times(*failures),
            span(*delay)
        )),
        Some(delay) => Some(format!("slot {number}: next start in {}", span(*delay))),
        None if *failures > 0 => Some(format!("slot {number}: failed to start {}{why}", times(*failures))),
        None => None,
    }
}

/// For programs.
#[must_use]
pub fn data(status: &Status, about: &About<'_>) -> String {
    let worker = |worker: &WorkerStatus| {
        let mut fields = worker_fields(worker, slot_of(status, worker.slot));
        fields.insert("stopped".into(), Value::Bool(about.is_stopped(worker)));
        let says = worker.pid.and_then(|pid| about.statuses.get(&pid));
        fields.insert("status".into(), or_null(says, |says| text(says)));
        Value::Object(fields)
    };
    let head = Value::Object(members([
        ("pid", number(about.pid)),
        ("name", or_null(about.name, text)),
        ("version", text(about.version)),
        ("uptime_ms", number(about.uptime.0)),
        ("generation", number(status.generation.0)),
        ("target", number(status.target)),
        ("healthy", number(status.healthy)),
        ("healthy_of_generation", number(own(status))),
        ("upgrade", or_null(status.upgrade.as_ref(), upgrade_value)),
        ("stopping", or_null(status.stopping, |shutdown| text(shutdown.word()))),
        ("listeners", list(about.sockets.iter().map(|socket| text(&socket.address)))),
        ("sockets", list(about.sockets.iter().map(socket_value))),
        ("totals", about.totals.value()),
    ]));
    let mut out = json::to_string(&head);
    out.pop();
    out.push_str(",\"slots\":");
    put_list(&mut out, status.slots.iter().map(slot_value));
    out.push_str(",\"workers\":");
    put_list(&mut out, status.workers.iter().map(worker));
    out.push('}');
    out
}

fn put_list(out: &mut String, values: impl Iterator<Item = Value>) {
    out.push('[');
    for (number, value) in values.enumerate() {
        if number > 0 {
            out.push(',');
        }
        out.push_str(&json::to_string(&value));
    }
    out.push(']');
}

fn socket_value(socket: &Listening) -> Value {
    Value::Object(members([
        ("address", text(&socket.address)),
        ("name", or_null(socket.name.as_ref(), |name| text(name))),
        ("from", text(socket.from.word())),
        ("queue", or_null(socket.queue, |queue| number(queue.length))),
        ("queue_limit", or_null(socket.queue, |queue| number(queue.limit))),
    ]))
}

fn upgrade_value(upgrade: &UpgradeStatus) -> Value {
    Value::Object(members([
        ("generation", number(upgrade.generation.0)),
        ("strategy", text(upgrade.strategy.word())),
        ("rolling_back", Value::Bool(upgrade.stage == Stage::Back)),
        ("stage", text(upgrade.stage.word())),
        ("untouched", number(upgrade.untouched)),
        ("unready", number(upgrade.unready)),
        ("trial_left_ms", or_null(upgrade.trial_left, |left| number(left.0))),
        ("waiting_for", text(&waiting_for(upgrade))),
        ("healthy", number(upgrade.healthy)),
        ("retired", number(upgrade.retired)),
        ("age_ms", number(upgrade.age.0)),
    ]))
}

fn slot_value(slot: &SlotStatus) -> Value {
    Value::Object(members([
        ("slot", number(slot.slot.0)),
        ("failures", number(slot.failures)),
        ("lacks", number(slot.lacks)),
        ("restarts", number(slot.restarts)),
        ("last_failure", or_null(slot.last_failure.as_ref(), failure_value)),
        ("last_exit", exit_value(slot.last_exit)),
        ("retry_in_ms", or_null(slot.retry_in, |delay| number(delay.0))),
        ("gave_up", Value::Bool(slot.gave_up)),
    ]))
}

fn worker_fields(worker: &WorkerStatus, slot: Option<&SlotStatus>) -> Object {
    let (phase, detail) = phase(worker.phase);
    members([
        ("worker", number(worker.worker.0)),
        ("slot", number(worker.slot.0)),
        ("pid", or_null(worker.pid, |pid| number(pid.0))),
        ("generation", number(worker.generation.0)),
        ("phase", text(phase)),
        ("detail", or_null(detail, text)),
        ("ready", or_null(worker.proof, |proof| text(proof.word()))),
        ("age_ms", number(worker.age.0)),
        ("restarts", or_null(slot, |slot| number(slot.restarts))),
        ("last_exit", exit_value(slot.and_then(|slot| slot.last_exit))),
        ("last_ping_ms", or_null(worker.pinged, |pinged| number(pinged.0))),
    ])
}

/// One of the five phases, and what the table tells apart within it.
fn phase(tag: PhaseTag) -> (&'static str, Option<&'static str>) {
    match tag.word().split_once('/') {
        Some((phase, detail)) => (phase, Some(detail)),
        None => (tag.word(), None),
    }
}

/// A slot; they are in the order of their numbers.
fn slot_of(status: &Status, number: SlotId) -> Option<&SlotStatus> {
    let at = status.slots.binary_search_by_key(&number, |slot| slot.slot).ok()?;
    status.slots.get(at)
}

#[cfg(test)]
mod tests;
