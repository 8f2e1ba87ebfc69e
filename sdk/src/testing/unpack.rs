//! The host's reading of an answer, for tests: packed verdicts into [`Verdict`]s, and no mercy for one that lies.

use std::fmt;
use std::ops::Range;
use std::str;

use crate::layout::{ALL_KEPT, ENTRY_WORDS, NULL_LEN, VERDICTS_HEADER_LEN, VERDICTS_MAGIC, code, part};
use crate::verdicts::MESSAGE_BYTES_MAX;
use crate::{OwnedHeaders, Replacement, Verdict};

/// What is wrong with an answer. The broker refuses such a one, and ends the instance that gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lie {
    /// Fewer bytes than it says.
    Short,
    /// It starts with other bytes than `SLV1`.
    Magic,
    /// Another number of records than the batch has.
    Count(usize),
    /// Flags without a meaning, or bytes after an answer that keeps all.
    Flags(u32),
    /// A verdict without a meaning.
    Verdict(u8),
    /// More or fewer entries than replaces and rejects.
    Entries(usize),
    /// An entry with bits that have no meaning, or none set.
    Parts(u32),
    /// A range outside the blob.
    Range(Range<usize>),
    /// A name or a message is not UTF-8.
    NotUtf8,
    /// A message over the limit.
    Message(usize),
    /// A field that must be zero is not.
    NotZero,
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer lies: {self:?}")
    }
}

impl std::error::Error for Lie {}

/// Reads the answer to a batch of `count` records.
pub fn unpack(answer: &[u8], count: usize) -> Result<Vec<Verdict>, Lie> {
    let mut reader = Reader(answer);
    if reader.take(VERDICTS_MAGIC.len())? != VERDICTS_MAGIC {
        return Err(Lie::Magic);
    }
    let said = reader.word()? as usize;
    let flags = reader.word()?;
    let entries_said = reader.word()? as usize;
    if said != count {
        return Err(Lie::Count(said));
    }
    if flags == ALL_KEPT && answer.len() == VERDICTS_HEADER_LEN && entries_said == 0 {
        return Ok(vec![Verdict::Keep; count]);
    }
    if flags != 0 {
        return Err(Lie::Flags(flags));
    }
    let codes = reader.take(count)?;
    if reader.take(count.next_multiple_of(4) - count)?.iter().any(|byte| *byte != 0) {
        return Err(Lie::NotZero);
    }
    let entered = codes.iter().filter(|code| matches!(**code, code::REPLACE | code::REJECT)).count();
    if entered != entries_said {
        return Err(Lie::Entries(entries_said));
    }
    let (entries, rest) = reader.0.as_chunks::<{ ENTRY_WORDS * 4 }>();
    let Some(entries) = entries.get(..entered) else { return Err(Lie::Short) };
    let blob = &reader.0[entries.len() * ENTRY_WORDS * 4..];
    debug_assert!(blob.len() >= rest.len(), "what is not entries is blob");

    let mut entries = entries.iter().map(words);
    codes
        .iter()
        .map(|code| match *code {
            code::KEEP => Ok(Verdict::Keep),
            code::DROP => Ok(Verdict::Drop),
            code::REPLACE => replacement(entries.next().ok_or(Lie::Short)?, blob),
            code::REJECT => rejection(entries.next().ok_or(Lie::Short)?, blob),
            unknown => Err(Lie::Verdict(unknown)),
        })
        .collect()
}

fn replacement([parts, fields @ ..]: [u32; ENTRY_WORDS], blob: &[u8]) -> Result<Verdict, Lie> {
    if parts == 0 || parts & !(part::KEY | part::VALUE | part::HEADERS) != 0 {
        return Err(Lie::Parts(parts));
    }
    let field = |bit: u32, at: usize| match (parts & bit != 0, fields[at], fields[at + 1]) {
        (false, 0, 0) => Ok(None),
        (false, ..) => Err(Lie::NotZero),
        (true, _, NULL_LEN) if bit != part::HEADERS => Ok(Some(None)),
        (true, start, len) => slice(blob, start, len).map(|bytes| Some(Some(bytes))),
    };
    Ok(Verdict::Replace(Replacement {
        key: field(part::KEY, 0)?.map(|key| key.map(<[u8]>::to_vec)),
        value: field(part::VALUE, 2)?.map(|value| value.map(<[u8]>::to_vec)),
        headers: field(part::HEADERS, 4)?.flatten().map(headers).transpose()?,
    }))
}

fn headers(packed: &[u8]) -> Result<OwnedHeaders, Lie> {
    let mut reader = Reader(packed);
    let count = reader.word()?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name_len = reader.word()? as usize;
        let value_len = reader.word()?;
        let name = str::from_utf8(reader.take(name_len)?).map_err(|_| Lie::NotUtf8)?;
        let value = if value_len == NULL_LEN { None } else { Some(reader.take(value_len as usize)?.to_vec()) };
        headers.push((name.to_owned(), value));
    }
    if reader.0.is_empty() { Ok(headers) } else { Err(Lie::NotZero) }
}

fn rejection([parts, start, len, zeroes @ ..]: [u32; ENTRY_WORDS], blob: &[u8]) -> Result<Verdict, Lie> {
    if parts != 0 || zeroes != [0; 4] {
        return Err(Lie::NotZero);
    }
    if len as usize > MESSAGE_BYTES_MAX {
        return Err(Lie::Message(len as usize));
    }
    let message = str::from_utf8(slice(blob, start, len)?).map_err(|_| Lie::NotUtf8)?;
    Ok(Verdict::reject(message))
}

fn slice(blob: &[u8], start: u32, len: u32) -> Result<&[u8], Lie> {
    let range = start as usize..(start as usize).saturating_add(len as usize);
    blob.get(range.clone()).ok_or(Lie::Range(range))
}

fn words(entry: &[u8; ENTRY_WORDS * 4]) -> [u32; ENTRY_WORDS] {
    let (words, _) = entry.as_chunks::<4>();
    std::array::from_fn(|i| u32::from_le_bytes(words[i]))
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Lie> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Lie::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u32, Lie> {
        let (word, rest) = self.0.split_first_chunk().ok_or(Lie::Short)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*word))
    }
}
