//! A machine with a disk in memory, whose power can go.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use sluice_protocol::records::Batch;
use sluice_storage::testing::{Crash, MemDisk};
use sluice_storage::{
    Appended, Log, LogConfig, LogDir, LogDirOptions, OpenLogError, Opened, Recovery, Sequence, SequenceError,
    SyncObserver, Wake,
};

use super::{NOW_MS, identity, orders, read_all, stored};

/// A broker's data folder on a disk in memory.
pub(crate) struct Machine {
    pub(crate) disk: MemDisk,
    pub(crate) dir: LogDir,
    pub(crate) opened: Opened,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::on(MemDisk::new())
    }

    pub(crate) fn on(disk: MemDisk) -> Self {
        Self::observed(disk, None)
    }

    pub(crate) fn observed(disk: MemDisk, on_sync: Option<Arc<dyn SyncObserver>>) -> Self {
        let options = LogDirOptions { disk: Arc::new(disk.clone()), checkpoint_interval: None, on_sync };
        let (dir, opened) = LogDir::open_with(&data(), &identity(), options).expect("the directory opens");
        Self { disk, dir, opened }
    }

    /// The next life of the machine, after this one ended like that.
    pub(crate) fn after(&self, crash: Crash) -> Self {
        Self::on(self.disk.crash(crash))
    }

    pub(crate) fn open(&self, config: LogConfig) -> (Log, Recovery) {
        self.try_open(config).expect("the log opens")
    }

    pub(crate) fn try_open(&self, config: LogConfig) -> Result<(Log, Recovery), OpenLogError> {
        Log::open(&self.dir, &orders(), config, NOW_MS)
    }

    /// Waits until everything appended so far is durable; up to where, or why not.
    pub(crate) fn flush(&self, log: &Log) -> Result<i64, String> {
        let (wake, woken) = waker(log);
        self.dir.flusher().request(&log.flush_handle(), wake);
        woken.recv().expect("every request is answered")
    }

    /// The segments' files, oldest first.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        self.files_ending("log")
    }

    pub(crate) fn files_ending(&self, extension: &str) -> Vec<PathBuf> {
        let mut files = self.disk.files();
        files.retain(|path| path.extension().is_some_and(|found| found == extension));
        files
    }
}

/// A wake, and where is heard how far the log was durable when it was told.
pub(crate) fn waker(log: &Log) -> (Wake, mpsc::Receiver<Result<i64, String>>) {
    let (woken, wakes) = mpsc::sync_channel(16);
    let reader = log.reader();
    let wake = Arc::new(move |flushed: Result<(), sluice_storage::DirFailed>| {
        let durable = flushed.map(|()| reader.durable_offset());
        woken.send(durable.map_err(|failed| failed.to_string())).expect("awaited");
    });
    (wake, wakes)
}

fn data() -> PathBuf {
    PathBuf::from("/data")
}

/// What a producer sent, with the offsets and epochs it got.
#[derive(Clone, Default)]
pub(crate) struct Sent {
    batches: Vec<(Batch, i64, i32)>,
}

impl Sent {
    pub(crate) fn append(&mut self, log: &mut Log, batch: &Batch, leader_epoch: i32) {
        match super::append(log, batch, leader_epoch).expect("appended") {
            Appended::New { base_offset, .. } => self.batches.push((batch.clone(), base_offset, leader_epoch)),
            again @ Appended::Again { .. } => panic!("{again:?} of a batch that is new"),
        }
    }

    /// Notes a batch that was appended behind the others.
    pub(crate) fn push(&mut self, batch: Batch, leader_epoch: i32) {
        let next = |(batch, base, _): &(Batch, i64, i32)| base + i64::from(batch.header.last_offset_delta) + 1;
        let base_offset = self.batches.last().map_or(0, next);
        self.batches.push((batch, base_offset, leader_epoch));
    }

    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }

    /// How many batches lie below an offset.
    pub(crate) fn below(&self, offset: i64) -> usize {
        self.batches.iter().filter(|(batch, base, _)| base + i64::from(batch.header.last_offset_delta) < offset).count()
    }

    /// Forgets what a crash took.
    pub(crate) fn truncate(&mut self, batches: usize) {
        self.batches.truncate(batches);
    }

    /// The bytes of the first batches.
    pub(crate) fn bytes(&self, batches: usize) -> Vec<u8> {
        self.batches[..batches].iter().flat_map(|(batch, base, epoch)| stored(batch, *base, *epoch)).collect()
    }

    /// The log holds the first so many batches and nothing else, and knows what their producer may send next.
    pub(crate) fn assert_log_is(&self, log: &Log, batches: usize, what: &str) {
        let reader = log.reader();
        let start = reader.log_start_offset();
        let kept: Vec<_> = self.batches[..batches].iter().filter(|(_, base, _)| *base >= start).collect();
        let want: Vec<u8> = kept.iter().flat_map(|(batch, base, epoch)| stored(batch, *base, *epoch)).collect();
        assert!(read_all(&reader) == want, "{what}: the log is not the first {batches} batches");
        if let Some((.., epoch)) = kept.last() {
            assert_eq!(reader.latest_epoch(), Some(*epoch), "{what}");
        }
        for (i, (batch, base_offset, _)) in kept.iter().rev().enumerate() {
            let known = log.check(&batch.header);
            if i < 5 {
                let duplicate = Sequence::Duplicate { base_offset: *base_offset, log_append_time: -1 };
                assert_eq!(known, Ok(duplicate), "{what}: {i} batches before the last");
            } else {
                let forgotten = matches!(known, Err(SequenceError::OutOfOrder { .. }));
                assert!(forgotten, "{what}: {i} batches before the last, {known:?}");
            }
        }
        if !kept.is_empty() {
            let after = |batches: usize| super::batch(batches as i32, self.records()).header;
            assert_eq!(log.check(&after(batches)), Ok(Sequence::New), "{what}: the next batch");
            let gap = log.check(&after(batches + 1));
            assert!(matches!(gap, Err(SequenceError::OutOfOrder { .. })), "{what}: a gap, {gap:?}");
        }
    }

    fn records(&self) -> i32 {
        self.batches.first().map_or(1, |(batch, ..)| batch.header.count)
    }
}
