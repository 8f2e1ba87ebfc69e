//! Record batches v2: cut out of frames, checked, read and written, without decoding what nobody asks for.
//!
//! ```text
//!   frame ── Chunks ── Batch { header, body } ── validate_from_producer ── stored as it came
//!                              │
//!                           decode ── DecodedBatch ── Record... ── Rebuild ── Batch
//! ```
//! Data goes left to right. Produce ends at the checksum; only plugins, compaction and rewriting go down to the records.
//! Nothing here does IO or keeps state.

mod batch;
mod build;
mod chunks;
mod compression;
mod decode;
mod error;
#[cfg(test)]
mod golden;
mod header;
#[cfg(test)]
mod oracle;
mod parts;
mod validate;

pub use batch::Batch;
pub use build::{BatchBuilder, NO_HEADERS, Rebuild, empty_batch, empty_control_batch};
pub use chunks::Chunks;
pub use compression::Compression;
pub use decode::{DecodedBatch, Headers, Record, Records};
pub use error::{BatchError, RecordFault};
pub use header::{
    BatchCrc, BatchHeader, HEADER_LEN, LOG_OVERHEAD, MAGIC, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE,
    NO_TIMESTAMP, TimestampType,
};
pub use parts::{FileRange, Part, ReadAt};
pub use validate::{Invalid, validate_from_producer};
