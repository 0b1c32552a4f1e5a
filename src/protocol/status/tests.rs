//! Tests of how things stand, in words and as data.

use super::*;
use crate::fsm::{
    event::{ExitStatus, Proof, Strategy},
    id::{Generation, WorkerId},
    reason::Failure,
};

fn slot(number: u32) -> SlotStatus {
    SlotStatus {
        slot: SlotId(number),
        failures: 0,
        lacks: 0,
        restarts: 0,
        last_failure: None,
        last_exit: None,
        retry_in: None,
        gave_up: false,
    }
}

fn about() -> About<'static> {
    let socket = |address: &str, name, from| {
        let queue = (from == Origin::Bind).then_some(Queue { length: 3, limit: 128 });
        Listening { address: address.into(), name, from, queue }
    };
    let sockets = vec![
        socket("127.0.0.1:8080", None, Origin::Manager),
        socket("[::1]:8080", Some("web".into()), Origin::Bind),
    ];
    static STATUSES: BTreeMap<Pid, String> = BTreeMap::new();
    let (stopped, statuses) = (BTreeSet::new(), &STATUSES);
    let (uptime, totals) = (Millis(10_920_000), Box::leak(Box::default()));
    About { pid: 4_242, name: None, version: "0.1.0", uptime, sockets, stopped, statuses, totals }
}

fn amid_an_upgrade() -> Status {
    let worker = |name, slot, pid, generation, phase| WorkerStatus {
        worker: WorkerId(name),
        slot: SlotId(slot),
        pid,
        generation: Generation(generation),
        phase,
        proof: (phase == PhaseTag::Healthy).then_some(Proof::Seen),
        age: Millis(1_500),
        pinged: None,
    };
    let failed = Some(Failure::Exited(ExitStatus::Code(1)));
    let segfault = Some(ExitStatus::Signal(11));
    Status {
        target: 3,
        healthy: 1,
        generation: Generation(1),
        upgrade: Some(UpgradeStatus {
            generation: Generation(2),
            strategy: Strategy::Rolling,
            stage: Stage::Spread,
            untouched: 1,
            unready: 1,
            trial_left: None,
            healthy: 0,
            retired: 1,
            age: Millis(3_200),
        }),
        stopping: None,
        slots: vec![
            SlotStatus { restarts: 2, last_exit: segfault, ..slot(0) },
            SlotStatus { failures: 3, last_failure: failed, retry_in: Some(Millis(225)), ..slot(1) },
            SlotStatus { failures: 5, last_failure: failed, gave_up: true, ..slot(2) },
        ],
        workers: vec![
            worker(1, 1, Some(Pid(101)), 1, PhaseTag::DrainingTerm),
            WorkerStatus {
                pinged: Some(Millis(40)),
                ..worker(2, 0, Some(Pid(10_002)), 1, PhaseTag::Healthy)
            },
            worker(3, 0, None, 2, PhaseTag::SpawningWanted),
        ],
    }
}

#[test]
fn the_table_tells_of_everything_that_is_going_on() {
    let expected = "\
einhyrningsins 0.1.0, pid 4242, up 3 h 2 min
generation 1, 1/3 workers healthy
upgrading to generation 2 (rolling): 0/3 healthy, 1 retired, for 3.2 s; waiting for 1 worker to become healthy
listening on 127.0.0.1:8080 (from the service manager), [::1]:8080 (web)
SLOT  PID    GENERATION  PHASE            READY  AGE    RESTARTS  LAST PING  LAST EXIT
0     10002  1           healthy          seen   1.5 s  2         40 ms ago  killed by SIGSEGV (signal 11)
0     -      2           spawning/wanted  -      1.5 s  2         -          killed by SIGSEGV (signal 11)
1     101    1           draining/term    -      1.5 s  0         -          -
slot 1: failed to start 3 times, at last: exited with status 1; next try in 225 ms
slot 2: given up after 5 failed starts, at last: exited with status 1; `retry` tries again";
    assert_eq!(table(&amid_an_upgrade(), &about()), expected);
}

