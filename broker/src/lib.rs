//! The broker: everything that serves, and the `sluice` command.
#![forbid(unsafe_code)]

pub mod admin;
