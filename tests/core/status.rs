//! What `status` tells, to the last number.

use crate::script::after;
use einhyrningsins::fsm::{
    event::{ExitStatus, Proof, Strategy},
    id::{Generation, Pid, SlotId, WorkerId},
    reason::Failure,
    signal::Shutdown,
    status::{SlotStatus, Status, UpgradeStatus, WorkerStatus},
    time::Millis,
    upgrade::Stage,
    worker::PhaseTag,
};

/// Two slots. One worker has pinged; the other ends, and so do three that count as none; then a
/// start fails, and it waits.
const TROUBLE: &str = "
config target=2 listeners=0 ack=manual:1000 retries=3 backoff=100 grace=1000 stop=USR2 unacked=1 surge=1
@0 start
@0 pinned generation=1
@0 spawned worker=1 pid=101
@0 spawned worker=2 pid=102
@10 acked pid=101 sender=101
@20 acked pid=102 sender=102
@50 pinged pid=101 sender=101
@60 exited pid=102 status=signal:9
@60 spawned worker=3 pid=103
@60 exited pid=103 status=4
@60 spawned worker=4 pid=104
@60 exited pid=104 status=4
@60 spawned worker=5 pid=105
@60 exited pid=105 status=4
@60 spawned worker=6 pid=106
@70 exited pid=106 status=4
@100 woke
";

const SLOT: SlotStatus = SlotStatus {
    slot: SlotId(0),
    failures: 0,
    lacks: 0,
    restarts: 0,
    last_failure: None,
    last_exit: None,
    retry_in: None,
    gave_up: false,
};

fn worker(number: u64, slot: u32, phase: PhaseTag, age: u64) -> WorkerStatus {
    WorkerStatus {
        worker: WorkerId(number),
        slot: SlotId(slot),
        pid: Some(Pid(100 + u32::try_from(number).expect("small"))),
        generation: Generation(1),
        phase,
        proof: (phase == PhaseTag::Healthy).then_some(Proof::Acknowledged),
        age: Millis(age),
        pinged: None,
    }
}

#[test]
fn pings_exits_failures_and_the_next_try_are_told() {
    let expected = Status {
        target: 2,
        healthy: 1,
        generation: Generation(1),
        upgrade: None,
        stopping: None,
        slots: vec![
            SLOT,
            SlotStatus {
                slot: SlotId(1),
                failures: 1,
                restarts: 4,
                last_failure: Some(Failure::Exited(ExitStatus::Code(4))),
                last_exit: Some(ExitStatus::Code(4)),
                // 100 ms less what slot 1 is spread by, 30 ms of which are over.
                retry_in: Some(Millis(67)),
                ..SLOT
            },
        ],
        workers: vec![WorkerStatus { pinged: Some(Millis(50)), ..worker(1, 0, PhaseTag::Healthy, 100) }],
    };
    assert_eq!(after(TROUBLE).0.status(), expected);
}

#[test]
fn a_slot_that_was_given_up_waits_for_no_time() {
    let never_healthy = "
config target=2 listeners=0 ack=manual:1000 retries=1 backoff=100 grace=1000 stop=USR2 unacked=1 surge=1
@0 start
@0 pinned generation=1
@0 spawned worker=1 pid=101
@0 spawned worker=2 pid=102
@10 exited pid=102 status=4
";
    let status = after(never_healthy).0.status();
    let failed = Some(Failure::Exited(ExitStatus::Code(4)));
    let last_exit = Some(ExitStatus::Code(4));
    let expected =
        SlotStatus { slot: SlotId(1), failures: 1, last_failure: failed, last_exit, gave_up: true, ..SLOT };
    assert_eq!(status.slots.get(1), Some(&expected));
}

#[test]
fn a_slot_of_what_has_served_goes_on_waiting_for_its_next_try() {
    let more = "
@300 woke
@300 spawned worker=7 pid=107
@310 exited pid=107 status=4
@1000 woke
@1000 spawned worker=8 pid=108
@1010 exited pid=108 status=4
";
    let status = after(&format!("{TROUBLE}{more}")).0.status();
    let expected = SlotStatus {
        slot: SlotId(1),
        failures: 3,
        restarts: 6,
        last_failure: Some(Failure::Exited(ExitStatus::Code(4))),
        last_exit: Some(ExitStatus::Code(4)),
        retry_in: Some(Millis(217)),
        ..SLOT
    };
    assert_eq!(status.slots.get(1), Some(&expected));
}

