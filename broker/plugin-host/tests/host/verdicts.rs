//! Batches that plugins answer truly: what they see, what comes back, and what of it costs nothing.

use sluice_plugin_host::{BatchContext, Kind, LieKind, Limits, PluginError, Verdict, Verdicts};
use sluice_protocol::records::{BatchBuilder, Compression};

use crate::{
    guests::{self, Guest},
    setup::{Setup, process},
};

#[test]
fn keep_all_is_one_word() {
    let setup = Setup::new();
    let bound = setup.gate(&guests::keeps_all());
    assert_eq!(process(&bound, ["a", "b"]), Ok(Verdicts::KeepAll));
    assert_eq!(process(&bound, [] as [&str; 0]), Ok(Verdicts::KeepAll), "nothing to ask");
    let stats = bound.stats();
    assert_eq!((stats.batches, stats.calls, stats.records, stats.failures, stats.instances), (2, 1, 2, 0, 1));
    assert!(stats.cpu.as_nanos() > 0);
}

#[test]
fn a_filter_drops_what_it_drops_in_a_gate_and_in_a_view() {
    let setup = Setup::new();
    let wasm = guests::drops_x();
    for kind in [Kind::Gate, Kind::View] {
        let bound = setup.try_bind(kind, &wasm, Limits::default()).unwrap();
        let verdicts = process(&bound, ["a", "xb", "x", "c", "ax"]).unwrap();
        let (keep, drop) = (Verdict::Keep, Verdict::Drop);
        assert_eq!(verdicts, Verdicts::Each(vec![keep.clone(), drop.clone(), drop, keep.clone(), keep]), "{kind:?}");
        assert_eq!(process(&bound, ["a", "b"]), Ok(Verdicts::KeepAll), "an answer that keeps all is the short one");
    }
}

#[test]
fn replacements_share_the_answer() {
    let setup = Setup::new();
    let answer = [
        &b"SLV1\x02\0\0\0\0\0\0\0\x01\0\0\0\0\x02\0\0"[..],
        &[2u32, 0, 0, 1, 4, 0, 0].map(u32::to_le_bytes).concat(),
        b"-new!",
    ]
    .concat();
    let bound = setup.gate(&guests::answers(Guest::gate(), &answer));
    let Ok(Verdicts::Each(verdicts)) = process(&bound, ["old", "old"]) else { panic!("an answer") };
    let [Verdict::Keep, Verdict::Replace(replacement)] = &verdicts[..] else { panic!("{verdicts:?}") };
    assert_eq!(replacement.value.as_ref().unwrap().as_deref(), Some(&b"new!"[..]));
    assert_eq!((&replacement.key, &replacement.headers), (&None, &None));
}

#[test]
fn a_rejection_carries_its_message_and_a_view_has_none() {
    let setup = Setup::new();
    let answer = [
        &b"SLV1\x01\0\0\0\0\0\0\0\x01\0\0\0\x03\0\0\0"[..],
        &[0u32, 0, 7, 0, 0, 0, 0].map(u32::to_le_bytes).concat(),
        b"too old",
    ]
    .concat();
    let wasm = guests::answers(Guest::both(), &answer);
    let rejected = process(&setup.gate(&wasm), ["r"]);
    assert_eq!(rejected, Ok(Verdicts::Each(vec![Verdict::Reject("too old".to_owned())])));
    let view = setup.try_bind(Kind::View, &wasm, Limits::default()).unwrap();
    assert_eq!(process(&view, ["r"]), Err(PluginError::Lie(LieKind::RejectFromView { record: 0 })));
}

#[test]
fn a_plugin_s_own_error_is_its_words_and_costs_no_instance() {
    let setup = Setup::new();
    let bound = setup.gate(&guests::fails("the table is not there"));
    for _ in 0..3 {
        assert_eq!(process(&bound, ["r"]), Err(PluginError::Failed("the table is not there".to_owned())));
    }
    assert_eq!((bound.stats().instances, bound.stats().failures), (1, 3));
    let long = "é".repeat(600);
    let Err(PluginError::Failed(words)) = process(&setup.gate(&guests::fails(&long)), ["r"]) else {
        panic!("an error")
    };
    assert_eq!(words, "é".repeat(512), "cut to 1,024 bytes, between characters");
}

/// A batch of 10 MiB under 16 MiB of memory crosses in three calls, and the verdicts are as of one.
#[test]
fn a_large_batch_crosses_in_several_calls_and_its_verdicts_are_joined() {
    let setup = Setup::new();
    let bound = setup.gate(&guests::drops_x());
    let values: Vec<Vec<u8>> =
        (0..1000).map(|n| if n == 300 || n == 900 { vec![b'x'; 10_000] } else { vec![b'-'; 10_000] }).collect();
    let Ok(Verdicts::Each(verdicts)) = process(&bound, &values) else { panic!("verdicts") };
    let dropped: Vec<usize> = (0..verdicts.len()).filter(|&n| verdicts[n] == Verdict::Drop).collect();
    assert_eq!((verdicts.len(), dropped), (1000, vec![300, 900]));
    assert_eq!(bound.stats().calls, 3);

    let kept = vec![vec![b'-'; 10_000]; 1000];
    assert_eq!(process(&bound, &kept), Ok(Verdicts::KeepAll));
}

#[test]
fn a_record_that_fits_no_memory_is_told_so() {
    let setup = Setup::new();
    let small = Limits { memory_bytes: 1024 * 1024, ..Limits::default() };
    let bound = setup.gate_under(&guests::keeps_all(), small);
    let refused = process(&bound, [vec![0; 2 * 1024 * 1024]]);
    assert!(matches!(refused, Err(PluginError::RecordTooLarge { bytes: 2097152.., limit: 1048576 })), "{refused:?}");
    assert_eq!(process(&bound, ["small"]), Ok(Verdicts::KeepAll));
    assert_eq!(bound.stats().instances, 1, "the plugin never saw it");
}

/// The echo hands back what was packed, which is no answer; so it fails by its magic, and shows that the call crossed.
/// The bytes themselves are held by the layout's own tests.
#[test]
fn headers_keys_and_timestamps_cross_when_asked_for() {
    let setup = Setup::new();
    let all = guests::KEYS | guests::VALUES | guests::HEADERS | guests::TIMESTAMPS;
    let bound = setup.gate(&guests::echoes(all));
    let mut builder = BatchBuilder::new(Compression::Zstd);
    builder.push(1, Some(b"k"), Some(b"v"), [("h", Some("v"))]);
    let batch = builder.build_batch().decode(1 << 20).unwrap();
    let cx = BatchContext { topic: "orders", partition: 0, base_offset: 42 };
    assert_eq!(bound.process(&cx, &batch), Err(PluginError::Lie(LieKind::Magic)));
}
