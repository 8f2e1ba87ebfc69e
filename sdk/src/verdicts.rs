//! The verdicts of a batch, collected and packed.
//!
//! Invariants: there is exactly one verdict a record, `keep` until told otherwise; entries are in the order of their
//! records. While every record is kept nothing is allocated, and the answer is 16 bytes.

use std::fmt;

use crate::layout::{ALL_KEPT, ENTRY_WORDS, NULL_LEN, VERDICTS_HEADER_LEN, VERDICTS_MAGIC, code, part};
use crate::verdict::{Replacement, Verdict};

/// Bytes of a reject's message: what the layout allows, so that a producer can be told of each record of a large batch.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// The verdicts of one batch. All records are kept until something else is said of them.
///
/// A function of one record never sees this; it is for functions of the whole batch (`#[plugin(gate, batch)]`).
#[derive(Debug)]
pub struct Verdicts {
    count: usize,
    /// A byte a record, or nothing while all are kept.
    codes: Vec<u8>,
    entries: Vec<Entry>,
    blob: Vec<u8>,
}

/// What is replaced, or why a record is refused: where to find it in the blob.
#[derive(Debug, Clone, Copy)]
struct Entry {
    record: usize,
    words: [u32; ENTRY_WORDS],
}

/// The replacements of a batch are over 4 GiB together, which lengths in an answer cannot say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerTooLarge;

impl fmt::Display for AnswerTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the replacements of one batch are over 4 GiB")
    }
}

impl std::error::Error for AnswerTooLarge {}

impl Verdicts {
    /// `count` kept records.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { count, codes: Vec::new(), entries: Vec::new(), blob: Vec::new() }
    }

    /// Says what becomes of a record; of what is said twice the last holds. Panics beyond the last record.
    pub fn set(&mut self, record: usize, verdict: &Verdict) {
        match verdict {
            Verdict::Keep => self.keep(record),
            Verdict::Drop => self.drop(record),
            Verdict::Replace(replacement) => self.replace(record, replacement),
            Verdict::Reject(message) => self.reject(record, message),
        }
    }

    /// Keeps a record, which is what happens to one of which nothing is said.
    pub fn keep(&mut self, record: usize) {
        if !self.codes.is_empty() || record >= self.count {
            self.say(record, code::KEEP);
        }
    }

    /// Leaves a record out.
    pub fn drop(&mut self, record: usize) {
        self.say(record, code::DROP);
    }

    /// Refuses a record. The message is cut to [`MESSAGE_BYTES_MAX`].
    pub fn reject(&mut self, record: usize, message: &str) {
        let message = &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)];
        self.say(record, code::REJECT);
        let [start, length] = self.store(Some(message.as_bytes()));
        self.enter(record, [0, start, length, 0, 0, 0, 0]);
    }

    /// Replaces parts of a record; keeps it if there are none.
    pub fn replace(&mut self, record: usize, replacement: &Replacement) {
        let Replacement { key, value, headers } = replacement;
        let mut words = [0; ENTRY_WORDS];
        if let Some(key) = key {
            words[0] |= part::KEY;
            [words[1], words[2]] = self.store(key.as_deref());
        }
        if let Some(value) = value {
            words[0] |= part::VALUE;
            [words[3], words[4]] = self.store(value.as_deref());
        }
        if let Some(headers) = headers {
            words[0] |= part::HEADERS;
            [words[5], words[6]] = self.store_headers(headers);
        }
        if words[0] == 0 {
            return self.keep(record);
        }
        self.say(record, code::REPLACE);
        self.enter(record, words);
    }

    /// Replaces a record's value with these bytes, or with null.
    pub fn replace_value(&mut self, record: usize, value: Option<&[u8]>) {
        self.say(record, code::REPLACE);
        let [start, length] = self.store(value);
        self.enter(record, [part::VALUE, 0, 0, start, length, 0, 0]);
    }

    /// The first refused record, if one is.
    pub(crate) fn first_reject(&self) -> Option<usize> {
        self.codes.iter().position(|said| *said == code::REJECT)
    }

    /// The packed answer.
    pub fn finish(self) -> Result<Vec<u8>, AnswerTooLarge> {
        if self.blob.len() >= NULL_LEN as usize {
            return Err(AnswerTooLarge);
        }
        let all_kept = self.codes.iter().all(|said| *said == code::KEEP);
        let codes_len = if all_kept { 0 } else { self.count.next_multiple_of(4) };
        let entries_len = self.entries.len() * ENTRY_WORDS * size_of::<u32>();
        let mut answer = Vec::with_capacity(VERDICTS_HEADER_LEN + codes_len + entries_len + self.blob.len());
        answer.extend(VERDICTS_MAGIC);
        answer.extend(length(self.count).to_le_bytes());
        answer.extend(if all_kept { ALL_KEPT } else { 0 }.to_le_bytes());
        answer.extend(length(self.entries.len()).to_le_bytes());
        if all_kept {
            return Ok(answer);
        }
        answer.extend(&self.codes);
        answer.resize(VERDICTS_HEADER_LEN + codes_len, 0);
        for entry in &self.entries {
            for word in entry.words {
                answer.extend(word.to_le_bytes());
            }
        }
        answer.extend(&self.blob);
        Ok(answer)
    }

    /// Sets a record's verdict, and forgets what an earlier one pointed to.
    fn say(&mut self, record: usize, said: u8) {
        assert!(record < self.count, "record {record} of {}", self.count);
        if self.codes.is_empty() {
            self.codes.resize(self.count, code::KEEP);
        }
        if matches!(self.codes[record], code::REPLACE | code::REJECT)
            && let Ok(place) = self.place(record)
        {
            self.entries.remove(place);
        }
        self.codes[record] = said;
    }

    /// Adds a record's entry in its place, which is the end for whoever goes through the batch from first to last.
    fn enter(&mut self, record: usize, words: [u32; ENTRY_WORDS]) {
        match self.place(record) {
            Ok(place) => self.entries[place].words = words,
            Err(place) => self.entries.insert(place, Entry { record, words }),
        }
    }

    fn place(&self, record: usize) -> Result<usize, usize> {
        match self.entries.last() {
            Some(last) if last.record >= record => self.entries.binary_search_by_key(&record, |entry| entry.record),
            _ => Err(self.entries.len()),
        }
    }

    /// Puts bytes into the blob; gives start and length.
    fn store(&mut self, bytes: Option<&[u8]>) -> [u32; 2] {
        let start = length(self.blob.len());
        match bytes {
            Some(bytes) => {
                self.blob.extend(bytes);
                [start, length(bytes.len())]
            }
            None => [start, NULL_LEN],
        }
    }

    fn store_headers(&mut self, headers: &[(String, Option<Vec<u8>>)]) -> [u32; 2] {
        let start = self.blob.len();
        self.blob.extend(length(headers.len()).to_le_bytes());
        for (name, value) in headers {
            self.blob.extend(length(name.len()).to_le_bytes());
            self.blob.extend(value.as_ref().map_or(NULL_LEN, |value| length(value.len())).to_le_bytes());
            self.blob.extend(name.as_bytes());
            self.blob.extend(value.as_deref().unwrap_or_default());
        }
        [length(start), length(self.blob.len() - start)]
    }
}

