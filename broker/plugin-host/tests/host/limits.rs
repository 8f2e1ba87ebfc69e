//! Limits are the binding's, and change while it serves.

use std::time::Duration;

use sluice_plugin_host::{Limits, PluginError, Verdicts};

use crate::{
    guests,
    setup::{Setup, patient, process},
};

#[test]
fn cpu_time_is_the_limit_that_holds_after_a_change() {
    let setup = Setup::new();
    let bound = setup.gate(&guests::loops());
    for millis in [20, 300, 5] {
        let cpu = Duration::from_millis(millis);
        bound.set_limits(Limits { cpu, ..patient() }).unwrap();
        let before = bound.stats().cpu;
        assert_eq!(process(&bound, ["record"]), Err(PluginError::CpuTime { limit: cpu }));
        let spent = bound.stats().cpu - before;
        assert!(spent >= cpu, "{spent:?} of {cpu:?}");
        // The tick is a millisecond, and may come late on a busy machine; the CPU goes on meanwhile.
        assert!(spent < cpu + Duration::from_millis(250), "{spent:?} of {cpu:?}");
    }
}

#[test]
fn wall_time_is_a_limit_of_its_own() {
    let setup = Setup::new();
    let wall = Duration::from_millis(30);
    let bound = setup.gate_under(&guests::loops(), Limits { cpu: Duration::from_secs(10), wall, ..Limits::default() });
    assert_eq!(process(&bound, ["record"]), Err(PluginError::WallTime { limit: wall }));
}

#[test]
fn memory_can_be_raised_and_lowered() {
    let setup = Setup::new();
    let of = |memory_bytes| Limits { memory_bytes, ..Limits::default() };
    let (small, large) = (512 * 1024, 8 * 1024 * 1024);
    let bound = setup.gate_under(&guests::keeps_all(), of(small));
    let record = vec![0; 500 * 1024];
    assert_eq!(process(&bound, [&record]), Err(PluginError::Memory { limit: small }));
    bound.set_limits(of(large)).unwrap();
    assert_eq!(process(&bound, [&record]), Ok(Verdicts::KeepAll));
    bound.set_limits(of(small)).unwrap();
    assert_eq!(process(&bound, [&record]), Err(PluginError::Memory { limit: small }));
    assert_eq!(process(&bound, ["small"]), Ok(Verdicts::KeepAll), "an instance that fits is made");
    bound.set_limits(of(1)).expect_err("out of range");
    assert_eq!(bound.limits().memory_bytes, small, "and nothing changed");
}

#[test]
fn a_plugin_that_is_refused_memory_and_makes_do_has_not_failed() {
    let setup = Setup::new();
    let bound = setup.gate(&guests::takes_all_memory_and_goes_on());
    for _ in 0..3 {
        assert_eq!(process(&bound, ["record"]), Ok(Verdicts::KeepAll));
    }
    assert_eq!(bound.stats().instances, 3, "an instance that is full is renewed");
}

#[test]
fn a_plugin_that_begins_near_its_limit_is_not_renewed_for_it() {
    let setup = Setup::new();
    let limits = Limits { memory_bytes: 1024 * 1024, ..Limits::default() };
    let bound = setup.gate_under(&guests::starts_with(14), limits);
    for _ in 0..3 {
        assert_eq!(process(&bound, ["record"]), Ok(Verdicts::KeepAll));
    }
    assert_eq!(bound.stats().instances, 1);
}

/// Each batch takes some 100 KiB that are never given back; instances are renewed before it shows.
#[test]
fn a_leak_is_not_felt() {
    let setup = Setup::new();
    let bound = setup.gate(&guests::leaks());
    let batch: Vec<Vec<u8>> = vec![vec![0; 1000]; 100];
    for _ in 0..500 {
        assert_eq!(process(&bound, &batch), Ok(Verdicts::KeepAll));
    }
    let instances = bound.stats().instances;
    assert!((3..=6).contains(&instances), "{instances} instances for 50 MiB");
}

#[test]
fn output_is_held_to_the_limit_in_force() {
    let setup = Setup::new();
    let bound = setup.gate(&guests::floods(100_000));
    let of = |output_bytes| Limits { output_bytes, ..Limits::default() };
    bound.set_limits(of(99_999)).unwrap();
    assert_eq!(process(&bound, ["record"]), Err(PluginError::OutputTooLarge { limit: 99_999 }));
    bound.set_limits(of(100_000)).unwrap();
    assert!(matches!(process(&bound, ["record"]), Err(PluginError::Lie(_))), "within it, it is read, and is no answer");
}

#[test]
fn silence_can_be_ordered() {
    let setup = Setup::new();
    let bound = setup.gate(&guests::logs(10, 10));
    bound.set_limits(Limits { log_lines: 0, ..Limits::default() }).unwrap();
    assert_eq!(process(&bound, ["record"]), Ok(Verdicts::KeepAll));
    assert_eq!(*setup.heard.lines.lock(), []);
    assert_eq!(bound.stats().lines_dropped, 10);
}
