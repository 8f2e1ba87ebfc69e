//! Which leader wrote which offsets: the leader epochs of a log, each with the offset it starts at (KIP-101, KIP-320).
//!
//! The batches say it too. The checkpoint saves reading them all, and recovery holds the batches' epochs, which no checksum
//! covers, against it. It is made durable together with the batches, before they count as such.
//!
//! A reign that has written nothing yet is known in memory only: its leader answers followers that come from a later epoch
//! than its own batches, and once it restarts it leads in another epoch, if at all.

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
pub(crate) struct LeaderEpochs {
    starts: Vec<EpochStart>,
    /// The reign of this log's own leader, as long as no batch is of it.
    begun: Option<EpochStart>,
}

impl LeaderEpochs {
    /// The epoch of the newest batch.
    pub(crate) fn latest(&self) -> Option<i32> {
        self.starts.last().map(|start| start.epoch)
    }

    /// The epoch below which no leader may write: that of the newest batch, or of the reign that has begun.
    pub(crate) fn reigning(&self) -> Option<i32> {
        self.begun.map(|begun| begun.epoch).or_else(|| self.latest())
    }

    /// Notes that the batch at `offset`, the newest, is of `epoch`; whether that was news.
    pub(crate) fn note(&mut self, epoch: i32, offset: i64) -> bool {
        self.end_reign();
        if self.latest().is_some_and(|latest| latest >= epoch) {
            return false;
        }
        // An epoch all of whose batches retention took stands at the log's end: the next batch starts there as well.
        self.starts.retain(|start| start.offset < offset);
        self.starts.push(EpochStart { epoch, offset });
        true
    }

    /// Notes that a leader begins to write in `epoch` at the log's end.
    pub(crate) fn begin(&mut self, epoch: i32, log_end: i64) {
        if self.reigning().is_none_or(|reigning| reigning < epoch) {
            self.begun = Some(EpochStart { epoch, offset: log_end });
        }
    }

    /// Whether a reign has begun that has written nothing.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Forgets a reign that has written nothing: another leads now.
    pub(crate) fn end_reign(&mut self) {
        self.begun = None;
    }

    /// The epoch of the batch at `offset`.
    pub(crate) fn at(&self, offset: i64) -> Option<i32> {
        let starts = self.starts.partition_point(|start| start.offset <= offset);
        starts.checked_sub(1).map(|i| self.starts[i].epoch)
    }

    /// Whether the epoch of the batch at `offset` is certain: an epoch starts there or later.
    pub(crate) fn covers(&self, offset: i64) -> bool {
        self.starts.last().is_some_and(|start| start.offset >= offset)
    }

    /// Where an epoch ends: the answer to OffsetForLeaderEpoch. The greatest epoch not above the wanted one, and the offset
    /// after its last; `None` when the wanted one is above all.
    ///
    /// Kafka's `LeaderEpochFileCache.endOffsetFor`: an epoch below all known ones ends where the first of those starts.
    pub(crate) fn end_of(&self, wanted: i32, log_end: i64) -> Option<(i32, i64)> {
        if self.reigning()? == wanted {
            return Some((wanted, log_end));
        }
        let above = self.starts.partition_point(|start| start.epoch <= wanted);
        let begun = self.begun.filter(|begun| begun.epoch > wanted);
        let next = self.starts.get(above).copied().or(begun)?;
        let epoch = above.checked_sub(1).map_or(wanted, |i| self.starts[i].epoch);
        Some((epoch, next.offset))
    }

    /// Forgets what started at or after `end`, the log's end after a truncation.
    pub(crate) fn truncate(&mut self, end: i64) {
        self.end_reign();
        self.starts.retain(|start| start.offset < end);
    }

    /// Forgets the epochs that ended before `start`, the log's start after a deletion.
    pub(crate) fn forget_before(&mut self, start: i64) {
        let first = self.starts.partition_point(|entry| entry.offset <= start);
        let Some(first) = first.checked_sub(1) else {
            return;
        };
        self.starts.drain(..first);
        if let Some(entry) = self.starts.first_mut() {
            entry.offset = entry.offset.max(start);
        }
    }

    /// The file's content.
    pub(crate) fn to_file(&self) -> Vec<u8> {
        let lines = self.starts.iter().map(|start| format!("{} {}", start.epoch, start.offset));
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
            if let Some(last) = epochs.starts.last()
                && (last.epoch >= start.epoch || last.offset >= start.offset)
            {
                return None;
            }
            epochs.starts.push(start);
        }
        Some(epochs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(starts: &[(i32, i64)]) -> LeaderEpochs {
        let starts = starts.iter().map(|&(epoch, offset)| EpochStart { epoch, offset }).collect();
        LeaderEpochs { starts, begun: None }
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
    fn a_reign_without_a_batch_ends_those_before_it() {
        let mut known = epochs(&[(2, 10), (4, 20)]);
        known.begin(4, 30);
        assert_eq!(known.reigning(), Some(4), "it has written before");
        known.begin(7, 30);
        assert_eq!((known.latest(), known.reigning()), (Some(4), Some(7)));
        let ends = [2, 4, 6, 7, 8].map(|wanted| known.end_of(wanted, 30));
        assert_eq!(ends, [Some((2, 20)), Some((4, 30)), Some((4, 30)), Some((7, 30)), None]);
        assert_eq!(known.to_file(), epochs(&[(2, 10), (4, 20)]).to_file(), "the file is of batches");
        let mut led = known.clone();
        assert!(led.note(7, 30));
        assert_eq!(led, epochs(&[(2, 10), (4, 20), (7, 30)]));
        let mut followed = known.clone();
        assert!(followed.note(6, 30), "its leader had an epoch that this one had not seen");
        assert_eq!(followed, epochs(&[(2, 10), (4, 20), (6, 30)]));
        known.truncate(30);
        assert_eq!(known, epochs(&[(2, 10), (4, 20)]));
        let mut empty = LeaderEpochs::default();
        empty.begin(3, 0);
        assert_eq!([empty.end_of(2, 0), empty.end_of(3, 0), empty.end_of(4, 0)], [Some((2, 0)), Some((3, 0)), None]);
    }

    #[test]
    fn an_epoch_that_retention_emptied_makes_room_for_the_next() {
        let mut known = epochs(&[(2, 10), (4, 20)]);
        known.forget_before(30);
        assert_eq!(known, epochs(&[(4, 30)]));
        assert!(known.note(5, 30));
        assert_eq!(known, epochs(&[(5, 30)]));
        assert_eq!(LeaderEpochs::from_file(&known.to_file()), Some(known));
    }

    #[test]
    fn both_ends_are_cut() {
        let known = epochs(&[(2, 10), (4, 20), (7, 30)]);
        for (end, want) in [(31, 3), (30, 2), (20, 1), (10, 0)] {
            let mut cut = known.clone();
            cut.truncate(end);
            assert_eq!(cut.starts.len(), want, "log end {end}");
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