/// A length as the layout writes it. One that does not fit saturates: the blob is then too large as a whole, which
/// [`Verdicts::finish`] refuses.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, said: impl FnOnce(&mut Verdicts), expected: &[u8]) {
        let mut verdicts = Verdicts::new(3);
        said(&mut verdicts);
        assert_eq!(verdicts.finish().unwrap(), expected, "{name}");
    }

    const ALL: &[u8] = b"SLV1\x03\0\0\0\x01\0\0\0\0\0\0\0";

    #[test]
    fn answers_are_packed_as_the_layout_says() {
        check("nothing said", |_| {}, ALL);
        check("kept", |v| (0..3).for_each(|i| v.keep(i)), ALL);
        check("dropped, then kept after all", |v| (v.drop(1), v.keep(1)).1, ALL);
        check("a replacement of nothing keeps", |v| v.replace(2, &Replacement::new()), ALL);
        check("one dropped", |v| v.drop(2), b"SLV1\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0");
        check(
            "refused",
            |v| v.reject(1, "no"),
            b"SLV1\x03\0\0\0\0\0\0\0\x01\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0no",
        );
        check(
            "null key, another value, one header",
            |v| v.replace(0, &Replacement::new().null_key().value("xy").header("n", "v")),
            b"SLV1\x03\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\
              \x07\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\x02\0\0\0\x02\0\0\0\x0e\0\0\0\
              xy\x01\0\0\0\x01\0\0\0\x01\0\0\0nv",
        );
    }

    #[test]
    fn entries_follow_the_records_whatever_order_they_were_said_in() {
        let mut verdicts = Verdicts::new(3);
        verdicts.replace_value(2, Some(b"c"));
        verdicts.reject(0, "a");
        verdicts.replace_value(1, None);
        verdicts.drop(1);
        verdicts.replace_value(2, Some(b"d"));
        let records: Vec<_> = verdicts.entries.iter().map(|entry| entry.record).collect();
        assert_eq!(records, [0, 2]);
        assert_eq!(verdicts.codes, [code::REJECT, code::DROP, code::REPLACE]);
        assert_eq!(verdicts.first_reject(), Some(0));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let mut verdicts = Verdicts::new(1);
        verdicts.reject(0, &format!("{}é", "x".repeat(MESSAGE_BYTES_MAX - 1)));
        assert_eq!(verdicts.entries[0].words[2] as usize, MESSAGE_BYTES_MAX - 1);
    }
}
