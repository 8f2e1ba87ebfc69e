//! Produce (key 0): bounds, checks, gate, append; then the answer, when the records are committed.
//!
//! ```text
//!   split ─> header checks, CRC ─> duplicate? ─> gate ─> append ─┬─ acks=0, acks=1 ─> answered
//!                                                               └─ acks=all ─> high watermark ─> answered
//! ```
//! The part up to the append runs in the order of the connection's requests, so that batches of one connection enter a
//! partition's log in the order they came. The wait for the high watermark does not hold up the next request.
//!
//! A producer that does not wait for the high watermark is served only by a leader that is sure to be one: where a partition has
//! several replicas and this broker has not heard from the coordinator, another may lead by now, and what is appended here would
//! be cut away again. `acks=all` needs no such care, for a deposed leader gathers no followers.

use std::sync::Arc;
use std::time::Duration;

use sluice_cluster::Topic;
use sluice_protocol::ErrorCode;
use sluice_protocol::messages::produce::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use sluice_protocol::records::{Batch, BatchError, Invalid, TimestampType};
use sluice_storage::{AppendError, Appended, Sequence, SequenceError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::leaders::Leaders;
use super::resolve::{NotFound, Source, Wanted};
use super::{Answering, Context, Shared};
use crate::net::{ListenerName, Started};
use crate::partition::{AppendRefused, NotCommitted, Partition, Passed, Placed};
use crate::plugins::{ChainError, GateState, Gated};

/// The version from which topics are named by their ids.
const IDS_FROM: i16 = 13;

/// What a transactional producer is told.
const NO_TRANSACTIONS: &str = "transactions are not served by this version of the broker";

/// `acks` of a producer that wants to know its records committed.
const ACKS_ALL: i16 = -1;

pub(super) async fn start(cx: &Context<'_>, answering: Answering, request: ProduceRequest) -> Started {
    let mut produced = Produced {
        shared: Arc::clone(cx.shared),
        listener: cx.peer.listener.clone(),
        version: answering.version,
        deadline: deadline(request.timeout_ms),
        responses: Vec::new(),
        uncommitted: Vec::new(),
    };
    let refused_whole = refuse_whole(&request);
    for topic in request.topic_data {
        let source = cx.resolve(Wanted::of(answering.version, IDS_FROM, &topic.name, topic.topic_id));
        let mut partition_responses = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let index = data.index;
            let stored = match &refused_whole {
                Some(refusal) => Err(refusal.clone()),
                None => store(cx, &source, data, request.acks).await,
            };
            partition_responses.push(match stored {
                Ok(stored) => produced.stored(request.acks, partition_responses.len(), index, stored),
                Err(refusal) => refusal.into_response(index),
            });
        }
        produced.responses.push(TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses,
        });
    }
    match request.acks {
        0 => produced.without_answer(),
        ACKS_ALL if !produced.uncommitted.is_empty() => {
            Started::Later(Box::pin(async move { answering.later(&produced.committed().await) }))
        }
        _ => answering.with(&produced.into_response()),
    }
}

/// What is wrong with the request as a whole: every partition gets the same answer.
fn refuse_whole(request: &ProduceRequest) -> Option<Refusal> {
    if !matches!(request.acks, -1..=1) {
        return Some(Refusal::new(
            ErrorCode::InvalidRequiredAcks,
            format!("acks={} is none of -1, 0 and 1", request.acks),
        ));
    }
    let id = request.transactional_id.as_ref()?;
    Some(Refusal::new(ErrorCode::InvalidTxnState, format!("transactional.id `{id}`: {NO_TRANSACTIONS}")))
}

/// How long an answer may wait for the high watermark.
fn deadline(timeout_ms: i32) -> Instant {
    Instant::now() + Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0))
}

