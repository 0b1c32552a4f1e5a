//! What `status` answers, as typed data for what this program makes of it. Only what is made use of; a supervisor of
//! another version may leave out what is optional here, and say more.

use miniserde::{
    Deserialize,
    json::{self, Object},
};
use std::collections::BTreeMap;

/// How things stand.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// The supervisor's process.
    pub pid: u32,
    /// What the service is called.
    pub name: Option<String>,
    /// The supervisor's version.
    pub version: String,
    /// How long it has run, in ms.
    pub uptime_ms: u64,
    /// The generation that serves.
    pub generation: u32,
    /// How many workers are wanted.
    pub target: u32,
    /// How many are healthy, of whatever generation.
    pub healthy: u32,
    /// How many are healthy of the generation that serves.
    pub healthy_of_generation: u32,
    /// The upgrade under way.
    pub upgrade: Option<Upgrade>,
    /// How it shuts down, if it does.
    pub stopping: Option<String>,
    /// What workers share.
    pub sockets: Vec<Socket>,
    /// The places of workers.
    pub slots: Vec<Slot>,
    /// All workers.
    pub workers: Vec<Worker>,
    /// What there has been since this supervisor began.
    pub totals: Option<Totals>,
}

/// What there has been, counted.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Totals {
    /// Workers started.
    pub starts: u64,
    /// Workers ended, by why.
    pub exits: BTreeMap<String, u64>,
    /// Upgrades ended, by what came of them.
    pub upgrades: BTreeMap<String, u64>,
    /// How long upgrades took, in ms.
    pub upgrade_ms: Spread,
    /// How long workers took from their start until they were healthy, in ms.
    pub healthy_ms: Spread,
}

/// How times are spread.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Spread {
    /// Upper ends, the last of which is without one.
    pub bounds: Vec<u64>,
    /// How many up to each upper end that are beyond the one before; one more than bounds.
    pub counts: Vec<u64>,
    /// All times together.
    pub sum: u64,
}

/// An upgrade under way.
#[derive(Clone, Debug, Deserialize)]
pub struct Upgrade {
    /// To which generation; on the way back it is the one that is gone back to.
    pub generation: u32,
    /// In which order.
    pub strategy: String,
    /// Whether it is on its way back.
    pub rolling_back: bool,
    /// How far it is.
    pub stage: String,
    /// For what it waits, as a clause.
    pub waiting_for: String,
    /// How long its trial still takes, in ms.
    pub trial_left_ms: Option<u64>,
    /// Healthy workers of the new generation.
    pub healthy: u32,
    /// Old workers that were asked to go.
    pub retired: u32,
    /// How long it has been under way, in ms.
    pub age_ms: u64,
}

/// A socket that workers share.
#[derive(Clone, Debug, Deserialize)]
pub struct Socket {
    /// Where it listens.
    pub address: String,
    /// What it is called.
    pub name: Option<String>,
    /// How many connections wait to be accepted.
    pub queue: Option<u64>,
    /// How many may.
    pub queue_limit: Option<u64>,
}

/// The place of a worker.
#[derive(Clone, Debug, Deserialize)]
pub struct Slot {
    /// Its number.
    pub slot: u32,
    /// Consecutive failed starts.
    pub failures: u32,
    /// Consecutive starts for which the machine lacked something.
    pub lacks: Option<u32>,
    /// How it failed the last time.
    pub last_failure: Option<Ending>,
    /// How the last worker that was there ended.
    pub last_exit: Option<Ending>,
    /// How often it was filled again.
    pub restarts: u64,
    /// Whether it is not tried again.
    pub gave_up: bool,
    /// Time to its next try, in ms.
    pub retry_in_ms: Option<u64>,
}

/// How something ended or failed.
#[derive(Clone, Debug, Deserialize)]
pub struct Ending {
    /// In words.
    pub message: String,
}

/// A worker.
#[derive(Clone, Debug, Deserialize)]
pub struct Worker {
    /// Its name.
    pub worker: u64,
    /// Its place.
    pub slot: u32,
    /// Its process.
    pub pid: Option<u32>,
    /// What it runs.
    pub generation: u32,
    /// Where it is: one of five words.
    pub phase: String,
    /// What else there is to tell of that, in a word.
    pub detail: Option<String>,
    /// How it was found healthy, in a word.
    pub ready: Option<String>,
    /// What it says that it does.
    pub status: Option<String>,
    /// Whether it is stopped, as by SIGSTOP.
    pub stopped: bool,
    /// Time since its start, in ms.
    pub age_ms: u64,
    /// How often its place was filled again.
    pub restarts: Option<u64>,
}

/// What came of a generation, as `history` has it.
#[derive(Clone, Debug, Deserialize)]
pub struct Past {
    /// Which.
    pub generation: u32,
    /// In a word or two.
    pub result: String,
    /// What else there is to say of it; may be empty.
    pub reason: String,
}

impl Past {
    /// Reads them from the fields of an answer to `history`, oldest first. `None` if there are none to be understood.
    #[must_use]
    pub fn from_fields(fields: &Object) -> Option<Vec<Self>> {
        json::from_str(&json::to_string(fields.get("history")?)).ok()
    }
}

impl Report {
    /// Reads it from the fields of an answer to `status`. `None` if they have none, or one that cannot be understood.
    #[must_use]
    pub fn from_fields(fields: &Object) -> Option<Self> {
        json::from_str(&json::to_string(fields.get("status")?)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fsm::{id::Generation, status::Status, time::Millis},
        protocol::{
            Envelope, Totals,
            status::{About, envelope},
        },
    };
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn what_a_supervisor_answers_is_read_back() {
        let status = Status {
            target: 4,
            healthy: 3,
            generation: Generation(2),
            upgrade: None,
            stopping: None,
            slots: Vec::new(),
            workers: Vec::new(),
        };
        let (sockets, stopped, statuses, totals) =
            (Vec::new(), BTreeSet::new(), BTreeMap::new(), Totals::default());
        let about = About {
            pid: 7,
            name: Some("web"),
            version: "1",
            uptime: Millis(5),
            sockets,
            stopped,
            statuses: &statuses,
            totals: &totals,
        };
        let answer = Envelope::parse(envelope(&status, &about).encode().as_bytes()).unwrap();
        let report = Report::from_fields(&answer.fields).unwrap();
        assert_eq!((report.pid, report.target, report.healthy, report.generation), (7, 4, 3, 2));
        assert_eq!((report.name.as_deref(), report.uptime_ms), (Some("web"), 5));
        assert!(Report::from_fields(&Object::new()).is_none());
    }
}
