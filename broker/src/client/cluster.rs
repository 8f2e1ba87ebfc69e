//! Where replicas are and who leads, through Kafka's own calls.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice_protocol::messages::{
    AlterConfigsResource, AlterPartitionReassignmentsRequest, AlterableConfig, ElectLeadersRequest,
    IncrementalAlterConfigsRequest, ListPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
    TopicPartitions,
};

use super::topics::refused;
use super::{Client, ClientError};

/// A partition and the brokers that are to hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reassign {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The brokers, the preferred leader first; none: what is under way is taken back.
    pub replicas: Option<Vec<i32>>,
}

/// A partition that is being reassigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reassigning {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// All its replicas of the moment.
    pub replicas: Vec<i32>,
    /// Those that come.
    pub adding: Vec<i32>,
    /// Those that go.
    pub removing: Vec<i32>,
}

/// Who is to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElectionType {
    /// The preferred replica.
    Preferred = 0,
    /// Where nobody in sync is there, any replica that is.
    Unclean = 1,
}

/// What has settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A topic.
    Topic(String),
    /// All brokers, as far as they don't say otherwise themselves.
    AllBrokers,
}

/// What becomes of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alter {
    /// It has this value.
    Set(String),
    /// It has its default.
    Delete,
}

/// Kafka's numbers of what has settings, and of what becomes of them.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;

impl Client {
    /// Changes settings while all goes on.
    pub async fn alter_configs(&mut self, changes: Vec<(Resource, Vec<(&str, Alter)>)>) -> Result<(), ClientError> {
        let config = |(name, alter): (&str, Alter)| {
            let (config_operation, value) = match alter {
                Alter::Set(value) => (SET, Some(value)),
                Alter::Delete => (DELETE, None),
            };
            AlterableConfig { name: name.to_owned(), config_operation, value }
        };
        let resources = changes.into_iter().map(|(resource, changes)| {
            let (resource_type, resource_name) = match resource {
                Resource::Topic(name) => (TOPIC, name),
                Resource::AllBrokers => (BROKER, String::new()),
            };
            let configs = changes.into_iter().map(config).collect();
            AlterConfigsResource { resource_type, resource_name, configs }
        });
        let request = IncrementalAlterConfigsRequest { resources: resources.collect(), validate_only: false };
        for altered in self.ask(&request).await?.responses {
            let what = match altered.resource_type {
                TOPIC => format!("the settings of topic `{}`", altered.resource_name),
                _ => "the settings of the brokers".to_owned(),
            };
            refused(what, altered.error_code, altered.error_message)?;
        }
        Ok(())
    }

    /// Begins reassignments. Each partition has its own answer.
    pub async fn reassign<'a>(
        &mut self,
        partitions: &'a [Reassign],
    ) -> Result<Vec<(&'a Reassign, Result<(), ClientError>)>, ClientError> {
        let mut topics: BTreeMap<&str, Vec<ReassignablePartition>> = BTreeMap::new();
        for one in partitions {
            let asked = ReassignablePartition { partition_index: one.partition, replicas: one.replicas.clone() };
            topics.entry(&one.topic).or_default().push(asked);
        }
        let topics =
            topics.into_iter().map(|(name, partitions)| ReassignableTopic { name: name.to_owned(), partitions });
        let request = AlterPartitionReassignmentsRequest { topics: topics.collect(), ..Default::default() };
        let response = self.ask(&request).await?;
        refused("the reassignment".to_owned(), response.error_code, response.error_message)?;
        let answers = response.responses.into_iter().flat_map(|topic| {
            let name = topic.name;
            topic.partitions.into_iter().map(move |one| ((name.clone(), one.partition_index), one))
        });
        let mut answers: BTreeMap<_, _> = answers.collect();
        let results = partitions.iter().map(|asked| {
            let answer = answers.remove(&(asked.topic.clone(), asked.partition)).unwrap_or_default();
            let what = format!("{}-{}", asked.topic, asked.partition);
            (asked, refused(what, answer.error_code, answer.error_message))
        });
        Ok(results.collect())
    }

    /// Everything that is being reassigned.
    pub async fn reassignments(&mut self) -> Result<Vec<Reassigning>, ClientError> {
        let response = self.ask(&ListPartitionReassignmentsRequest::default()).await?;
        refused("the list of reassignments".to_owned(), response.error_code, response.error_message)?;
        let under_way = response.topics.into_iter().flat_map(|topic| {
            let name = topic.name;
            topic.partitions.into_iter().map(move |one| Reassigning {
                topic: name.clone(),
                partition: one.partition_index,
                replicas: one.replicas,
                adding: one.adding_replicas,
                removing: one.removing_replicas,
            })
        });
        Ok(under_way.collect())
    }

    /// Elects leaders of these partitions, or of all that need it. Each partition has its own answer.
    pub async fn elect(
        &mut self,
        election: ElectionType,
        partitions: Option<&Vec<(String, i32)>>,
    ) -> Result<Vec<(String, i32, Result<(), ClientError>)>, ClientError> {
        let topic_partitions = partitions.map(|partitions| {
            let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
            for (topic, partition) in partitions {
                topics.entry(topic).or_default().push(*partition);
            }
            let topics = topics.into_iter();
            topics.map(|(topic, partitions)| TopicPartitions { topic: topic.to_owned(), partitions }).collect()
        });
        let request = ElectLeadersRequest { election_type: election as i8, topic_partitions, ..Default::default() };
        let response = self.ask(&request).await?;
        refused("the election".to_owned(), response.error_code, None)?;
        let results = response.replica_election_results.into_iter().flat_map(|topic| {
            let name = topic.topic;
            topic.partition_result.into_iter().map(move |one| {
                let what = format!("{name}-{}", one.partition_id);
                (name.clone(), one.partition_id, refused(what, one.error_code, one.error_message))
            })
        });
        Ok(results.collect())
    }
}
