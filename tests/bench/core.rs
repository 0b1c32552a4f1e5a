//! What the machine costs: time, allocations and touched entries per event, for fleets of 10 to 10,000
//! workers, and how that grows. Run by `cargo bench --bench core`.
//!
//! A scene is recorded once per size and then told to copies of the machine, as the shell would: a step,
//! then the next deadline. Sizes take turns, so that a machine busy with other things is unfair to all
//! of them alike; figures are medians.
#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a benchmark reads the clock and prints what it finds"
)]

mod driver;

use driver::{Driver, Mix, Op};
use einhyrningsins::fsm::{Supervisor, event::Event};
use std::{env, hint::black_box, time::Instant};

/// Workers.
const SIZES: [u32; 4] = [10, 100, 1_000, 10_000];

/// An event at the largest size may cost so many times what it costs at the smallest.
const GROWTH: f64 = 3.0;

/// How often a scene is told at every size.
const ROUNDS: usize = 9;

/// Events of a scene; a few more if they belong together.
const EVENTS: usize = 20_000;

/// What a service goes through, all at once.
const MIX: Mix = &[
    (Op::Ping, 30),
    (Op::Crash, 25),
    (Op::FailedStart, 10),
    (Op::Wake, 10),
    (Op::Signal, 5),
    (Op::Resize, 10),
    (Op::Upgrade, 50),
];

/// The same one by one.
const SCENES: [(&str, Mix); 7] = [
    ("the mix", MIX),
    ("pings", &[(Op::Ping, 1)]),
    ("exits with respawn", &[(Op::Crash, 1)]),
    ("failed starts", &[(Op::FailedStart, 1)]),
    ("wakes for nothing", &[(Op::Wake, 1)]),
    ("inc and dec", &[(Op::Resize, 1)]),
    ("rolling upgrade", &[(Op::Upgrade, 1)]),
];

/// A scene at one size, ready to be told.
struct Recording {
    /// The machine before it.
    machine: Supervisor,
    events: Vec<Event>,
}

/// What it cost, per event.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    nanoseconds: f64,
    /// In the quickest round: other programs only ever add to it.
    quickest: f64,
    allocations: f64,
    touched: f64,
}

fn main() {
    if env::args().all(|argument| argument != "--bench") {
        return println!("nothing measured: `cargo bench` does that");
    }
    println!("\nns per event, and the growth from {} to {} workers\n", SIZES[0], SIZES[3]);
    let [a, b, c, d] = SIZES;
    println!("{:<20}{a:>9}{b:>9}{c:>9}{d:>9}{:>9}{:>9}{:>9}", "scene", "growth", "best", "target");
    let start = measure(SIZES.map(record_start));
    let mut details = vec![("start of all", start)];
    print_times("start of all", &start);
    for (name, mix) in SCENES {
        let costs = measure(SIZES.map(|size| record(size, mix)));
        print_times(name, &costs);
        details.push((name, costs));
    }
    println!("\nallocations, and workers and slots touched, per event\n");
    println!("{:<20}{a:>9}{b:>9}{c:>9}{d:>9}{:>26}", "scene", format!("touched at {a} and {d}"));
    for (name, costs) in details {
        let each: String = costs.iter().map(|cost| format!("{:>9.2}", cost.allocations)).collect();
        println!("{name:<20}{each}{:>15.2}{:>11.2}", costs[0].touched, costs[3].touched);
    }
    print_state(&record_start(SIZES[3]));
}

fn print_times(name: &str, costs: &[Cost; 4]) {
    let [small, .., large] = costs;
    let typical = large.nanoseconds / small.nanoseconds;
    let best = large.quickest / small.quickest;
    let mark = if typical <= GROWTH { "" } else { "  missed" };
    let each: String = costs.iter().map(|cost| format!("{:>9.0}", cost.nanoseconds)).collect();
    println!("{name:<20}{each}{typical:>9.2}{best:>9.2}{:>9}{mark}", format!("≤ {GROWTH}"));
}

fn record_start(size: u32) -> Recording {
    let mut driver = Driver::new(size);
    let machine = driver.supervisor.clone();
    driver.start();
    Recording { machine, events: driver.events }
}

fn record(size: u32, mix: Mix) -> Recording {
    let mut driver = Driver::new(size);
    driver.start();
    let machine = driver.supervisor.clone();
    driver.play(mix, EVENTS);
    Recording { machine, events: driver.events }
}

