//! True answers, every lie, and bytes that are neither.

use proptest::prelude::*;

use super::*;

/// An answer in the making, field by field, so that each can be made a lie.
struct Answer {
    magic: [u8; 4],
    count: u32,
    flags: u32,
    announced: Option<u32>,
    verdicts: Vec<u8>,
    padding: u8,
    entries: Vec<[u32; 7]>,
    blob: Vec<u8>,
}

fn answer(verdicts: &[u8]) -> Answer {
    Answer {
        magic: MAGIC,
        count: u32::try_from(verdicts.len()).unwrap(),
        flags: 0,
        announced: None,
        verdicts: verdicts.to_vec(),
        padding: 0,
        entries: Vec::new(),
        blob: Vec::new(),
    }
}

impl Answer {
    fn entry(mut self, entry: [u32; 7]) -> Self {
        self.entries.push(entry);
        self
    }

    fn blob(mut self, blob: &[u8]) -> Self {
        self.blob = blob.to_vec();
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        let announced = self.announced.unwrap_or_else(|| u32::try_from(self.entries.len()).unwrap());
        for word in [self.count, self.flags, announced] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&self.verdicts);
        bytes.resize(bytes.len().next_multiple_of(4), self.padding);
        for word in self.entries.iter().flatten() {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&self.blob);
        bytes
    }
}

/// The first record of the batch is the 100th, to see that errors count in the batch.
const FIRST: usize = 100;
const OUTPUT: usize = 4096;

fn decoded(kind: Kind, count: usize, bytes: &[u8]) -> Result<Verdicts, PluginError> {
    decode(Bytes::copy_from_slice(bytes), kind, FIRST, count, OUTPUT)
}

fn replaced(replacement: Replacement) -> Verdict {
    Verdict::Replace(Box::new(replacement))
}

fn some(text: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(text.as_bytes()))
}

const N: u32 = NULL;

#[test]
fn what_is_true() {
    let check = |what: &str, answer: Answer, expected: Verdicts| {
        let count = answer.count as usize;
        assert_eq!(decoded(Kind::Gate, count, &answer.bytes()), Ok(expected), "{what}");
    };
    let each = |verdict| Verdicts::Each(vec![verdict]);
    check("all kept, the short way", answer(&[]).with(|a| (a.count, a.flags) = (3, 1)), Verdicts::KeepAll);
    check("all kept, the long way", answer(&[0, 0, 0]), Verdicts::KeepAll);
    check("no record", answer(&[]), Verdicts::KeepAll);
    check(
        "kept and dropped",
        answer(&[0, 1, 0, 1, 1]),
        Verdicts::Each(vec![Verdict::Keep, Verdict::Drop, Verdict::Keep, Verdict::Drop, Verdict::Drop]),
    );
    check(
        "a value",
        answer(&[2]).entry([2, 0, 0, 1, 3, 0, 0]).blob(b"xabcx"),
        each(replaced(Replacement { value: Some(some("abc")), ..Replacement::default() })),
    );
    check(
        "an empty key, at the blob's end",
        answer(&[2]).entry([1, 3, 0, 0, 0, 0, 0]).blob(b"abc"),
        each(replaced(Replacement { key: Some(some("")), ..Replacement::default() })),
    );
    check(
        "key and value null",
        answer(&[2]).entry([3, 0, N, 0, N, 0, 0]),
        each(replaced(Replacement { key: Some(None), value: Some(None), headers: None })),
    );
    check(
        "headers, in order, names repeated, one null",
        answer(&[2]).entry([4, 0, 0, 0, 0, 0, 22]).blob(b"\x02\0\0\0\x01\0\0\0\xff\xff\xff\xffa\x01\0\0\0\0\0\0\0a"),
        each(replaced(Replacement {
            headers: Some(vec![(Bytes::from_static(b"a"), None), (Bytes::from_static(b"a"), some(""))]),
            ..Replacement::default()
        })),
    );
    check(
        "headers, none",
        answer(&[2]).entry([4, 0, 0, 0, 0, 0, 4]).blob(&[0; 4]),
        each(replaced(Replacement { headers: Some(vec![]), ..Replacement::default() })),
    );
    check(
        "rejected, beside a replaced one",
        answer(&[3, 0, 2]).entry([0, 0, 3, 0, 0, 0, 0]).entry([2, 0, 0, 3, 1, 0, 0]).blob("né!".as_bytes()),
        Verdicts::Each(vec![
            Verdict::Reject("né".to_owned()),
            Verdict::Keep,
            replaced(Replacement { value: Some(some("!")), ..Replacement::default() }),
        ]),
    );
    check("rejected without a word", answer(&[3]).entry([0; 7]), each(Verdict::Reject(String::new())));
    check(
        "two values of the same bytes",
        answer(&[2, 2]).entry([2, 0, 0, 0, 2, 0, 0]).entry([2, 0, 0, 0, 2, 0, 0]).blob(b"ab"),
        Verdicts::Each(vec![replaced(Replacement { value: Some(some("ab")), ..Replacement::default() }); 2]),
    );
}

