//! What the replicas of a partition have on their disks, and whether it is the same below the high watermark.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Anomaly, TopicPartition};

/// One replica's log as its segment files have it.
#[derive(Debug, Clone)]
pub struct ReplicaLog {
    /// Whose.
    pub broker: i32,
    /// Of which partition.
    pub of: TopicPartition,
    /// Its batches, in their order.
    pub batches: Vec<StoredBatch>,
}

/// A batch on a disk: where it is and what its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBatch {
    /// Its first offset.
    pub base_offset: i64,
    /// The offset after its last.
    pub next_offset: i64,
    digest: u64,
}

impl StoredBatch {
    /// A batch of these bytes. They are kept as a digest: logs of an hour do not fit thrice into memory.
    pub fn of(base_offset: i64, next_offset: i64, bytes: &[u8]) -> Self {
        let mut digest = DefaultHasher::new();
        bytes.hash(&mut digest);
        Self { base_offset, next_offset, digest: digest.finish() }
    }
}

impl ReplicaLog {
    fn end(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.next_offset)
    }
}

/// What differs between the replicas of one partition below `high_watermark`.
///
/// A log may start later than another: retention is each replica's own. It must go on without a gap, to the high watermark.
pub(super) fn differences(of: &TopicPartition, high_watermark: i64, replicas: &[&ReplicaLog]) -> Vec<Anomaly> {
    let mut found = Vec::new();
    for replica in replicas {
        let gap = replica.batches.windows(2).find(|pair| pair[0].next_offset != pair[1].base_offset);
        found.extend(gap.map(|pair| Anomaly::Gap {
            at: of.clone(),
            broker: replica.broker,
            from: pair[0].next_offset,
            to: pair[1].base_offset,
        }));
        if replica.end() < high_watermark {
            found.push(Anomaly::Short { at: of.clone(), broker: replica.broker, end: replica.end(), high_watermark });
        }
    }
    let Some(common_start) = replicas.iter().filter_map(|log| Some(log.batches.first()?.base_offset)).max() else {
        return found;
    };
    let of_offset: Vec<(i32, BTreeMap<i64, StoredBatch>)> = replicas
        .iter()
        .map(|log| (log.broker, log.batches.iter().map(|batch| (batch.base_offset, *batch)).collect()))
        .collect();
    let offsets: BTreeSet<i64> = of_offset.iter().flat_map(|(_, log)| log.keys().copied()).collect();
    let differing = offsets.range(common_start..high_watermark.max(common_start)).find(|&&offset| {
        let mut all = of_offset.iter().filter(|(_, log)| !log.is_empty()).map(|(_, log)| log.get(&offset));
        let first = all.next();
        all.any(|other| Some(other) != first)
    });
    if let Some(&offset) = differing {
        // One is enough: what follows a first difference differs too.
        let brokers = of_offset.iter().map(|(broker, _)| *broker).collect();
        found.push(Anomaly::Diverged { at: of.clone(), offset, brokers });
    }
    found
}
