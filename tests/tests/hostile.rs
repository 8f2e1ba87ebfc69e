//! Plugins that mean harm: each costs its binding what the binding's policy says, and nobody else anything.

#[path = "../../broker/plugin-host/tests/host/guests.rs"]
mod guests;

use std::fs;

use sluice_protocol::ErrorCode;
use sluice_tests::clients::Connection;
use sluice_tests::clients::calls::batch;
use sluice_tests::{Plugin, Sluice};

#[test]
fn a_plugin_that_loops() {
    check_hostile("loops", &guests::loops(), "CPU time");
}

#[test]
fn a_plugin_that_traps() {
    check_hostile("traps", &guests::traps(), "trapped");
}

#[test]
fn a_plugin_that_takes_all_memory() {
    check_hostile("hogs", &guests::hogs_memory(), "memory");
}

#[test]
fn a_plugin_that_lies() {
    // A count of one more record than there are.
    let lie = [b"SLV1", &2_u32.to_le_bytes()[..], &1_u32.to_le_bytes(), &0_u32.to_le_bytes()].concat();
    check_hostile("lies", &guests::answers(guests::Guest::both(), &lie), "not valid");
}

#[test]
fn a_plugin_that_floods() {
    check_hostile("floods", &guests::floods(12 << 20), "handed back more than");
}

#[test]
fn a_plugin_that_imports_what_is_not_granted_is_not_taken() {
    check_not_taken(&guests::imports_a_clock(), "wasi:clocks/wall-clock");
}

#[test]
fn what_is_no_component_is_not_taken() {
    check_not_taken(b"\0asm\x01\0\0\0", "component");
}

#[test]
fn a_component_over_10_mib_is_not_taken() {
    check_not_taken(&vec![0; (10 << 20) + 1], "at most 10485760");
}

#[test]
fn under_the_policy_pass_a_gate_that_fails_lets_batches_by() {
    let sluice = with_plugin("traps", &guests::traps());
    sluice.gate("bad", &Plugin::new("traps", "{}").option("--on-error=pass"));
    let stored = sluice.connection().produce("bad", batch(["by"]).build());
    assert_eq!(stored.error_code, ErrorCode::None, "{:?}", stored.error_message);
    assert_eq!(sluice.read("bad"), ["by"]);
}

#[test]
fn a_view_that_passes_what_it_cannot_filter_must_say_so() {
    let sluice = with_plugin("traps", &guests::traps());
    let unsaid =
        ["view", "create", "leaky", "--of", "bad", "--plugin", "traps", "--config", "{}", "--on-error", "pass"];
    let refused = sluice.cli(unsaid).failed(1);
    assert!(refused.contains("allow_unfiltered"), "{refused}");
    sluice.cli(unsaid.into_iter().chain(["--allow-unfiltered"])).ok();
    assert!(sluice.rdkafka().send("bad", ["shown"]).iter().all(Result::is_ok));
    assert_eq!(sluice.read("leaky"), ["shown"]);
}

/// Binds it as a gate and as a view of a topic, and uses both while another client produces to another topic all along.
#[track_caller]
fn check_hostile(name: &str, component: &[u8], cause: &str) {
    let sluice = with_plugin(name, component);
    let plugin = Plugin::new(name, "{}");
    sluice.view("bad-view", "bad", &plugin);
    let mut connection = sluice.connection();
    assert_eq!(connection.produce("bad", batch(["before"]).build()).error_code, ErrorCode::None);
    sluice.gate("bad", &plugin);
    beside_a_good_client(&sluice, || {
        // More than once: an instance that was lost is replaced, and the next one is as bad.
        for _ in 0..3 {
            let refused = connection.produce("bad", batch(["refused"]).build());
            assert_eq!(refused.error_code, ErrorCode::InvalidRecord);
            let message = refused.error_message.unwrap_or_default();
            assert!(message.contains(name) && message.contains(cause), "it names plugin and cause: {message}");
            assert_eq!(connection.fetch("bad-view", 0).error_code, ErrorCode::UnknownServerError);
        }
    });
    assert_eq!(connection.list_offset("bad", -1).offset, 1, "nothing of what was refused is stored");
    assert_eq!(sluice.read("bad"), ["before"], "the base is there for whoever reads it");
}

/// Runs `attack` while another client goes on producing; each of its records is acknowledged and is there in the end.
#[track_caller]
fn beside_a_good_client(sluice: &Sluice, attack: impl FnOnce()) {
    let over = std::sync::atomic::AtomicBool::new(false);
    let produced = std::thread::scope(|scope| {
        let good = scope.spawn(|| {
            let mut connection: Connection = sluice.connection();
            let mut produced = 0;
            while produced < 10 || !over.load(std::sync::atomic::Ordering::Acquire) {
                let stored = connection.produce("good", batch([format!("{produced}")]).build());
                assert_eq!(stored.error_code, ErrorCode::None, "{:?}", stored.error_message);
                produced += 1;
            }
            produced
        });
        attack();
        over.store(true, std::sync::atomic::Ordering::Release);
        good.join().expect("the good client does not panic")
    });
    let read = sluice.read("good");
    assert_eq!(read, (0..produced).map(|n: usize| n.to_string()).collect::<Vec<_>>());
}

/// A broker with topics `good` and `bad`, and a component pushed under a name.
fn with_plugin(name: &str, component: &[u8]) -> Sluice {
    let sluice = Sluice::start();
    sluice.create_topic("good", 1);
    sluice.create_topic("bad", 1);
    let file = sluice.folder().join("plugin.wasm");
    fs::write(&file, component).expect("the temporary folder can be written");
    sluice.push_file(name, &file);
    sluice
}

#[track_caller]
fn check_not_taken(component: &[u8], why: &str) {
    let sluice = Sluice::start();
    let file = sluice.folder().join("plugin.wasm");
    fs::write(&file, component).expect("the temporary folder can be written");
    let refused = sluice.cli(["plugin", "push", &file.to_string_lossy(), "--name", "odd"]).failed(1);
    assert!(refused.contains(why), "{refused}");
    assert!(!sluice.cli(["plugin", "list"]).ok().contains("odd"));
}