#[test]
fn an_upgrade_tells_its_stage_and_what_is_left_of_it() {
    let begun = "
config target=3 listeners=0 ack=manual:1000 retries=3 backoff=100 grace=1000 stop=USR2 unacked=2 surge=2
@0 start
@0 pinned generation=1
@0 spawned worker=1 pid=101
@0 spawned worker=2 pid=102
@0 spawned worker=3 pid=103
@10 acked pid=101 sender=101
@10 acked pid=102 sender=102
@10 acked pid=103 sender=103
@100 requested client=1 request=1 upgrade strategy=fleet canary=2 soak=500
@100 pinned generation=2
@100 woke
@100 spawned worker=4 pid=104
@100 spawned worker=5 pid=105
@110 acked pid=104 sender=104
@150 woke
";
    let canaries = UpgradeStatus {
        generation: Generation(2),
        strategy: Strategy::Fleet,
        stage: Stage::Canary,
        untouched: 1,
        unready: 1,
        trial_left: None,
        healthy: 1,
        retired: 0,
        age: Millis(50),
    };
    assert_eq!(after(begun).0.status().upgrade, Some(canaries));
    let on_trial = format!("{begun}@160 acked pid=105 sender=105\n@260 woke\n");
    let soaking = UpgradeStatus {
        stage: Stage::CanarySoak,
        unready: 0,
        trial_left: Some(Millis(400)),
        healthy: 2,
        age: Millis(160),
        ..canaries
    };
    let status = after(&on_trial).0.status();
    assert_eq!((status.upgrade, status.healthy, status.generation), (Some(soaking), 5, Generation(1)));
}

#[test]
fn going_back_tells_of_the_generation_that_comes_back() {
    let (machine, _) = after(
        "
config target=2 listeners=0 ack=manual:1000 retries=3 backoff=100 grace=1000 stop=USR2 unacked=1 surge=1
@0 start
@0 pinned generation=1
@0 spawned worker=1 pid=101
@0 spawned worker=2 pid=102
@10 acked pid=101 sender=101
@10 acked pid=102 sender=102
@100 requested client=1 request=1 upgrade strategy=rolling
@100 pinned generation=2
@100 woke
@100 spawned worker=3 pid=103
@110 acked pid=103 sender=103
@110 spawned worker=4 pid=104
@120 requested client=1 request=2 abort
@150 woke
",
    );
    let expected = UpgradeStatus {
        generation: Generation(1),
        strategy: Strategy::Rolling,
        stage: Stage::Back,
        untouched: 0,
        unready: 1,
        trial_left: None,
        healthy: 1,
        retired: 1,
        age: Millis(50),
    };
    assert_eq!(machine.status().upgrade, Some(expected));
}

#[test]
fn a_shutdown_is_told() {
    let status = after(&format!("{TROUBLE}@110 signalled signal=TERM\n")).0.status();
    assert_eq!(status.stopping, Some(Shutdown::Fast));
    assert_eq!(status.workers.first().map(|worker| worker.phase), Some(PhaseTag::DrainingTerm));
}

/// Told of the end of the trace of that name.
fn told_at_the_end_of(regression: &str) -> Status {
    let path = format!("{}/fsm-spec/traces/regressions/{regression}.trace", env!("CARGO_MANIFEST_DIR"));
    after(&std::fs::read_to_string(path).expect("the trace can be read")).0.status()
}

#[test]
fn what_an_upgrade_that_was_taken_back_tried_is_not_told_of_the_slot() {
    let status = told_at_the_end_of("rolled-back-slots-keep-their-history");
    assert_eq!(status.slots, [SLOT], "its worker has served all the time");
}

#[test]
fn a_slot_tells_of_the_generation_it_is_of() {
    let upgraded = "
config target=1 listeners=0 ack=manual:1000 retries=3 backoff=100 grace=1000 stop=USR2 unacked=1 surge=1
@0 start
@0 pinned generation=1
@0 spawned worker=1 pid=101
@10 acked pid=101 sender=101
@20 exited pid=101 status=3
@20 spawned worker=2 pid=102
@30 acked pid=102 sender=102
";
    let mut expected = SlotStatus { restarts: 1, last_exit: Some(ExitStatus::Code(3)), ..SLOT };
    assert_eq!(after(upgraded).0.status().slots, [expected]);
    let begun = format!(
        "{upgraded}@100 signalled signal=HUP\n@100 pinned generation=2\n@100 woke\n@100 spawned worker=3 pid=103\n"
    );
    assert_eq!(after(&begun).0.status().slots, [SLOT], "nothing is known of the new generation yet");
    let back = format!("{begun}@110 exited pid=103 status=4\n@120 requested client=1 request=1 abort\n");
    assert_eq!(after(&back).0.status().slots, [expected], "and all of the old one again");
    let done = format!("{begun}@110 acked pid=103 sender=103\n@120 exited pid=102 status=0\n");
    assert_eq!(after(&done).0.status().slots, [SLOT], "its own worker has not ended");
    expected = SlotStatus { restarts: 1, last_exit: Some(ExitStatus::Signal(9)), ..SLOT };
    let more = format!("{done}@20000 exited pid=103 status=signal:9\n@20000 spawned worker=4 pid=104\n");
    assert_eq!(after(&more).0.status().slots, [expected]);
}

#[test]
fn a_start_for_which_the_machine_lacks_something_is_no_restart() {
    let short = "
config target=1 listeners=0 ack=manual:1000 retries=3 backoff=100 grace=1000 stop=USR2 unacked=1 surge=1
@0 start
@0 pinned generation=1
@0 spawned worker=1 pid=101
@10 acked pid=101 sender=101
@20 exited pid=101 status=3
@20 spawn-failed worker=2 error=fork:11:shortage
@600 woke
@600 spawn-failed worker=3 error=fork:11:shortage
@1200 woke
@1200 spawned worker=4 pid=104
";
    assert_eq!(after(short).0.status().slots[0].restarts, 1);
}
