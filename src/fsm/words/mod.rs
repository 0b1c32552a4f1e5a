//! The words of the machine: what it is told, what it orders, and the values in both. Plain data with a
//! text form ([`text`]); nothing here decides, and nothing here knows the other rooms.

pub mod action;
pub mod config;
pub mod event;
pub mod id;
pub mod notice;
pub mod reason;
pub mod signal;
pub mod table;
pub mod text;
pub mod time;
pub mod upgrade;
