//! The numbers of packed batch layout v1 and verdict encoding v1, named once for the code that reads them and the code
//! that writes them. `wit/batch-layout.md` describes them byte by byte.

/// First bytes of a batch.
pub(crate) const BATCH_MAGIC: [u8; 4] = *b"SLB1";
/// The layout this SDK reads.
pub(crate) const VERSION: u16 = 1;
/// Bytes before the topic's name.
pub(crate) const BATCH_HEADER_LEN: usize = 40;
/// In the batch's flags: timestamps are the broker's.
pub(crate) const LOG_APPEND_TIME: u32 = 1;
/// In an end offset: the key or value is null. The other 31 bits are the offset.
pub(crate) const NULL_BIT: u32 = 1 << 31;
/// Where a column may start.
pub(crate) const COLUMN_ALIGN: usize = 8;

/// First bytes of an answer.
pub(crate) const VERDICTS_MAGIC: [u8; 4] = *b"SLV1";
/// Bytes before the verdicts.
pub(crate) const VERDICTS_HEADER_LEN: usize = 16;
/// In the answer's flags: every record is kept and nothing follows.
pub(crate) const ALL_KEPT: u32 = 1;
/// Words of an entry.
pub(crate) const ENTRY_WORDS: usize = 7;
/// A length in an entry or a header that stands for null.
pub(crate) const NULL_LEN: u32 = u32::MAX;

/// The verdict of a record, as a byte.
pub(crate) mod code {
    pub(crate) const KEEP: u8 = 0;
    pub(crate) const DROP: u8 = 1;
    pub(crate) const REPLACE: u8 = 2;
    pub(crate) const REJECT: u8 = 3;
}

/// What an entry replaces, as bits.
pub(crate) mod part {
    pub(crate) const KEY: u32 = 1;
    pub(crate) const VALUE: u32 = 2;
    pub(crate) const HEADERS: u32 = 4;
}

/// A set of columns: what a plugin wants to see of its records, and what a batch carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns(u16);

impl Columns {
    /// No column: such a plugin sees how many records there are, and their offsets.
    pub const NONE: Self = Self(0);
    /// Keys.
    pub const KEYS: Self = Self(1);
    /// Values.
    pub const VALUES: Self = Self(2);
    /// Headers, names and values.
    pub const HEADERS: Self = Self(4);
    /// Each record's own timestamp.
    pub const TIMESTAMPS: Self = Self(8);
    /// All of them: what a plugin gets that names none.
    pub const ALL: Self = Self(15);

    /// The columns of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are in this set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set as the layout writes it.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set that the layout writes as `bits`, if each bit has a meaning.
    pub(crate) const fn from_bits(bits: u16) -> Option<Self> {
        if bits & !Self::ALL.0 == 0 { Some(Self(bits)) } else { None }
    }
}
