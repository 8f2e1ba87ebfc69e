//! The answer of a plugin, verdict encoding v1 (`wit/batch-layout.md`), validated byte by byte before anything is
//! believed.
//!
//! Every way in which an answer can be wrong is a [`LieKind`]. An answer that keeps every record, however it says so,
//! is [`Verdicts::KeepAll`], and then the batch's original bytes are stored or sent. Replacements are slices of the one
//! answer.

use bytes::Bytes;

use crate::{error::PluginError, inspect::Kind};

/// What a plugin said of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdicts {
    /// Every record stays as it is.
    KeepAll,
    /// A verdict for each record, in their order; at least one is not [`Verdict::Keep`].
    Each(Vec<Verdict>),
}

/// What a plugin said of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stays as it is.
    Keep,
    /// It goes, without a word.
    Drop,
    /// Part of it is replaced. Boxed, as most records of most batches are kept, and then a batch's verdicts stay small.
    Replace(Box<Replacement>),
    /// It refuses its whole batch; the message, at most [`MESSAGE_BYTES_MAX`] bytes, is what the producer reads. Only
    /// gates say it.
    Reject(String),
}

/// What takes the place of a record's parts. `None` leaves a part as it was; the inner `None` is Kafka's null.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replacement {
    /// The key.
    pub key: Option<Option<Bytes>>,
    /// The value.
    pub value: Option<Option<Bytes>>,
    /// All headers: name (UTF-8) and value, in order, names may repeat.
    pub headers: Option<Vec<(Bytes, Option<Bytes>)>>,
}

/// The longest message of a reject, in bytes: it goes into a produce response once a record.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// How an answer was wrong. Offsets and lengths as the plugin wrote them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LieKind {
    /// It ends before what it announces.
    #[error("the answer is {got} bytes long and needs {needed}")]
    Truncated {
        /// Bytes it needs.
        needed: u64,
        /// Bytes it has.
        got: usize,
    },
    /// It does not begin with `SLV1`.
    #[error("the answer does not begin with SLV1")]
    Magic,
    /// It answers another number of records.
    #[error("the answer is for {got} records, the batch has {expected}")]
    Count {
        /// Records of the batch.
        expected: u32,
        /// Records of the answer.
        got: u32,
    },
    /// A flag that does not exist.
    #[error("unknown flags {0:#x}")]
    Flags(u32),
    /// It says that all records are kept, and says more.
    #[error("every record is kept, and {0} bytes or entries follow")]
    KeepAllAndMore(usize),
    /// A verdict that does not exist.
    #[error("record {record}: unknown verdict {verdict}")]
    Verdict {
        /// Index of the record in its batch.
        record: usize,
        /// What stands for it.
        verdict: u8,
    },
    /// The bytes between verdicts and entries are not zero.
    #[error("the padding after the verdicts is not zero")]
    Padding,
    /// Entries and verdicts do not match.
    #[error("{got} entries for {expected} records that are replaced or rejected")]
    Entries {
        /// Replaced and rejected records.
        expected: usize,
        /// Entries announced.
        got: u32,
    },
    /// A replacement of nothing, or of something that does not exist.
    #[error("record {record}: replaces {bits:#x}")]
    Replaces {
        /// Index of the record in its batch.
        record: usize,
        /// The bits as they stand.
        bits: u32,
    },
    /// Fields that must be zero are not.
    #[error("record {record}: a field that is not used is not zero")]
    Unused {
        /// Index of the record in its batch.
        record: usize,
    },
    /// A range outside the blob.
    #[error("record {record}: {length} bytes at {start}, in a blob of {blob}")]
    Range {
        /// Index of the record in its batch.
        record: usize,
        /// Where it starts, counted from the blob's first byte.
        start: u32,
        /// Its length.
        length: u32,
        /// Length of the blob.
        blob: usize,
    },
    /// Replaced headers that do not fill their range exactly.
    #[error("record {record}: its headers do not fill their range")]
    Headers {
        /// Index of the record in its batch.
        record: usize,
    },
    /// The name of a replaced header is not UTF-8.
    #[error("record {record}: the name of a header is not UTF-8")]
    HeaderName {
        /// Index of the record in its batch.
        record: usize,
    },
    /// A view rejects.
    #[error("record {record}: a view cannot reject")]
    RejectFromView {
        /// Index of the record in its batch.
        record: usize,
    },
    /// A message over [`MESSAGE_BYTES_MAX`].
    #[error("record {record}: a message of {length} bytes, and at most {MESSAGE_BYTES_MAX} are taken")]
    MessageTooLong {
        /// Index of the record in its batch.
        record: usize,
        /// Its length.
        length: u32,
    },
    /// A message is not UTF-8.
    #[error("record {record}: the message is not UTF-8")]
    MessageText {
        /// Index of the record in its batch.
        record: usize,
    },
    /// A further instance, under the same configuration, asked for other columns.
    #[error("another instance with the same configuration described itself otherwise")]
    Descriptor,
    /// The call broke the component model's own rules: a list outside its memory, a string that is not UTF-8.
    #[error("the call broke the canonical ABI: {0}")]
    Abi(String),
}

