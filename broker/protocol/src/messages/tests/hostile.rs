//! Bytes nobody should send: no panic, and never more memory than a fixed multiple of what was sent.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::{Tested, ask, body, cut, for_every_message, messages, read};
use crate::messages::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use crate::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use crate::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use crate::records::{Chunks, FileRange, Part, ReadAt};
use crate::wire::any::Dice;
use crate::{
    BYTES_ALLOCATED_PER_BYTE, DecodeError, Message, Reader, decode_request_header, encode_request, encode_response,
};

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        for_every_message!(costs_no_more_than_allowed(&bytes));
        let length = bytes.len() as u64;
        let mut reader = Reader::new(Chunks::from(bytes));
        let cost = allocation_counter::measure(|| drop(decode_request_header(&mut reader)));
        assert!(cost.bytes_total <= length, "{cost:?}");
    }

    #[test]
    fn small_bytes(bytes in prop::collection::vec(0u8..4, 0..400)) {
        // Small numbers are the lengths that lead deepest.
        let bytes = Bytes::from(bytes);
        for_every_message!(costs_no_more_than_allowed(&bytes));
    }

    #[test]
    fn damaged_messages(seed: u64) {
        for_every_message!(survives_damage(seed));
    }
}

fn costs_no_more_than_allowed<Ours: Tested>(bytes: &Bytes) {
    for version in Ours::VERSIONS {
        assert_cost::<Ours>(bytes, version);
    }
}

fn assert_cost<Ours: Tested>(bytes: &Bytes, version: i16) {
    let frame = bytes.clone(); // the first clone makes the bytes shared, which allocates
    let cost = allocation_counter::measure(|| drop(read::<Ours>(frame, version)));
    let allowed = (bytes.len() * BYTES_ALLOCATED_PER_BYTE) as u64;
    assert!(cost.bytes_total <= allowed, "{} v{version}: {cost:?}, allowed {allowed}", Ours::NAME);
}

fn survives_damage<Ours: Tested>(seed: u64) {
    let mut dice = Dice(seed);
    for version in Ours::VERSIONS {
        let mut bytes = Vec::from(body(&Ours::some(&mut dice, version), version));
        for _ in 0..=dice.below(3) {
            if bytes.is_empty() {
                break;
            }
            let at = dice.below(bytes.len() as u64) as usize;
            match dice.below(4) {
                0 => bytes[at] = dice.roll() as u8,
                1 => bytes[at] = 0xff,
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, 0x7f),
            }
        }
        let bytes = Bytes::from(bytes);
        assert_cost::<Ours>(&bytes, version);
        // The pieces a frame arrives in change nothing of what it says.
        let whole = read::<Ours>(bytes.clone(), version).map(|message| body(&message, version));
        let pieces = read::<Ours>(cut(&bytes, &mut dice), version).map(|message| body(&message, version));
        assert_eq!(whole, pieces, "{} v{version}", Ours::NAME);
    }
}

#[test]
fn a_metadata_body_of_7fffffff_is_an_error() {
    let body = Bytes::from_static(b"\x7f\xff\xff\xff");
    let cost = allocation_counter::measure(|| {
        let refused = read::<MetadataRequest>(body.clone(), 1);
        assert_eq!(refused, Err(DecodeError::Truncated { needed: i32::MAX as usize, left: 0 }));
    });
    assert_eq!(cost.bytes_total, 0);
}

#[test]
fn empty_elements_do_not_buy_memory() {
    // A topic without a name or partitions takes three bytes to say and more than 16 times that to hold.
    let topics = [1u8, 1, 0].repeat(1000);
    let head = [0, 0, 1, 0, 0, 0, 0, 0xe9, 0x07];
    let body = Bytes::from([&head[..], &topics, &[0]].concat());
    let refused = read::<ProduceRequest>(body, 9);
    assert!(matches!(refused, Err(DecodeError::Memory { .. })), "{refused:?}");
}

#[test]
fn the_densest_honest_request_is_within_the_budget() {
    // Topics with names of one letter: three bytes each on the wire.
    let topics = (b'a'..=b'z').map(|letter| MetadataRequestTopic {
        name: Some(char::from(letter).into()),
        ..MetadataRequestTopic::default()
    });
    let request = MetadataRequest { topics: Some(topics.collect()), ..MetadataRequest::default() };
    for version in 0..=13 {
        assert_eq!(read::<MetadataRequest>(body(&request, version), version).as_ref(), Ok(&request), "v{version}");
    }
}

#[test]
fn records_in_pieces_are_not_copied() {
    let records: Bytes = vec![7; 1 << 20].into();
    let request = ProduceRequest {
        acks: -1,
        topic_data: vec![TopicProduceData {
            name: "orders".into(),
            partition_data: vec![PartitionProduceData { index: 3, records: Some(records.into()) }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    let frame = encode_request(1, Some("me"), 9, &request).expect("encodes").slice(4..);
    let pieces: Vec<Bytes> = frame.chunks(64 << 10).map(|piece| frame.slice_ref(piece)).collect();
    let mut reader = Reader::new(Chunks::from(pieces.clone()));

    let mut decoded = None;
    let cost = allocation_counter::measure(|| {
        decode_request_header(&mut reader).expect("a header");
        decoded = Some(ProduceRequest::read(&mut reader, 9).expect("a request"));
    });
    let decoded = decoded.expect("measured once");
    assert_eq!(decoded, request);
    let Some(records) = &decoded.topic_data[0].partition_data[0].records else { panic!("records") };
    assert_eq!(records.parts().len(), pieces.len());
    for (part, piece) in records.parts().iter().zip(&pieces) {
        let last_byte = |bytes: &Bytes| bytes.last().map(std::ptr::from_ref);
        assert!(
            last_byte(piece) >= last_byte(part) && part.as_ptr() >= piece.as_ptr(),
            "inside the piece that arrived"
        );
    }
    // The list of pieces, the two lists of structs, two names.
    assert_eq!(cost.count_total, 5, "{cost:?}");
    assert!(cost.bytes_total < 1024, "{cost:?}");
}

#[test]
fn records_go_out_uncopied() {
    let first = Bytes::from(vec![7; 1000]);
    let range = FileRange { file: Arc::new(Nowhere), position: 5, len: 77 };
    let partition = |records| PartitionData { records, ..PartitionData::default() };
    let response = FetchResponse {
        responses: vec![FetchableTopicResponse {
            partitions: vec![
                partition(vec![Part::Bytes(first.clone()), Part::File(range.clone())]),
                partition(Vec::new()),
                partition(vec![Part::File(range.clone())]),
            ],
            ..FetchableTopicResponse::default()
        }],
        ..FetchResponse::default()
    };
    let parts = encode_response(1, 12, &response).expect("encodes");
    let [Part::Bytes(head), Part::Bytes(records), Part::File(one), Part::Bytes(_), Part::File(two), Part::Bytes(_)] =
        &parts[..]
    else {
        panic!("{parts:?}")
    };
    assert_eq!((records.as_ptr(), one, two), (first.as_ptr(), &range, &range));
    let length = parts.iter().map(Part::len).sum::<usize>() - 4;
    assert_eq!(head[..4], (length as u32).to_be_bytes());
}

/// A file that must not be read to be sent on.
#[derive(Debug)]
struct Nowhere;

impl ReadAt for Nowhere {
    fn read_exact_at(&self, _: &mut [u8], _: u64) -> std::io::Result<()> {
        panic!("encoding reads no files")
    }
}
