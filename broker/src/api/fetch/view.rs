//! A view's partition in a waiting fetch: how far its base has been scanned, and what was found for the consumer.
//!
//! Offsets are the base's. What the plugins drop leaves gaps, as compaction does. Where a scan shows nothing, it goes on until
//! its budget is spent or it has reached the high watermark; there it waits as any fetch does, and goes on from where it stood.
//! If in the end records were passed over and none is shown, the client is moved on by one empty batch (see [`super::advance`]).

use std::sync::Arc;
use std::time::Duration;

use sluice_cluster::Topic;
use sluice_protocol::records::Part;
use sluice_protocol::{ErrorCode, Uuid};
use sluice_storage::ReadError;
use tokio::time::Instant;

use super::{Shared, advance, error_code};
use crate::partition::Partition;
use crate::plugins::{ChainError, Pinned, ViewJob};

/// Bytes of the base that one request may have scanned before its client is moved on: more would keep a connection's answers
/// back for longer than a client expects of a fetch that finds records.
const SCAN_BYTES_MAX: usize = 16 << 20;

/// Time that one request may scan, for the same reason: less than the shortest `max_wait` in use (500 ms).
const SCAN_TIME_MAX: Duration = Duration::from_millis(400);

/// Bytes of the base read at a time, and so what one turn on a plugin thread costs.
const STEP_BYTES: usize = 1 << 20;

/// A scan, kept with the request it serves.
pub(super) struct ViewScan {
    view: Uuid,
    chain: Pinned,
    partition: Arc<Partition>,
    base: Arc<Topic>,
    fetch_offset: i64,
    /// Everything of the base below this was looked at.
    position: i64,
    scanned: usize,
    shown: Vec<Part>,
    shown_bytes: usize,
    ended: Option<End>,
}

/// Why a scan goes no further, wherever the high watermark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// What fits in the answer was found, or the budget is spent.
    Answer,
    /// Nothing can be answered but this.
    Failed(ErrorCode),
}

impl ViewScan {
    pub(super) fn new(
        view: Uuid,
        chain: Pinned,
        partition: Arc<Partition>,
        base: &Arc<Topic>,
        fetch_offset: i64,
    ) -> Self {
        let ended = partition.check_fetch_offset(fetch_offset).err().map(End::Failed);
        Self {
            view,
            chain,
            partition,
            base: Arc::clone(base),
            fetch_offset,
            position: fetch_offset,
            scanned: 0,
            shown: Vec::new(),
            shown_bytes: 0,
            ended,
        }
    }

    pub(super) fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    pub(super) fn bytes(&self) -> usize {
        self.shown_bytes
    }

    /// Whether to answer now. What is shown lies in memory, so it does not wait for more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some() || self.shown_bytes > 0
    }

    /// Scans on until `room` bytes are found, the high watermark is reached or the budget is spent.
    ///
    /// `first` says that nothing stands in the answer yet: then one batch is taken whatever its size.
    pub(super) async fn scan(&mut self, shared: &Shared, room: usize, first: bool, deadline: Instant) {
        if self.ended.is_none()
            && let Err(end) = self.renew(shared)
        {
            self.ended = Some(end);
        }
        let until = (Instant::now() + SCAN_TIME_MAX).min(deadline.max(Instant::now() + STEP_TIME_MIN));
        while self.ended.is_none() && self.position < self.partition.high_watermark() {
            if self.shown_bytes >= room && !(first && self.shown_bytes == 0) {
                self.ended = Some(End::Answer);
            } else if let Err(end) = self.step(shared, room).await {
                self.ended = Some(end);
            } else if self.scanned >= SCAN_BYTES_MAX || Instant::now() >= until {
                self.ended = Some(End::Answer);
            }
        }
    }

    /// Goes on with the chain that is in force now. What an older one showed is answered before the new one looks further.
    fn renew(&mut self, shared: &Shared) -> Result<(), End> {
        let current = shared.plugins.view(self.view).ok_or(End::Failed(super::VIEW_NOT_MADE))?;
        if !current.is_same(&self.chain) {
            if self.shown_bytes > 0 {
                return Err(End::Answer);
            }
            self.chain = current;
        }
        Ok(())
    }

    async fn step(&mut self, shared: &Shared, room: usize) -> Result<(), End> {
        let up_to = self.partition.high_watermark();
        let read = self.partition.reader().read(self.position, STEP_BYTES, up_to, true);
        let slice = match read {
            Ok(slice) => slice,
            // Retention took what was to be scanned next: what was found stands, the client asks again from there.
            Err(ReadError::OutOfRange { .. }) if self.position > self.fetch_offset => return Err(End::Answer),
            Err(error) => return Err(End::Failed(error_code(&error))),
        };
        if slice.bytes == 0 {
            return Err(End::Answer);
        }
        let slice_bytes = slice.bytes;
        self.scanned += slice_bytes;
        let job = ViewJob {
            topic: Arc::clone(&self.base),
            partition: self.partition.index(),
            slice,
            from_offset: self.position,
            room: room.saturating_sub(self.shown_bytes),
        };
        let step = self.chain.chain().view(job).await;
        shared.metrics.view_scanned(slice_bytes);
        self.position = step.next_offset.max(self.position);
        self.shown_bytes += step.shown.iter().map(Part::len).sum::<usize>();
        self.shown.extend(step.shown);
        match step.failed {
            None => Ok(()),
            // What was found before the failure is the answer; the failure is the next one's.
            Some(_) if self.position > self.fetch_offset => Err(End::Answer),
            Some(failed) => Err(End::Failed(failure_code(&failed))),
        }
    }

    /// What was found so far.
    pub(super) fn answer(&self) -> Result<Vec<Part>, ErrorCode> {
        match self.ended {
            Some(End::Failed(code)) => Err(code),
            Some(End::Answer) | None => Ok(self.shown.clone()),
        }
    }

    /// The batch that moves the client on, if records were passed over and none was found.
    pub(super) fn advance(&self) -> Option<Vec<Part>> {
        let nothing = self.shown_bytes == 0 && !matches!(self.ended, Some(End::Failed(_)));
        (nothing && self.position > self.fetch_offset)
            .then(|| advance::batch(self.fetch_offset, self.position, self.partition.leader_epoch()))
    }
}

/// Even a fetch that may not wait gets one turn.
const STEP_TIME_MIN: Duration = Duration::from_millis(1);

/// Kafka's code for a chain that failed: one that every client retries. A code that a client does not know for Fetch makes
/// the Java consumer throw.
fn failure_code(failed: &ChainError) -> ErrorCode {
    match failed {
        ChainError::Batch(_) | ChainError::Plugin { .. } | ChainError::Busy(_) | ChainError::Stopped => {
            ErrorCode::UnknownServerError
        }
        ChainError::Storage => ErrorCode::KafkaStorageError,
    }
}