const MAGIC: [u8; 4] = *b"SLV1";
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 28;
const KEEP_ALL: u32 = 1;
const NULL: u32 = u32::MAX;

const DROP: u8 = 1;
const REPLACE: u8 = 2;
const REJECT: u8 = 3;

const KEY: u32 = 1;
const VALUE: u32 = 2;
const HEADERS: u32 = 4;

/// Decodes the answer to a call with `count` records. `first` is the index of the first of them in the batch, for
/// errors.
///
/// What the replacements and messages come to, overlaps counted each time, is held to `output_bytes_max`: ranges may
/// overlap, and an answer of some bytes must not become gigabytes when the batch is rebuilt.
pub(crate) fn decode(
    output: Bytes,
    kind: Kind,
    first: usize,
    count: usize,
    output_bytes_max: usize,
) -> Result<Verdicts, PluginError> {
    if output.len() > output_bytes_max {
        return Err(PluginError::OutputTooLarge { limit: output_bytes_max });
    }
    let Some((verdicts, entries_announced)) = outline(&output, first, count)? else {
        return Ok(Verdicts::KeepAll);
    };
    let expected = verdicts.iter().filter(|&&verdict| verdict >= REPLACE).count();
    if expected != entries_announced as usize {
        return Err(LieKind::Entries { expected, got: entries_announced }.into());
    }
    let entries_start = HEADER_BYTES + count.next_multiple_of(4);
    let blob_start = entries_start + expected * ENTRY_BYTES;
    let Some(entries) = output.get(entries_start..blob_start) else {
        return Err(LieKind::Truncated { needed: blob_start as u64, got: output.len() }.into());
    };
    let mut entries = entries.as_chunks::<ENTRY_BYTES>().0.iter();
    let mut blob = Blob { bytes: output.slice(blob_start..), left: output_bytes_max, limit: output_bytes_max };

    let mut decoded = Vec::with_capacity(count);
    let mut changed = false;
    for (index, &verdict) in verdicts.iter().enumerate() {
        let record = first + index;
        changed |= verdict != 0;
        decoded.push(match verdict {
            0 => Verdict::Keep,
            DROP => Verdict::Drop,
            // As many entries as replaces and rejects were counted above.
            _ => {
                let entry =
                    entries.next().map(Entry::read).ok_or(LieKind::Entries { expected, got: entries_announced })?;
                if verdict == REPLACE {
                    Verdict::Replace(Box::new(blob.replacement(record, &entry)?))
                } else {
                    Verdict::Reject(blob.message(record, kind, &entry)?)
                }
            }
        });
    }
    Ok(if changed { Verdicts::Each(decoded) } else { Verdicts::KeepAll })
}

/// Checks the fixed part and returns the verdicts, one byte a record, all of them known, and the number of entries
/// announced; `None` when the answer is the short one, that every record is kept.
fn outline(output: &[u8], first: usize, count: usize) -> Result<Option<(&[u8], u32)>, PluginError> {
    let Some((header, rest)) = output.split_first_chunk::<HEADER_BYTES>() else {
        return Err(LieKind::Truncated { needed: HEADER_BYTES as u64, got: output.len() }.into());
    };
    if header[..4] != MAGIC {
        return Err(LieKind::Magic.into());
    }
    let [_, got, flags, entries] = words(header);
    if got as usize != count {
        let expected = u32::try_from(count).unwrap_or(u32::MAX);
        return Err(LieKind::Count { expected, got }.into());
    }
    match flags {
        KEEP_ALL if rest.is_empty() && entries == 0 => return Ok(None),
        KEEP_ALL => return Err(LieKind::KeepAllAndMore(rest.len().max(entries as usize)).into()),
        0 => {}
        unknown => return Err(LieKind::Flags(unknown).into()),
    }
    let padded = count.next_multiple_of(4);
    let Some((verdicts, padding)) = rest.get(..padded).map(|padded| padded.split_at(count)) else {
        return Err(LieKind::Truncated { needed: (HEADER_BYTES + padded) as u64, got: output.len() }.into());
    };
    if let Some(index) = verdicts.iter().position(|&verdict| verdict > REJECT) {
        return Err(LieKind::Verdict { record: first + index, verdict: verdicts[index] }.into());
    }
    if padding.iter().any(|&byte| byte != 0) {
        return Err(LieKind::Padding.into());
    }
    Ok(Some((verdicts, entries)))
}

