//! Plugins that mean harm. Each costs itself its instance, its caller an error that says why, and no one else anything:
//! after each the same host serves another binding.

use std::time::Duration;

use sluice_plugin_host::{BindError, Kind, LieKind, Limits, PluginError, Verdicts};

use crate::{
    guests::{self, Guest},
    setup::{Setup, patient, process},
};

/// Gives `wasm` a batch twice, as a new instance has the same fault, and a well-behaved plugin one between.
fn fails(wasm: &[u8], check: impl Fn(PluginError)) {
    let setup = Setup::new();
    let good = setup.gate(&guests::keeps_all());
    let bad = setup.gate(wasm);
    for calls in 1..=2 {
        check(process(&bad, ["record"]).expect_err("a failure"));
        assert_eq!(bad.stats().instances, calls, "each failure costs an instance");
        assert_eq!(process(&good, ["record"]), Ok(Verdicts::KeepAll), "the next is served");
    }
    assert_eq!(bad.stats().failures, 2);
}

#[test]
fn a_loop() {
    fails(&guests::loops(), |error| {
        assert_eq!(error, PluginError::CpuTime { limit: Duration::from_millis(100) });
        assert_eq!(error.to_string(), "used more than 100 ms of CPU time on a batch");
    });
}

#[test]
fn a_loop_after_the_answer() {
    fails(&guests::loops_after_its_answer(), |error| assert!(matches!(error, PluginError::CpuTime { .. }), "{error}"));
}

#[test]
fn a_trap() {
    fails(&guests::traps(), |error| match error {
        PluginError::Trap { cause } => assert!(cause.contains("unreachable"), "{cause}"),
        other => panic!("{other}"),
    });
}

#[test]
fn a_stack_without_end() {
    fails(&guests::overflows_the_stack(), |error| match error {
        PluginError::Trap { cause } => assert!(cause.contains("call stack exhausted"), "{cause}"),
        other => panic!("{other}"),
    });
}

#[test]
fn memory_without_end() {
    let limit = Limits::default().memory_bytes;
    fails(&guests::hogs_memory(), |error| assert_eq!(error, PluginError::Memory { limit }));
}

#[test]
fn an_output_flood() {
    let limit = Limits::default().output_bytes;
    fails(&guests::floods(u32::try_from(limit).unwrap() + 1), |error| {
        assert_eq!(error, PluginError::OutputTooLarge { limit });
    });
}

#[test]
fn an_answer_from_outside_its_memory() {
    fails(&guests::answers_from_outside(), |error| {
        assert!(matches!(&error, PluginError::Lie(LieKind::Abi(why)) if why.contains("out of bounds")), "{error}");
    });
}

#[test]
fn lying_verdicts() {
    let header = |count: u8, flags: u8, entries: u8| {
        [&b"SLV1"[..], &[count, 0, 0, 0, flags, 0, 0, 0, entries, 0, 0, 0]].concat()
    };
    let check = |answer: Vec<u8>, lie: LieKind| {
        fails(&guests::answers(Guest::gate(), &answer), |error| assert_eq!(error, PluginError::Lie(lie.clone())));
    };
    check(vec![], LieKind::Truncated { needed: 16, got: 0 });
    check(header(2, 1, 0), LieKind::Count { expected: 1, got: 2 });
    check([header(1, 0, 0), vec![9, 0, 0, 0]].concat(), LieKind::Verdict { record: 0, verdict: 9 });
    let range = [header(1, 0, 1), vec![2, 0, 0, 0], [2u32, 0, 0, 0, 1, 0, 0].map(u32::to_le_bytes).concat()].concat();
    check(range, LieKind::Range { record: 0, start: 0, length: 1, blob: 0 });
}

#[test]
fn a_start_that_never_ends() {
    let setup = Setup::new();
    for wasm in [guests::loops_in_init(), guests::loops_at_start()] {
        match setup.try_bind(Kind::Gate, &wasm, patient()) {
            Err(BindError::Failed(PluginError::CpuTime { .. })) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(process(&setup.gate(&guests::keeps_all()), ["record"]), Ok(Verdicts::KeepAll));
}

#[test]
fn memory_beyond_the_limit_from_the_start() {
    let setup = Setup::new();
    match setup.try_bind(Kind::Gate, &guests::starts_with(300), Limits::default()) {
        Err(BindError::Failed(PluginError::Memory { limit })) => assert_eq!(limit, 16 * 1024 * 1024),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_log_flood_is_cut_to_its_volume_and_counted() {
    let setup = Setup::new();
    let bound = setup.gate(&guests::logs(5_000, 20));
    assert_eq!(process(&bound, ["record"]), Ok(Verdicts::KeepAll), "no failure: the lines are dropped");
    assert_eq!(setup.heard.lines.lock().len(), 200);
    assert_eq!(bound.stats().lines_dropped, 4_800);

    let long = setup.gate(&guests::logs(1_000, 100_000));
    assert_eq!(process(&long, ["record"]), Ok(Verdicts::KeepAll));
    let lines = setup.heard.lines.lock();
    assert!(lines[200..].iter().all(|(_, line)| line.len() == 4096), "long lines are cut");
    assert_eq!(lines.len() - 200, 16, "64 KiB of them");
}

#[test]
fn a_log_line_that_is_no_text() {
    fails(&guests::logs_what_is_no_text(), |error| {
        assert!(matches!(&error, PluginError::Lie(LieKind::Abi(why)) if why.contains("utf-8")), "{error}");
    });
}

#[test]
fn names_of_metrics_without_end() {
    let setup = Setup::new();
    let bound = setup.gate(&guests::counts(90));
    for _ in 0..2 {
        assert_eq!(process(&bound, ["record"]), Ok(Verdicts::KeepAll));
    }
    let counters = setup.heard.counters.lock();
    assert_eq!(counters.len(), 63, "with the gauge, the binding's 64 names");
    assert!(counters.values().all(|&value| value == 2));
    assert_eq!(*setup.heard.gauges.lock(), [("level".to_owned(), 2.5)].into());
    assert_eq!(bound.stats().updates_dropped, 2 * (90 - 63 + 1), "names too many, and one that is none");
}
