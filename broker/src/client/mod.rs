//! A small Kafka client over TLS: what the `sluice` command and the demo need, and no more.
//!
//! ```text
//!   Client ──> one Connection a broker ──> frames        topics, settings, offsets
//!     ^
//!     +── Producer: idempotent, acks=all, one batch a partition at a time
//!     '── Consumer: fetches from given positions, without a group
//! ```
//! One request at a time per connection, so that an answer belongs to the last request. It speaks to any Kafka broker: the
//! version of each call is the highest that both sides know.

mod cluster;
mod connection;
mod consumer;
mod partitioner;
mod producer;
#[cfg(test)]
mod tests;
mod tls;
mod topics;

use std::{
    collections::HashMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use sluice_protocol::{
    ApiKey, DecodeError, EncodeError, ErrorCode, Request, Uuid,
    messages::{MetadataRequest, MetadataRequestTopic, MetadataResponse},
};

pub use cluster::{Alter, ElectionType, Reassign, Reassigning, Resource};
pub use consumer::{Consumed, Consumer};
pub use partitioner::partition_for_key;
pub use producer::{NewRecord, Producer, Stored};
pub use tls::{ClientTls, ClientTlsError};
pub use topics::{NewTopic, Start};

pub(crate) use connection::{SPEAKS_TLS, server_name};
pub(crate) use tls::client_config;

use connection::Connection;

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `host:port` of brokers to begin with; the first that answers is asked for the others.
    pub bootstrap: Vec<String>,
    /// TLS; none: plain text.
    pub tls: Option<ClientTls>,
    /// How long one request may take.
    pub request_timeout: Duration,
}

/// Why the cluster did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The TLS files are unusable.
    #[error(transparent)]
    Tls(#[from] ClientTlsError),
    /// No broker can be reached.
    #[error("cannot connect to {address}: {cause}")]
    Connect {
        /// Whom it was tried with last.
        address: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The connection failed while a request was under way. Whether the broker did it is not known.
    #[error("{address} did not answer {api:?}: {cause}")]
    Lost {
        /// The broker.
        address: String,
        /// The call.
        api: ApiKey,
        /// What happened.
        #[source]
        cause: io::Error,
    },
    /// The answer is not what Kafka's protocol says.
    #[error("{address} answered {api:?} with something else: {cause}")]
    Decode {
        /// The broker.
        address: String,
        /// The call.
        api: ApiKey,
        /// What is wrong with it.
        #[source]
        cause: DecodeError,
    },
    /// The request cannot be written in any version the broker knows.
    #[error("cannot ask for {api:?}: {cause}")]
    Encode {
        /// The call.
        api: ApiKey,
        /// Why not.
        #[source]
        cause: EncodeError,
    },
    /// There is no version of a call that both sides know.
    #[error("{address} does not speak {api:?} in any version known here")]
    NoVersion {
        /// The broker.
        address: String,
        /// The call.
        api: ApiKey,
    },
    /// The broker said no.
    #[error("{}", refusal(.what, *.code, .message.as_deref()))]
    Refused {
        /// What was asked for, as in "topic `orders`".
        what: String,
        /// Kafka's error.
        code: ErrorCode,
        /// What the broker says about it.
        message: Option<String>,
    },
    /// The broker refused a batch, and may say for which records of it.
    #[error("{}", refusal(.what, *.code, .message.as_deref()))]
    RecordsRefused {
        /// The topic and partition.
        what: String,
        /// Kafka's error.
        code: ErrorCode,
        /// What the broker says of the batch.
        message: Option<String>,
        /// The records it names, by their index in the batch, with what it says of each.
        records: Vec<(i32, Option<String>)>,
    },
    /// A partition that the topic does not have.
    #[error("topic `{topic}` has no partition {partition}; it has {partitions}")]
    NoPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: i32,
        /// How many there are.
        partitions: usize,
    },
    /// A fetched batch is damaged.
    #[error("a batch of {what} is damaged: {cause}")]
    Damaged {
        /// The topic and partition.
        what: String,
        /// What is wrong with it.
        #[source]
        cause: sluice_protocol::records::BatchError,
    },
}

impl ClientError {
    /// Whether to ask again, after a while and with new metadata, makes sense.
    pub(crate) fn is_retriable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Lost { .. } => true,
            Self::Refused { code, .. } | Self::RecordsRefused { code, .. } => code.is_retriable(),
            Self::Tls(_)
            | Self::Decode { .. }
            | Self::Encode { .. }
            | Self::NoVersion { .. }
            | Self::NoPartition { .. }
            | Self::Damaged { .. } => false,
        }
    }
}

fn refusal(what: &str, code: ErrorCode, message: Option<&str>) -> String {
    format!("{what}: {} ({})", message.unwrap_or_else(|| code.message()), code.name())
}

