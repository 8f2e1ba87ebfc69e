//! What is in the brokers' folders, for the checker.

use std::path::PathBuf;

use bytes::Bytes;

use super::Cluster;
use crate::checker::{ReplicaLog, StoredBatch, TopicPartition};
use crate::stored_batches;

impl Cluster {
    /// The logs that brokers have of a partition. They have to be stopped, or to be idle.
    pub fn replica_logs(&self, of: &TopicPartition, brokers: &[i32]) -> Vec<ReplicaLog> {
        let log = |&broker: &i32| {
            let folder = self.folder_of(broker, of).unwrap_or_else(|| self.log_dir(broker));
            let batches = stored_batches(&folder, &of.topic, of.index);
            let stored = batches.iter().map(|batch| {
                let header = &batch.header;
                let bytes: Vec<Bytes> = batch.to_parts();
                let next = header.base_offset + i64::from(header.last_offset_delta) + 1;
                StoredBatch::of(header.base_offset, next, &bytes.concat())
            });
            ReplicaLog { broker, of: of.clone(), batches: stored.collect() }
        };
        brokers.iter().map(log).collect()
    }

    /// The one of a broker's data folders that has its log of a partition.
    pub fn folder_of(&self, broker: i32, of: &TopicPartition) -> Option<PathBuf> {
        let name = format!("{}-{}", of.topic, of.index);
        self.member(broker).log_dirs().into_iter().find(|folder| folder.join(&name).is_dir())
    }
}
