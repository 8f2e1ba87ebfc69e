//! Record batches v2: cut out of frames, checked, read and written, without decoding what nobody asks for.
//!
//! ```text
//!   frame ── Chunks ── Batch::split ── Batch { header, body } ── verify_crc ── stored as it came
//! ```
//! Data goes left to right: the produce path ends at the checksum, and only plugins, compaction and rewriting look at
//! records. Nothing here does IO or keeps state.

mod batch;
mod chunks;
mod compression;
mod error;
mod header;
mod parts;

pub use batch::Batch;
pub use chunks::Chunks;
pub use compression::Compression;
pub use error::{BatchError, RecordFault};
pub use header::{
    BatchCrc, BatchHeader, HEADER_LEN, LOG_OVERHEAD, MAGIC, NO_PRODUCER_EPOCH, NO_PRODUCER_ID,
    NO_SEQUENCE, NO_TIMESTAMP, TimestampType,
};
pub use parts::{FileRange, Part, ReadAt};
