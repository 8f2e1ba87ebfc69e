//! What a plugin says of one record: [`Verdict`], and what a replaced record becomes: [`Replacement`].

/// What becomes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes as it is. Nothing crosses back for it.
    Keep,
    /// It is left out: not stored (gate), not shown (view). The others keep their offsets.
    Drop,
    /// It passes with some of its parts replaced.
    Replace(Replacement),
    /// Gates only: the producer's batch is refused, with this message for this record. Cut to 1,024 bytes.
    ///
    /// In a view it is an error that fails the batch: there is nobody to refuse anything to.
    Reject(String),
}

impl Verdict {
    /// Refuses the record with a message its producer reads.
    #[must_use]
    pub fn reject(message: impl Into<String>) -> Self {
        Self::Reject(message.into())
    }

    /// Replaces the value, and leaves key and headers as they are.
    #[must_use]
    pub fn replace_value(value: impl Into<Vec<u8>>) -> Self {
        Replacement::new().value(value).into()
    }

    /// Replaces the key, and leaves value and headers as they are.
    #[must_use]
    pub fn replace_key(key: impl Into<Vec<u8>>) -> Self {
        Replacement::new().key(key).into()
    }
}

/// Names and values of headers, in order; names may come again.
pub type OwnedHeaders = Vec<(String, Option<Vec<u8>>)>;

/// The parts of a record that are replaced; the others stay as they were. One that replaces nothing keeps the record.
///
/// ```
/// use sluice_sdk::{Replacement, Verdict};
/// let verdict: Verdict = Replacement::new().null_key().value("{}").header("origin", "gate").into();
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replacement {
    pub(crate) key: Option<Option<Vec<u8>>>,
    pub(crate) value: Option<Option<Vec<u8>>>,
    pub(crate) headers: Option<OwnedHeaders>,
}

impl Replacement {
    /// Nothing replaced yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(Some(key.into()));
        self
    }

    /// A null key.
    #[must_use]
    pub fn null_key(mut self) -> Self {
        self.key = Some(None);
        self
    }

    /// Another value.
    #[must_use]
    pub fn value(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.value = Some(Some(value.into()));
        self
    }

    /// A null value: a tombstone, on a compacted topic.
    #[must_use]
    pub fn null_value(mut self) -> Self {
        self.value = Some(None);
        self
    }

    /// No headers; those added after this are the record's only ones.
    #[must_use]
    pub fn clear_headers(mut self) -> Self {
        self.headers = Some(Vec::new());
        self
    }

    /// One more header. The first one replaces all that the record had.
    #[must_use]
    pub fn header(self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.any_header(name, Some(value.into()))
    }

    /// As [`Replacement::header`], with a value that may be null.
    #[must_use]
    pub fn any_header(mut self, name: impl Into<String>, value: Option<Vec<u8>>) -> Self {
        self.headers.get_or_insert_default().push((name.into(), value));
        self
    }
}

impl From<Replacement> for Verdict {
    fn from(replacement: Replacement) -> Self {
        Self::Replace(replacement)
    }
}
