//! Kafka's APIs: from a frame to the handler of its key, and back to an answer.
//!
//! One file an API. A handler gets the request decoded and a narrow [`Context`], asks one owner, and is the only place where a
//! failure becomes an [`ErrorCode`]. Everything that is advertised works, and nothing else is advertised: the table is
//! [`sluice_protocol::messages::SUPPORTED`].

mod alter_partition_reassignments;
mod api_versions;
mod authorized;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod incremental_alter_configs;
mod init_producer_id;
mod leaders;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_for_leader_epoch;
mod produce;
pub(crate) mod resolve;

pub(crate) use fetch::VIEW_ANSWERS_MAX;

use std::sync::Arc;
use std::time::Instant;

use sluice_cluster::{Image, Topic};
use sluice_protocol::records::{Chunks, Part};
use sluice_protocol::{
    ApiKey, DecodeError, EncodeError, ErrorCode, Message, Reader, Request, RequestHeader, decode_request_header,
    encode_response,
};

use crate::broker::Shared;
use crate::coordination::SubmitError;
use crate::metrics::Durations;
use crate::net::{Outcome, Peer, Service, Started};
use crate::partition::Partition;
use resolve::{NotFound, Source, Wanted, resolve};

/// The broker's side of every Kafka connection.
pub(crate) struct Api {
    shared: Arc<Shared>,
}

impl Api {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Service for Api {
    type Connection = Peer;

    fn connected(&self, peer: Peer) -> Peer {
        peer
    }

    async fn start(&self, peer: &mut Peer, frame: Chunks) -> Started {
        let mut frame = Reader::new(frame);
        let header = match decode_request_header(&mut frame) {
            Ok(header) => header,
            Err(error) => return Started::Close(format!("a request header that cannot be read: {error}").into()),
        };
        let Some(key) = ApiKey::from_code(header.api_key) else {
            return Started::Close(format!("unknown API key {}", header.api_key).into());
        };
        let begun = Instant::now();
        let took = self.shared.metrics.request(key);
        let cx = Context { shared: &self.shared, peer, image: self.shared.metadata.image() };
        match dispatch(&cx, key, &header, frame).await {
            Ok(started) => match took {
                Some(took) => timed(started, took, begun),
                None => started,
            },
            Err(error) => Started::Close(
                format!("{key:?} version {} from client {:?}: {error}", header.api_version, header.client_id).into(),
            ),
        }
    }
}

/// Notes how long a request takes, once that is known.
fn timed(started: Started, took: &Durations, begun: Instant) -> Started {
    match started {
        Started::Later(answer) => {
            let took = took.clone();
            Started::Later(Box::pin(async move {
                let outcome = answer.await;
                took.observe(begun.elapsed());
                outcome
            }))
        }
        done => {
            took.observe(begun.elapsed());
            done
        }
    }
}

/// The table: key to handler.
async fn dispatch(cx: &Context<'_>, key: ApiKey, header: &RequestHeader, frame: Reader) -> Result<Started, Unreadable> {
    let answering = Answering { correlation_id: header.correlation_id, version: header.api_version };
    Ok(match key {
        ApiKey::Produce => produce::start(cx, answering, read(header, frame)?).await,
        ApiKey::Fetch => fetch::start(cx, answering, read(header, frame)?),
        ApiKey::ApiVersions => api_versions::start(answering, header, frame)?,
        ApiKey::Metadata => metadata::handle(cx, answering, read(header, frame)?).await,
        ApiKey::ListOffsets => answering.with(&list_offsets::handle(cx, answering.version, read(header, frame)?)),
        ApiKey::OffsetForLeaderEpoch => answering.with(&offset_for_leader_epoch::handle(cx, read(header, frame)?)),
        ApiKey::CreateTopics => answering.with(&create_topics::handle(cx, read(header, frame)?).await),
        ApiKey::DeleteTopics => answering.with(&delete_topics::handle(cx, read(header, frame)?).await),
        ApiKey::DescribeConfigs => answering.with(&describe_configs::handle(cx, read(header, frame)?)),
        ApiKey::DescribeCluster => answering.with(&describe_cluster::handle(cx, &read(header, frame)?)),
        ApiKey::ElectLeaders => answering.with(&elect_leaders::handle(cx, read(header, frame)?).await),
        ApiKey::IncrementalAlterConfigs => {
            answering.with(&incremental_alter_configs::handle(cx, read(header, frame)?).await)
        }
        ApiKey::CreatePartitions => answering.with(&create_partitions::handle(cx, read(header, frame)?).await),
        ApiKey::AlterPartitionReassignments => {
            answering.with(&alter_partition_reassignments::handle(cx, read(header, frame)?).await)
        }
        ApiKey::ListPartitionReassignments => {
            answering.with(&list_partition_reassignments::handle(cx, &read(header, frame)?))
        }
        ApiKey::InitProducerId => answering.with(&init_producer_id::handle(cx, &read(header, frame)?).await),
        ApiKey::FindCoordinator => answering.with(&find_coordinator::handle(answering.version, read(header, frame)?)),
        _ => return Err(Unreadable::NotServed),
    })
}

/// Reads a request of a version this broker serves.
fn read<M: Request>(header: &RequestHeader, mut frame: Reader) -> Result<M, Unreadable> {
    if !M::VERSIONS.contains(&header.api_version) {
        return Err(Unreadable::Version);
    }
    if M::KEY == ApiKey::Metadata {
        frame.forgive_trailing(ALL_TOPICS_PLACEHOLDER_REST);
    }
    Ok(M::read(&mut frame, header.api_version)?)
}

/// Bytes that librdkafka leaves behind a Metadata request for all topics from version 9 on: it makes room for a count of four
/// bytes, and does not take the rest back where one byte says null (`rd_kafka_MetadataRequest0`, seen in 2.12.1). Kafka reads
/// over whatever stands behind a request; we do so only where a client is known to need it.
const ALL_TOPICS_PLACEHOLDER_REST: usize = 3;

/// Why a connection ends over a request: Kafka, too, has no answer to give here.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("is not an API of this broker")]
    NotServed,
    #[error("is not a version of this broker")]
    Version,
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// What an answer needs to know of its request.
#[derive(Debug, Clone, Copy)]
struct Answering {
    correlation_id: i32,
    version: i16,
}

impl Answering {
    fn encode<M: Message>(self, response: &M) -> Result<Vec<Part>, EncodeError> {
        encode_response(self.correlation_id, self.version, response)
    }

