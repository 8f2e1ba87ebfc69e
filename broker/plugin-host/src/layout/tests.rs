//! The packed batch, byte by byte.

use proptest::prelude::*;
use sluice_protocol::records::{BatchBuilder, Compression};

use super::*;

const ALL: Columns = Columns { keys: true, values: true, headers: true, timestamps: true };
const VALUES: Columns = Columns { keys: false, values: true, headers: false, timestamps: false };

const CX: BatchContext<'static> = BatchContext { topic: "orders", partition: 3, base_offset: NO_OFFSET };

fn two_records() -> BatchBuilder {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(1000, Some(b"k1"), Some(b"value"), [("h", Some("1")), ("h", None)]);
    builder.push(1007, None, Some(b""), [] as [(&str, Option<&str>); 0]);
    builder.push(999, Some(b""), None, [("name", Some(""))]);
    builder
}

fn decode(builder: &BatchBuilder) -> DecodedBatch {
    builder.build_batch().decode(1 << 24).unwrap()
}

fn pieces(batch: &DecodedBatch, columns: Columns, share: usize) -> Vec<Vec<u8>> {
    let memory_bytes = share.saturating_mul(BATCH_SHARE_OF_MEMORY);
    let mut pieces = Pieces::of(&CX, columns, batch, memory_bytes).unwrap();
    let mut packer = Packer { packed: vec![0xee; 3], values: vec![0xee; 5], ..Packer::default() };
    let mut packed = Vec::new();
    while let Some(count) = pieces.pack_next(&mut packer).unwrap() {
        assert_eq!(packer.packed[8..12], word(count));
        packed.push(packer.packed.clone());
    }
    packed
}

fn packed(batch: &DecodedBatch, columns: Columns) -> Vec<u8> {
    let mut pieces = pieces(batch, columns, usize::MAX);
    assert_eq!(pieces.len(), 1);
    pieces.remove(0)
}

/// The example of the layout, byte by byte. It changes with the layout's version and never otherwise.
#[test]
fn golden() {
    #[rustfmt::skip]
    let expected: &[&[u8]] = &[
        b"SLB1", &[1, 0], &[15, 0], &[3, 0, 0, 0], &[3, 0, 0, 0], // magic, version, columns, count, partition
        &[0xff; 8], &[0xe8, 3, 0, 0, 0, 0, 0, 0],                 // base offset, base timestamp
        &[0; 4], &[6, 0, 0, 0], b"orders", &[0; 2],               // flags, topic
        &[0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0], &[0; 4],           // offset deltas
        &[0xe8, 3, 0, 0, 0, 0, 0, 0], &[0xef, 3, 0, 0, 0, 0, 0, 0], &[0xe7, 3, 0, 0, 0, 0, 0, 0], // timestamps
        &[2, 0, 0, 0, 2, 0, 0, 0x80, 2, 0, 0, 0], b"k1", &[0; 2], // keys: 2, null, empty
        &[5, 0, 0, 0, 5, 0, 0, 0, 5, 0, 0, 0x80], b"value", &[0; 7], // values: 5, empty, null
        &[2, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0],                    // headers up to each record
        &[1, 0, 0, 0, 2, 0, 0, 0, 6, 0, 0, 0],                    // ends of names
        &[1, 0, 0, 0, 1, 0, 0, 0x80, 1, 0, 0, 0],                 // ends of values
        b"hhname", &[0; 6], b"1",
    ];
    let packed = packed(&decode(&two_records()), ALL);
    assert_eq!(packed, expected.concat());
}

#[test]
fn only_what_is_asked_for_crosses() {
    #[rustfmt::skip]
    let expected: &[&[u8]] = &[
        b"SLB1", &[1, 0], &[2, 0], &[3, 0, 0, 0], &[3, 0, 0, 0],
        &[0xff; 8], &[0xe8, 3, 0, 0, 0, 0, 0, 0],
        &[0; 4], &[6, 0, 0, 0], b"orders", &[0; 2],
        &[0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0], &[0; 4],
        &[5, 0, 0, 0, 5, 0, 0, 0, 5, 0, 0, 0x80], b"value",
    ];
    let batch = decode(&two_records());
    assert_eq!(packed(&batch, VALUES), expected.concat());
    assert_eq!(
        packed(&batch, Columns::default()),
        [&expected[..2].concat()[..], &[0, 0], &expected[3..12].concat()].concat()
    );
}

