//! One segment: a file of batches and what is known of it without reading the file.
//!
//! Written by the appender alone, up to `size`; read by anyone below the `size` they saw. The file opens on first use and is
//! let go when idle, and so are the indexes of a sealed segment: ten thousand idle partitions hold no descriptor.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};

use crate::disk::{DiskFile, remove_if_there};
use crate::indexes::{Indexes, Summary};
use crate::partition_dir::{Folder, Kind};
use crate::scan::{HEADER_WINDOW, Scan, ScanError};

/// The timestamp of no record, and of one not looked up yet.
pub(crate) const NO_NEWEST: i64 = i64::MIN;

/// A file of batches.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base_offset: i64,
    folder: Arc<Folder>,
    file: ArcSwapOption<OpenFile>,
    indexes: ArcSwapOption<Indexes>,
    /// Bytes of whole batches. The file may be longer: zeroes allocated ahead.
    size: AtomicU64,
    /// The greatest timestamp in it, or [`NO_NEWEST`].
    greatest: AtomicI64,
    /// Written to since the last `sync_data` began.
    unsynced: AtomicBool,
    /// Used since the last [`Segment::release_idle`].
    used: AtomicBool,
    /// No longer written, and the index files say so.
    index_saved: AtomicBool,
}

/// `ArcSwap` swaps sized things only.
#[derive(Debug)]
struct OpenFile(Arc<dyn DiskFile>);

impl Segment {
    /// A segment whose file exists and is `size` bytes long.
    pub(crate) fn existing(folder: Arc<Folder>, base_offset: i64, size: u64) -> Self {
        Self {
            base_offset,
            folder,
            file: ArcSwapOption::empty(),
            indexes: ArcSwapOption::empty(),
            size: AtomicU64::new(size),
            greatest: AtomicI64::new(NO_NEWEST),
            unsynced: AtomicBool::new(false),
            used: AtomicBool::new(false),
            index_saved: AtomicBool::new(false),
        }
    }

    /// Makes the file of a new, empty segment. Its name is not durable yet.
    pub(crate) fn create(folder: Arc<Folder>, base_offset: i64) -> io::Result<Self> {
        let file = folder.disk().create(&folder.file_at(base_offset, Kind::Log))?;
        let segment = Self::existing(folder, base_offset, 0);
        segment.file.store(Some(Arc::new(OpenFile(file))));
        segment.indexes.store(Some(Arc::new(Indexes::new(base_offset))));
        Ok(segment)
    }

    /// Bytes of whole batches.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Publishes bytes just written, after the index has them.
    pub(crate) fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    /// The file, opened if need be.
    pub(crate) fn file(&self) -> io::Result<Arc<dyn DiskFile>> {
        self.used.store(true, Ordering::Relaxed);
        if let Some(open) = &*self.file.load() {
            return Ok(Arc::clone(&open.0));
        }
        let path = self.folder.file_at(self.base_offset, Kind::Log);
        let file = self.folder.disk().open(&path)?;
        self.file.store(Some(Arc::new(OpenFile(Arc::clone(&file)))));
        Ok(file)
    }

    /// The indexes: those in memory, else the files', else made anew from the batches.
    pub(crate) fn indexes(&self) -> Result<Arc<Indexes>, ScanError> {
        self.used.store(true, Ordering::Relaxed);
        if let Some(indexes) = self.indexes.load_full() {
            return Ok(indexes);
        }
        let size = self.size();
        let made = match Indexes::load(&self.folder, self.base_offset, size)? {
            Some((indexes, _)) => {
                self.index_saved.store(true, Ordering::Relaxed);
                indexes
            }
            None => self.rebuild(size)?,
        };
        self.greatest.fetch_max(made.greatest(), Ordering::Relaxed);
        // Another thread may have been faster; whoever came first stays, because the appender writes to that one.
        let made = Some(Arc::new(made));
        let before = self.indexes.compare_and_swap(&None::<Arc<Indexes>>, made.clone());
        let indexes = Guard::into_inner(before).or(made);
        Ok(indexes.expect("one of the two is there"))
    }

    /// Takes indexes that a scan of the whole segment made.
    pub(crate) fn set_indexes(&self, indexes: Indexes) {
        self.greatest.store(indexes.greatest(), Ordering::Relaxed);
        self.indexes.store(Some(Arc::new(indexes)));
    }