/// Every lie there is, told once.
#[test]
fn lies() {
    let check = |what: &str, answer: Answer, expected: LieKind| {
        let count = 1;
        assert_eq!(decoded(Kind::Gate, count, &answer.bytes()), Err(PluginError::Lie(expected)), "{what}");
    };
    let record = FIRST;
    check("magic", answer(&[0]).with(|a| a.magic = *b"SLB1"), LieKind::Magic);
    check("fewer records", answer(&[]), LieKind::Count { expected: 1, got: 0 });
    check("more records", answer(&[0, 0]), LieKind::Count { expected: 1, got: 2 });
    check(
        "more records than there is room for",
        answer(&[]).with(|a| a.count = N),
        LieKind::Count { expected: 1, got: N },
    );
    check("a flag", answer(&[0]).with(|a| a.flags = 2), LieKind::Flags(2));
    check("two flags", answer(&[0]).with(|a| a.flags = 3), LieKind::Flags(3));
    check("all kept, and verdicts", answer(&[1]).with(|a| a.flags = 1), LieKind::KeepAllAndMore(4));
    check(
        "all kept, and entries",
        answer(&[]).with(|a| (a.count, a.flags, a.announced) = (1, 1, Some(9))),
        LieKind::KeepAllAndMore(9),
    );
    check("a verdict", answer(&[4]), LieKind::Verdict { record, verdict: 4 });
    check("padding", answer(&[0]).with(|a| a.padding = 1), LieKind::Padding);
    check("no entry", answer(&[2]), LieKind::Entries { expected: 1, got: 0 });
    check(
        "an entry too many",
        answer(&[2]).entry([2, 0, N, 0, N, 0, 0]).entry([0; 7]),
        LieKind::Entries { expected: 1, got: 2 },
    );
    check("an entry for a dropped one", answer(&[1]).entry([0; 7]), LieKind::Entries { expected: 0, got: 1 });
    check(
        "entries beyond counting",
        answer(&[2]).with(|a| a.announced = Some(N)),
        LieKind::Entries { expected: 1, got: N },
    );
    check(
        "entries that are not there",
        answer(&[2]).with(|a| a.announced = Some(1)),
        LieKind::Truncated { needed: 48, got: 20 },
    );
    check("replaces nothing", answer(&[2]).entry([0; 7]), LieKind::Replaces { record, bits: 0 });
    check(
        "replaces what does not exist",
        answer(&[2]).entry([8, 0, 0, 0, 0, 0, 0]),
        LieKind::Replaces { record, bits: 8 },
    );
    check(
        "a key that is not replaced",
        answer(&[2]).entry([2, 1, 0, 0, 0, 0, 0]).blob(b"x"),
        LieKind::Unused { record },
    );
    check("a value that is not replaced", answer(&[2]).entry([1, 0, 0, 0, N, 0, 0]), LieKind::Unused { record });
    check(
        "headers that are not replaced",
        answer(&[2]).entry([1, 0, 0, 0, 0, 0, 4]).blob(&[0; 4]),
        LieKind::Unused { record },
    );
    check(
        "beyond the blob",
        answer(&[2]).entry([2, 0, 0, 1, 3, 0, 0]).blob(b"abc"),
        LieKind::Range { record, start: 1, length: 3, blob: 3 },
    );
    check(
        "past all addresses",
        answer(&[2]).entry([1, N, N - 1, 0, 0, 0, 0]),
        LieKind::Range { record, start: N, length: N - 1, blob: 0 },
    );
    check(
        "an empty range beyond the blob",
        answer(&[2]).entry([1, 1, 0, 0, 0, 0, 0]),
        LieKind::Range { record, start: 1, length: 0, blob: 0 },
    );
    check(
        "headers that are null",
        answer(&[2]).entry([4, 0, 0, 0, 0, 0, N]).blob(&[0; 4]),
        LieKind::Range { record, start: 0, length: N, blob: 4 },
    );
    check("a reject that replaces", answer(&[3]).entry([1, 0, 0, 0, 0, 0, 0]), LieKind::Unused { record });
    check("a reject with a value", answer(&[3]).entry([0, 0, 0, 0, 1, 0, 0]).blob(b"x"), LieKind::Unused { record });
    check("a reject with headers", answer(&[3]).entry([0, 0, 0, 0, 0, 1, 0]).blob(b"x"), LieKind::Unused { record });
    check(
        "a message that is null",
        answer(&[3]).entry([0, 0, N, 0, 0, 0, 0]),
        LieKind::MessageTooLong { record, length: N },
    );
    check(
        "a long message",
        answer(&[3]).entry([0, 0, 1025, 0, 0, 0, 0]).blob(&[b'm'; 1025]),
        LieKind::MessageTooLong { record, length: 1025 },
    );
    check(
        "a message beyond the blob",
        answer(&[3]).entry([0, 0, 4, 0, 0, 0, 0]).blob(b"abc"),
        LieKind::Range { record, start: 0, length: 4, blob: 3 },
    );
    check(
        "a message of half a character",
        answer(&[3]).entry([0, 0, 2, 0, 0, 0, 0]).blob("né".as_bytes()),
        LieKind::MessageText { record },
    );
    let headers = |blob: &[u8]| {
        let length = u32::try_from(blob.len()).unwrap();
        answer(&[2]).entry([4, 0, 0, 0, 0, 0, length]).blob(blob)
    };
    check("headers without a count", headers(b""), LieKind::Headers { record });
    check("half a count", headers(&[0; 3]), LieKind::Headers { record });
    check("headers beyond counting", headers(&[0xff; 12]), LieKind::Headers { record });
    check("a header that is not there", headers(b"\x01\0\0\0\x01\0\0"), LieKind::Headers { record });
    check("a name beyond the headers", headers(b"\x01\0\0\0\x02\0\0\0\0\0\0\0a"), LieKind::Headers { record });
    check("a value beyond the headers", headers(b"\x01\0\0\0\x01\0\0\0\x01\0\0\0a"), LieKind::Headers { record });
    check("a byte more than the headers", headers(&[0; 5]), LieKind::Headers { record });
    check("a name that is null", headers(b"\x01\0\0\0\xff\xff\xff\xff\0\0\0\0"), LieKind::Headers { record });
    check("a name that is not UTF-8", headers(b"\x01\0\0\0\x01\0\0\0\0\0\0\0\xff"), LieKind::HeaderName { record });
}

