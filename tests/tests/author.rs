//! From nothing to a plugin of one's own at work, in the commands that the README of a new plugin gives.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sluice_tests::{Dev, PATIENCE, sluice_binary};

/// A build of a crate and its dependencies, on busy cores.
const BUILD_PATIENCE: Duration = Duration::from_secs(600);

#[test]
fn a_new_plugin_passes_its_test_is_built_pushed_and_changes_what_kcat_reads() {
    let dev = Dev::start();
    let sluice = |folder: &Path, arguments: &[&str], within| dev.run(sluice_binary(), folder, arguments, within);
    sluice(dev.folder(), &["plugin", "new", "mine"], PATIENCE).ok();
    let mine = dev.folder().join("mine");
    let tested = dev.run(Path::new(env!("CARGO")), &mine, ["test"], BUILD_PATIENCE).ok();
    assert!(tested.contains("test result: ok. 2 passed"), "{tested}");
    sluice(&mine, &["plugin", "build"], BUILD_PATIENCE).ok();
    sluice(&mine, &["plugin", "push"], BUILD_PATIENCE).ok();
    sluice(&mine, &["topic", "create", "events"], PATIENCE).ok();
    sluice(&mine, &["gate", "set", "events", "--plugin", "mine", "--config", r#"{"without": "debug"}"#], PATIENCE).ok();
    dev.kcat(&["-P", "-t", "events"], b"debug: 1\ninfo: 2\ndebug: 3\n").ok();
    let read = dev.kcat(&["-C", "-t", "events", "-o", "beginning", "-e", "-q"], b"").lines();
    assert_eq!(read, ["info: 2"]);
}

#[test]
fn dev_makes_its_keys_for_its_owner_alone_and_shows_how_to_get_in() {
    use std::os::unix::fs::PermissionsExt;
    let dev = Dev::start();
    let mut keys = 0;
    for entry in fs::read_dir(dev.folder().join("data/tls")).expect("its certificates are there").filter_map(Result::ok)
    {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        if text.contains("PRIVATE KEY") {
            let mode = entry.metadata().expect("it is there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", entry.path().display());
            keys += 1;
        }
    }
    assert!(keys >= 2, "the broker's and the client's");
    for setting in ["ssl.ca.location=", "ssl.truststore.location=", "kcat -F"] {
        assert!(dev.said().contains(setting), "no {setting} to paste");
    }
}
