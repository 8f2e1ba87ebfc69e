//! The broker: everything behind the `sluice` binary.

#![forbid(unsafe_code)]

pub mod config;
pub mod net;
