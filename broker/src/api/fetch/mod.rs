//! Fetch (key 1): records of topics as they lie in the log, records of views as their plugins show them.
//!
//! ```text
//!   take the byte clocks ─> read every partition ─> enough? ─── yes ──────────────> answer
//!            ^                                       │ no                             ^
//!            └── woken by the high watermark <── hang on every partition ── max_wait ─┘
//! ```
//! A topic's records leave as ranges of the log's files, unread and undecoded. A view's are scanned on a plugin thread; where
//! the scan has come to is kept with the waiting request, so that nothing is scanned twice (see [`view`]).
//!
//! Consumers see what lies below the high watermark, on the leader or, where they can be sent there, on a follower (KIP-392): a
//! consumer that says in which rack it is learns of the in-sync replica in that rack, and reads there up to that replica's own
//! high watermark, views as well. There are no fetch sessions yet: every answer carries session id 0,
//! which tells a client to name all its partitions each time (KIP-227).

mod advance;
mod view;

use std::sync::Arc;
use std::time::Duration;

use sluice_protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use sluice_protocol::records::Part;
use sluice_protocol::{ErrorCode, Uuid};
use sluice_storage::ReadError;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::leaders::Leaders;
use super::resolve::{NotFound, Source, Wanted};
use super::{Answering, Context, Shared};
use crate::net::{ListenerName, Started};
use crate::partition::{ByteClock, FetchWaiter, NotCommitted, Partition};
use view::ViewScan;

/// Of a view whose plugins are not ready on this broker: just created, or their binaries not here yet. Clients look for a leader and
/// ask again, which they may do in vain for as long as the broker's log says why.
const VIEW_NOT_MADE: ErrorCode = ErrorCode::NotLeaderOrFollower;

/// The version from which topics are named by their ids.
const IDS_FROM: i16 = 13;

/// Isolation level of a consumer that wants no records of open or aborted transactions.
const READ_COMMITTED: i8 = 1;

/// Longest a fetch waits, whatever the client asks for: a stuck client must not keep a connection's answers back for days.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Answers of views that may lie in memory at a time, over all connections: with the bytes of each, 64 MiB.
pub(crate) const VIEW_ANSWERS_MAX: usize = 16;

/// Even a fetch that may not wait gets its turn at a free place.
const PLACE_TIME_MIN: Duration = Duration::from_millis(1);

/// Most bytes that views show in one answer: they lie in memory until they are sent, where a topic's stay in its files.
const VIEW_ANSWER_BYTES_MAX: usize = 4 << 20;

pub(super) fn start(cx: &Context<'_>, answering: Answering, request: FetchRequest) -> Started {
    if let Some(code) = refuse_whole(&request) {
        return answering.with(&FetchResponse { error_code: code, ..FetchResponse::default() });
    }
    let mut fetch = Fetch::new(cx, answering.version, request);
    if !fetch.has_views() {
        let clocks = fetch.byte_clocks();
        fetch.read();
        if fetch.is_satisfied() || fetch.is_late() {
            return answering.with(&fetch.into_response());
        }
        return Started::Later(Box::pin(async move {
            fetch.wait(&clocks).await;
            fetch.run().await;
            answering.later(&fetch.into_response())
        }));
    }
    Started::Later(Box::pin(async move {
        fetch.run().await;
        answering.later(&fetch.into_response())
    }))
}

/// The version from which a consumer can be sent to a follower, and so is served by one.
const FOLLOWERS_FROM: i16 = 11;

/// A session we never gave out, or somebody who says to be a broker: brokers come by a listener of their own.
fn refuse_whole(request: &FetchRequest) -> Option<ErrorCode> {
    if request.replica_id >= 0 || request.replica_state.replica_id >= 0 {
        return Some(ErrorCode::ClusterAuthorizationFailed);
    }
    (request.session_id != 0).then_some(ErrorCode::FetchSessionIdNotFound)
}

/// A fetch under way.
struct Fetch {
    shared: Arc<Shared>,
    listener: ListenerName,
    version: i16,
    min_bytes: usize,
    max_bytes: usize,
    deadline: Instant,
    read_committed: bool,
    topics: Vec<TopicFetch>,
    /// Held while a view's answer lies in memory.
    place: Option<OwnedSemaphorePermit>,
}

