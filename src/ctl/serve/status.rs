//! What the page is told: the status as the supervisor has it, and what else it shows.

use super::desk::Heard;
use crate::{
    cli::tool::{Check, Least},
    ctl::{check::judge, clock::wall, procfs::Stat},
};
use core::fmt::Write as _;
use miniserde::json;
use std::collections::BTreeMap;

/// Writes it down, as `einhyrningsinsctl --json status` answers, and with more: what `check` says of it, when that was,
/// what processes take, and the members in `events`.
pub(super) fn write(heard: &Heard, processes: &BTreeMap<u32, Stat>, events: &str) -> String {
    let finding = judge(&heard.report, &Check { least: Least::All, generation: None, wait: None });
    let mut out = format!(
        "{{\"ok\":true,\"ready\":{},\"message\":{},\"at_ms\":{},\"status\":{},\"processes\":{{",
        finding.passes,
        json::to_string(&finding.words),
        wall().as_millis(),
        heard.raw,
    );
    for (number, (pid, stat)) in processes.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(out, "{comma}\"{pid}\":{{\"memory\":{},\"cpu_ms\":{}}}", stat.memory, stat.cpu_ms);
    }
    out.push('}');
    if !events.is_empty() {
        out.push(',');
        out.push_str(events);
    }
    out + "}\n"
}
