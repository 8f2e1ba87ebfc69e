//! A binding at work: what its plugins say of a batch, and the batch that comes of it.
//!
//! Everything here runs on a plugin thread: decompress, ask the plugins, rebuild, compress. The caller waits on a channel, so a
//! plugin that takes its time takes nobody else's. A batch that no plugin changes comes back as the bytes it came in.
//!
//! The rules of a rebuilt batch (DESIGN of the log: a batch keeps its span of offsets and its range of sequences, whatever
//! becomes of its records) are kept by [`sluice_protocol::records::Rebuild`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use sluice_cluster::{OnError, Topic};
use sluice_plugin_host::{BatchContext, Bound, NO_OFFSET, PluginError, QueueFull, Replacement, Verdict, Verdicts};
use sluice_protocol::records::{Batch, BatchError, Chunks, DecodedBatch, Part, Rebuild, Record, empty_batch};
use sluice_storage::Slice;
use tokio::sync::Notify;

use super::threads::Places;

/// Bytes a batch may have when decompressed, if a plugin is to see it: what a few hostile bytes can unfold to. Everything
/// above is refused before it is allocated.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// The plugins of one binding, loaded and configured.
pub(crate) struct Chain {
    on_error: OnError,
    links: Vec<Link>,
    places: Places,
    in_flight: AtomicUsize,
    left: Notify,
}

/// One plugin of a chain.
pub(super) struct Link {
    /// Name and version, as error messages name it.
    pub(super) plugin: String,
    pub(super) bound: Bound,
}

/// Holds a chain in place: while one exists, the switch to another chain is not over.
pub(crate) struct Pinned(Arc<Chain>);

/// What a gate made of a batch.
#[derive(Debug)]
pub(crate) enum Gated {
    /// Store this.
    Pass(Batch),
    /// Rejected records, each with its index in the batch and why. The whole batch is refused.
    Rejected(Vec<(i32, String)>),
}

/// A stretch of a view's base to be looked through.
pub(crate) struct ViewJob {
    pub(crate) topic: Arc<Topic>,
    pub(crate) partition: i32,
    pub(crate) slice: Slice,
    /// Records below are not what the consumer asked for; the first batch may begin with some.
    pub(crate) from_offset: i64,
    /// Bytes after which no further batch is looked at.
    pub(crate) room: usize,
}

/// What a view shows of a stretch.
#[derive(Debug)]
pub(crate) struct ViewStep {
    pub(crate) shown: Vec<Part>,
    /// Everything below was looked at.
    pub(crate) next_offset: i64,
    /// Why it ended before the stretch did.
    pub(crate) failed: Option<ChainError>,
}

/// Why a chain has no answer for a batch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChainError {
    /// The records cannot be read, which is no plugin's fault.
    #[error("the batch cannot be read: {0}")]
    Batch(#[from] BatchError),
    /// A plugin failed.
    #[error("plugin `{plugin}`: {cause}")]
    Plugin {
        /// Name and version.
        plugin: String,
        /// What it did.
        #[source]
        cause: PluginError,
    },
    /// The log could not be read.
    #[error("the log could not be read")]
    Storage,
    /// More is asked of the plugin threads than they may queue.
    #[error(transparent)]
    Busy(QueueFull),
    /// The broker is shutting down.
    #[error("the plugin threads have stopped")]
    Stopped,
}

impl Chain {
    pub(super) fn new(on_error: OnError, links: Vec<Link>, places: Places) -> Arc<Self> {
        Arc::new(Self { on_error, links, places, in_flight: AtomicUsize::new(0), left: Notify::new() })
    }

    pub(super) fn links(&self) -> &[Link] {
        &self.links
    }

    /// Runs a batch from a producer through the chain.
    pub(crate) async fn gate(
        self: &Arc<Self>,
        topic: &Arc<Topic>,
        partition: i32,
        batch: Batch,
    ) -> Result<Gated, ChainError> {
        let (chain, topic) = (Arc::clone(self), Arc::clone(topic));
        self.places.run(move || chain.judge_for_log(&topic.name, partition, batch)).await?
    }

