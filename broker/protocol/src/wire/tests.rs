//! Primitives at their edges, and tagged fields between an older and a newer peer.

use bytes::Bytes;
use proptest::prelude::*;

use super::any::{Any, Dice};
use super::{At, Wire, message};
use crate::records::{Chunks, Part};
use crate::{DecodeError, EncodeError, Reader, Writer};

const PLAIN: At = At { version: 0, flexible: false, nullable: false };
const COMPACT: At = At { version: 1, flexible: true, nullable: false };

fn nullable(at: At) -> At {
    At { nullable: true, ..at }
}

fn write(value: &impl Wire, at: At) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    value.write(&mut writer, at)?;
    let bytes = writer.into_parts().into_iter().map(|part| match part {
        Part::Bytes(bytes) => bytes,
        Part::File(_) => unreachable!("nothing here is in a file"),
    });
    Ok(bytes.collect::<Chunks>().to_bytes())
}

fn read<T: Wire>(bytes: impl Into<Bytes>, at: At) -> Result<T, DecodeError> {
    let mut reader = Reader::new(Chunks::from(bytes.into()));
    let value = T::read(&mut reader, at)?;
    reader.finish()?;
    Ok(value)
}

#[test]
fn values_and_their_bytes() {
    check(&true, PLAIN, b"\x01");
    check(&-2i16, COMPACT, b"\xff\xfe");
    check(&i64::MIN, PLAIN, b"\x80\0\0\0\0\0\0\0");
    check(&String::from("ab"), PLAIN, b"\0\x02ab");
    check(&String::from("ab"), COMPACT, b"\x03ab");
    check(&None::<String>, nullable(PLAIN), b"\xff\xff");
    check(&None::<String>, nullable(COMPACT), b"\0");
    check(&vec![1i32, 2], PLAIN, b"\0\0\0\x02\0\0\0\x01\0\0\0\x02");
    check(&vec![1i8; 127], COMPACT, &[&[0x80, 1][..], &[1; 127]].concat());
    check(&None::<Vec<i32>>, nullable(PLAIN), b"\xff\xff\xff\xff");
    check(&Some(Vec::<i32>::new()), nullable(COMPACT), b"\x01");
    check(&None::<Chunks>, PLAIN, b"\xff\xff\xff\xff");
    check(&Some(Chunks::from(Bytes::from_static(b"abc"))), COMPACT, b"\x04abc");
    check(&Vec::<Part>::new(), PLAIN, b"\0\0\0\0");
}

fn check<T: Wire + PartialEq + std::fmt::Debug>(value: &T, at: At, bytes: &[u8]) {
    assert_eq!(write(value, at).as_deref(), Ok(bytes), "{value:?}");
    assert_eq!(read::<T>(bytes.to_vec(), at).as_ref(), Ok(value), "{bytes:?}");
}

#[test]
fn bytes_that_are_no_value() {
    let refused = |bytes: &'static [u8], at| read::<Option<String>>(bytes, at).expect_err("refused");
    assert_eq!(refused(b"\xff\xff", PLAIN), DecodeError::Null);
    assert_eq!(refused(b"\0", COMPACT), DecodeError::Null);
    assert_eq!(refused(b"\xff\xfe", nullable(PLAIN)), DecodeError::NegativeLength(-2));
    assert_eq!(refused(b"\0\x02a", PLAIN), DecodeError::Truncated { needed: 2, left: 1 });
    assert_eq!(refused(b"\x03a\xff", COMPACT), DecodeError::Utf8);
    assert_eq!(refused(b"\xff\xff\xff\xff\x1f", COMPACT), DecodeError::Varint);
    assert_eq!(refused(b"\x80\x80\x80\x80\x80\0", COMPACT), DecodeError::Varint);
    assert_eq!(refused(b"\x80", COMPACT), DecodeError::Truncated { needed: 1, left: 0 });
    assert_eq!(refused(b"\x01a", COMPACT), DecodeError::Trailing { left: 1 });
    assert_eq!(read::<Vec<i8>>(&b"\xff\xff\xff\xff"[..], PLAIN), Err(DecodeError::Null));
}