struct TopicFetch {
    name: String,
    id: Uuid,
    partitions: Vec<PartitionFetch>,
}

struct PartitionFetch {
    wanted: FetchPartition,
    from: From,
    data: PartitionData,
    bytes: usize,
}

/// Where a partition's records come from.
enum From {
    Log(Arc<Partition>),
    View(Box<ViewScan>),
    /// Nowhere: the error is in the answer already.
    Failed,
}

impl Fetch {
    fn new(cx: &Context<'_>, version: i16, request: FetchRequest) -> Self {
        let topics = request.topics.into_iter().map(|topic| {
            let source = cx.resolve(Wanted::of(version, IDS_FROM, &topic.topic, topic.topic_id));
            let asking = Asking { followers_too: version >= FOLLOWERS_FROM, rack: &request.rack_id };
            let partitions =
                topic.partitions.into_iter().map(|wanted| PartitionFetch::new(cx, asking, &source, wanted)).collect();
            TopicFetch { name: topic.topic, id: topic.topic_id, partitions }
        });
        let max_bytes = usize::try_from(request.max_bytes)
            .unwrap_or(0)
            .min(cx.shared.config.settings.fetch_max_bytes.unsigned_abs() as usize);
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
        Self {
            topics: topics.collect(),
            place: None,
            shared: Arc::clone(cx.shared),
            listener: cx.peer.listener.clone(),
            version,
            min_bytes: usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes),
            max_bytes,
            deadline: Instant::now() + wait,
            read_committed: request.isolation_level == READ_COMMITTED,
        }
    }

    /// Reads until there is enough or time is up.
    async fn run(&mut self) {
        loop {
            let clocks = self.byte_clocks();
            self.scan_views().await;
            self.read();
            if self.is_satisfied() || self.is_late() {
                return;
            }
            self.wait(&clocks).await;
        }
    }

    fn partitions(&self) -> impl Iterator<Item = &PartitionFetch> {
        self.topics.iter().flat_map(|topic| &topic.partitions)
    }

    fn has_views(&self) -> bool {
        self.partitions().any(|partition| matches!(partition.from, From::View(_)))
    }

    fn bytes(&self) -> usize {
        self.partitions().map(|partition| partition.bytes).sum()
    }

    /// An error is answered at once, as enough bytes are.
    fn is_satisfied(&self) -> bool {
        self.partitions().next().is_none()
            || self.bytes() >= self.min_bytes
            || self.partitions().any(PartitionFetch::cannot_wait)
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    fn byte_clocks(&self) -> Vec<(Arc<Partition>, ByteClock)> {
        let sources = self.partitions().filter_map(|partition| partition.from.partition());
        sources.map(|partition| (Arc::clone(partition), partition.waiters().byte_clock())).collect()
    }

    /// Waits for bytes, or for the end of the fetch's time.
    async fn wait(&self, clocks: &[(Arc<Partition>, ByteClock)]) {
        // How much of what comes a view will show is not known beforehand: any byte is worth a look.
        let missing = if self.has_views() { 1 } else { self.min_bytes.saturating_sub(self.bytes()) };
        let hung = Hung::on(clocks, missing);
        // Time being up is not an error: the answer is what is there.
        let _ = tokio::time::timeout_at(self.deadline, hung.waiter.satisfied()).await;
    }

    /// Reads every log anew, within the bytes the whole answer may have.
    fn read(&mut self) {
        let Self { topics, max_bytes, read_committed, .. } = self;
        let mut read = 0;
        for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            partition.read(max_bytes.saturating_sub(read), read == 0, *read_committed);
            read += partition.bytes;
        }
    }

    /// Lets every view scan on, one after the other: the first that shows something may well fill the answer.
    async fn scan_views(&mut self) {
        if !self.has_views() {
            return;
        }
        let taken = Arc::clone(&self.shared.view_answers).acquire_owned();
        // Without a place nothing is scanned: time is up, or the broker ends.
        let Ok(Ok(place)) = tokio::time::timeout_at(self.deadline.max(Instant::now() + PLACE_TIME_MIN), taken).await
        else {
            return;
        };
        let mut shown = 0;
        for partition in self.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if let From::View(scan) = &mut partition.from {
                let room = self.max_bytes.min(VIEW_ANSWER_BYTES_MAX).saturating_sub(shown);
                let room = room.min(wanted_bytes(&partition.wanted));
                scan.scan(&self.shared, room, shown == 0, self.deadline).await;
                shown += scan.bytes();
            }
        }
        // A fetch that goes on waiting shows nothing yet, and gives its place to others.
        self.place = (shown > 0).then_some(place);
    }

    fn into_response(self) -> FetchResponse {
        let mut bytes = 0;
        let topics = self.topics.into_iter().map(|topic| FetchableTopicResponse {
            topic: topic.name,
            topic_id: topic.id,
            partitions: topic
                .partitions
                .into_iter()
                .map(|partition| {
                    let data = partition.finish();
                    bytes += data.records.iter().map(Part::len).sum::<usize>();
                    data
                })
                .collect(),
        });
        let mut responses: Vec<FetchableTopicResponse> = topics.collect();
        self.shared.metrics.fetched(bytes);
        let mut leaders = Leaders::new(&self.shared);
        for topic in &mut responses {
            let wanted = Wanted::of(self.version, IDS_FROM, &topic.topic, topic.topic_id);
            for data in &mut topic.partitions {
                data.current_leader = leaders.of(data.error_code, wanted, data.partition_index);
            }
        }
        FetchResponse { responses, node_endpoints: leaders.endpoints(&self.listener), ..FetchResponse::default() }
    }
}

