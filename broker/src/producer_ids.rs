//! Producer ids: taken in blocks from the metadata log, handed out one by one. A block not used up when the broker ends is lost,
//! which costs nothing: there are 2^63 of them.

use std::ops::Range;

use sluice_cluster::decide::{AllocateProducerIds, ProducerIdsExhausted};
use tokio::sync::Mutex;

use crate::coordination::{Metadata, SubmitError};

/// The ids at hand.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// An id nobody has had.
    pub(crate) async fn next(&self, metadata: &Metadata) -> Result<i64, SubmitError<ProducerIdsExhausted>> {
        // Held over the fetch of a new block: whoever comes meanwhile wants an id out of that block, not a block of its own.
        let mut block = self.block.lock().await;
        loop {
            if let Some(id) = block.next() {
                return Ok(id);
            }
            let fresh = metadata.submit(AllocateProducerIds).await?;
            *block = fresh.first..fresh.first + fresh.count;
        }
    }
}