/// How the client names itself to brokers.
pub(crate) const CLIENT_ID: &str = "sluice";

/// How long a client asks again for a leader, or sends a batch again, before it gives up: longer than a broker needs to
/// come back from a restart.
pub(crate) const RETRY_FOR: Duration = Duration::from_secs(30);

/// The pause before asking again.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A cluster, through one connection to each broker that is needed.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    tls: Option<Arc<rustls::ClientConfig>>,
    /// Addresses by broker id, from the last metadata.
    brokers: HashMap<i32, String>,
    connections: HashMap<String, Connection>,
    /// Who is asked what any broker can answer: the one that did last.
    anybody: String,
}

/// A topic as the cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Its id; zero if the broker is too old to have any.
    pub id: Uuid,
    /// Whether the brokers keep it for themselves.
    pub is_internal: bool,
    /// Its partitions, by their index.
    pub partitions: Vec<PartitionInfo>,
}

/// A partition as the cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its index.
    pub partition: i32,
    /// The broker that leads it; -1: none.
    pub leader: i32,
    /// The leader's epoch.
    pub leader_epoch: i32,
    /// The brokers that keep it.
    pub replicas: Vec<i32>,
    /// Those of them that are in sync.
    pub isr: Vec<i32>,
}

impl Client {
    /// Connects to the first broker of the bootstrap list that answers.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let tls = config.tls.as_ref().map(client_config).transpose()?;
        let mut last = nobody();
        for address in &config.bootstrap {
            match Connection::open(address, tls.as_ref(), config.request_timeout).await {
                Ok(connection) => {
                    let anybody = address.clone();
                    let connections = HashMap::from([(anybody.clone(), connection)]);
                    return Ok(Self { config, tls, brokers: HashMap::new(), connections, anybody });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Asks some broker: the one that answered last, or the first of the others that can be reached. Where the connection
    /// is lost with the request under way, it is not known whether that was done; the next request goes to another broker.
    pub(crate) async fn ask<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        let mut last = None;
        for address in self.addresses() {
            match self.ask_at(&address, request).await {
                Err(error @ ClientError::Connect { .. }) => last = Some(error),
                Err(error @ ClientError::Lost { .. }) => {
                    let mut others = self.addresses().into_iter().filter(|other| *other != address);
                    self.anybody = others.next_back().unwrap_or(address);
                    return Err(error);
                }
                answered => {
                    self.anybody = address;
                    return answered;
                }
            }
        }
        Err(last.unwrap_or_else(nobody))
    }

    /// Asks one broker by its id.
    pub(crate) async fn ask_broker<R: Request>(
        &mut self,
        broker: i32,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        let address = self.address_of(broker)?;
        self.ask_at(&address, request).await
    }

    /// Asks several brokers by their ids, all at once. The answers are in the order of the requests.
    pub(crate) async fn ask_brokers<R: Request>(
        &mut self,
        requests: &[(i32, R)],
    ) -> Vec<Result<R::Response, ClientError>> {
        let (tls, limit) = (self.tls.as_ref(), self.config.request_timeout);
        let mut asked = Vec::with_capacity(requests.len());
        for (broker, request) in requests {
            let address = self.address_of(*broker);
            let connection = address.as_ref().ok().and_then(|address| self.connections.remove(address));
            asked.push(async move {
                let address = address?;
                let mut connection = match connection {
                    Some(connection) => connection,
                    None => Connection::open(&address, tls, limit).await?,
                };
                let answer = connection.call(request).await?;
                Ok((address, connection, answer))
            });
        }
        let mut answers = Vec::with_capacity(asked.len());
        for answered in join_all(asked).await {
            let answered: Result<_, ClientError> = answered;
            answers.push(answered.map(|(address, connection, answer)| {
                self.connections.insert(address, connection);
                answer
            }));
        }
        answers
    }

    /// Whom to ask what anybody can answer, the likeliest first.
    fn addresses(&self) -> Vec<String> {
        let mut addresses = vec![self.anybody.clone()];
        for address in self.brokers.values().chain(&self.config.bootstrap) {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    /// Where a broker is. One that the metadata did not name may still answer where the first one did.
    fn address_of(&self, broker: i32) -> Result<String, ClientError> {
        if broker < 0 {
            let what = "the partition's leader".to_owned();
            return Err(ClientError::Refused { what, code: ErrorCode::LeaderNotAvailable, message: None });
        }
        Ok(self.brokers.get(&broker).unwrap_or(&self.anybody).clone())
    }

    async fn ask_at<R: Request>(&mut self, address: &str, request: &R) -> Result<R::Response, ClientError> {
        let mut connection = match self.connections.remove(address) {
            Some(connection) => connection,
            None => Connection::open(address, self.tls.as_ref(), self.config.request_timeout).await?,
        };
        let answer = connection.call(request).await?;
        // Only a connection whose last request was answered can be asked again.
        self.connections.insert(address.to_owned(), connection);
        Ok(answer)
    }

    /// The topics of these names, each with what came of it; all topics if no name is given.
    pub(crate) async fn metadata(
        &mut self,
        topics: Option<&[&str]>,
        create: bool,
    ) -> Result<MetadataResponse, ClientError> {
        let named = |name: &&str| MetadataRequestTopic { topic_id: Uuid::ZERO, name: Some((*name).to_owned()) };
        let request = MetadataRequest {
            topics: topics.map(|names| names.iter().map(named).collect()),
            allow_auto_topic_creation: create,
            ..MetadataRequest::default()
        };
        let mut others = self.addresses().len();
        let response = loop {
            match self.ask(&request).await {
                // Asking again changes nothing, and somebody else may know.
                Err(ClientError::Lost { .. }) if others > 1 => others -= 1,
                answered => break answered?,
            }
        };
        self.brokers = response
            .brokers
            .iter()
            .map(|broker| (broker.node_id, format!("{}:{}", broker.host, broker.port)))
            .collect();
        Ok(response)
    }

    /// All topics, by name.
    pub async fn topics(&mut self) -> Result<Vec<TopicInfo>, ClientError> {
        let mut topics: Vec<TopicInfo> = self.metadata(None, false).await?.topics.into_iter().map(topic_info).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// One topic, with a leader for each partition. Waits for what is still being made.
    pub async fn topic(&mut self, name: &str) -> Result<TopicInfo, ClientError> {
        self.find_topic(name, false, Leaders::Awaited).await
    }

    /// One topic as it is, with the partitions too that nobody leads.
    pub async fn topic_as_it_is(&mut self, name: &str) -> Result<TopicInfo, ClientError> {
        self.find_topic(name, false, Leaders::Any).await
    }

    /// Takes over who leads what now, if anybody can be asked: whoever fails asks again anyway.
    pub(crate) async fn refresh(&mut self, topic: &mut TopicInfo) {
        let found = self.metadata(Some(&[&topic.name]), false).await;
        let found = found.ok().and_then(|response| response.topics.into_iter().next());
        if let Some(found) = found.filter(|found| found.error_code.is_none()) {
            *topic = topic_info(found);
        }
    }

    /// One topic with a leader for each partition; with `create` the broker makes it if it may. Waits for what is still
    /// being made.
    pub async fn topic_or_create(&mut self, name: &str, create: bool) -> Result<TopicInfo, ClientError> {
        self.find_topic(name, create, Leaders::Awaited).await
    }

    async fn find_topic(&mut self, name: &str, create: bool, leaders: Leaders) -> Result<TopicInfo, ClientError> {
        let give_up = Instant::now() + RETRY_FOR;
        loop {
            let found = self.metadata(Some(&[name]), create).await?.topics.into_iter().next();
            let code = match found {
                Some(topic) if topic.error_code.is_none() => {
                    let leaderless =
                        topic.partitions.iter().map(|partition| partition.error_code).find(|code| !code.is_none());
                    match leaderless.filter(|_| leaders == Leaders::Awaited) {
                        None => return Ok(topic_info(topic)),
                        Some(code) => code,
                    }
                }
                Some(topic) => topic.error_code,
                None => ErrorCode::UnknownTopicOrPartition,
            };
            let may_come = code.is_retriable() && (create || code != ErrorCode::UnknownTopicOrPartition);
            if !may_come || Instant::now() >= give_up {
                return Err(ClientError::Refused { what: format!("topic `{name}`"), code, message: None });
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// Whether partitions without a leader are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaders {
    Awaited,
    Any,
}

fn nobody() -> ClientError {
    let cause = io::Error::new(io::ErrorKind::InvalidInput, "the list of bootstrap servers is empty");
    ClientError::Connect { address: "no broker".to_owned(), cause }
}

fn topic_info(topic: sluice_protocol::messages::MetadataResponseTopic) -> TopicInfo {
    let mut partitions: Vec<PartitionInfo> = topic
        .partitions
        .into_iter()
        .map(|partition| PartitionInfo {
            partition: partition.partition_index,
            leader: partition.leader_id,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes,
            isr: partition.isr_nodes,
        })
        .collect();
    partitions.sort_by_key(|partition| partition.partition);
    TopicInfo { name: topic.name.unwrap_or_default(), id: topic.topic_id, is_internal: topic.is_internal, partitions }
}

impl ClientConfig {
    /// How long a request may take unless somebody says otherwise: Kafka's own default.
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

    /// Reaches the cluster through these brokers.
    pub const fn new(bootstrap: Vec<String>, tls: Option<ClientTls>) -> Self {
        Self { bootstrap, tls, request_timeout: Self::REQUEST_TIMEOUT }
    }
}
