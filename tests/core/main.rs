//! The core against its specification: nothing here starts a process or reads a clock.

mod golden;
mod table;