/// Seven little-endian words, as they stand.
struct Entry {
    bits: u32,
    /// Start and length of key, value and headers.
    ranges: [(u32, u32); 3],
}

impl Entry {
    fn read(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let [bits, a, b, c, d, e, f] = words(bytes);
        Self { bits, ranges: [(a, b), (c, d), (e, f)] }
    }
}

/// The bytes that entries point into, and what may still be taken of them.
struct Blob {
    bytes: Bytes,
    left: usize,
    limit: usize,
}

impl Blob {
    fn replacement(&mut self, record: usize, entry: &Entry) -> Result<Replacement, PluginError> {
        let bits = entry.bits;
        if bits == 0 || bits & !(KEY | VALUE | HEADERS) != 0 {
            return Err(LieKind::Replaces { record, bits }.into());
        }
        let [key, value, headers] = entry.ranges;
        for (bit, range) in [(KEY, key), (VALUE, value), (HEADERS, headers)] {
            if bits & bit == 0 && range != (0, 0) {
                return Err(LieKind::Unused { record }.into());
            }
        }
        Ok(Replacement {
            key: if bits & KEY == 0 { None } else { Some(self.nullable(record, key)?) },
            value: if bits & VALUE == 0 { None } else { Some(self.nullable(record, value)?) },
            headers: if bits & HEADERS == 0 { None } else { Some(self.headers(record, headers)?) },
        })
    }

    fn message(&mut self, record: usize, kind: Kind, entry: &Entry) -> Result<String, PluginError> {
        if kind == Kind::View {
            return Err(LieKind::RejectFromView { record }.into());
        }
        let [message, unused @ ..] = entry.ranges;
        if entry.bits != 0 || unused != [(0, 0); 2] {
            return Err(LieKind::Unused { record }.into());
        }
        if message.1 as usize > MESSAGE_BYTES_MAX {
            return Err(LieKind::MessageTooLong { record, length: message.1 }.into());
        }
        let message = self.take(record, message)?;
        let text = str::from_utf8(&message).map_err(|_| LieKind::MessageText { record })?;
        Ok(text.to_owned())
    }

    fn nullable(&mut self, record: usize, range: (u32, u32)) -> Result<Option<Bytes>, PluginError> {
        if range.1 == NULL { Ok(None) } else { self.take(record, range).map(Some) }
    }

    fn headers(&mut self, record: usize, range: (u32, u32)) -> Result<Vec<(Bytes, Option<Bytes>)>, PluginError> {
        let all = self.take(record, range)?;
        let malformed = || LieKind::Headers { record };
        let mut at = Cursor { bytes: &all, at: 0 };
        let count = at.word().ok_or_else(malformed)? as usize;
        // Each takes eight bytes at least, so a count beyond that allocates nothing.
        if count > at.left() / 8 {
            return Err(malformed().into());
        }
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            let (name, value) = at.word().zip(at.word()).ok_or_else(malformed)?;
            let name = all.slice(at.range(name).ok_or_else(malformed)?);
            if str::from_utf8(&name).is_err() {
                return Err(LieKind::HeaderName { record }.into());
            }
            let value = if value == NULL { None } else { Some(all.slice(at.range(value).ok_or_else(malformed)?)) };
            headers.push((name, value));
        }
        if at.left() > 0 {
            return Err(malformed().into());
        }
        Ok(headers)
    }

    fn take(&mut self, record: usize, (start, length): (u32, u32)) -> Result<Bytes, PluginError> {
        let (from, len) = (start as usize, length as usize);
        let Some(to) = from.checked_add(len).filter(|&to| to <= self.bytes.len()) else {
            return Err(LieKind::Range { record, start, length, blob: self.bytes.len() }.into());
        };
        self.left = self.left.checked_sub(len).ok_or(PluginError::OutputTooLarge { limit: self.limit })?;
        Ok(self.bytes.slice(from..to))
    }
}

/// Reads replaced headers front to back.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn word(&mut self) -> Option<u32> {
        let word = self.bytes[self.at..].first_chunk::<4>()?;
        self.at += 4;
        Some(u32::from_le_bytes(*word))
    }

    fn range(&mut self, length: u32) -> Option<std::ops::Range<usize>> {
        let from = self.at;
        let to = from.checked_add(length as usize).filter(|&to| to <= self.bytes.len())?;
        self.at = to;
        Some(from..to)
    }
}

/// `N` little-endian words from the beginning of `bytes`, which holds at least as many.
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let (chunks, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|i| u32::from_le_bytes(chunks[i]))
}

#[cfg(test)]
mod tests;
