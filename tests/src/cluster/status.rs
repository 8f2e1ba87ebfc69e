//! What a cluster says of itself over Kafka's protocol and its metrics, and waiting until it says something.

use std::io;
use std::time::Duration;

use sluice_protocol::ErrorCode;
use sluice_protocol::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use sluice_protocol::messages::metadata::{MetadataRequestTopic, MetadataResponse, MetadataResponsePartition};
use sluice_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, MetadataRequest};

use super::Cluster;
use crate::clients::Connection;
use crate::{PATIENCE, poll_until};

/// How long one broker may take to say how things are, before another is asked.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// How long it may take to make a topic of thousands of partitions.
const CREATE_TIME_MS: i32 = 60_000;

/// A partition as the cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its index.
    pub index: i32,
    /// The broker that leads it, if any does.
    pub leader: Option<i32>,
    /// Which life of its leadership that is.
    pub leader_epoch: i32,
    /// The brokers that have it.
    pub replicas: Vec<i32>,
    /// Those of them that are in sync.
    pub isr: Vec<i32>,
    /// Those of them that are not there.
    pub offline: Vec<i32>,
}

impl From<MetadataResponsePartition> for Partition {
    fn from(told: MetadataResponsePartition) -> Self {
        Self {
            index: told.partition_index,
            leader: (told.leader_id >= 0).then_some(told.leader_id),
            leader_epoch: told.leader_epoch,
            replicas: told.replica_nodes,
            isr: told.isr_nodes,
            offline: told.offline_replicas,
        }
    }
}

impl Partition {
    /// Whether it has a leader and all its replicas are in sync.
    pub fn is_whole(&self) -> bool {
        self.leader.is_some() && self.isr.len() == self.replicas.len()
    }
}

impl Cluster {
    /// Creates a topic and waits until each of its partitions has a leader that a broker tells of.
    #[track_caller]
    pub fn create_topic(&self, topic: &str, partitions: i32, replicas: i16, configs: &[(&str, &str)]) {
        let created = self.try_create_topic(topic, partitions, replicas, configs);
        assert_eq!(created.expect("a broker answers"), (ErrorCode::None, None), "{topic}");
        self.await_topic(topic, PATIENCE, "every partition has a leader", |all| {
            all.len() == usize::try_from(partitions).unwrap_or_default()
                && all.iter().all(|partition| partition.leader.is_some())
        });
    }

    /// Asks one broker that runs to create a topic: what it says of it.
    pub fn try_create_topic(
        &self,
        topic: &str,
        partitions: i32,
        replicas: i16,
        configs: &[(&str, &str)],
    ) -> io::Result<(ErrorCode, Option<String>)> {
        let configs =
            configs.iter().map(|&(name, value)| CreatableTopicConfig { name: name.into(), value: Some(value.into()) });
        let topic = CreatableTopic {
            name: topic.into(),
            num_partitions: partitions,
            replication_factor: replicas,
            configs: configs.collect(),
            ..CreatableTopic::default()
        };
        let request =
            CreateTopicsRequest { topics: vec![topic], timeout_ms: CREATE_TIME_MS, ..CreateTopicsRequest::default() };
        let mut answer: CreateTopicsResponse = self.ask_any(PATIENCE, 7, &request)?;
        let topic = answer.topics.pop().ok_or_else(|| io::Error::other("an answer about no topic"))?;
        Ok((topic.error_code, topic.error_message))
    }

    /// A topic's partitions, by their index, as the first broker tells that answers.
    pub fn topic(&self, topic: &str) -> io::Result<Vec<Partition>> {
        partitions(self.ask_any(ANSWER_TIME, 12, &about(topic))?)
    }

    /// A topic's partitions as one broker tells.
    pub fn topic_at(&self, id: i32, topic: &str) -> io::Result<Vec<Partition>> {
        partitions(Connection::try_open(&self.contact_of(id), ANSWER_TIME)?.try_ask(12, &about(topic))?)
    }

    /// The broker that is the controller, as the first tells that answers.
    pub fn controller(&self) -> io::Result<i32> {
        let nothing = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
        let answer: MetadataResponse = self.ask_any(ANSWER_TIME, 12, &nothing)?;
        if answer.controller_id < 0 { Err(io::Error::other("no controller")) } else { Ok(answer.controller_id) }
    }

    /// Waits until a broker tells of a topic what is awaited.
    ///
    /// # Panics
    /// When `within` passes first, with what it told last.
    #[track_caller]
    pub fn await_topic(
        &self,
        topic: &str,
        within: Duration,
        what: &str,
        so: impl Fn(&[Partition]) -> bool,
    ) -> Vec<Partition> {
        let told = poll_until(within, || {
            let told = self.topic(topic).map_err(|error| error.to_string())?;
            if so(&told) { Ok(told) } else { Err(format!("{told:#?}")) }
        });
        told.unwrap_or_else(|last| panic!("{topic}: not within {within:?}: {what}: {last}"))
    }

    /// Waits until every replica of a topic is in sync.
    #[track_caller]
    pub fn await_whole(&self, topic: &str, within: Duration) -> Vec<Partition> {
        self.await_topic(topic, within, "every replica is in sync", |all| all.iter().all(Partition::is_whole))
    }

    /// Waits until a partition is led, by a broker that `who` takes.
    #[track_caller]
    pub fn await_leader(&self, topic: &str, index: i32, who: impl Fn(i32) -> bool) -> i32 {
        let led = |all: &[Partition]| all.iter().find(|one| one.index == index).and_then(|one| one.leader);
        let all = self.await_topic(topic, PATIENCE, "a leader", |all| led(all).is_some_and(&who));
        led(&all).expect("that was awaited")
    }

    /// A counter or gauge of a broker's `/metrics`, summed over the lines that hold `label`.
    pub fn metric(&self, id: i32, name: &str, label: &str) -> io::Result<f64> {
        let text = Connection::metrics(&self.contact_of(id))?;
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// What the first broker says that answers.
    fn ask_any<R: sluice_protocol::Request>(
        &self,
        within: Duration,
        version: i16,
        request: &R,
    ) -> io::Result<R::Response> {
        let mut last = io::Error::other("no broker runs");
        for id in self.running() {
            let asked = Connection::try_open(&self.contact_of(id), within);
            match asked.and_then(|mut connection| connection.try_ask(version, request)) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn about(topic: &str) -> MetadataRequest {
    let wanted = MetadataRequestTopic { name: Some(topic.into()), ..MetadataRequestTopic::default() };
    MetadataRequest { topics: Some(vec![wanted]), allow_auto_topic_creation: false, ..MetadataRequest::default() }
}

fn partitions(mut answer: MetadataResponse) -> io::Result<Vec<Partition>> {
    let topic = answer.topics.pop().ok_or_else(|| io::Error::other("an answer about no topic"))?;
    if topic.error_code != ErrorCode::None {
        return Err(io::Error::other(format!("{:?}", topic.error_code)));
    }
    let mut partitions: Vec<Partition> = topic.partitions.into_iter().map(Partition::from).collect();
    partitions.sort_by_key(|partition| partition.index);
    Ok(partitions)
}
