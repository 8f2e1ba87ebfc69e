//! Where timestamps lie in a segment: an entry says that no batch before an offset is newer than a timestamp.
//!
//! Producers' timestamps do not rise; entries do, because each holds the greatest so far. A search starts at the last entry
//! below the wanted timestamp and walks the batches from there.

use crate::rows::Rows;

/// One statement: batches before `offset` have no timestamp above `timestamp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    /// The greatest timestamp before `offset`, in milliseconds since 1970.
    pub(crate) timestamp: i64,
    /// Base offset of a batch.
    pub(crate) offset: i64,
}

/// A segment's time index.
#[derive(Debug)]
pub(crate) struct TimeIndex {
    base_offset: i64,
    rows: Rows<2>,
}

impl TimeIndex {
    pub(crate) const fn new(base_offset: i64) -> Self {
        Self { base_offset, rows: Rows::new() }
    }

    /// Adds a statement. By the appender alone. One that says no more than the last is left out.
    pub(crate) fn push(&self, entry: TimeEntry) {
        let newest = self.rows.len().checked_sub(1).map(|i| self.entry(i));
        if newest.is_none_or(|newest| newest.timestamp < entry.timestamp) {
            let offset = (entry.offset - self.base_offset) as u64;
            self.rows.push([entry.timestamp as u64, offset]);
        }
    }

    /// The first offset worth looking at for a record of `timestamp` or newer.
    pub(crate) fn search_from(&self, timestamp: i64) -> i64 {
        self.rows
            .partition_point(|[entry, _]| (entry as i64) < timestamp)
            .checked_sub(1)
            .map_or(self.base_offset, |i| self.entry(i).offset)
    }

    /// All entries, in order.
    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = TimeEntry> + '_ {
        (0..self.rows.len()).map(|i| self.entry(i))
    }

    fn entry(&self, index: usize) -> TimeEntry {
        let [timestamp, offset] = self.rows.get(index);
        TimeEntry { timestamp: timestamp as i64, offset: self.base_offset + offset as i64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_start_where_older_ones_end() {
        let index = TimeIndex::new(100);
        for (timestamp, offset) in [(1000, 110), (900, 120), (1000, 130), (2000, 140)] {
            index.push(TimeEntry { timestamp, offset });
        }
        assert_eq!(index.entries().len(), 2, "entries that say nothing new are left out");
        for (timestamp, from) in [(i64::MIN, 100), (1000, 100), (1001, 110), (2000, 110), (2001, 140), (i64::MAX, 140)]
        {
            assert_eq!(index.search_from(timestamp), from, "timestamp {timestamp}");
        }
    }
}