    /// Looks through a stretch of a view's base.
    pub(crate) async fn view(self: &Arc<Self>, job: ViewJob) -> ViewStep {
        let (chain, next_offset) = (Arc::clone(self), job.from_offset);
        let step = self.places.run(move || chain.look_through(&job)).await;
        step.unwrap_or_else(|failed| ViewStep { shown: Vec::new(), next_offset, failed: Some(failed) })
    }

    fn judge_for_log(&self, topic: &str, partition: i32, batch: Batch) -> Result<Gated, ChainError> {
        match self.judge(topic, partition, NO_OFFSET, &batch) {
            Ok(Judged::Unchanged) => Ok(Gated::Pass(batch)),
            Ok(Judged::Changed(changed)) => Ok(Gated::Pass(changed)),
            Ok(Judged::Emptied) => Ok(Gated::Pass(empty_batch(&batch.header))),
            Ok(Judged::Rejected(records)) => Ok(Gated::Rejected(records)),
            Err(failed) => Err(failed),
        }
    }

    fn look_through(&self, job: &ViewJob) -> ViewStep {
        let mut step = ViewStep { shown: Vec::new(), next_offset: job.from_offset, failed: None };
        let batches = match read(&job.slice) {
            Ok(batches) => batches,
            Err(failed) => return ViewStep { failed: Some(failed), ..step },
        };
        let mut shown = 0;
        for batch in batches {
            if shown >= job.room && shown > 0 {
                break;
            }
            let next_offset = batch.header.next_offset();
            match self.judge_for_consumer(job, batch) {
                Ok(None) => {}
                Ok(Some(batch)) => {
                    shown += batch.header.size();
                    step.shown.extend(batch.to_parts().into_iter().map(Part::Bytes));
                }
                Err(failed) => {
                    step.failed = Some(failed);
                    break;
                }
            }
            step.next_offset = next_offset;
        }
        step
    }

    /// What the consumer gets of a batch, if anything.
    fn judge_for_consumer(&self, job: &ViewJob, batch: Batch) -> Result<Option<Batch>, ChainError> {
        // Markers are the clients' business, and a batch that a gate emptied shows nothing.
        if batch.header.is_control() {
            return Ok(Some(batch));
        }
        if batch.header.count == 0 {
            return Ok(None);
        }
        batch.verify_crc().map_err(|_| ChainError::Storage)?;
        let judged = match self.judge(&job.topic.name, job.partition, batch.header.base_offset, &batch) {
            // What a producer stored beneath a right checksum nobody can read: no consumer could, and the view must get on.
            Err(ChainError::Batch(unreadable)) => {
                tracing::warn!(topic = %job.topic.name, partition = job.partition, offset = batch.header.base_offset,
                    %unreadable, "a view passes over a batch that cannot be read");
                return Ok(None);
            }
            judged => judged?,
        };
        let shown = match judged {
            Judged::Unchanged => batch,
            Judged::Changed(changed) => changed,
            // The host takes a view's `reject` for a lie, so none comes here.
            Judged::Emptied | Judged::Rejected(_) => return Ok(None),
        };
        // A consumer in the middle of a batch gets it whole and skips what it has. If it would skip all, there is nothing
        // for it here, and to send that would look like an answer that did not fit.
        Ok(if has_record_from(&shown, job.from_offset)? { Some(shown) } else { None })
    }

    /// Asks every plugin in order; each sees what the one before it left.
    fn judge(&self, topic: &str, partition: i32, base_offset: i64, batch: &Batch) -> Result<Judged, ChainError> {
        let mut judged = Judged::Unchanged;
        for link in &self.links {
            let current = match &judged {
                Judged::Unchanged => batch,
                Judged::Changed(changed) => changed,
                Judged::Emptied | Judged::Rejected(_) => break,
            };
            let decoded = current.decode(DECOMPRESSED_BYTES_MAX)?;
            let context = BatchContext { topic, partition, base_offset };
            let verdicts = match link.bound.process(&context, &decoded) {
                Ok(verdicts) => verdicts,
                Err(PluginError::Batch(unreadable)) => return Err(ChainError::Batch(unreadable)),
                // Past the plugin that failed, not past those before it.
                Err(_) if self.on_error == OnError::Pass => continue,
                Err(cause) => return Err(ChainError::Plugin { plugin: link.plugin.clone(), cause }),
            };
            if let Verdicts::Each(verdicts) = verdicts {
                match carry_out(current, &decoded, verdicts)? {
                    Judged::Unchanged => {}
                    changed => judged = changed,
                }
            }
        }
        Ok(judged)
    }
}