/// Brings one partition's records into its log.
async fn store(
    cx: &Context<'_>,
    source: &Result<Source, NotFound>,
    data: PartitionProduceData,
    acks: i16,
) -> Result<Stored, Refusal> {
    let topic = match source {
        Ok(Source::Topic(topic)) => topic,
        Ok(Source::View { view, base }) => {
            let why =
                format!("`{}` is a view of `{}` and is read only: produce to `{}`", view.name, base.name, base.name);
            return Err(Refusal::new(ErrorCode::PolicyViolation, why));
        }
        Err(not_found) => return Err(Refusal::bare(not_found.code())),
    };
    if topic.internal {
        let why = format!("`{}` is the broker's own topic", topic.name);
        return Err(Refusal::new(ErrorCode::TopicAuthorizationFailed, why));
    }
    let partition = cx.partition(topic, data.index).map_err(Refusal::bare)?;
    if acks != ACKS_ALL && cx.is_replicated(topic, data.index) && cx.is_doubtful() {
        // Of the codes that every producer retries, the one that makes it look for another leader.
        let why = "this broker does not hear from the coordinator, so another may lead: only acks=all is served";
        return Err(Refusal::new(ErrorCode::NotLeaderOrFollower, why.to_owned()));
    }
    let batch = the_one_batch(&data)?;
    let config = partition.config();
    if batch.header.size() > config.max_message_bytes {
        return Err(Refusal::too_large(batch.header.size(), config.max_message_bytes));
    }
    if acks == ACKS_ALL {
        partition.enough_replicas().map_err(|few| Refusal::new(ErrorCode::NotEnoughReplicas, few.to_string()))?;
    }
    pass_and_append(cx, topic, &partition, batch).await
}

/// The single batch a partition's records are made of, checked as far as its header and its checksum go.
fn the_one_batch(data: &PartitionProduceData) -> Result<Batch, Refusal> {
    let batch = Batch::from_producer(data.records.as_ref())?;
    if batch.header.is_transactional() {
        return Err(Refusal::new(ErrorCode::InvalidTxnState, NO_TRANSACTIONS.to_owned()));
    }
    Ok(batch)
}

/// Through the gate, if one is bound, into the log. A gate bound or taken away meanwhile means another look.
async fn pass_and_append(
    cx: &Context<'_>,
    topic: &Arc<Topic>,
    partition: &Arc<Partition>,
    batch: Batch,
) -> Result<Stored, Refusal> {
    let span_end = i64::from(batch.header.last_offset_delta) + 1;
    let gate_by = Instant::now() + GATE_TIME_MAX;
    loop {
        let Placed { at: sequence, leader_epoch } = partition.check_sequence(&batch.header).map_err(refused)?;
        if let Sequence::Duplicate { base_offset, log_append_time } = sequence {
            let end = base_offset + span_end;
            return Ok(Stored::again(partition, base_offset, end, log_append_time, leader_epoch));
        }
        let gate = if partition.is_gated() { cx.shared.plugins.gate(topic.id) } else { GateState::None };
        let (passed, _pinned, mut judged) = match gate {
            GateState::None => (Passed::NoGate, None, batch.clone()),
            // This broker has begun to lead, or the gate was bound from another one.
            GateState::BeingMade => match timeout_at(gate_by, cx.shared.plugins.settled()).await {
                Ok(()) if Instant::now() < gate_by => continue,
                Ok(()) | Err(_) => {
                    let why = "the topic's gate is being made ready on this broker".to_owned();
                    return Err(Refusal::new(ErrorCode::NotEnoughReplicas, why));
                }
            },
            GateState::NotReady(why) => return Err(Refusal::new(ErrorCode::NotEnoughReplicas, why)),
            GateState::Ready(pinned) => {
                let gated = pinned.chain().gate(topic, partition.index(), batch.clone()).await?;
                match gated {
                    Gated::Pass(judged) => (Passed::Gate, Some(pinned), judged),
                    Gated::Rejected(records) => return Err(Refusal::rejected(records)),
                }
            }
        };
        let config = partition.config();
        if judged.header.size() > config.max_message_bytes {
            return Err(Refusal::too_large(judged.header.size(), config.max_message_bytes));
        }
        let now_ms = cx.shared.now_ms();
        let stamped = config.message_timestamp_type == TimestampType::LogAppendTime;
        if stamped {
            judged.set_log_append_time(now_ms);
        }
        let Placed { at, leader_epoch } = match partition.append(&judged, passed, now_ms) {
            Ok(placed) => placed,
            Err(AppendRefused::GateBound) => {
                cx.shared.plugins.settled().await;
                continue;
            }
            Err(error) => return Err(refused(error)),
        };
        return Ok(match at {
            Appended::New { base_offset, log_end, .. } => {
                cx.shared.metrics.produced(judged.header.count, judged.header.size());
                let log_append_time = if stamped { now_ms } else { NO_TIMESTAMP };
                Stored::new(partition, base_offset, log_end, log_append_time, leader_epoch)
            }
            Appended::Again { base_offset, log_append_time } => {
                Stored::again(partition, base_offset, base_offset + span_end, log_append_time, leader_epoch)
            }
        });
    }
}

