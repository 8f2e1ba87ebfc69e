//! `sluice demo` as whoever has just cloned the project runs it: real events through the plugins in the binary, over TLS,
//! in a broker of which nothing is left.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Runs the demo to its end. Each wait in it has a limit of its own.
#[track_caller]
fn demo(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.arg("demo").args(arguments).env("TMPDIR", folder.path()).stdin(Stdio::null());
    let ran = command.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{}\n{said}", ran.status);
    let left: Vec<_> = fs::read_dir(folder.path()).expect("is there").collect();
    assert!(left.is_empty(), "{left:?}\n{said}");
    ran
}

#[test]
fn every_event_of_the_week_is_stored_or_refused_and_the_strong_ones_are_seen() {
    let ran = demo(&["--records", "1707", "--format", "json"]);
    let counts: Value = serde_json::from_slice(&ran.stdout).expect("one JSON value and nothing else");
    for (name, expected) in [("sent", 1707), ("stored", 1679), ("refused", 28), ("seen_in_view", 85)] {
        assert_eq!(counts[name], expected, "{name} of {counts}");
    }
    for name in ["seconds", "seconds_to_start"] {
        assert!(counts[name].as_f64().is_some_and(|seconds| seconds > 0.0), "{name} of {counts}");
    }
}

#[test]
fn an_event_of_each_kind_is_shown_before_and_after() {
    // Among the first 30 events are two explosions and three strong earthquakes.
    let ran = demo(&["--records", "30"]);
    let shown = String::from_utf8(ran.stdout).expect("text");
    assert!(!shown.contains('\x1b') && !shown.contains('\r'), "no terminal, no cursor control: {shown}");
    for told in [
        "#1  M 2.0 - 4km W of Castaic, CA\n",
        "  type    earthquake             earthquake\n",
        "  url     https://earthquake.us… (removed)\n",
        "  mag     2                      2                      not seen\n",
        "  type    explosion              refused\n",
        "redact: $.properties.type is not \"earthquake\"\n",
        "sent 30   stored 28   refused 2   seen in earthquakes.strong 3 ",
    ] {
        assert!(shown.contains(told), "{told:?} is missing: {shown}");
    }
    let said = String::from_utf8(ran.stderr).expect("text");
    assert!(said.contains("kcat -F ") && said.contains("ssl.ca.location="), "{said}");
}

#[test]
fn json_without_an_end_is_refused_with_the_way_out() {
    let ran = Command::new(env!("CARGO_BIN_EXE_sluice")).args(["demo", "--format", "json"]).output();
    let ran = ran.expect("the binary runs");
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("sluice demo --records 1707 --format json"));
}

#[test]
fn a_broker_is_killed_and_nothing_is_lost() {
    let ran = demo(&["--records", "1707", "--kill-at", "500", "--format", "json"]);
    let counts: Value = serde_json::from_slice(&ran.stdout).expect("one JSON value and nothing else");
    for (name, expected) in [
        ("sent", 1707),
        ("stored", 1679),
        ("refused", 28),
        ("seen_in_view", 85),
        ("brokers", 3),
        ("under_replicated", 0),
    ] {
        assert_eq!(counts[name], expected, "{name} of {counts}");
    }
    assert!(counts["killed"].as_i64().is_some_and(|id| (1..=3).contains(&id)), "{counts}");
}

#[test]
fn a_kill_after_the_end_is_refused() {
    let ran = Command::new(env!("CARGO_BIN_EXE_sluice")).args(["demo", "--records", "5", "--kill-at", "5"]).output();
    let ran = ran.expect("the binary runs");
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("--kill-at 5 is not before the last of 5 events"));
}
