//! Runs told as the lines of a trace.

use einhyrningsins::fsm::{Supervisor, invariants::Monitor, text::Record as _, trace};

/// The machine after these events, and what it ordered at the last of them, as lines. Every invariant
/// holds on the way.
pub fn after(events: &str) -> (Supervisor, Vec<String>) {
    let steps = trace::recorded(events).unwrap_or_else(|why| panic!("{why}"));
    let config = steps.first().and_then(|step| step.config.clone()).expect("a configuration");
    let (mut machine, mut monitor, mut orders) = (Supervisor::new(config), Monitor::new(), Vec::new());
    for step in steps {
        let actions = machine.step(step.event.clone());
        let checked = monitor.step(&step.event, &actions, &machine).and_then(|()| monitor.state(&machine));
        checked.unwrap_or_else(|violation| panic!("line {}: {violation}", step.line));
        orders = actions.iter().map(|action| action.to_line()).collect();
    }
    (machine, orders)
}
