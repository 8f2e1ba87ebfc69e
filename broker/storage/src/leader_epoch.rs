//! Which leader wrote which offsets: the leader epochs of a log, each with the offset it starts at (KIP-101, KIP-320).
//!
//! The batches say it too. The checkpoint saves reading them all, and recovery holds the batches' epochs, which no checksum
//! covers, against it. It is made durable together with the batches, before they count as such.

use crate::checkpoint::{self, CheckpointError};

/// The file in a partition's folder.
pub(crate) const FILE: &str = "leader-epoch-checkpoint";

/// First line of the file.
const TITLE: &str = "sluice leader epochs 1";

/// The start of one leader epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EpochStart {
    pub(crate) epoch: i32,
    pub(crate) offset: i64,
}

/// A log's leader epochs, rising in both columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LeaderEpochs(Vec<EpochStart>);

impl LeaderEpochs {
    /// The epoch of the newest batch.
    pub(crate) fn latest(&self) -> Option<i32> {
        self.0.last().map(|start| start.epoch)
    }

    /// Notes that the batch at `offset` is of `epoch`; whether that was news.
    pub(crate) fn note(&mut self, epoch: i32, offset: i64) -> bool {
        let news = self.latest().is_none_or(|latest| latest < epoch);
        if news {
            self.0.push(EpochStart { epoch, offset });
        }
        news
    }

    /// The epoch of the batch at `offset`.
    pub(crate) fn at(&self, offset: i64) -> Option<i32> {
        let starts = self.0.partition_point(|start| start.offset <= offset);
        starts.checked_sub(1).map(|i| self.0[i].epoch)
    }

    /// Whether the epoch of the batch at `offset` is certain: an epoch starts there or later.
    pub(crate) fn covers(&self, offset: i64) -> bool {
        self.0.last().is_some_and(|start| start.offset >= offset)
    }

    /// Where an epoch ends: the answer to OffsetForLeaderEpoch. The greatest epoch not above the wanted one, and the offset
    /// after its last; `None` when the wanted one is above all.
    ///
    /// Kafka's `LeaderEpochFileCache.endOffsetFor`: an epoch below all known ones ends where the first of those starts.
    pub(crate) fn end_of(&self, wanted: i32, log_end: i64) -> Option<(i32, i64)> {
        if self.latest()? == wanted {
            return Some((wanted, log_end));
        }
        let above = self.0.partition_point(|start| start.epoch <= wanted);
        let next = self.0.get(above)?;
        let epoch = above.checked_sub(1).map_or(wanted, |i| self.0[i].epoch);
        Some((epoch, next.offset))
    }

    /// Forgets what started at or after `end`, the log's end after a truncation.
    pub(crate) fn truncate(&mut self, end: i64) {
        self.0.retain(|start| start.offset < end);
    }

    /// Forgets the epochs that ended before `start`, the log's start after a deletion.
    pub(crate) fn forget_before(&mut self, start: i64) {
        let first = self.0.partition_point(|entry| entry.offset <= start);
        let Some(first) = first.checked_sub(1) else {
            return;
        };
        self.0.drain(..first);
        if let Some(entry) = self.0.first_mut() {
            entry.offset = entry.offset.max(start);
        }
    }

    /// The file's content.
    pub(crate) fn to_file(&self) -> Vec<u8> {
        let lines = self.0.iter().map(|start| format!("{} {}", start.epoch, start.offset));
        checkpoint::encode(TITLE, lines)
    }

    /// Reads the file's content back; `None` for anything else.
    pub(crate) fn from_file(content: &[u8]) -> Option<Self> {
        let lines = match checkpoint::decode(TITLE, content) {
            Ok(lines) => lines,
            Err(CheckpointError) => return None,
        };
        let mut epochs = Self::default();
        for line in lines {
            let (epoch, offset) = line.split_once(' ')?;
            let start = EpochStart { epoch: epoch.parse().ok()?, offset: offset.parse().ok()? };
            if let Some(last) = epochs.0.last()
                && (last.epoch >= start.epoch || last.offset >= start.offset)
            {
                return None;
            }
            epochs.0.push(start);
        }
        Some(epochs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(starts: &[(i32, i64)]) -> LeaderEpochs {
        LeaderEpochs(starts.iter().map(|&(epoch, offset)| EpochStart { epoch, offset }).collect())
    }

    #[test]
    fn ends_of_epochs() {
        let known = [(2, 10), (4, 20), (7, 30)];
        for (sentence, known, wanted, want) in [
            ("nothing written", &[][..], 0, None),
            ("the latest ends at the log's end", &known, 7, Some((7, 35))),
            ("above all", &known, 8, None),
            ("one that wrote", &known, 4, Some((4, 30))),
            ("one that wrote nothing ends with the one before", &known, 3, Some((2, 20))),
            ("below all ends where the first starts", &known, 1, Some((1, 10))),
        ] {
            assert_eq!(epochs(known).end_of(wanted, 35), want, "{sentence}");
        }
    }

    #[test]
    fn starts_are_noted_once() {
        let mut known = LeaderEpochs::default();
        assert!(known.note(3, 0));
        assert!(!known.note(3, 5));
        assert!(known.note(4, 9));
        assert_eq!(known, epochs(&[(3, 0), (4, 9)]));
        assert_eq!(
            [known.at(-1), known.at(0), known.at(8), known.at(9), known.at(99)],
            [None, Some(3), Some(3), Some(4), Some(4)]
        );
        assert!(known.covers(9) && !known.covers(10));
    }

    #[test]
    fn both_ends_are_cut() {
        let known = epochs(&[(2, 10), (4, 20), (7, 30)]);
        for (end, want) in [(31, 3), (30, 2), (20, 1), (10, 0)] {
            let mut cut = known.clone();
            cut.truncate(end);
            assert_eq!(cut.0.len(), want, "log end {end}");
        }
        for (start, want) in [
            (5, &[(2, 10), (4, 20), (7, 30)][..]),
            (10, &[(2, 10), (4, 20), (7, 30)]),
            (15, &[(2, 15), (4, 20), (7, 30)]),
            (20, &[(4, 20), (7, 30)]),
            (99, &[(7, 99)]),
        ] {
            let mut cut = known.clone();
            cut.forget_before(start);
            assert_eq!(cut, epochs(want), "log start {start}");
        }
    }

    #[test]
    fn the_file_reads_back() {
        let known = epochs(&[(2, 10), (4, 20)]);
        assert_eq!(LeaderEpochs::from_file(&known.to_file()), Some(known));
        for lines in [&["4 20", "2 10"][..], &["2 10", "4 10"], &["2"], &["x 1"]] {
            let content = checkpoint::encode(TITLE, lines.iter().map(ToString::to_string));
            assert_eq!(LeaderEpochs::from_file(&content), None, "{lines:?}");
        }
    }
}
