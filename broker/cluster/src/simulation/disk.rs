//! What a broker's machine keeps: logs of batches with leader epochs, of which some is synced and the rest only written. A killed
//! process loses nothing of it. A loss of power leaves what was synced and some prefix of what was done since, the last batch
//! perhaps torn, which recovery then cuts off; a truncation that was not synced may be undone with it.
//!
//! Logs are in two directories, on a disk each. One that fails has failed for as long as the process lives: its logs are offline,
//! and what is left of them shows when a later process finds the disk mended, or another one in its place.

use std::collections::{BTreeMap, VecDeque};

use sluice_protocol::Uuid;

use super::random::Random;
use crate::metadata::batch::Hash;

/// A partition of a topic of this id.
pub(super) type Key = (Uuid, i32);

/// A record batch: a few offsets, one value that no other batch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) base: i64,
    pub(super) end: i64,
    pub(super) epoch: i32,
    pub(super) producer: i32,
    pub(super) sequence: i32,
    pub(super) value: u64,
}

/// A broker's data folder.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) uuid: Uuid,
    pub(super) logs: BTreeMap<Key, Log>,
    /// How many were ever made.
    pub(super) logs_made: u64,
    /// The last life ended in order.
    pub(super) clean: bool,
    /// How far into the metadata log this broker has been.
    pub(super) seen: (u64, Hash),
    /// A directory that can't be read or written.
    pub(super) failed: Option<Failed>,
}

/// A directory whose disk failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) directory: usize,
    /// What the next process finds, if somebody has been there.
    pub(super) repair: Option<Repair>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repair {
    /// As after a loss of power.
    Mended,
    /// Another disk, with nothing on it.
    Replaced,
}

/// Log directories of a broker.
pub(super) const DIRECTORIES: usize = 2;

/// One replica's log.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    /// Where it is.
    directory: usize,
    /// Tells it from one that was there before.
    made: u64,
    written: Content,
    synced: Content,
    /// Done since, oldest first; the first has the number `synced_changes`.
    unsynced: VecDeque<Op>,
    synced_changes: u64,
    durable: i64,
    /// The high watermark as last noted on disk: may be old, is never too high.
    pub(super) high_watermark_noted: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Content {
    start: i64,
    batches: Vec<Batch>,
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Append(Batch),
    Truncate(i64),
    StartAt(i64),
    RaiseStart(i64),
}

/// How far a sync that has begun will reach.
#[derive(Debug, Clone, Copy)]
pub(super) struct Syncing {
    made: u64,
    changes: u64,
    end: i64,
}

impl Disk {
    /// A replica's log, made where there is room if there is none: on a disk that works.
    pub(super) fn log_of(&mut self, key: Key) -> &mut Log {
        let usual = (usize::from(key.0.0[0]) + key.1.unsigned_abs() as usize) % DIRECTORIES;
        let directory = match self.failed {
            Some(failed) if failed.directory == usual => (usual + 1) % DIRECTORIES,
            _ => usual,
        };
        self.logs.entry(key).or_insert_with(|| {
            self.logs_made += 1;
            Log { directory, made: self.logs_made, ..Log::default() }
        })
    }

    /// Whether its log is on a disk that failed.
    pub(super) fn is_offline(&self, key: &Key) -> bool {
        self.failed.is_some_and(|failed| self.logs.get(key).is_some_and(|log| log.directory == failed.directory))
    }

    /// What is on the disk that failed.
    pub(super) fn offline(&self) -> Vec<Key> {
        self.logs.keys().filter(|key| self.is_offline(key)).copied().collect()
    }
}

impl Log {
    pub(super) fn start(&self) -> i64 {
        self.written.start
    }

    pub(super) fn end(&self) -> i64 {
        self.written.end()
    }

    /// Synced below this, and not truncated since.
    pub(super) fn durable(&self) -> i64 {
        self.durable
    }

    pub(super) fn batches(&self) -> &[Batch] {
        &self.written.batches
    }

    pub(super) fn last(&self) -> Option<&Batch> {
        self.written.batches.last()
    }

    pub(super) fn latest_epoch(&self) -> Option<i32> {
        self.last().map(|batch| batch.epoch)
    }