/// The in-sync replica in the consumer's rack, if that is another than this leader and so worth going to.
fn nearest(cx: &Context<'_>, rack: &str, source: &Source, partition: &Partition) -> Option<i32> {
    let rack_of = |broker| cx.image.broker(broker).and_then(|broker| broker.rack.as_deref());
    if rack.is_empty() || !partition.leads() || rack_of(cx.shared.node_id) == Some(rack) {
        return None;
    }
    let registration = source.base().partitions.get(usize::try_from(partition.index()).ok()?)?;
    let serves = |broker: &i32| cx.image.broker(*broker).is_some_and(|broker| !broker.fenced);
    registration.isr.iter().copied().filter(serves).find(|replica| rack_of(*replica) == Some(rack))
}

/// What a consumer says of itself.
#[derive(Clone, Copy)]
struct Asking<'a> {
    followers_too: bool,
    /// Empty: it does not say.
    rack: &'a str,
}

impl PartitionFetch {
    fn new(cx: &Context<'_>, asking: Asking<'_>, source: &Result<Source, NotFound>, wanted: FetchPartition) -> Self {
        let mut fetch = Self {
            data: PartitionData { partition_index: wanted.partition, high_watermark: -1, ..PartitionData::default() },
            wanted,
            from: From::Failed,
            bytes: 0,
        };
        let opened = match source {
            Ok(source) => cx.replica(source.base(), fetch.wanted.partition).map(|partition| (source, partition)),
            Err(not_found) => Err(not_found.code()),
        };
        match opened {
            Ok((_, partition)) if !partition.leads() && !asking.followers_too => {
                fetch.fail(ErrorCode::NotLeaderOrFollower);
            }
            Ok((source, partition)) => match nearest(cx, asking.rack, source, &partition) {
                Some(replica) => {
                    fetch.data.preferred_read_replica = replica;
                    fetch.data.high_watermark = partition.high_watermark();
                    fetch.data.log_start_offset = partition.reader().log_start_offset();
                }
                None => fetch.open(cx, source, partition),
            },
            Err(code) => fetch.fail(code),
        }
        fetch
    }

    fn open(&mut self, cx: &Context<'_>, source: &Source, partition: Arc<Partition>) {
        if let Some(code) = partition.check_leader_epoch(self.wanted.current_leader_epoch) {
            return self.fail(code);
        }
        self.from = match source {
            Source::Topic(_) => From::Log(partition),
            Source::View { view, base } => match cx.shared.plugins.view(view.id) {
                Some(pinned) => {
                    From::View(Box::new(ViewScan::new(view.id, pinned, partition, base, self.wanted.fetch_offset)))
                }
                None => return self.fail(VIEW_NOT_MADE),
            },
        };
    }

