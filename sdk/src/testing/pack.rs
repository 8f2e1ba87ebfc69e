//! The host's half of the layout, for tests: records into a packed batch.

use crate::layout::{BATCH_MAGIC, COLUMN_ALIGN, LOG_APPEND_TIME, NULL_BIT, VERSION};
use crate::{Columns, OwnedHeaders};

/// A record to show to a plugin, or one that came through it.
///
/// ```
/// use sluice_sdk::testing::TestRecord;
/// let plain: TestRecord = "{}".into();
/// let full = TestRecord::new("{}").with_key("k").with_header("origin", "eu").at(1_700_000_000_000);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestRecord {
    /// Its offset behind the first record's.
    pub offset_delta: i32,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Null when none.
    pub key: Option<Vec<u8>>,
    /// Null when none.
    pub value: Option<Vec<u8>>,
    /// In order, names may come again.
    pub headers: OwnedHeaders,
}

impl TestRecord {
    /// A record of a value.
    #[must_use]
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// A record of a key and a null value.
    #[must_use]
    pub fn tombstone(key: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), ..Self::default() }
    }

    /// The same with a key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    /// The same at another time, in milliseconds since 1970.
    #[must_use]
    pub fn at(mut self, timestamp: i64) -> Self {
        self.timestamp = timestamp;
        self
    }
}

impl<T: Into<Vec<u8>>> From<T> for TestRecord {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// What a batch says once for all of its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchInfo {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first record's offset; -1 in a gate.
    pub base_offset: i64,
    /// Milliseconds since 1970.
    pub base_timestamp: i64,
    /// Whether timestamps are the broker's.
    pub log_append_time: bool,
}

/// Packs records as a host does. Panics when they are over 2 GiB, which no batch is.
#[must_use]
pub fn pack(info: &BatchInfo, records: &[TestRecord], columns: Columns) -> Vec<u8> {
    let mut batch = Vec::new();
    batch.extend(BATCH_MAGIC);
    batch.extend(VERSION.to_le_bytes());
    batch.extend(columns.bits().to_le_bytes());
    put(&mut batch, records.len());
    batch.extend(info.partition.to_le_bytes());
    batch.extend(info.base_offset.to_le_bytes());
    batch.extend(info.base_timestamp.to_le_bytes());
    batch.extend(if info.log_append_time { LOG_APPEND_TIME } else { 0 }.to_le_bytes());
    put(&mut batch, info.topic.len());
    batch.extend(info.topic.as_bytes());

    align(&mut batch);
    batch.extend(records.iter().flat_map(|record| record.offset_delta.to_le_bytes()));
    if columns.has(Columns::TIMESTAMPS) {
        align(&mut batch);
        batch.extend(records.iter().flat_map(|record| record.timestamp.to_le_bytes()));
    }
    if columns.has(Columns::KEYS) {
        let keys: Vec<_> = records.iter().map(|record| record.key.as_deref()).collect();
        column(&mut batch, &keys);
    }
    if columns.has(Columns::VALUES) {
        let values: Vec<_> = records.iter().map(|record| record.value.as_deref()).collect();
        column(&mut batch, &values);
    }
    if columns.has(Columns::HEADERS) {
        headers(&mut batch, records);
    }
    batch
}

fn column(batch: &mut Vec<u8>, items: &[Option<&[u8]>]) {
    align(batch);
    ends(batch, items);
    blob(batch, items);
}

fn headers(batch: &mut Vec<u8>, records: &[TestRecord]) {
    align(batch);
    let mut count = 0;
    for record in records {
        count += record.headers.len();
        put(batch, count);
    }
    let all = || records.iter().flat_map(|record| &record.headers);
    let names: Vec<_> = all().map(|(name, _)| Some(name.as_bytes())).collect();
    let values: Vec<_> = all().map(|(_, value)| value.as_deref()).collect();
    ends(batch, &names);
    ends(batch, &values);
    blob(batch, &names);
    align(batch);
    blob(batch, &values);
}

fn ends(batch: &mut Vec<u8>, items: &[Option<&[u8]>]) {
    let mut end = 0;
    for item in items {
        end += item.map_or(0, <[u8]>::len);
        let null = if item.is_none() { NULL_BIT } else { 0 };
        let low = u32::try_from(end).ok().filter(|end| end & NULL_BIT == 0).expect("under 2 GiB");
        batch.extend((low | null).to_le_bytes());
    }
}

fn blob(batch: &mut Vec<u8>, items: &[Option<&[u8]>]) {
    items.iter().for_each(|item| batch.extend(item.unwrap_or_default()));
}

fn align(batch: &mut Vec<u8>) {
    batch.resize(batch.len().next_multiple_of(COLUMN_ALIGN), 0);
}

fn put(batch: &mut Vec<u8>, count: usize) {
    batch.extend(u32::try_from(count).expect("under 2 GiB").to_le_bytes());
}
