//! Frames that Kafka's own classes wrote (golden/generate makes them): read, found to hold what was put in, written again byte
//! for byte, and cut short at every place.

use bytes::Bytes;

use super::tree::Tree;
use super::{Tested, ask, for_every_message, messages};
use crate::records::{Chunks, Part};
use crate::{DecodeError, Reader, decode_request_header, decode_response, encode_response};

#[test]
fn frames_of_kafka_itself() {
    for_every_message!(check());
}

fn check<Ours: Tested>() {
    let mut versions = Vec::new();
    for line in include_str!("golden/frames.txt").lines().filter(|line| line.split(' ').next() == Some(Ours::NAME)) {
        let [_, version, kind, frame] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("four words: {line}") };
        let at = format!("{} v{version}, {kind}", Ours::NAME);
        let version = version.parse().expect("a version");
        let frame = unhex(frame);
        versions.push(version);

        let (header, message) = decode::<Ours>(&frame, version).expect(&at);
        if kind == "full" {
            assert_named_values(&Tree::of(&message), "", 0, &at);
        }
        assert_eq!(encode(&header, &message, version), frame, "{at}");
        check_every_truncation(&frame, &at, |frame| decode::<Ours>(frame, version).map(drop));
    }
    versions.dedup();
    assert_eq!(versions, Ours::VERSIONS.collect::<Vec<_>>(), "{} has frames of every version", Ours::NAME);
}

/// No prefix of a frame is a frame, and nothing may follow one.
pub(super) fn check_every_truncation(frame: &Bytes, at: &str, decode: impl Fn(&Bytes) -> Result<(), DecodeError>) {
    for end in 0..frame.len() {
        decode(&frame.slice(..end)).expect_err(&format!("{at}: the first {end} bytes of {}", frame.len()));
    }
    let longer = [frame, &b"\0"[..]].concat().into();
    assert_eq!(decode(&longer), Err(DecodeError::Trailing { left: 1 }), "{at}, a byte longer");
}

/// The header's bytes, which are the same for all frames of a kind, and the message.
fn decode<Ours: Tested>(frame: &Bytes, version: i16) -> Result<(Bytes, Ours), DecodeError> {
    if Ours::NAME.ends_with("Response") {
        let (correlation_id, message) = decode_response(Chunks::from(frame.clone()), version)?;
        assert_eq!(correlation_id, CORRELATION_ID);
        return Ok((Bytes::new(), message));
    }
    let mut reader = Reader::new(Chunks::from(frame.clone()));
    let header = decode_request_header(&mut reader)?;
    let client_id = header.client_id.as_deref();
    assert_eq!((header.api_key, header.api_version), (Ours::KEY.code(), version));
    assert!(header.correlation_id == CORRELATION_ID && client_id.is_none_or(|id| id == "golden"), "{header:?}");
    let header = frame.slice(..frame.len() - reader.remaining());
    Ok((header, Ours::read(&mut reader, version)?))
}

fn encode<Ours: Tested>(header: &Bytes, message: &Ours, version: i16) -> Bytes {
    if !header.is_empty() {
        return [&header[..], &super::body(message, version)].concat().into();
    }
    let mut frame = encode_response(CORRELATION_ID, version, message).expect("what was read").into_iter().fold(
        Vec::new(),
        |mut frame, part| {
            let Part::Bytes(bytes) = part else { unreachable!("no files were put in") };
            frame.extend_from_slice(&bytes);
            frame
        },
    );
    let length: Vec<u8> = frame.drain(..4).collect();
    assert_eq!(length, (frame.len() as u32).to_be_bytes());
    frame.into()
}

/// That every field holds the value that was made from its name: no two have changed places.
fn assert_named_values(tree: &Tree, name: &str, place: usize, at: &str) {
    let hash = hash(&format!("{name}-{place}"));
    match tree {
        Tree::Struct(fields) => fields.iter().for_each(|(name, value)| assert_named_values(value, name, place, at)),
        Tree::List(list) => {
            assert_eq!(list.len(), 2, "{at}, {name}");
            list.iter().enumerate().for_each(|(i, value)| assert_named_values(value, name, place + i, at));
        }
        Tree::Text(text) => assert_eq!(*text, format!("{name}-{place}"), "{at}"),
        Tree::Number(number) => {
            let widths = [0x7f, 0x7fff, 0x7fff_ffff, i64::MAX as u64];
            let made = widths.iter().any(|mask| *number == (hash & mask) as i64);
            assert!(made || ABSENT.contains(number), "{at}: {name} is {number}");
        }
        Tree::Uuid(bytes) => {
            let half = |i| self::hash(&format!("{name}-{place}-{i}"));
            let made = u128::from(half(0)) << 64 | u128::from(half(1));
            assert!([made, 0].contains(&u128::from_be_bytes(*bytes)), "{at}: {name} is {bytes:?}");
        }
        // One bit cannot be told from another's; the oracle tells them apart.
        Tree::Bool(_) | Tree::Nothing => {}
    }
}

/// The defaults of fields that a version lacks.
const ABSENT: [i64; 7] = [0, -1, -2, 1, i32::MIN as i64, i32::MAX as i64, i64::MAX];

const CORRELATION_ID: i32 = 0x0102_0304;

/// FNV-1a and two steps to spread it, since it is cut to as few as seven bits; as in GoldenFrames.java.
fn hash(text: &str) -> u64 {
    let fnv = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let spread = (fnv ^ fnv >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    spread ^ spread >> 29
}

fn unhex(text: &str) -> Bytes {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digit).collect()
}