    fn fail(&mut self, code: ErrorCode) {
        self.from = From::Failed;
        self.data.error_code = code;
        self.data.records.clear();
        self.bytes = 0;
    }

    /// Whether waiting for more would keep something from the client that it should know now.
    fn cannot_wait(&self) -> bool {
        self.data.error_code != ErrorCode::None
            || self.data.preferred_read_replica >= 0
            || matches!(&self.from, From::View(scan) if scan.has_ended())
    }

    /// The answer for this partition. A view that passed records over and shows none moves its client on.
    fn finish(mut self) -> PartitionData {
        if let From::View(scan) = &self.from
            && let Some(records) = scan.advance()
        {
            self.data.records = records;
        }
        self.data
    }

    fn read(&mut self, room: usize, first: bool, read_committed: bool) {
        let Some(partition) = self.from.partition().map(Arc::clone) else { return };
        // Another reign has begun while it waited: what it knows of the leader may not hold.
        if let Some(code) = partition.check_leader_epoch(self.wanted.current_leader_epoch) {
            return self.fail(code);
        }
        if let Some(ended) = partition.waiters().ended() {
            return self.fail(ended_code(ended));
        }
        let high_watermark = partition.high_watermark();
        self.data.high_watermark = high_watermark;
        self.data.last_stable_offset = high_watermark;
        self.data.log_start_offset = partition.reader().log_start_offset();
        self.data.aborted_transactions = read_committed.then(Vec::new);
        let read = match &mut self.from {
            From::View(scan) => scan.answer(),
            From::Log(_) | From::Failed => read_log(
                &partition,
                self.wanted.fetch_offset,
                high_watermark,
                room.min(wanted_bytes(&self.wanted)),
                first,
            ),
        };
        match read {
            Ok(records) => {
                self.bytes = records.iter().map(Part::len).sum();
                self.data.records = records;
            }
            Err(code) => self.fail(code),
        }
    }
}

impl From {
    fn partition(&self) -> Option<&Arc<Partition>> {
        match self {
            Self::Log(partition) => Some(partition),
            Self::View(scan) => Some(scan.partition()),
            Self::Failed => None,
        }
    }
}

fn wanted_bytes(wanted: &FetchPartition) -> usize {
    usize::try_from(wanted.partition_max_bytes).unwrap_or(0)
}

/// A topic's records as they lie in the log.
fn read_log(
    partition: &Partition,
    offset: i64,
    high_watermark: i64,
    max_bytes: usize,
    at_least_one: bool,
) -> Result<Vec<Part>, ErrorCode> {
    if max_bytes == 0 && !at_least_one {
        return partition.check_fetch_offset(offset).map(|()| Vec::new());
    }
    partition.check_fetch_offset(offset)?;
    let slice =
        partition.reader().read(offset, max_bytes, high_watermark, at_least_one).map_err(|error| error_code(&error))?;
    advance::over_emptied_batches(slice, partition.leader_epoch())
}

/// Kafka's code for a partition that will not grow any more. One that was taken away sends its clients to ask for metadata.
fn ended_code(ended: NotCommitted) -> ErrorCode {
    match ended {
        NotCommitted::Storage => ErrorCode::KafkaStorageError,
        NotCommitted::Gone | NotCommitted::Deposed | NotCommitted::NotEnoughReplicas => ErrorCode::NotLeaderOrFollower,
    }
}

/// Kafka's code for a read that failed.
fn error_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Storage { .. } | ReadError::Damaged { .. } => ErrorCode::KafkaStorageError,
    }
}

/// A waiting fetch on its partitions; taken down when the wait ends, also when the client leaves.
struct Hung<'a> {
    waiter: Arc<FetchWaiter>,
    partitions: &'a [(Arc<Partition>, ByteClock)],
}

impl<'a> Hung<'a> {
    fn on(partitions: &'a [(Arc<Partition>, ByteClock)], missing: usize) -> Self {
        let waiter = FetchWaiter::new(missing);
        for (partition, since) in partitions {
            partition.waiters().hang(&waiter, *since);
        }
        Self { waiter, partitions }
    }
}

impl Drop for Hung<'_> {
    fn drop(&mut self) {
        for (partition, _) in self.partitions {
            partition.waiters().take_down(&self.waiter);
        }
    }
}
