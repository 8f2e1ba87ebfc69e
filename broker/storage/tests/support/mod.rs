//! A partition to try things on: its directory, its batches, and what reads them back.
#![allow(dead_code, reason = "each suite uses its part of this")]

pub(crate) mod history;
pub(crate) mod machine;

use sluice_protocol::Uuid;
use sluice_protocol::records::{Batch, BatchBuilder, BatchHeader, Compression};
use sluice_storage::{
    AppendError, Appended, Identity, Log, LogConfig, LogDir, LogReader, OpenError, OpenLogError, Opened, PartitionDir,
    Recovery,
};
use tempfile::TempDir;

/// The producer of [`batch`].
pub(crate) const PRODUCER: i64 = 4000;

/// When everything here happens, in milliseconds since 1970.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// A log directory in a folder of its own.
pub(crate) struct Day {
    // In this order: the directory is closed before its folder goes.
    pub(crate) dir: LogDir,
    folder: TempDir,
    lives: u32,
}

impl Day {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (dir, opened) = LogDir::open(&folder.path().join("data"), &identity()).expect("a new directory");
        assert!(!opened.clean && opened.partitions.is_empty());
        Self { dir, folder, lives: 1 }
    }

    /// Opens the log of `orders-0`.
    pub(crate) fn open(&self, config: LogConfig) -> (Log, Recovery) {
        self.try_open(&orders(), config).expect("the log opens")
    }

    pub(crate) fn try_open(&self, name: &PartitionDir, config: LogConfig) -> Result<(Log, Recovery), OpenLogError> {
        Log::open(&self.dir, name, config, NOW_MS)
    }

    /// Ends this life of the directory and starts the next.
    pub(crate) fn reopen(&mut self) -> Opened {
        self.reopen_as(&identity()).expect("it opens")
    }

    pub(crate) fn reopen_as(&mut self, identity: &Identity) -> Result<Opened, OpenError> {
        // Another directory takes its place meanwhile, so that its lock is let go.
        let aside = self.folder.path().join(format!("aside-{}", self.lives));
        self.lives += 1;
        let (aside, _) = LogDir::open(&aside, &self::identity()).expect("a directory");
        drop(std::mem::replace(&mut self.dir, aside));
        let (dir, opened) = LogDir::open(&self.folder.path().join("data"), identity)?;
        self.dir = dir;
        Ok(opened)
    }
}

pub(crate) fn identity() -> Identity {
    Identity { cluster_id: "cluster".to_owned(), broker_id: 1, new_directory_id: Uuid([5; 16]) }
}

pub(crate) fn orders() -> PartitionDir {
    PartitionDir::new("orders", 0, Uuid([1; 16])).expect("a name")
}

/// A later topic of the same name.
pub(crate) fn namesake() -> PartitionDir {
    PartitionDir::new("orders", 0, Uuid([2; 16])).expect("a name")
}

pub(crate) fn config() -> LogConfig {
    LogConfig { index_interval_bytes: 300, ..LogConfig::default() }
}

/// The `index`th batch of `records` records that the producer sends.
pub(crate) fn batch(index: i32, records: i32) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None);
    for i in 0..records {
        let value = format!("batch {index:06} record {i}");
        builder.push::<&str, &str>(NOW_MS + i64::from(index), Some(b"key"), Some(value.as_bytes()), []);
    }
    builder.producer(PRODUCER, 0, index * records).build_batch()
}

pub(crate) fn append(log: &mut Log, batch: &Batch, leader_epoch: i32) -> Result<Appended, AppendError> {
    log.append(batch.header, batch.body.parts(), leader_epoch, NOW_MS)
}

/// The bytes of a batch as the log has them.
pub(crate) fn stored(batch: &Batch, base_offset: i64, leader_epoch: i32) -> Vec<u8> {
    let header = BatchHeader { base_offset, partition_leader_epoch: leader_epoch, ..batch.header };
    Batch { header, body: batch.body.clone() }.to_parts().concat()
}

/// Everything in a log, read in pieces.
pub(crate) fn read_all(reader: &LogReader) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut offset = reader.log_start_offset();
    while offset < reader.log_end_offset() {
        let slice = reader.read(offset, 1000, i64::MAX, true).expect("the log reads");
        assert!(slice.next_offset > offset, "a read below the end makes progress");
        for part in &slice.parts {
            let at = bytes.len();
            bytes.resize(at + part.len, 0);
            part.read_at(&mut bytes[at..], 0).expect("the part reads");
        }
        offset = slice.next_offset;
    }
    bytes
}
