//! How one log is kept: what a topic's configuration says of it, in types. Names and texts of the keys are the broker's.

/// The settings of a log; all may change while it is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: no segment grows beyond it. At most [`SEGMENT_BYTES_MAX`].
    pub segment_bytes: u32,
    /// `segment.ms`: a segment is rolled this long after its first batch.
    pub segment_ms: i64,
    /// `retention.bytes`: what the log may weigh before its oldest segments go; `None` for any weight (-1 in Kafka's text).
    pub retention_bytes: Option<u64>,
    /// `retention.ms`: how old the newest record of a segment may be before the segment goes; `None` for any age.
    pub retention_ms: Option<i64>,
    /// `index.interval.bytes`: batches' bytes between two entries of the indexes.
    pub index_interval_bytes: u32,
    /// `sluice.flush.mode`.
    pub flush_mode: FlushMode,
    /// `producer.id.expiration.ms`: a producer that wrote nothing for so long is forgotten.
    pub producer_id_expiration_ms: i64,
}

/// When a batch counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlushMode {
    /// Once it is on the disk: `fdatasync`, shared by all that wait.
    #[default]
    Group,
    /// Once the page cache has it, as Kafka does; the disk gets it in the background.
    Os,
}

/// The greatest `segment.bytes`: Kafka's, and positions in a segment are kept in 32 bits.
pub const SEGMENT_BYTES_MAX: u32 = i32::MAX as u32;

impl Default for LogConfig {
    /// Kafka's defaults, except for the index interval: an entry every 16 KiB is a quarter of the memory, and a read that
    /// starts up to as much earlier walks a few headers more.
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 60 * 60 * 1000,
            retention_bytes: None,
            retention_ms: Some(7 * 24 * 60 * 60 * 1000),
            index_interval_bytes: 16 << 10,
            flush_mode: FlushMode::Group,
            producer_id_expiration_ms: 24 * 60 * 60 * 1000,
        }
    }
}
