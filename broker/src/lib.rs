//! The broker: everything that serves, and the `sluice` command.
#![forbid(unsafe_code)]

pub mod admin;
pub mod config;
pub mod coordination;
pub mod net;