    fn rebuild(&self, size: u64) -> Result<Indexes, ScanError> {
        let file = self.file()?;
        let indexes = Indexes::new(self.base_offset);
        let mut scan = Scan::new(&*file, (self.base_offset, 0), size, HEADER_WINDOW);
        while let Some(found) = scan.next()? {
            indexes.note(&found.header, found.position, REBUILD_INTERVAL);
        }
        Ok(indexes)
    }

    /// The greatest timestamp of any batch in the segment, looked up once; [`NO_NEWEST`] without a batch.
    pub(crate) fn greatest_timestamp(&self) -> Result<i64, ScanError> {
        let known = self.greatest.load(Ordering::Relaxed);
        if known != NO_NEWEST || self.size() == 0 {
            return Ok(known);
        }
        if let Some(summary) = Summary::load(&self.folder, self.base_offset)?
            && summary.log_size == self.size()
        {
            self.greatest.fetch_max(summary.greatest, Ordering::Relaxed);
            return Ok(summary.greatest);
        }
        Ok(self.indexes()?.greatest())
    }

    /// Notes the timestamp of a batch just appended.
    pub(crate) fn note_timestamp(&self, timestamp: i64) {
        self.greatest.fetch_max(timestamp, Ordering::Relaxed);
    }

    /// The greatest timestamp of a record in the segment; [`NO_NEWEST`] without one.
    pub(crate) fn newest_record(&self) -> Result<i64, ScanError> {
        if self.indexes.load().is_none()
            && let Some(summary) = Summary::load(&self.folder, self.base_offset)?
            && summary.log_size == self.size()
        {
            return Ok(summary.newest.timestamp);
        }
        Ok(self.indexes()?.newest().timestamp)
    }

    /// Writes the index files; the segment gets no more batches before it is opened again. What does not get written is made
    /// anew from the batches when it is missed.
    pub(crate) fn save_indexes(&self, end_offset: i64) -> io::Result<()> {
        let indexes = match self.indexes() {
            Ok(indexes) => indexes,
            Err(ScanError::Io(error)) => return Err(error),
            // Damage is reported to whoever reads the batches; there is nothing to save.
            Err(ScanError::Damaged { .. }) => return Ok(()),
        };
        indexes.save(&self.folder, self.size(), end_offset)?;
        self.index_saved.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Marks bytes as written and not durable.
    pub(crate) fn set_unsynced(&self) {
        self.unsynced.store(true, Ordering::Release);
    }

    /// Makes durable what was written before the call.
    pub(crate) fn sync(&self) -> io::Result<()> {
        // Cleared first: what is written during the call sets it again.
        if self.unsynced.swap(false, Ordering::AcqRel) {
            self.folder.dir.sync(&*self.file()?)?;
        }
        Ok(())
    }

    /// Lets go of what nobody used since the last call. Called by the owner of the log, between appends.
    pub(crate) fn release_idle(&self, active: bool) {
        if self.used.swap(false, Ordering::Relaxed) || self.unsynced.load(Ordering::Acquire) {
            return;
        }
        self.file.store(None);
        // The active segment's indexes stay: a reader that makes them anew must not race the appender that extends them.
        if !active && self.index_saved.load(Ordering::Relaxed) {
            self.indexes.store(None);
        }
    }

    /// Lets go of the file until it is used again.
    pub(crate) fn close(&self) {
        self.file.store(None);
        self.used.store(false, Ordering::Relaxed);
    }

    /// Removes the segment's files.
    pub(crate) fn remove(&self) -> io::Result<()> {
        remove_files(&self.folder, self.base_offset)
    }

    /// Whether a descriptor is held for it.
    pub(crate) fn is_open(&self) -> bool {
        self.file.load().is_some()
    }
}

/// Removes the files of a segment, the batches last: indexes without batches are swept at the next start.
pub(crate) fn remove_files(folder: &Folder, base_offset: i64) -> io::Result<()> {
    for kind in [Kind::OffsetIndex, Kind::TimeIndex, Kind::Snapshot, Kind::Log] {
        remove_if_there(folder.disk(), &folder.file_at(base_offset, kind))?;
    }
    Ok(())
}

/// Bytes between entries of an index made anew, whatever the topic's interval is: the read that misses it is waiting.
const REBUILD_INTERVAL: u32 = 16 << 10;
