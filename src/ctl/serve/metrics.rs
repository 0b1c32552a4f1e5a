//! What is exported for Prometheus.

use super::{
    desk::Heard,
    exposition::{Exposition, Kind, Seconds},
};
use crate::ctl::{
    clock::{self, Clock},
    procfs::{self, Stat},
    report::{Report, Spread, Totals},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The phases of a worker that still is.
const PHASES: [&str; 4] = ["spawning", "pending-ack", "healthy", "draining"];

/// For how long it is looked at a time what part of shared memory is whose; that takes the kernel some time. What is
/// not reached has its turn the next time.
const LOOK: Duration = Duration::from_millis(100);

/// How much a start may seem to move, for how it is found out.
const JITTER: u64 = 2_000;

/// What is counted from one time to the next.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Each process that is looked at.
    seen: BTreeMap<u32, Seen>,
    /// The time that the workers of each slot have used of CPUs, those that are gone included, in ms.
    cpu: BTreeMap<u32, u64>,
    /// The supervisor and when it was started, in ms since the beginning of 1970.
    start: Option<(u32, u64)>,
}

/// A worker's process.
#[derive(Debug)]
struct Seen {
    slot: u32,
    stat: Stat,
    /// Its part of memory, and when that was looked at.
    part: Option<(Duration, u64)>,
}

impl Metrics {
    /// All of them.
    pub(super) fn write(&mut self, heard: &Heard, clock: &Clock) -> String {
        let report = &*heard.report;
        if heard.local {
            self.look(report, clock);
        } else {
            self.seen.clear();
        }
        let mut out = Exposition::default();
        service(&mut out, report);
        slots(&mut out, report);
        upgrade(&mut out, report);
        sockets(&mut out, report);
        if let Some(totals) = &report.totals {
            count(&mut out, totals);
        }
        self.processes(&mut out);
        self.supervisor(&mut out, report, heard.local);
        out.finish()
    }

    /// Looks at the workers' processes.
    fn look(&mut self, report: &Report, clock: &Clock) {
        let mut before = std::mem::take(&mut self.seen);
        for worker in &report.workers {
            let Some(pid) = worker.pid else { continue };
            let Some(stat) = Stat::of(pid) else { continue };
            let known = before.remove(&pid).filter(|seen| seen.stat.started == stat.started);
            let counted = known.as_ref().map_or(0, |seen| seen.stat.cpu_ms);
            *self.cpu.entry(worker.slot).or_default() += stat.cpu_ms.saturating_sub(counted);
            let part = known.and_then(|seen| seen.part);
            self.seen.insert(pid, Seen { slot: worker.slot, stat, part });
        }
        // Slots that are no more need not be told of.
        let slots: BTreeSet<u32> = report.slots.iter().map(|slot| slot.slot).collect();
        self.cpu.retain(|slot, _| slots.contains(slot));
        self.take_part(clock);
    }

    fn take_part(&mut self, clock: &Clock) {
        let begin = clock.now();
        let mut order: Vec<_> =
            self.seen.iter().map(|(pid, seen)| (seen.part.map(|(at, _)| at), *pid)).collect();
        order.sort_unstable();
        for (_, pid) in order {
            let now = clock.now();
            if now.saturating_sub(begin) >= LOOK {
                return;
            }
            if let Some(seen) = self.seen.get_mut(&pid) {
                seen.part = procfs::proportional(pid).map(|part| (now, part));
            }
        }
    }

    fn processes(&self, out: &mut Exposition) {
        let by_slot = |value: &dyn Fn(&Seen) -> Option<u64>| {
            let mut sums = BTreeMap::<u32, u64>::new();
            for seen in self.seen.values() {
                if let Some(value) = value(seen) {
                    *sums.entry(seen.slot).or_default() += value;
                }
            }
            sums
        };
        let resident = by_slot(&|seen| Some(seen.stat.memory));
        let part = by_slot(&|seen| seen.part.map(|(_, part)| part));
        let threads = by_slot(&|seen| Some(seen.stat.threads));
        for (name, help, sums) in [
            (
                "einhyrningsins_worker_resident_memory_bytes",
                "Resident memory of the workers of a slot, what they share with others included.",
                resident,
            ),
            (
                "einhyrningsins_worker_proportional_memory_bytes",
                "Memory of the workers of a slot, of what they share with others only their part.",
                part,
            ),
            ("einhyrningsins_worker_threads", "Threads of the workers of a slot.", threads),
        ] {
            if sums.is_empty() {
                continue;
            }
            let mut metric = out.metric(Kind::Gauge, name, help);
            for (slot, sum) in sums {
                metric.labelled(&[("slot", &slot.to_string())], sum);
            }
        }
        if self.cpu.is_empty() {
            return;
        }
        let mut metric = out.metric(
            Kind::Counter,
            "einhyrningsins_worker_cpu_seconds_total",
            "Time that workers of a slot have used of CPUs, as far as this exporter has seen them.",
        );
        for (slot, ms) in &self.cpu {
            metric.labelled(&[("slot", &slot.to_string())], Seconds { ms: *ms });
        }
    }

