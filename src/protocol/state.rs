//! The answers to `state` and `config`: YAML for people, and for programs that were written for einhorn's.

use super::{json::members, reply::Envelope};
use crate::fsm::{
    status::{Status, WorkerStatus},
    worker::PhaseTag,
};
use core::fmt::Write as _;
use miniserde::json::{self, Object, Value};

/// How things stand, with the names and the shape of einhorn's own dump, as far as there is such a thing here. A
/// worker's `version` is its generation.
#[must_use]
pub fn state(status: &Status) -> Envelope {
    let mut yaml = String::from("---\n:state:\n  :children:");
    let mut with_pid = status.workers.iter().filter_map(|worker| Some((worker, worker.pid?))).peekable();
    if with_pid.peek().is_none() {
        yaml.push_str(" {}");
    }
    yaml.push('\n');
    for (worker, pid) in with_pid {
        let WorkerStatus { slot, generation, phase, .. } = worker;
        let acked = worker.proof.is_some();
        let signaled = signaled(*phase);
        // Writing to a String cannot fail.
        let _ = write!(
            yaml,
            "    {pid}:\n      :type: :worker\n      :version: {generation}\n      :acked: {acked}\n      \
             :signaled: {signaled}\n      :index: {slot}\n      :phase: {phase}\n"
        );
    }
    let Status { target, generation, upgrade, stopping, .. } = status;
    let (upgrading, respawn) = (upgrade.is_some(), stopping.is_none());
    let _ = write!(
        yaml,
        "  :config:\n    :number: {target}\n  :version: {generation}\n  :upgrading: {upgrading}\n  :respawn: \
         {respawn}\n"
    );
    Envelope::done(yaml)
}

/// The signal that a worker was sent last by which it is to go. The stop signal is not the same for all.
fn signaled(phase: PhaseTag) -> &'static str {
    match phase {
        PhaseTag::SpawningWanted
        | PhaseTag::SpawningUnwanted
        | PhaseTag::PendingAck
        | PhaseTag::Healthy
        | PhaseTag::Dead => "[]",
        PhaseTag::DrainingStop => "[stop-signal]",
        PhaseTag::DrainingTerm => "[TERM]",
        PhaseTag::DrainingKill | PhaseTag::DrainingStuck => "[KILL]",
    }
}

/// The options in effect, a line for each, and the same as data.
#[must_use]
pub fn config(options: Object) -> Envelope {
    let line = |(name, value): (&String, &Value)| format!("{name}: {}", json::to_string(value));
    let lines: Vec<String> = options.iter().map(line).collect();
    Envelope { fields: members([("config", Value::Object(options))]), ..Envelope::done(lines.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::json::{list, number, text};

    #[test]
    fn options_are_told_in_lines_and_as_data() {
        let options = members([("number", number(2_u32)), ("bind", list([text("127.0.0.1:80,r")]))]);
        let said = config(options);
        assert_eq!(said.message, "bind: [\"127.0.0.1:80,r\"]\nnumber: 2");
        assert!(said.encode().ends_with(",\"config\":{\"bind\":[\"127.0.0.1:80,r\"],\"number\":2}}\n"));
    }
}