#[test]
fn log_append_time_is_every_record_s_timestamp() {
    let mut batch = two_records().build_batch();
    batch.set_log_append_time(0x1122);
    let batch = batch.decode(1 << 20).unwrap();
    let packed = packed(&batch, Columns { timestamps: true, ..Columns::default() });
    assert_eq!(packed[32..36], 1u32.to_le_bytes(), "the flag");
    let stamp = 0x1122i64.to_le_bytes();
    assert_eq!(packed[64..], [stamp, stamp, stamp].concat());
}

#[test]
fn a_batch_is_cut_between_records() {
    let mut builder = BatchBuilder::new(Compression::None);
    for index in 0..100u8 {
        builder.push(5, None, Some(&[index; 100]), [] as [(&str, Option<&str>); 0]);
    }
    let batch = decode(&builder);
    let cut = pieces(&batch, VALUES, 1024);
    assert!(cut.len() > 10);
    let mut next = 0i32;
    for piece in &cut {
        assert!(piece.len() <= 1024);
        assert_eq!(piece[..8], cut[0][..8]);
        assert_eq!(piece[12..46], cut[0][12..46], "each says the same of where it is from");
        let count = i32::from_le_bytes(piece[8..12].try_into().unwrap());
        let first = i32::from_le_bytes(piece[48..52].try_into().unwrap());
        assert_eq!(first, next, "offset deltas go on");
        next += count;
    }
    assert_eq!(next, 100);
}

#[test]
fn a_record_over_the_share_crosses_alone_and_over_the_memory_not_at_all() {
    let mut builder = BatchBuilder::new(Compression::None);
    for length in [10, 5000, 10] {
        builder.push(5, None, Some(&vec![1; length]), [] as [(&str, Option<&str>); 0]);
    }
    let batch = decode(&builder);
    let cut = pieces(&batch, VALUES, 2000);
    assert_eq!(cut.iter().map(|piece| piece[8]).collect::<Vec<_>>(), [1, 1, 1]);
    let refused = Pieces::of(&CX, VALUES, &batch, 5000).err();
    assert!(matches!(refused, Some(PluginError::RecordTooLarge { bytes: 5001.., limit: 5000 })), "{refused:?}");
}

#[test]
fn what_is_wrong_inside_a_batch_is_found_before_the_plugin_is_asked() {
    let whole = two_records().build_batch();
    for (what, change) in [("a record fewer than counted", 1), ("a record more than counted", -1)] {
        let mut batch = whole.clone();
        batch.header.count += change;
        let batch = batch.decode(1 << 20).unwrap();
        for memory_bytes in [usize::MAX, 400] {
            let mut packer = Packer::default();
            let packed =
                Pieces::of(&CX, VALUES, &batch, memory_bytes).and_then(|mut pieces| Ok(pieces.pack_next(&mut packer)?));
            assert!(matches!(packed, Err(PluginError::Batch(_))), "{what}: {packed:?}");
        }
    }
}

proptest! {
    /// Pieces are within their share but for a record alone, and the bound that takes no reading is one.
    #[test]
    fn bounds_hold(
        records in proptest::collection::vec(
            (
                any::<Option<[u8; 5]>>(),
                any::<Option<[u8; 11]>>(),
                proptest::collection::vec(("[a-zé]{0,9}", any::<Option<[u8; 3]>>()), 0..4),
            ),
            1..30,
        ),
        keys: bool, values: bool, headers: bool, timestamps: bool,
        share in 110usize..2000,
    ) {
        let mut builder = BatchBuilder::new(Compression::None);
        for (key, value, headers) in &records {
            let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
            builder.push(7, key.as_ref().map(|key| &key[..]), value.as_ref().map(|value| &value[..]), headers);
        }
        let batch = decode(&builder);
        let columns = Columns { keys, values, headers, timestamps };
        let whole = packed(&batch, columns);
        prop_assert!(whole.len() <= bytes_at_most(&CX, columns, &batch));
        let mut count = 0;
        for piece in pieces(&batch, columns, share) {
            prop_assert!(piece.len() <= share || piece[8] == 1);
            count += usize::from(piece[8]);
        }
        prop_assert_eq!(count, records.len());
    }
}
