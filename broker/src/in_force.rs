//! When a change of gates or views is in force everywhere: whoever made it may send the next record to any broker, which must
//! not take it under the rules from before.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use crate::broker::Shared;
use crate::rpc::{Call, CallError, Reply};

/// How long brokers that do not say so are waited for: longer than it takes until one that is not there is fenced, with the
/// session's default, and one that is fenced leads nothing.
const WITHIN: Duration = Duration::from_secs(12);

/// How long one may take to answer: it only looks.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// How soon those are asked again that are not so far.
const AGAIN: Duration = Duration::from_millis(5);

/// Waits until what the metadata says now is in force here and on every other broker that serves. Returns those that have not
/// said so in time.
pub(crate) async fn everywhere(shared: &Shared) -> BTreeSet<i32> {
    let wanted = shared.metadata.image().next_seq();
    shared.plugins.settled().await;
    let others = shared.metadata.image();
    let mut left: BTreeSet<i32> = others.serving().map(|broker| broker.id).filter(|id| *id != shared.node_id).collect();
    let until = Instant::now() + WITHIN;
    loop {
        let asked = left.iter().map(|id| async { (*id, is_so_far(shared, *id, wanted).await) });
        let answers = join_all(asked).await;
        let image = shared.metadata.image();
        let serves = |id| image.serving().any(|broker| broker.id == id);
        left = answers.into_iter().filter(|(id, is_so_far)| !is_so_far && serves(*id)).map(|(id, _)| id).collect();
        if left.is_empty() {
            return left;
        }
        if Instant::now() >= until {
            tracing::warn!(brokers = ?left, "a change of gates or views is not yet in force everywhere");
            return left;
        }
        sleep(AGAIN).await;
    }
}

async fn is_so_far(shared: &Shared, broker: i32, wanted: u64) -> bool {
    match shared.peers.call(broker, Call::InForce, ANSWER_TIME).await {
        Ok(Reply::InForce(seq)) => seq >= wanted,
        // One of a release that can't say it.
        Ok(_) | Err(CallError::Refused { .. }) => true,
        Err(error) => {
            tracing::debug!(broker, %error, "it is not known whether the change is in force there");
            false
        }
    }
}
