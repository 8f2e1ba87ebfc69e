//! What `examples/` has for tests: a week of real events, and the scripts.

use std::fs;
use std::path::PathBuf;

use crate::binaries::checkout;

/// The file: one event a line.
pub fn earthquakes_file() -> PathBuf {
    checkout().join("examples/earthquakes.jsonl")
}

/// Every event, as the file has it.
pub fn earthquakes() -> Vec<String> {
    let text = fs::read_to_string(earthquakes_file()).expect("the examples are part of the checkout");
    text.lines().map(str::to_owned).collect()
}

/// The walkthrough, a script.
pub fn walkthrough_file() -> PathBuf {
    checkout().join("examples/walkthrough")
}

/// Three brokers and three ZooKeepers, a script.
pub fn cluster_file() -> PathBuf {
    checkout().join("examples/cluster/run")
}
