//! What the fuzzers run. The bodies know nothing of libfuzzer, and the tests of the main package build
//! the same two files.

// Where a file is named, its own modules are looked for next to it, as when the tests include it.
#[path = "targets.rs"]
pub mod targets;
#[path = "../tests/core/world.rs"]
pub mod world;
