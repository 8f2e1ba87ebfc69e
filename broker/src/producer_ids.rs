//! Producer ids: taken in blocks from the metadata log, handed out one by one. A block not used up when the broker ends is lost,
//! which costs nothing: there are 2^63 of them. So is a block whose answer got lost: another is asked for, and nobody has the one.

use std::ops::Range;
use std::time::Duration;

use sluice_cluster::decide::{AllocateProducerIds, ProducerIdBlock, ProducerIdsExhausted};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::coordination::{Metadata, SubmitError};

/// Blocks asked for until one is answered: a controller that goes away in between, and its successor as well.
const TRIES: usize = 3;

/// How long another is asked for after that: beyond it, whoever waits for an id had better hear of it and ask again.
const TRY_TIME_MAX: Duration = Duration::from_secs(15);

/// The ids at hand.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// An id nobody has had.
    pub(crate) async fn next(&self, metadata: &Metadata) -> Result<i64, SubmitError<ProducerIdsExhausted>> {
        self.next_of(|| metadata.submit(AllocateProducerIds)).await
    }

    async fn next_of<F>(&self, mut ask: impl FnMut() -> F) -> Result<i64, SubmitError<ProducerIdsExhausted>>
    where
        F: Future<Output = Result<ProducerIdBlock, SubmitError<ProducerIdsExhausted>>>,
    {
        // Held over the fetch of a new block: whoever comes meanwhile wants an id out of that block, not a block of its own.
        let mut block = self.block.lock().await;
        let (since, mut tries) = (Instant::now(), 0);
        loop {
            if let Some(id) = block.next() {
                return Ok(id);
            }
            tries += 1;
            match ask().await {
                Ok(ProducerIdBlock { first, count }) => *block = first..first.saturating_add(count),
                Err(SubmitError::Unknown { why }) if tries < TRIES && since.elapsed() < TRY_TIME_MAX => {
                    tracing::debug!(why, "a block of producer ids is skipped, if it was given");
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_that_is_lost_skips_a_block() {
        let lost = || SubmitError::Unknown { why: "lost".into() };
        let away = || SubmitError::Unavailable { why: "away".into() };
        check("answered", &[None], &[0, 1, 2], Ok(2)).await;
        check("lost once", &[Some(lost())], &[2, 3, 4], Ok(3)).await;
        check("lost twice", &[Some(lost()), Some(lost())], &[4, 5, 6], Ok(4)).await;
        check("lost each time", &[Some(lost()), Some(lost()), Some(lost())], &[], Err((lost(), 3))).await;
        check("surely not given", &[Some(away())], &[], Err((away(), 1))).await;
    }

    /// Blocks of two, each given or not before its answer is what `fates` says; then all are answered.
    async fn check(
        what: &str,
        fates: &[Option<SubmitError<ProducerIdsExhausted>>],
        ids: &[i64],
        expected: Result<usize, (SubmitError<ProducerIdsExhausted>, usize)>,
    ) {
        let (source, mut asked) = (ProducerIds::default(), 0);
        let mut ask = || {
            let first = 2 * asked as i64;
            let fate = fates.get(asked).cloned().flatten();
            asked += 1;
            std::future::ready(fate.map_or(Ok(ProducerIdBlock { first, count: 2 }), Err))
        };
        for id in ids {
            assert_eq!(source.next_of(&mut ask).await, Ok(*id), "{what}");
        }
        match expected {
            Ok(blocks) => assert_eq!(asked, blocks, "{what}"),
            Err((error, blocks)) => {
                assert_eq!(source.next_of(&mut ask).await, Err(error), "{what}");
                assert_eq!(asked, blocks, "{what}");
            }
        }
    }
}