/// Tells every recording several times, in turns.
fn measure(recordings: [Recording; 4]) -> [Cost; 4] {
    let mut rounds: [Vec<Cost>; 4] = Default::default();
    for _ in 0..ROUNDS {
        for (recording, costs) in recordings.iter().zip(&mut rounds) {
            costs.push(tell(recording));
        }
    }
    rounds.map(|mut costs| {
        costs.sort_by(|one, other| one.nanoseconds.total_cmp(&other.nanoseconds));
        Cost { quickest: costs[0].nanoseconds, ..costs[costs.len() / 2] }
    })
}

fn tell(recording: &Recording) -> Cost {
    // A few events take a time that cannot be measured; then they are told to several machines.
    let copies = (EVENTS / 4).div_ceil(recording.events.len());
    let mut machines = vec![recording.machine.clone(); copies];
    let events = vec![recording.events.clone(); copies];
    let touched = |machines: &[Supervisor]| machines.iter().map(|each| each.fleet().touched()).sum::<u64>();
    let (touched_before, allocated_before) = (touched(&machines), counting::allocations());
    let start = Instant::now();
    for (machine, events) in machines.iter_mut().zip(events) {
        for event in events {
            drop(black_box(machine.step(event)));
            black_box(machine.next_deadline());
        }
    }
    let elapsed = start.elapsed();
    let allocated = counting::allocations() - allocated_before;
    let count = (copies * recording.events.len()) as f64;
    Cost {
        nanoseconds: elapsed.as_nanos() as f64 / count,
        quickest: 0.0,
        allocations: allocated as f64 / count,
        touched: (touched(&machines) - touched_before) as f64 / count,
    }
}

/// What 10,000 workers take in memory, and what it costs to hand them over.
fn print_state(recording: &Recording) {
    let before = counting::bytes();
    let mut machine = recording.machine.clone();
    for event in recording.events.clone() {
        machine.step(event);
    }
    let bytes = counting::bytes() - before;
    println!("\nthe state of {} workers takes {} KiB", SIZES[3], bytes / 1024);
    let (saved, restored) = hand_over(&machine);
    println!("snapshot {saved:.1} ms, restore {restored:.1} ms");
}

/// Milliseconds to write the state down, and to read it again.
fn hand_over(machine: &Supervisor) -> (f64, f64) {
    let start = Instant::now();
    let saved = black_box(machine).snapshot();
    let between = Instant::now();
    let restored = Supervisor::restore(&saved).expect("what was saved can be restored");
    let end = Instant::now();
    assert_eq!(restored.snapshot(), saved, "the same state");
    ((between - start).as_secs_f64() * 1e3, (end - between).as_secs_f64() * 1e3)
}

/// Counts what is allocated. There is one thread, so counting needs no locked instruction.
mod counting {
    #![allow(unsafe_code, reason = "an allocator has no safe form")]

    use std::{
        alloc::{GlobalAlloc, Layout, System},
        sync::atomic::{AtomicU64, Ordering},
    };

    struct Counting;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
    static BYTES: AtomicU64 = AtomicU64::new(0);

    fn change(counter: &AtomicU64, by: impl FnOnce(u64) -> u64) {
        counter.store(by(counter.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Allocations so far, those that grew included.
    pub(super) fn allocations() -> u64 {
        ALLOCATIONS.load(Ordering::Relaxed)
    }

    /// Bytes that are allocated.
    pub(super) fn bytes() -> u64 {
        BYTES.load(Ordering::Relaxed)
    }

    // SAFETY: everything is handed on to the system's allocator as it came.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            change(&ALLOCATIONS, |count| count + 1);
            change(&BYTES, |bytes| bytes.wrapping_add(layout.size() as u64));
            // SAFETY: as the caller promised.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            change(&BYTES, |bytes| bytes.wrapping_sub(layout.size() as u64));
            // SAFETY: as the caller promised.
            unsafe { System.dealloc(pointer, layout) }
        }

        unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            change(&ALLOCATIONS, |count| count + 1);
            change(&BYTES, |bytes| bytes.wrapping_sub(layout.size() as u64).wrapping_add(size as u64));
            // SAFETY: as the caller promised.
            unsafe { System.realloc(pointer, layout, size) }
        }
    }
}