#[test]
fn a_view_cannot_reject() {
    let rejected = answer(&[0, 3]).entry([0; 7]).bytes();
    let lie = LieKind::RejectFromView { record: FIRST + 1 };
    assert_eq!(decoded(Kind::View, 2, &rejected), Err(PluginError::Lie(lie)));
    assert!(decoded(Kind::Gate, 2, &rejected).is_ok());
}

#[test]
fn what_ranges_come_to_is_held_to_the_output() {
    let overlapping = |length: u32| {
        let mut all = answer(&[2; 4]).blob(&[b'v'; 1100]);
        all.entries = vec![[2, 0, 0, 0, length, 0, 0]; 4];
        decoded(Kind::Gate, 4, &all.bytes())
    };
    assert!(overlapping(1024).is_ok(), "exactly the limit");
    assert_eq!(overlapping(1025), Err(PluginError::OutputTooLarge { limit: OUTPUT }));
    let long = answer(&[0]).blob(&[0; OUTPUT]).bytes();
    assert_eq!(decoded(Kind::Gate, 1, &long), Err(PluginError::OutputTooLarge { limit: OUTPUT }));
}

#[test]
fn every_truncation_is_a_lie() {
    let whole = answer(&[2, 1, 3])
        .entry([7, 0, 1, 1, 1, 2, 12])
        .entry([0, 14, 2, 0, 0, 0, 0])
        .blob(b"kv\x01\0\0\0\0\0\0\0\0\0\0\0no")
        .bytes();
    assert!(decoded(Kind::Gate, 3, &whole).is_ok());
    for length in 0..whole.len() {
        let cut = decoded(Kind::Gate, 3, &whole[..length]);
        assert!(matches!(cut, Err(PluginError::Lie(_))), "cut at {length}: {cut:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256), count in 0usize..20) {
        let _ = decoded(Kind::Gate, count, &bytes);
    }

    /// A true answer with some bytes changed: it decodes or it does not, and what it decodes to has a verdict for each
    /// record.
    #[test]
    fn changed_answers_have_a_verdict_for_each_record_or_none(
        verdicts in proptest::collection::vec(0u8..4, 1..40),
        words in proptest::collection::vec(proptest::option::weighted(0.9, 0u32..40), 7 * 40),
        blob in proptest::collection::vec(any::<u8>(), 0..64),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut answer = answer(&verdicts).blob(&blob);
        for (row, _) in words.chunks(7).zip(verdicts.iter().filter(|&&verdict| verdict >= REPLACE)) {
            answer.entries.push(std::array::from_fn(|i| row[i].unwrap_or(N)));
        }
        let mut bytes = answer.bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for kind in [Kind::Gate, Kind::View] {
            if let Ok(Verdicts::Each(each)) = decoded(kind, verdicts.len(), &bytes) {
                prop_assert_eq!(each.len(), verdicts.len());
                prop_assert!(each.iter().any(|verdict| *verdict != Verdict::Keep));
            }
        }
    }
}