    fn with<M: Message>(self, response: &M) -> Started {
        match self.encode(response) {
            Ok(parts) => Started::Answer(parts),
            Err(error) => Started::Close(cannot_encode::<M>(&error).into()),
        }
    }

    fn later<M: Message>(self, response: &M) -> Outcome {
        match self.encode(response) {
            Ok(parts) => Outcome::Answer(parts),
            Err(error) => Outcome::Close(cannot_encode::<M>(&error).into()),
        }
    }
}

/// The code for a change of metadata that was not made, and not because it was decided against.
fn submit_code<E>(error: &SubmitError<E>) -> ErrorCode {
    match error {
        SubmitError::Refused(_) => ErrorCode::InvalidRequest,
        // Nothing was made, or nobody knows: a client that asks again learns which.
        SubmitError::Unavailable { .. } | SubmitError::Unknown { .. } => ErrorCode::RequestTimedOut,
        SubmitError::TooLarge { .. } => ErrorCode::PolicyViolation,
    }
}

fn cannot_encode<M: Message>(error: &EncodeError) -> String {
    format!("the answer to {:?} cannot be written: {error}", M::KEY)
}

/// What a handler may know and ask.
struct Context<'a> {
    shared: &'a Arc<Shared>,
    peer: &'a Peer,
    /// The metadata as it stood when the request came in: one request sees one state of the cluster.
    image: Arc<Image>,
}

impl Context<'_> {
    fn resolve(&self, wanted: Wanted<'_>) -> Result<Source, NotFound> {
        resolve(&self.image, wanted)
    }

    /// Every topic and view there is.
    fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        self.image.sources().filter_map(|named| Source::of(&self.image, named).ok())
    }

    /// A partition that this broker leads.
    fn partition(&self, topic: &Arc<Topic>, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        self.shared.partitions.get(topic, index).map_err(|error| error.code())
    }

    /// A partition that this broker leads or follows.
    fn replica(&self, topic: &Arc<Topic>, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        self.shared.partitions.replica(topic, index).map_err(|error| error.code())
    }

    /// Whether other brokers have the partition too.
    fn is_replicated(&self, topic: &Topic, index: i32) -> bool {
        let registration = usize::try_from(index).ok().and_then(|index| topic.partitions.get(index));
        registration.is_some_and(|registration| registration.replicas.len() > 1)
    }

    /// Whether what this broker knows of the cluster may be out of date, and another lead what it leads.
    fn is_doubtful(&self) -> bool {
        self.shared.metadata.is_doubtful()
    }
}