#[test]
fn values_that_have_no_bytes() {
    assert_eq!(write(&None::<String>, PLAIN), Err(EncodeError::Null));
    assert_eq!(write(&None::<Vec<i8>>, COMPACT), Err(EncodeError::Null));
    let long = "x".repeat(1 << 15);
    assert_eq!(write(&long, PLAIN), Err(EncodeError::TooLong { length: 1 << 15, most: (1 << 15) - 1 }));
    assert_eq!(read::<String>(write(&long, COMPACT).expect("compact lengths have room"), COMPACT), Ok(long));
}

message! {
    /// What an older peer knows.
    pub(super) Older {
        number: i32 [0..],
        inner: Vec<OlderInner> [0..],
    }
    tagged {
        1 text: Option<String> [1..],
        4 numbers: Vec<i16> [1..],
    }
}

message! {
    /// Inside it.
    pub(super) OlderInner {
        name: String [0..],
    }
}

message! {
    /// What a newer peer sends: more tags, before, between and after.
    pub(super) Newer {
        number: i32 [0..],
        inner: Vec<NewerInner> [0..],
    }
    tagged {
        0 before: String [1..],
        1 text: Option<String> [1..],
        2 between: Vec<NewerInner> [1..],
        4 numbers: Vec<i16> [1..],
        300 after: NewerInner [1..],
    }
}

message! {
    /// Inside it.
    pub(super) NewerInner {
        name: String [0..],
    }
    tagged {
        0 deep: i64 [1..] = -1,
    }
}

proptest! {
    #[test]
    fn an_older_peer_passes_over_what_it_does_not_know(seed: u64) {
        let newer = Newer::any(&mut Dice(seed), COMPACT);
        let inner = newer.inner.iter().map(|inner| OlderInner { name: inner.name.clone() }).collect();
        let known = Older { number: newer.number, inner, text: newer.text.clone(), numbers: newer.numbers.clone() };
        let written = write(&newer, COMPACT).expect("writes");
        prop_assert_eq!(read::<Newer>(written.clone(), COMPACT), Ok(newer));
        prop_assert_eq!(read::<Older>(written.clone(), COMPACT), Ok(known));
        for end in 0..written.len() {
            prop_assert!(read::<Older>(written.slice(..end), COMPACT).is_err(), "{} of {}", end, written.len());
        }
    }

    #[test]
    fn a_newer_peer_takes_defaults_for_what_it_is_not_sent(seed: u64) {
        let older = Older::any(&mut Dice(seed), COMPACT);
        let inner = older.inner.iter().map(|inner| NewerInner { name: inner.name.clone(), deep: -1 }).collect();
        let expected = Newer {
            number: older.number, inner, text: older.text.clone(), numbers: older.numbers.clone(), ..Newer::default()
        };
        prop_assert_eq!(read::<Newer>(write(&older, COMPACT).expect("writes"), COMPACT), Ok(expected));
    }

    #[test]
    fn tagged_fields_at_their_defaults_take_no_bytes(number: i32) {
        let newer = Newer { number, ..Newer::default() };
        let expected = [&number.to_be_bytes()[..], b"\x01\0"].concat();
        prop_assert_eq!(write(&newer, COMPACT), Ok(expected.into()));
    }
}

#[test]
fn a_tagged_field_must_fill_its_size() {
    let sized = |size: u8, value: &[u8]| read::<Older>([&[0, 0, 0, 7, 1, 1, 1, size], value].concat(), COMPACT);
    assert_eq!(sized(2, b"\x02a"), Ok(Older { number: 7, text: Some("a".into()), ..Older::default() }));
    assert_eq!(sized(1, b"\x02a"), Err(DecodeError::Truncated { needed: 1, left: 0 }));
    assert_eq!(sized(3, b"\x02a\0"), Err(DecodeError::Trailing { left: 1 }));
    assert_eq!(sized(4, b"\x02a\0"), Err(DecodeError::Truncated { needed: 4, left: 3 }));
}

#[test]
fn plain_versions_have_no_tagged_fields() {
    let older = Older { number: 7, text: Some("a".into()), ..Older::default() };
    let written = write(&older, PLAIN).expect("writes");
    assert_eq!(&written[..], b"\0\0\0\x07\0\0\0\0");
    assert_eq!(read::<Older>(written, PLAIN), Ok(Older { number: 7, ..Older::default() }));
}
