//! Entries and heads as bytes: kept, damaged, chained.

use proptest::prelude::*;

use super::*;

#[test]
fn golden_bytes() {
    let entry = Entry {
        controller_epoch: 3,
        nonce: 258,
        previous: Hash([0xee; 32]),
        records: vec![MetadataRecord::ProducerIds { next: 1000 }],
    };
    check(entry.encode().0, "01cf25438d068202eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee0108d00f");
    let head = Head { next_seq: 300, hash: Hash([0xee; 32]), snapshot: None };
    check(head.encode(), "01d0cf1cabac02eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee00");
    let head = Head { snapshot: Some(SnapshotAt { next_seq: 200, chunks: 2 }), ..head };
    check(head.encode(), "01199cfbb9ac02eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee01c80102");
    assert_eq!(Head::decode(&head.encode()), Ok(head));
}

#[test]
fn damage_is_never_read() {
    let bytes = entry(Hash::default(), 1).encode().0;
    for cut in 0..bytes.len() {
        assert!(Entry::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        assert!(Entry::decode(&flipped).is_err(), "flipped at {at}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(matches!(Entry::decode(&longer), Err(DecodeError::Crc { .. })));
    assert_eq!(Entry::decode(&[2, 0, 0, 0, 0]), Err(DecodeError::Version { version: 2 }));
    assert_eq!(Entry::decode(&[]), Err(DecodeError::TooShort { len: 0 }));
}

#[test]
fn an_unknown_record_is_not_passed_over() {
    let mut bytes = seal(&(1_i32, 0_u64, Hash::default(), vec![250_u8]));
    assert!(matches!(Entry::decode(&bytes), Err(DecodeError::Content { .. })), "a variant of a later version");
    bytes = seal(&(1_i32, 0_u64, Hash::default(), Vec::<u8>::new(), 7_u8));
    assert!(matches!(Entry::decode(&bytes), Err(DecodeError::Content { .. })), "more than there should be");
}

#[test]
fn entries_chain() {
    let start = Image::default();
    let (first, first_hash) = entry(start.hash(), 1_000).encode();
    let (second, second_hash) = entry(first_hash, 2_000).encode();
    let image = start.after(&first).unwrap().after(&second).unwrap();
    assert_eq!((image.next_seq(), image.hash(), image.producer_ids_next()), (2, second_hash, 2_000));
    let skipped = start.after(&second);
    assert_eq!(skipped, Err(ApplyError::Chain { seq: 0, found: first_hash, known: Hash::default() }));
    let backwards = image.after(&entry(second_hash, 500).encode().0);
    assert!(matches!(backwards, Err(ApplyError::Replay { seq: 2, .. })));
    assert!(matches!(image.after(b"garbage"), Err(ApplyError::Decode { seq: 2, .. })));
    assert_eq!(image.producer_ids_next(), 2_000, "a refused entry leaves the image as it was");
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_calmly(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        // With the right prefix, so that the content is reached.
        let mut sealed = seal(&());
        sealed[1..].copy_from_slice(&crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes).to_le_bytes()[..4]);
        sealed.extend(&bytes);
        if let Ok(entry) = Entry::decode(&sealed) {
            prop_assert!(Entry::decode(&entry.encode().0).is_ok());
        }
        let _ = Head::decode(&sealed);
    }
}

fn entry(previous: Hash, next: i64) -> Entry {
    Entry { controller_epoch: 1, nonce: 7, previous, records: vec![MetadataRecord::ProducerIds { next }] }
}

fn check(bytes: Vec<u8>, golden: &str) {
    assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), golden);
}
