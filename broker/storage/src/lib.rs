//! The log: batches on disk, and what it takes to find them again after anything that can happen to a disk.
//!
//! In reading order:
//!
//! ```text
//!   log_dirs, siblings ── the data folders of a broker: which has which log, which have failed, which are missed
//!   log_dir ── one data folder, locked: identity, recovery points, the clean-shutdown manifest
//!     │  flusher, durability, housekeeping ── fdatasync shared by all who wait; how far each log is durable
//!     └─ log ── one partition: append, roll, retain, close
//!          │  recovery, truncation, scan, snapshots ── what a log is after a stop, and after it was cut back
//!          │  producer_state, leader_epoch, retention ── decisions and tables, without IO
//!          └─ segment ── one file of batches; indexes (offset_index, time_index, rows)
//!   reader ── reads all of it without a lock
//!   disk ── the one file layer under everything; testing has the one that fails on demand
//! ```
//! Synchronous; no network, no async runtime. The time is an argument; a clock is read only for how long things take. Batches are
//! stored as they came: only base offset and leader epoch are written anew, in a copy of the header.
#![forbid(unsafe_code)]

mod checkpoint;
mod config;
mod dir_state;
mod disk;
mod durability;
mod flusher;
mod housekeeping;
mod indexes;
mod leader_epoch;
mod log;
mod log_dir;
mod log_dirs;
mod manifest;
mod meta_properties;
mod offset_index;
mod partition_dir;
mod producer_state;
mod reader;
mod recovery;
mod retention;
mod rows;
mod scan;
mod segment;
mod siblings;
mod snapshots;
pub mod testing;
mod time_index;
mod timestamps;
mod truncation;

pub use config::{FlushMode, LogConfig, SEGMENT_BYTES_MAX};
pub use dir_state::SyncObserver;
pub use disk::{Disk, DiskFile, Entry, LockGuard, RealDisk};
pub use flusher::{FlushHandle, Flusher, Wake};
pub use log::{AppendError, Appended, AppendedReplicated, Log, ReplicateError, Retained, TruncateError};
pub use log_dir::{
    CHECKPOINT_INTERVAL, DirFailed, Identity, LockedLogDir, LogDir, LogDirOptions, MarkCleanError, OpenError, Opened,
    Owner,
};
pub use log_dirs::{Away, LockedLogDirs, LogDirs, PlaceError, Replica};
pub use partition_dir::{PartitionDir, PartitionDirError};
pub use producer_state::{Sequence, SequenceError};
pub use reader::{LogReader, ReadError, Slice};
pub use recovery::{OpenLogError, Recovery};
pub use scan::Damage;
pub use timestamps::TimestampOffset;