    fn supervisor(&mut self, out: &mut Exposition, report: &Report, local: bool) {
        let wall = u64::try_from(clock::wall().as_millis()).unwrap_or(u64::MAX);
        let start = wall.saturating_sub(report.uptime_ms);
        let same = |(pid, before): &(u32, u64)| *pid == report.pid && before.abs_diff(start) < JITTER;
        let (_, start) = *self.start.insert(self.start.filter(same).unwrap_or((report.pid, start)));
        out.metric(
            Kind::Gauge,
            "einhyrningsins_supervisor_start_time_seconds",
            "When the supervisor was started, in seconds since the beginning of 1970.",
        )
        .value(Seconds { ms: start });
        out.metric(
            Kind::Gauge,
            "einhyrningsins_supervisor_uptime_seconds",
            "How long the supervisor has run.",
        )
        .value(Seconds { ms: report.uptime_ms });
        let Some(stat) = Stat::of(report.pid).filter(|_| local) else { return };
        out.metric(
            Kind::Counter,
            "einhyrningsins_supervisor_cpu_seconds_total",
            "Time that the supervisor has used of a CPU.",
        )
        .value(Seconds { ms: stat.cpu_ms });
        out.metric(
            Kind::Gauge,
            "einhyrningsins_supervisor_resident_memory_bytes",
            "Resident memory of the supervisor.",
        )
        .value(stat.memory);
        if let Some(open) = procfs::descriptors(report.pid) {
            out.metric(
                Kind::Gauge,
                "einhyrningsins_supervisor_open_fds",
                "File descriptors that the supervisor has open.",
            )
            .value(open);
        }
    }
}

fn service(out: &mut Exposition, report: &Report) {
    out.metric(Kind::Gauge, "einhyrningsins_up", "Whether the supervisor answers.").value(1);
    let labels = [
        ("name", report.name.as_deref().unwrap_or_default()),
        ("version", &report.version),
        ("exporter_version", env!("CARGO_PKG_VERSION")),
    ];
    out.metric(
        Kind::Gauge,
        "einhyrningsins_build_info",
        "What the service is called, and the versions of both programs.",
    )
    .labelled(&labels, 1);
    out.metric(Kind::Gauge, "einhyrningsins_generation", "The generation that serves.")
        .value(report.generation);
    out.metric(Kind::Gauge, "einhyrningsins_workers_wanted", "How many workers are wanted.")
        .value(report.target);
    out.metric(
        Kind::Gauge,
        "einhyrningsins_workers_healthy",
        "How many workers are healthy, of whatever generation.",
    )
    .value(report.healthy);
    out.metric(
        Kind::Gauge,
        "einhyrningsins_workers_healthy_of_generation",
        "How many workers are healthy of the generation that serves.",
    )
    .value(report.healthy_of_generation);
    let generations: BTreeSet<u32> =
        report.workers.iter().map(|worker| worker.generation).chain([report.generation]).collect();
    let mut counts: BTreeMap<(u32, &str), u64> =
        generations.iter().flat_map(|generation| PHASES.map(|phase| ((*generation, phase), 0))).collect();
    for worker in &report.workers {
        *counts.entry((worker.generation, &worker.phase)).or_default() += 1;
    }
    let mut metric = out.metric(
        Kind::Gauge,
        "einhyrningsins_workers",
        "How many workers there are, by phase and generation.",
    );
    for ((generation, phase), count) in counts {
        metric.labelled(&[("phase", phase), ("generation", &generation.to_string())], count);
    }
    let stopped = report.workers.iter().filter(|worker| worker.stopped).count();
    out.metric(
        Kind::Gauge,
        "einhyrningsins_workers_stopped",
        "How many workers do nothing, as after SIGSTOP, whatever their phase.",
    )
    .value(stopped);
    out.metric(Kind::Gauge, "einhyrningsins_stopping", "Whether the supervisor shuts down.")
        .value(u8::from(report.stopping.is_some()));
}