/// What a chain made of a batch.
enum Judged {
    Unchanged,
    Changed(Batch),
    Emptied,
    Rejected(Vec<(i32, String)>),
}

/// Turns a plugin's verdicts into a batch.
fn carry_out(batch: &Batch, decoded: &DecodedBatch, verdicts: Vec<Verdict>) -> Result<Judged, ChainError> {
    let rejected = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Reject(_)));
    if rejected {
        return Ok(Judged::Rejected(rejections(decoded, verdicts)?));
    }
    if verdicts.iter().all(|verdict| matches!(verdict, Verdict::Keep)) {
        return Ok(Judged::Unchanged);
    }
    if verdicts.iter().all(|verdict| matches!(verdict, Verdict::Drop)) {
        return Ok(Judged::Emptied);
    }
    let mut rebuild = Rebuild::new(&batch.header);
    for (record, verdict) in decoded.iter().zip(verdicts) {
        let record = record?;
        match verdict {
            Verdict::Keep => push(&mut rebuild, &record, record.key, record.value),
            Verdict::Drop | Verdict::Reject(_) => {}
            Verdict::Replace(replacement) => replace(&mut rebuild, &record, &replacement),
        }
    }
    Ok(Judged::Changed(rebuild.finish(batch.header.compression()?)))
}

fn replace(rebuild: &mut Rebuild, record: &Record<'_>, replacement: &Replacement) {
    let key = replacement.key.as_ref().map_or(record.key, |key| key.as_deref());
    let value = replacement.value.as_ref().map_or(record.value, |value| value.as_deref());
    match &replacement.headers {
        None => push(rebuild, record, key, value),
        Some(headers) => {
            let headers = headers.iter().map(|(name, value)| (name, value.as_ref()));
            rebuild.push(record.offset_delta, record.timestamp_delta, key, value, headers);
        }
    }
}

fn push(rebuild: &mut Rebuild, record: &Record<'_>, key: Option<&[u8]>, value: Option<&[u8]>) {
    rebuild.push(record.offset_delta, record.timestamp_delta, key, value, record.headers);
}

/// The rejected records by their index in the producer's batch, where offset deltas count records.
fn rejections(decoded: &DecodedBatch, verdicts: Vec<Verdict>) -> Result<Vec<(i32, String)>, ChainError> {
    let mut rejected = Vec::new();
    for (record, verdict) in decoded.iter().zip(verdicts) {
        if let Verdict::Reject(message) = verdict {
            rejected.push((record?.offset_delta, message));
        }
    }
    Ok(rejected)
}

fn has_record_from(batch: &Batch, offset: i64) -> Result<bool, ChainError> {
    if batch.header.base_offset >= offset {
        return Ok(true);
    }
    for record in batch.decode(DECOMPRESSED_BYTES_MAX)?.iter() {
        if batch.header.base_offset + i64::from(record?.offset_delta) >= offset {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The batches of a slice of the log.
fn read(slice: &Slice) -> Result<Vec<Batch>, ChainError> {
    let mut bytes = Chunks::new();
    for range in &slice.parts {
        bytes.push(range.read().map_err(|_| ChainError::Storage)?);
    }
    Ok(Batch::split(bytes)?)
}

impl Pinned {
    /// Pins a chain. The caller checks afterwards that it still is the one in force.
    pub(super) fn new(chain: &Arc<Chain>) -> Self {
        chain.in_flight.fetch_add(1, Ordering::SeqCst);
        // Against the switch, which swaps the chain and then looks at the count: one of the two sees the other.
        fence(Ordering::SeqCst);
        Self(Arc::clone(chain))
    }

    pub(crate) fn chain(&self) -> &Arc<Chain> {
        &self.0
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.left.notify_waiters();
        }
    }
}

impl Chain {
    /// Waits until nobody pins this chain. New pins are kept away by taking it out of force first.
    pub(super) async fn drained(&self) {
        fence(Ordering::SeqCst);
        loop {
            let left = self.left.notified();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            left.await;
        }
    }
}