fn refused(error: AppendRefused) -> Refusal {
    match error {
        AppendRefused::NotLeader => Refusal::bare(ErrorCode::NotLeaderOrFollower),
        AppendRefused::Closed => Refusal::bare(ErrorCode::UnknownTopicOrPartition),
        AppendRefused::GateBound => Refusal::new(ErrorCode::NotEnoughReplicas, error.to_string()),
        AppendRefused::Log(cause) => cause.into(),
    }
}

/// How long a batch waits for its gate to be made ready, and with it what else its connection sends: compiling takes longer, and
/// then its producer is told to come again.
const GATE_TIME_MAX: Duration = Duration::from_secs(2);

/// No log append time: the records carry their producer's.
const NO_TIMESTAMP: i64 = -1;

/// One partition's records in the log.
struct Stored {
    base_offset: i64,
    log_append_time_ms: i64,
    log_start_offset: i64,
    partition: Arc<Partition>,
    /// Where it ends, and the reign in which it does.
    end: i64,
    leader_epoch: i32,
}

impl Stored {
    fn new(partition: &Arc<Partition>, base_offset: i64, end: i64, log_append_time_ms: i64, leader_epoch: i32) -> Self {
        Self {
            base_offset,
            log_append_time_ms,
            log_start_offset: partition.reader().log_start_offset(),
            partition: Arc::clone(partition),
            end,
            leader_epoch,
        }
    }

    /// A batch that is in the log already answers as it did the first time, and waits as it did.
    fn again(partition: &Arc<Partition>, base_offset: i64, end: i64, log_append_time: i64, leader_epoch: i32) -> Self {
        Self::new(partition, base_offset, end, log_append_time, leader_epoch)
    }
}

/// The request's answer in the making.
struct Produced {
    shared: Arc<Shared>,
    listener: ListenerName,
    version: i16,
    deadline: Instant,
    responses: Vec<TopicProduceResponse>,
    uncommitted: Vec<Uncommitted>,
}

struct Uncommitted {
    topic: usize,
    partition: usize,
    committed: oneshot::Receiver<Result<(), NotCommitted>>,
}

impl Produced {
    /// Only who asked for `acks=all` waits, and is waited for.
    fn stored(&mut self, acks: i16, partition: usize, index: i32, stored: Stored) -> PartitionProduceResponse {
        if acks == ACKS_ALL {
            let committed = stored.partition.waiters().committed(stored.end, stored.leader_epoch);
            self.uncommitted.push(Uncommitted { topic: self.responses.len(), partition, committed });
        }
        PartitionProduceResponse {
            index,
            base_offset: stored.base_offset,
            log_append_time_ms: stored.log_append_time_ms,
            log_start_offset: stored.log_start_offset,
            ..PartitionProduceResponse::default()
        }
    }

    /// Waits until everything appended is committed, or the producer's time is up.
    async fn committed(mut self) -> ProduceResponse {
        for waiting in std::mem::take(&mut self.uncommitted) {
            let refusal = match timeout_at(self.deadline, waiting.committed).await {
                Ok(Ok(Ok(()))) => continue,
                Ok(Ok(Err(NotCommitted::Storage))) => Refusal::bare(ErrorCode::KafkaStorageError),
                Ok(Ok(Err(NotCommitted::NotEnoughReplicas))) => Refusal::bare(ErrorCode::NotEnoughReplicasAfterAppend),
                Ok(Ok(Err(NotCommitted::Gone | NotCommitted::Deposed)) | Err(_)) => {
                    Refusal::bare(ErrorCode::NotLeaderOrFollower)
                }
                Err(_) => Refusal::bare(ErrorCode::RequestTimedOut),
            };
            let response = &mut self.responses[waiting.topic].partition_responses[waiting.partition];
            *response = refusal.into_response(response.index);
        }
        self.into_response()
    }

    fn into_response(mut self) -> ProduceResponse {
        let mut leaders = Leaders::new(&self.shared);
        for topic in &mut self.responses {
            let wanted = Wanted::of(self.version, IDS_FROM, &topic.name, topic.topic_id);
            for partition in &mut topic.partition_responses {
                partition.current_leader = leaders.of(partition.error_code, wanted, partition.index);
            }
        }
        let node_endpoints = leaders.endpoints(&self.listener);
        ProduceResponse { responses: self.responses, node_endpoints, ..ProduceResponse::default() }
    }