fn slots(out: &mut Exposition, report: &Report) {
    out.metric(Kind::Gauge, "einhyrningsins_slots", "How many places for workers there are.")
        .value(report.slots.len());
    let failed = report.slots.iter().filter(|slot| slot.gave_up).count();
    out.metric(
        Kind::Gauge,
        "einhyrningsins_slots_failed",
        "How many slots are given up after failed starts.",
    )
    .value(failed);
    if report.slots.is_empty() {
        return;
    }
    let mut restarts = out.metric(
        Kind::Counter,
        "einhyrningsins_slot_restarts_total",
        "How often a slot was filled again after its worker had ended.",
    );
    for slot in &report.slots {
        restarts.labelled(&[("slot", &slot.slot.to_string())], slot.restarts);
    }
    let mut failures = out.metric(
        Kind::Gauge,
        "einhyrningsins_slot_failures",
        "How many starts in a row have failed in a slot by now.",
    );
    for slot in &report.slots {
        failures.labelled(&[("slot", &slot.slot.to_string())], slot.failures);
    }
}

fn upgrade(out: &mut Exposition, report: &Report) {
    let upgrade = report.upgrade.as_ref();
    out.metric(
        Kind::Gauge,
        "einhyrningsins_upgrade_in_progress",
        "Whether an upgrade is under way, or on its way back.",
    )
    .value(u8::from(upgrade.is_some()));
    out.metric(Kind::Gauge, "einhyrningsins_upgrade_rolling_back", "Whether an upgrade is on its way back.")
        .value(u8::from(upgrade.is_some_and(|upgrade| upgrade.rolling_back)));
    out.metric(
        Kind::Gauge,
        "einhyrningsins_upgrade_age_seconds",
        "How long the upgrade has been under way; 0 if none is.",
    )
    .value(Seconds { ms: upgrade.map_or(0, |upgrade| upgrade.age_ms) });
}

fn sockets(out: &mut Exposition, report: &Report) {
    let numbered = || report.sockets.iter().enumerate();
    let lengths = numbered().map(|(number, socket)| (number, socket, socket.queue));
    let limits = numbered().map(|(number, socket)| (number, socket, socket.queue_limit));
    let length = "How many connections wait to be accepted.";
    for (name, help, values) in [
        ("einhyrningsins_accept_queue_length", length, lengths.collect::<Vec<_>>()),
        (
            "einhyrningsins_accept_queue_limit",
            "How many connections may wait to be accepted.",
            limits.collect(),
        ),
    ] {
        if values.iter().all(|(_, _, value)| value.is_none()) {
            continue;
        }
        let mut metric = out.metric(Kind::Gauge, name, help);
        for (number, socket, value) in values {
            let Some(value) = value else { continue };
            let name = socket.name.as_deref().unwrap_or_default();
            let labels = [("socket", &*number.to_string()), ("address", &socket.address), ("name", name)];
            metric.labelled(&labels, value);
        }
    }
}

fn count(out: &mut Exposition, totals: &Totals) {
    let Totals { starts, exits, upgrades, upgrade_ms, healthy_ms } = totals;
    out.metric(Kind::Counter, "einhyrningsins_worker_starts_total", "How many workers were started.")
        .value(starts);
    for (name, help, label, counts) in [
        ("einhyrningsins_worker_exits_total", "How many workers have ended, by why.", "cause", exits),
        (
            "einhyrningsins_upgrades_total",
            "How many upgrades have ended, by what came of them.",
            "result",
            upgrades,
        ),
    ] {
        if counts.is_empty() {
            continue;
        }
        let mut metric = out.metric(Kind::Counter, name, help);
        for (value, count) in counts {
            metric.labelled(&[(label, value)], count);
        }
    }
    for (name, help, spread) in [
        ("einhyrningsins_upgrade_duration_seconds", "How long upgrades took.", upgrade_ms),
        (
            "einhyrningsins_worker_time_to_healthy_seconds",
            "How long workers took from their start until they were healthy.",
            healthy_ms,
        ),
    ] {
        let Spread { bounds, counts, sum } = spread;
        out.metric(Kind::Histogram, name, help).spread(bounds, counts, *sum);
    }
}

#[cfg(test)]
mod tests;
