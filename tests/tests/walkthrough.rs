//! The scripts of `examples/`, run as a reader would run them.

use std::process::{self, Command};

use sluice_tests::{cluster_file, plugin_file, run, sluice_binary, walkthrough_file};

/// It starts a ZooKeeper and two brokers, one after the other, and sends 1,707 batches that each wait for the disk.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(180);

#[test]
fn the_walkthrough_counts_what_jq_counts() {
    let plugins = plugin_file("redact").parent().expect("it is in a folder").to_owned();
    assert!(plugins.join("select.wasm").is_file(), "both are built together");
    let target = plugins.parent().expect("the target folder");
    let mut walkthrough = Command::new(walkthrough_file());
    walkthrough.env("SLUICE_BIN", sluice_binary()).env("CARGO_TARGET_DIR", target);
    let said = run(&mut walkthrough, b"", PATIENCE).ok();
    assert!(said.trim_end().ends_with("all as it should be"), "{said}");
}

#[test]
fn three_brokers_and_three_zookeepers_with_tls_on_every_link() {
    let mut example = Command::new(cluster_file());
    // Between the ports that tests take and those that the kernel hands out, one of five places.
    let base_port = 32_100 + process::id() % 5 * 125;
    example.arg("--check").env("SLUICE_BIN", sluice_binary()).env("BASE_PORT", base_port.to_string());
    let said = run(&mut example, b"", PATIENCE).ok();
    assert!(said.trim_end().ends_with("all as it should be"), "{said}");
}