    /// `acks=0`: a producer that waits for no answer learns of an error by losing its connection, as in Kafka.
    fn without_answer(self) -> Started {
        let failed = self
            .responses
            .iter()
            .flat_map(|topic| topic.partition_responses.iter().map(move |partition| (&topic.name, partition)));
        match failed.into_iter().find(|(_, partition)| partition.error_code != ErrorCode::None) {
            None => Started::None,
            Some((name, partition)) => Started::Close(
                format!("produce with acks=0 to {name}-{}: {}", partition.index, partition.error_code.name()).into(),
            ),
        }
    }
}

/// Why one partition's records are not stored.
#[derive(Debug, Clone)]
struct Refusal {
    code: ErrorCode,
    message: Option<String>,
    records: Vec<(i32, String)>,
}

impl Refusal {
    fn new(code: ErrorCode, message: String) -> Self {
        Self { code, message: Some(message), records: Vec::new() }
    }

    fn bare(code: ErrorCode) -> Self {
        Self { code, message: None, records: Vec::new() }
    }

    fn too_large(size: usize, max: usize) -> Self {
        Self::new(ErrorCode::MessageTooLarge, format!("the batch has {size} bytes, max.message.bytes is {max}"))
    }

    /// Records a gate rejected (KIP-467): each with its index, the first one's message for those who read only one.
    fn rejected(records: Vec<(i32, String)>) -> Self {
        let first = records.first().map(|(_, message)| message.clone());
        Self { code: ErrorCode::InvalidRecord, message: first, records }
    }

    fn into_response(self, index: i32) -> PartitionProduceResponse {
        PartitionProduceResponse {
            index,
            error_code: self.code,
            base_offset: -1,
            error_message: self.message,
            record_errors: self
                .records
                .into_iter()
                .map(|(batch_index, message)| BatchIndexAndErrorMessage {
                    batch_index,
                    batch_index_error_message: Some(message),
                })
                .collect(),
            ..PartitionProduceResponse::default()
        }
    }
}

/// What a client should do about it decides: send the same bytes again, or give up on them.
impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        let code = match &invalid {
            Invalid::Corrupt(_) => ErrorCode::CorruptMessage,
            Invalid::TimestampType => ErrorCode::InvalidTimestamp,
            Invalid::UnknownCodec { .. } => ErrorCode::UnsupportedCompressionType,
            Invalid::NoBatch
            | Invalid::NotOneBatch { .. }
            | Invalid::Magic { .. }
            | Invalid::Attributes { .. }
            | Invalid::Count { .. }
            | Invalid::Control
            | Invalid::Sequence { .. }
            | Invalid::TransactionalWithoutProducer => ErrorCode::InvalidRecord,
        };
        Self::new(code, invalid.to_string())
    }
}

impl From<SequenceError> for Refusal {
    fn from(error: SequenceError) -> Self {
        let code = match &error {
            SequenceError::OutOfOrder { .. } => ErrorCode::OutOfOrderSequenceNumber,
            SequenceError::Fenced { .. } => ErrorCode::InvalidProducerEpoch,
        };
        Self::new(code, error.to_string())
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        let code = match &error {
            AppendError::Sequence(error) => return Self::from(*error),
            AppendError::TooLarge { .. } => ErrorCode::RecordListTooLarge,
            AppendError::StaleLeader { .. } => ErrorCode::NotLeaderOrFollower,
            AppendError::NoSpace { .. } | AppendError::Storage(_) => ErrorCode::KafkaStorageError,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ChainError> for Refusal {
    fn from(error: ChainError) -> Self {
        let code = match &error {
            ChainError::Batch(BatchError::TooLarge { .. }) => ErrorCode::MessageTooLarge,
            ChainError::Batch(_) | ChainError::Plugin { .. } => ErrorCode::InvalidRecord,
            ChainError::Storage => ErrorCode::KafkaStorageError,
            // Not stored, and worth another try: the one code that every producer retries and that never means stored.
            ChainError::Busy(_) | ChainError::Stopped => ErrorCode::NotEnoughReplicas,
        };
        Self::new(code, error.to_string())
    }
}
