use super::*;
use miniserde::json;
use std::{process, sync::Arc};

/// What a supervisor answers that has something of everything, about ourselves.
fn full() -> String {
    let text = r#"{"pid":PID,"name":"we\"b","version":"1.2","uptime_ms":61500,"generation":2,"target":3,
"healthy":1,"healthy_of_generation":0,"upgrade":{"generation":3,"strategy":"rolling","rolling_back":true,
"stage":"back","waiting_for":"x","trial_left_ms":null,"healthy":1,"retired":0,"age_ms":2500},
"stopping":"graceful","sockets":[
{"address":"127.0.0.1:80","name":"web","queue":3,"queue_limit":128},
{"address":"127.0.0.1:80","name":null,"queue":null,"queue_limit":null}],
"slots":[{"slot":0,"failures":0,"restarts":4,"gave_up":false,"retry_in_ms":null},
{"slot":1,"failures":9,"restarts":0,"gave_up":true,"retry_in_ms":null}],
"workers":[{"worker":1,"slot":0,"pid":PID,"generation":2,"phase":"healthy","stopped":true,"age_ms":5,"restarts":4},
{"worker":2,"slot":1,"pid":null,"generation":3,"phase":"spawning","stopped":false,"age_ms":5,"restarts":0}],
"totals":{"starts":9,"exits":{"crashed":2,"failed-start":3,"asked":1,"left":0},
"upgrades":{"upgraded":1,"rolled-back":1,"superseded":0,"refused":0},
"upgrade_ms":{"bounds":[1000,5000],"counts":[1,0,1],"sum":9500},
"healthy_ms":{"bounds":[1000],"counts":[7,0],"sum":900}}}"#;
    text.replace("PID", &process::id().to_string())
}

fn heard(raw: &str, local: bool) -> Heard {
    let report: Report = json::from_str(raw).unwrap();
    Heard { report: Arc::new(report), raw: raw.into(), local }
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|it| it == line), "{line}\n{text}");
}

/// The names of all metrics in it.
fn names(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

#[test]
fn everything_that_is_known_is_told() {
    let text = Metrics::default().write(&heard(&full(), true), &Clock::start());
    for line in [
        "einhyrningsins_up 1",
        "einhyrningsins_workers_wanted 3",
        "einhyrningsins_workers_healthy 1",
        "einhyrningsins_workers{phase=\"healthy\",generation=\"2\"} 1",
        "einhyrningsins_workers{phase=\"spawning\",generation=\"3\"} 1",
        "einhyrningsins_workers{phase=\"draining\",generation=\"3\"} 0",
        "einhyrningsins_workers_stopped 1",
        "einhyrningsins_stopping 1",
        "einhyrningsins_slots 2",
        "einhyrningsins_slots_failed 1",
        "einhyrningsins_slot_restarts_total{slot=\"0\"} 4",
        "einhyrningsins_slot_failures{slot=\"1\"} 9",
        "einhyrningsins_upgrade_in_progress 1",
        "einhyrningsins_upgrade_rolling_back 1",
        "einhyrningsins_upgrade_age_seconds 2.5",
        "einhyrningsins_accept_queue_length{socket=\"0\",address=\"127.0.0.1:80\",name=\"web\"} 3",
        "einhyrningsins_accept_queue_limit{socket=\"0\",address=\"127.0.0.1:80\",name=\"web\"} 128",
        "einhyrningsins_worker_starts_total 9",
        "einhyrningsins_worker_exits_total{cause=\"failed-start\"} 3",
        "einhyrningsins_upgrades_total{result=\"rolled-back\"} 1",
        "einhyrningsins_upgrade_duration_seconds_bucket{le=\"1\"} 1",
        "einhyrningsins_upgrade_duration_seconds_sum 9.5",
        "einhyrningsins_worker_time_to_healthy_seconds_count 7",
        "einhyrningsins_supervisor_uptime_seconds 61.5",
    ] {
        has(&text, line);
    }
    let info = format!(
        "einhyrningsins_build_info{{name=\"we\\\"b\",version=\"1.2\",exporter_version=\"{}\"}} 1",
        env!("CARGO_PKG_VERSION")
    );
    has(&text, &info);
    assert!(text.contains("einhyrningsins_worker_resident_memory_bytes{slot=\"0\"} "), "{text}");
    assert!(!text.contains("address=\"127.0.0.1:80\",name=\"\""), "what is not known is left out: {text}");
    let names = names(&text);
    let once: BTreeSet<&&str> = names.iter().collect();
    assert_eq!(names.len(), once.len(), "each metric is told of once");
}

#[test]
fn an_older_supervisor_and_one_elsewhere_have_less() {
    let old = full().split(",\n\"totals\"").next().unwrap().to_owned() + "}";
    let text = Metrics::default().write(&heard(&old, false), &Clock::start());
    has(&text, "einhyrningsins_workers_wanted 3");
    for absent in ["_starts_total", "_exits_", "_duration_", "_memory_", "_cpu_", "_open_fds"] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
}

#[test]
fn a_start_does_not_seem_to_move() {
    let (mut metrics, clock) = (Metrics::default(), Clock::start());
    let start = |text: String| {
        let line =
            text.lines().find(|line| line.starts_with("einhyrningsins_supervisor_start_time_seconds "));
        line.unwrap().to_owned()
    };
    let first = start(metrics.write(&heard(&full(), true), &clock));
    let later = full().replace("61500", "61503");
    assert_eq!(start(metrics.write(&heard(&later, true), &clock)), first);
    let again = full().replace("61500", "10");
    assert_ne!(start(metrics.write(&heard(&again, true), &clock)), first);
}

#[test]
fn what_a_worker_has_used_stays_counted_when_another_comes() {
    let mut metrics = Metrics::default();
    metrics.write(&heard(&full(), true), &Clock::start());
    let before = *metrics.cpu.get(&0).unwrap();
    // The same pid, and another process.
    metrics.seen.values_mut().for_each(|seen| seen.stat.started += 1);
    metrics.write(&heard(&full(), true), &Clock::start());
    let after = *metrics.cpu.get(&0).unwrap();
    assert!(after >= 2 * before, "{after} {before}");
    let none = full().replace(&format!("\"slot\":0,\"pid\":{}", process::id()), "\"slot\":0,\"pid\":null");
    metrics.write(&heard(&none, true), &Clock::start());
    assert_eq!(*metrics.cpu.get(&0).unwrap(), after);
}