#[test]
fn the_data_say_the_same() {
    let line = envelope(&amid_an_upgrade(), &about()).encode();
    let read = Envelope::parse(line.as_bytes()).unwrap();
    assert!(matches!(read.fields.get("status"), Some(Value::Object(_))), "{line}");
    let text = data(&amid_an_upgrade(), &about());
    for part in [
        "\"pid\":4242",
        "\"uptime_ms\":10920000",
        "\"listeners\":[\"127.0.0.1:8080\",\"[::1]:8080\"]",
        "\"sockets\":[{\"address\":\"127.0.0.1:8080\",\"from\":\"manager\",\"name\":null,\"queue\":null,\"queue_limit\":null},\
         {\"address\":\"[::1]:8080\",\"from\":\"bind\",\"name\":\"web\",\"queue\":3,\"queue_limit\":128}]",
        "\"stopping\":null",
        "\"upgrade\":{\"age_ms\":3200,\"generation\":2,\"healthy\":0,\"retired\":1,\
         \"rolling_back\":false,\"stage\":\"spread\",\"strategy\":\"rolling\",\"trial_left_ms\":null,\
         \"unready\":1,\"untouched\":1,\"waiting_for\":\"1 worker to become healthy\"}",
        "{\"age_ms\":1500,\"detail\":null,\"generation\":1,\"last_exit\":{\"kind\":\"killed\",\
         \"message\":\"killed by SIGSEGV (signal 11)\",\"signal\":11},\"last_ping_ms\":40,\
         \"phase\":\"healthy\",\"pid\":10002,\"ready\":\"seen\",\"restarts\":2,\"slot\":0,\"status\":null,\"stopped\":false,\
         \"worker\":2}",
        "\"detail\":\"term\"",
        "\"gave_up\":true",
        "\"retry_in_ms\":225",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn a_worker_that_is_stopped_is_told_from_one_that_works() {
    let about = About { stopped: [Pid(10_002)].into(), ..about() };
    let table = table(&amid_an_upgrade(), &about);
    let rows: Vec<&str> = table.lines().filter(|line| line.contains(", stopped ")).collect();
    assert!(
        matches!(rows.as_slice(), [row] if row.starts_with("0     10002  1           healthy, stopped  ")),
        "{table}"
    );
    let data = data(&amid_an_upgrade(), &about);
    assert_eq!(data.matches("\"stopped\":true").count(), 1, "{data}");
}

#[test]
fn that_nobody_serves_is_said_first_with_the_reason() {
    let said = |slots, workers| {
        let status = Status { healthy: 0, slots, workers, ..amid_an_upgrade() };
        let table = table(&status, &about());
        let first = table.lines().next().unwrap();
        first.strip_prefix("NO WORKER IS HEALTHY: ").map(str::to_owned).unwrap()
    };
    let (slots, workers) = (amid_an_upgrade().slots, amid_an_upgrade().workers);
    let gave_up =
        "slot 2: given up after 5 failed starts, at last: exited with status 1; `retry` tries again";
    assert_eq!(said(slots.clone(), workers.clone()), format!("{gave_up}; 1 is starting"));
    let failed = "slot 1: failed to start 3 times, at last: exited with status 1; next try in 225 ms";
    assert_eq!(said(slots[..2].to_vec(), vec![]), format!("{failed}; none is starting"));
    let ended = "slot 0: the last one ended, killed by SIGSEGV (signal 11)";
    assert_eq!(said(slots[..1].to_vec(), vec![]), format!("{ended}; none is starting"));
    assert_eq!(said(vec![slot(0)], workers), "1 is starting");
    let stopping = Some(crate::fsm::signal::Shutdown::Graceful);
    let status = Status { healthy: 0, stopping, ..amid_an_upgrade() };
    assert!(table(&status, &about()).starts_with("einhyrningsins "), "that is as it should be");
}

#[test]
fn an_idle_supervisor_has_neither_upgrade_nor_workers() {
    let status = Status { upgrade: None, slots: vec![], workers: vec![], ..amid_an_upgrade() };
    let envelope = envelope(&status, &About { sockets: vec![], ..about() });
    assert!(envelope.ok && envelope.message.ends_with("\nno workers"), "{}", envelope.message);
    assert!(envelope.encode().contains("\"upgrade\":null"));
}

#[test]
fn a_service_that_has_a_name_is_called_by_it() {
    let named = About { name: Some("web"), ..about() };
    let said = table(&amid_an_upgrade(), &named);
    assert!(said.starts_with("einhyrningsins 0.1.0 (web), pid 4242, up "), "{said}");
    assert!(data(&amid_an_upgrade(), &named).contains("\"name\":\"web\""));
    assert!(data(&amid_an_upgrade(), &about()).contains("\"name\":null"));
}

#[test]
fn programs_are_told_what_has_happened() {
    let mut totals = Totals { starts: 7, ..Totals::default() };
    totals.healthy_after.add(Millis(40));
    let data = data(&amid_an_upgrade(), &About { totals: &totals, ..about() });
    for said in [
        "\"totals\":{\"exits\":{\"asked\":0,\"crashed\":0,\"failed-start\":0,\"left\":0},\"healthy_ms\":{\"bounds\":[10,50,",
        "\"starts\":7,",
    ] {
        assert!(data.contains(said), "{said} is not in {data}");
    }
}
