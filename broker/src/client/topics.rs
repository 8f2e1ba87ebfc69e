//! Topics and their settings, through Kafka's own calls.

use std::collections::{BTreeMap, BTreeSet};

use sluice_protocol::{
    ErrorCode, Uuid,
    messages::{
        CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, DeleteTopicState, DeleteTopicsRequest,
        DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, ListOffsetsPartition,
        ListOffsetsRequest, ListOffsetsTopic,
    },
};

use super::{Client, ClientError, TopicInfo};

/// A topic to create.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; none: as the broker is configured.
    pub partitions: Option<i32>,
    /// How many replicas of each; none: as the broker is configured.
    pub replication_factor: Option<i16>,
    /// Settings of its own.
    pub configs: BTreeMap<String, String>,
}

/// Where to begin in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The first record there is.
    Beginning,
    /// What comes next.
    End,
    /// This offset; a negative one counts back from the end.
    Offset(i64),
    /// The first record at or after a time, milliseconds since 1970; the end if there is none.
    Timestamp(i64),
}

/// Kafka's number of topics among the resources that have settings.
const TOPIC_RESOURCE: i8 = 2;

/// A replica id that stands for a consumer.
const CONSUMER: i32 = -1;

/// How long the broker may take over creating or deleting.
const ADMIN_TIMEOUT_MS: i32 = 30_000;

impl Client {
    /// Creates a topic and says how many partitions it has.
    pub async fn create_topic(&mut self, topic: &NewTopic) -> Result<i32, ClientError> {
        let config =
            |(name, value): (&String, &String)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()) };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: topic.name.clone(),
                num_partitions: topic.partitions.unwrap_or(-1),
                replication_factor: topic.replication_factor.unwrap_or(-1),
                configs: topic.configs.iter().map(config).collect(),
                ..CreatableTopic::default()
            }],
            timeout_ms: ADMIN_TIMEOUT_MS,
            ..CreateTopicsRequest::default()
        };
        let result = self.ask(&request).await?.topics.into_iter().next().unwrap_or_default();
        refused(format!("topic `{}`", topic.name), result.error_code, result.error_message)?;
        Ok(result.num_partitions)
    }

    /// Deletes a topic.
    pub async fn delete_topic(&mut self, name: &str) -> Result<(), ClientError> {
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: Some(name.to_owned()), topic_id: Uuid::ZERO }],
            topic_names: vec![name.to_owned()],
            timeout_ms: ADMIN_TIMEOUT_MS,
        };
        let result = self.ask(&request).await?.responses.into_iter().next().unwrap_or_default();
        refused(format!("topic `{name}`"), result.error_code, result.error_message)
    }

    /// A topic's settings.
    pub async fn topic_configs(&mut self, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, ClientError> {
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: TOPIC_RESOURCE,
                resource_name: name.to_owned(),
                configuration_keys: None,
            }],
            include_synonyms: true,
            include_documentation: true,
        };
        let result = self.ask(&request).await?.results.into_iter().next().unwrap_or_default();
        refused(format!("topic `{name}`"), result.error_code, result.error_message)?;
        Ok(result.configs)
    }

    /// The offset in each of `partitions` that `start` stands for.
    pub async fn offsets_at(
        &mut self,
        topic: &TopicInfo,
        partitions: &[i32],
        start: Start,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        match start {
            Start::Beginning => self.offsets(topic, partitions, EARLIEST).await,
            Start::End => self.offsets(topic, partitions, LATEST).await,
            Start::Offset(offset) if offset >= 0 => {
                Ok(partitions.iter().map(|&partition| (partition, offset)).collect())
            }
            Start::Offset(back) => {
                let first = self.offsets(topic, partitions, EARLIEST).await?;
                let mut end = self.offsets(topic, partitions, LATEST).await?;
                for (partition, offset) in &mut end {
                    *offset = offset.saturating_add(back).max(first.get(partition).copied().unwrap_or(0));
                }
                Ok(end)
            }
            Start::Timestamp(timestamp) => {
                let mut found = self.offsets(topic, partitions, timestamp).await?;
                let end = self.offsets(topic, partitions, LATEST).await?;
                for (partition, offset) in found.iter_mut().filter(|(_, offset)| **offset < 0) {
                    *offset = end.get(partition).copied().unwrap_or(0);
                }
                Ok(found)
            }
        }
    }

    /// As [`Self::offsets_at`], of the partitions whose leaders answer, and why the others are missing: those without a leader are
    /// by [`ErrorCode::LeaderNotAvailable`].
    pub async fn offsets_as_far_as_known(
        &mut self,
        topic: &TopicInfo,
        partitions: &BTreeSet<i32>,
        start: Start,
    ) -> (BTreeMap<i32, i64>, Vec<ClientError>) {
        let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            // One that the topic has no longer is led by nobody.
            let leader = topic.partitions.iter().find(|one| one.partition == *partition).map_or(-1, |one| one.leader);
            by_leader.entry(leader).or_default().push(*partition);
        }
        let (mut offsets, mut missing) = (BTreeMap::new(), Vec::new());
        for (leader, led) in by_leader {
            if leader < 0 {
                let what = format!("{}-{}", topic.name, led[0]);
                missing.push(ClientError::Refused { what, code: ErrorCode::LeaderNotAvailable, message: None });
                continue;
            }
            match self.offsets_at(topic, &led, start).await {
                Ok(found) => offsets.extend(found),
                Err(error) => missing.push(error),
            }
        }
        (offsets, missing)
    }

    /// Asks each partition's leader for the offset at a timestamp in milliseconds or at one of Kafka's marks; -1 where
    /// nothing is that late.
    async fn offsets(
        &mut self,
        topic: &TopicInfo,
        partitions: &[i32],
        timestamp: i64,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let mut by_leader: BTreeMap<i32, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for partition in topic.partitions.iter().filter(|partition| partitions.contains(&partition.partition)) {
            by_leader.entry(partition.leader).or_default().push(ListOffsetsPartition {
                partition_index: partition.partition,
                current_leader_epoch: partition.leader_epoch,
                timestamp,
            });
        }
        let mut offsets = BTreeMap::new();
        for (leader, partitions) in by_leader {
            let request = ListOffsetsRequest {
                replica_id: CONSUMER,
                topics: vec![ListOffsetsTopic { name: topic.name.clone(), partitions }],
                timeout_ms: ADMIN_TIMEOUT_MS,
                ..ListOffsetsRequest::default()
            };
            for found in self.ask_broker(leader, &request).await?.topics.into_iter().flat_map(|topic| topic.partitions)
            {
                refused(format!("the offsets of {}-{}", topic.name, found.partition_index), found.error_code, None)?;
                offsets.insert(found.partition_index, found.offset);
            }
        }
        Ok(offsets)
    }
}

/// The timestamp that stands for the first record there is.
const EARLIEST: i64 = -2;

/// The timestamp that stands for the end.
const LATEST: i64 = -1;

/// An error if the broker said no.
pub(super) fn refused(what: String, code: ErrorCode, message: Option<String>) -> Result<(), ClientError> {
    if code.is_none() { Ok(()) } else { Err(ClientError::Refused { what, code, message }) }
}
