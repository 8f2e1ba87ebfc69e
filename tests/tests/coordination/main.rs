//! Coordination as a broker lives with it: one suite of promises run on both coordination services, the real ZooKeeper killed,
//! paused, cut off and restarted under a broker, and what happens to whoever should not be part of a cluster.
//!
//! In reading order: `ground` (where a case runs), `proxy` (what stands between a client and ZooKeeper), `promises` (the suite),
//! `broker` (one that serves), `switchboard` (how brokers reach each other), `clusters` (cases with one broker, on both services),
//! `members` (with several), `compaction` (the log replaced by snapshots), `outages` and `scale` (ZooKeeper
//! only).
#![forbid(unsafe_code)]

mod broker;
mod clusters;
mod compaction;
mod ground;
mod members;
mod outages;
mod promises;
mod proxy;
mod scale;
mod switchboard;

use std::time::Duration;

/// How long anything may take that ought to take a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what ought to come.
async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
