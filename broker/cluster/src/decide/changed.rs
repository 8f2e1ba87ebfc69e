//! Partitions as they stand while one decision goes on: the image, and over it what the decision has changed so far.

use std::collections::BTreeMap;

use sluice_protocol::Uuid;

use super::partition_change::partition_records;
use crate::metadata::{Image, MetadataRecord, PartitionRegistration, Topic};

/// What a decision has changed.
pub(super) struct Changed<'a> {
    pub(super) image: &'a Image,
    partitions: BTreeMap<Uuid, BTreeMap<i32, PartitionRegistration>>,
}

impl<'a> Changed<'a> {
    pub(super) fn new(image: &'a Image) -> Self {
        Self { image, partitions: BTreeMap::new() }
    }

    /// The topic and the partition as it stands now.
    pub(super) fn partition(&self, topic: Uuid, index: i32) -> Option<(&'a Topic, &PartitionRegistration)> {
        let known = self.image.topic_by_id(topic)?;
        let before = known.partitions.get(usize::try_from(index).ok()?)?;
        let after = self.partitions.get(&topic).and_then(|partitions| partitions.get(&index));
        Some((known, after.unwrap_or(before)))
    }

    pub(super) fn put(&mut self, topic: Uuid, index: i32, partition: PartitionRegistration) {
        self.partitions.entry(topic).or_default().insert(index, partition);
    }

    pub(super) fn into_records(self) -> Vec<MetadataRecord> {
        let records = self.partitions.into_iter().filter_map(|(topic, partitions)| {
            let topic = self.image.topic_by_id(topic)?;
            Some(partition_records(topic, partitions.into_iter().collect()))
        });
        records.flatten().collect()
    }
}