    /// The latest epoch not after `epoch`, and where it ends.
    pub(super) fn end_of_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        let batches = &self.written.batches;
        let after = batches.partition_point(|batch| batch.epoch <= epoch);
        after.checked_sub(1).map(|last| (batches[last].epoch, batches[last].end))
    }

    /// So many batches from `offset` on; nothing if it is not where a batch begins.
    pub(super) fn read(&self, offset: i64, batches: usize) -> &[Batch] {
        let from = self.written.batches.partition_point(|batch| batch.base < offset);
        let rest = &self.written.batches[from..];
        &rest[..batches.min(rest.len())]
    }

    pub(super) fn append(&mut self, batch: Batch) {
        assert_eq!(batch.base, self.end(), "a batch begins where the log ends");
        assert!(self.latest_epoch().is_none_or(|latest| latest <= batch.epoch), "leader epochs never go back in a log");
        self.change(Op::Append(batch));
    }

    pub(super) fn truncate_to(&mut self, offset: i64) {
        self.change(Op::Truncate(offset));
        self.durable = self.durable.min(self.end());
    }

    pub(super) fn start_at(&mut self, offset: i64) {
        self.change(Op::StartAt(offset));
        self.durable = self.end();
    }

    pub(super) fn raise_start(&mut self, offset: i64) {
        if offset > self.start() {
            self.change(Op::RaiseStart(offset.min(self.end())));
        }
    }

    pub(super) fn sync_begin(&self) -> Syncing {
        Syncing { made: self.made, changes: self.synced_changes + self.unsynced.len() as u64, end: self.end() }
    }

    pub(super) fn sync_end(&mut self, syncing: Syncing) {
        // That log is gone, and this one was made since.
        if syncing.made != self.made {
            return;
        }
        while self.synced_changes < syncing.changes {
            let op = self.unsynced.pop_front().expect("counted when the sync began");
            self.synced.apply(op);
            self.synced_changes += 1;
        }
        // What was truncated since is not there; what was appended in its place is not synced.
        let truncated = self.unsynced.iter().filter_map(|op| match op {
            Op::Truncate(offset) | Op::StartAt(offset) => Some(*offset),
            Op::Append(_) | Op::RaiseStart(_) => None,
        });
        let end = truncated.fold(syncing.end, i64::min);
        self.durable = self.durable.max(end.min(self.end()));
    }

    /// The power fails. Gives whether anything was lost that had been written.
    pub(super) fn lose_power(&mut self, random: &Random) -> bool {
        let survive = random.below(self.unsynced.len() + 1);
        let mut content = std::mem::take(&mut self.synced);
        self.unsynced.drain(..survive).for_each(|op| content.apply(op));
        let lost = content != self.written;
        let noted = self.high_watermark_noted.min(content.end());
        *self = Self {
            directory: self.directory,
            made: self.made,
            written: content.clone(),
            durable: content.end(),
            synced: content,
            unsynced: VecDeque::new(),
            synced_changes: 0,
            high_watermark_noted: noted,
        };
        lost
    }

    /// Recovery syncs what it found.
    pub(super) fn recover(&mut self) {
        let all = self.sync_begin();
        self.sync_end(all);
    }

    /// A producer's last batches, oldest first: what tells a retry from something new.
    pub(super) fn window(&self, producer: i32) -> Vec<Batch> {
        let mut last: Vec<Batch> = self
            .written
            .batches
            .iter()
            .rev()
            .filter(|batch| batch.producer == producer)
            .take(WINDOW)
            .copied()
            .collect();
        last.reverse();
        last
    }

    fn change(&mut self, op: Op) {
        self.written.apply(op);
        self.unsynced.push_back(op);
    }
}

impl Content {
    fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, |batch| batch.end)
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Append(batch) => self.batches.push(batch),
            Op::Truncate(offset) => self.batches.truncate(self.batches.partition_point(|batch| batch.end <= offset)),
            Op::StartAt(offset) => *self = Self { start: offset, batches: Vec::new() },
            Op::RaiseStart(offset) => {
                let gone = self.batches.partition_point(|batch| batch.end <= offset);
                self.batches.drain(..gone);
                self.start = self.batches.first().map_or(offset, |batch| batch.base);
            }
        }
    }
}

/// Batches a producer may have in flight, as Kafka's clients.
const WINDOW: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_takes_only_what_was_not_synced() {
        for seed in 0..200 {
            let mut log = log(10);
            log.sync_end(log.sync_begin());
            assert_eq!((log.end(), log.durable()), (10, 10));
            (10..13).for_each(|at| log.append(batch(at, 1)));
            let lost = log.lose_power(&Random::new(seed));
            assert_eq!(lost, log.end() < 13);
            assert!((10..=13).contains(&log.end()) && log.durable() == log.end(), "{log:?}");
        }
    }

    #[test]
    fn a_truncation_may_be_undone_by_the_loss_of_power() {
        let mut ends = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut log = log(10);
            log.sync_end(log.sync_begin());
            let syncing = log.sync_begin();
            log.truncate_to(4);
            log.append(batch(4, 2));
            assert_eq!(log.durable(), 4);
            log.sync_end(syncing);
            assert_eq!(log.durable(), 4, "the sync began before the truncation");
            assert_eq!(
                (log.end_of_epoch(1), log.end_of_epoch(9), log.end_of_epoch(0)),
                (Some((1, 4)), Some((2, 5)), None)
            );
            log.lose_power(&Random::new(seed));
            ends.insert(log.end());
        }
        assert_eq!(ends, [4, 5, 10].into());
    }

    #[test]
    fn retention_and_starting_over() {
        let mut log = log(10);
        log.raise_start(3);
        assert_eq!((log.start(), log.read(3, 2)), (3, &[batch(3, 1), batch(4, 1)][..]));
        assert_eq!(log.window(0).len(), WINDOW);
        log.start_at(20);
        assert_eq!((log.start(), log.end(), log.latest_epoch()), (20, 20, None));
    }

    #[test]
    fn what_is_new_is_made_on_a_disk_that_works() {
        let key = |index| (Uuid([0; 16]), index);
        let mut disk = Disk {
            uuid: Uuid([0; 16]),
            logs: BTreeMap::new(),
            logs_made: 0,
            clean: true,
            seen: Default::default(),
            failed: None,
        };
        (0..2).for_each(|index| disk.log_of(key(index)).append(batch(0, 1)));
        assert_eq!(disk.offline(), []);
        disk.failed = Some(Failed { directory: 1, repair: None });
        (2..4).for_each(|index| disk.log_of(key(index)).append(batch(0, 1)));
        assert_eq!(disk.offline(), [key(1)]);
        disk.logs.get_mut(&key(1)).unwrap().lose_power(&Random::new(1));
        assert!(disk.is_offline(&key(1)), "it stays where it is");
    }

    fn log(batches: i64) -> Log {
        let mut log = Log::default();
        (0..batches).for_each(|at| log.append(batch(at, 1)));
        log
    }

    fn batch(base: i64, epoch: i32) -> Batch {
        Batch { base, end: base + 1, epoch, producer: 0, sequence: base as i32, value: base as u64 }
    }
}
