//! What a cluster says of itself over Kafka's protocol and its metrics, and waiting until it says something.

use std::io;
use std::time::Duration;

use sluice_protocol::ErrorCode;
use sluice_protocol::messages::create_topics::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
use sluice_protocol::messages::elect_leaders::TopicPartitions;
use sluice_protocol::messages::metadata::{MetadataRequestTopic, MetadataResponse, MetadataResponsePartition};
use sluice_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, ElectLeadersRequest, MetadataRequest};

use super::{Cluster, Software};
use crate::clients::Connection;
use crate::{PATIENCE, poll_until};

/// How long one broker may take to say how things are, before another is asked.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// How long it may take to make a topic of thousands of partitions.
const CREATE_TIME_MS: i32 = 60_000;

/// Of ElectLeaders: the first replica of each, if it is in sync.
const PREFERRED: i8 = 0;

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
        self.create(CreatableTopic {
            name: topic.into(),
            num_partitions: partitions,
            replication_factor: replicas,
            configs: configs.collect(),
            ..CreatableTopic::default()
        })
    }

    /// Creates a topic with all its replicas on these brokers, the first of them to lead.
    #[track_caller]
    pub fn create_topic_on(&self, topic: &str, partitions: i32, brokers: &[i32]) {
        let assigned = |partition_index| CreatableReplicaAssignment { partition_index, broker_ids: brokers.to_vec() };
        let created = self.create(CreatableTopic {
            name: topic.into(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: (0..partitions).map(assigned).collect(),
            ..CreatableTopic::default()
        });
        assert_eq!(created.expect("a broker answers"), (ErrorCode::None, None), "{topic}");
    }

    fn create(&self, topic: CreatableTopic) -> io::Result<(ErrorCode, Option<String>)> {
        let request =
            CreateTopicsRequest { topics: vec![topic], timeout_ms: CREATE_TIME_MS, ..CreateTopicsRequest::default() };
        let mut answer: CreateTopicsResponse = match self.software {
            Software::Sluice => self.ask_any(PATIENCE, 7, &request)?,
            // Only its controller takes it; with ours it does not matter whom one asks.
            Software::Kafka => {
                Connection::try_open(&self.contact_of(self.controller()?), PATIENCE)?.try_ask(7, &request)?
            }
        };
        let topic = answer.topics.pop().ok_or_else(|| io::Error::other("an answer about no topic"))?;
        Ok((topic.error_code, topic.error_message))
    }

    /// Lets the preferred leaders of these partitions lead again.
    #[track_caller]
    pub fn elect_preferred(&self, topic: &str, partitions: &[i32]) {
        let wanted = TopicPartitions { topic: topic.into(), partitions: partitions.to_vec() };
        let request = ElectLeadersRequest {
            election_type: PREFERRED,
            topic_partitions: Some(vec![wanted]),
            timeout_ms: CREATE_TIME_MS,
        };
        let controller = poll_until(PATIENCE, || self.controller()).expect("there is a controller");
        let answer = self.connection(controller).ask(2, &request);
        assert_eq!(answer.error_code, ErrorCode::None, "{answer:?}");
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

    /// As [`Self::await_topic`], as one broker tells.
    #[track_caller]
    pub fn await_topic_told_by(&self, id: i32, topic: &str, within: Duration, so: impl Fn(&[Partition]) -> bool) {
        let told = poll_until(within, || match self.topic_at(id, topic) {
            Ok(told) if so(&told) => Ok(()),
            other => Err(other),
        });
        told.unwrap_or_else(|last| panic!("{topic}: not within {within:?} as broker {id} tells: {last:?}"));
    }

    /// Waits until every replica of a topic is in sync, and every broker that runs knows it: one that was cut off tells of the
    /// time before as if it were still so, and serves what it led then.
    #[track_caller]
    pub fn await_whole(&self, topic: &str, within: Duration) -> Vec<Partition> {
        let whole = poll_until(within, || {
            let told: io::Result<Vec<_>> = self.running().into_iter().map(|id| self.topic_at(id, topic)).collect();
            let mut told = told.map_err(|error| error.to_string())?;
            let all_agree = told.windows(2).all(|pair| pair[0] == pair[1]);
            if !all_agree || !told.iter().flatten().all(Partition::is_whole) {
                return Err(format!("{told:#?}"));
            }
            told.pop().ok_or_else(|| "no broker runs".to_owned())
        });
        whole.unwrap_or_else(|last| panic!("{topic}: not within {within:?}: every replica is in sync: {last}"))
    }

    /// Waits until a partition is led, by a broker that `who` takes and that knows it: others may have heard first.
    #[track_caller]
    pub fn await_leader(&self, topic: &str, index: i32, who: impl Fn(i32) -> bool) -> i32 {
        let led = |all: &[Partition]| all.iter().find(|one| one.index == index).and_then(|one| one.leader);
        let known = poll_until(PATIENCE, || {
            let told = self.topic(topic).map_err(|error| error.to_string())?;
            let Some(leader) = led(&told).filter(|leader| who(*leader)) else { return Err(format!("{told:#?}")) };
            let own = self.topic_at(leader, topic).map_err(|error| error.to_string())?;
            if led(&own) == Some(leader) { Ok(leader) } else { Err(format!("broker {leader} tells {own:#?}")) }
        });
        known.unwrap_or_else(|last| panic!("{topic}: not within {PATIENCE:?}: a leader: {last}"))
    }

    /// Waits until brokers other than `former`, which may still take itself for the leader, tell of another leader of partition
    /// 0.
    #[track_caller]
    pub fn await_leader_told_by_others(&self, topic: &str, former: i32) -> i32 {
        let others: Vec<i32> = self.running().into_iter().filter(|&id| id != former).collect();
        let told = poll_until(PATIENCE, || {
            let told = others.iter().map(|&id| self.topic_at(id, topic).ok()?.first()?.leader);
            match told.flatten().find(|&leader| leader != former) {
                Some(next) => Ok(next),
                None => Err(()),
            }
        });
        told.unwrap_or_else(|()| panic!("{others:?} know no leader of {topic} but {former}"))
    }

    /// A metric of a broker, summed over all its labels.
    #[track_caller]
    pub fn metric(&self, id: i32, name: &str) -> f64 {
        Connection::metric(&self.contact_of(id), name, "").expect("the admin listener answers")
    }

    /// Waits until a broker's metric is as it should be.
    #[track_caller]
    pub fn await_metric(&self, id: i32, name: &str, what: &str, so: impl Fn(f64) -> bool) {
        let seen = poll_until(PATIENCE, || match self.metric(id, name) {
            value if so(value) => Ok(()),
            value => Err(value),
        });
        seen.unwrap_or_else(|last| panic!("broker {id}: {what}: {name} is {last}"));
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
