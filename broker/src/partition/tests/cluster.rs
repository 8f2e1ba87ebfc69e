//! Brokers' partitions in one process: managers on disks in memory, joined by wires that can be cut, under a metadata log that is
//! a table and a controller that says yes to every ISR.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use parking_lot::Mutex;
use sluice_cluster::metadata::BrokerRecord;
use sluice_cluster::partition::{LeaderRules, Outcome, ProposedIsr};
use sluice_cluster::throttle::ThrottledReplicas;
use sluice_cluster::{Image, MetadataRecord, PartitionRegistration};
use sluice_protocol::Uuid;
use sluice_protocol::records::{Batch, BatchBuilder, Chunks, Compression, Part, TimestampType};
use sluice_storage::testing::MemDisk;
use sluice_storage::{Appended, FlushMode, LockedLogDirs, LogConfig, LogDirOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::metrics::{Durations, Metrics};
use crate::partition::fetcher::Leaders;
use crate::partition::proposals::Altered;
use crate::partition::{
    Failures, FetcherConfig, Fetchers, IsrChanges, Manager, ManagerConfig, NotCommitted, Partition, PartitionConfig,
    Passed, Proposals, Rates, ReplicaSessions, Throttled, Throttles,
};
use crate::plugins::GateMarks;
use crate::rpc::{CallError, Caller, PartitionId, ReplicaFetch, ReplicaFetched};

/// The topic of every test.
pub(super) const TOPIC: Uuid = Uuid([7; 16]);

/// No throttle.
const UNBOUNDED: Rates = Rates { leader: i64::MAX, follower: i64::MAX };

/// How long something may take to come true. Only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// `replica.lag.time.max.ms`: short, because tests wait for it.
const LAG_MS: i64 = 1_000;

/// What is true of all brokers.
pub(super) struct Cluster {
    pub(super) world: Arc<World>,
    pub(super) nodes: BTreeMap<i32, Node>,
    config: PartitionConfig,
    rates: Rates,
}

/// What brokers have between them.
pub(super) struct World {
    image: Mutex<Image>,
    shown: ArcSwap<Image>,
    changed: watch::Sender<u64>,
    sessions: Mutex<BTreeMap<i32, Arc<ReplicaSessions>>>,
    /// Pairs of brokers that do not hear each other.
    cut: Mutex<BTreeSet<(i32, i32)>>,
    /// Flips a byte of what this broker answers.
    corrupting: Mutex<Option<i32>>,
    /// Partitions that were named in fetches.
    pub(super) named: Mutex<usize>,
}

/// One broker.
pub(super) struct Node {
    pub(super) manager: Arc<Manager>,
    pub(super) disk: MemDisk,
    pub(super) failures: Arc<Failures>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Node {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

struct Wire {
    from: i32,
    epoch: i64,
    world: Arc<World>,
}

#[async_trait]
impl Leaders for Wire {
    async fn fetch(
        &self,
        leader: i32,
        fetch: ReplicaFetch,
        patience: Duration,
    ) -> Result<(ReplicaFetched, Chunks), CallError> {
        let lost = || CallError::Lost { broker: leader, why: "the wire is cut".to_owned() };
        self.world.check(self.from, leader).map_err(|()| lost())?;
        *self.world.named.lock() += fetch.partitions.len();
        let caller = Caller {
            id: self.from,
            epoch: self.epoch,
            principal: "CN=test".into(),
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
        };
        let sessions = self.world.sessions.lock().get(&leader).cloned().ok_or_else(lost)?;
        let answered = tokio::time::timeout(patience, sessions.fetch(&caller, fetch)).await;
        let (fetched, parts) = answered.map_err(|_| lost())?;
        self.world.check(self.from, leader).map_err(|()| lost())?;
        let mut bytes = parts.iter().map(Part::read).collect::<Result<Vec<_>, _>>().map_err(|_| lost())?;
        if *self.world.corrupting.lock() == Some(leader)
            && let Some(last) = bytes.last_mut()
        {
            let mut flipped = last.to_vec();
            if let Some(byte) = flipped.last_mut() {
                *byte ^= 1;
            }
            *last = flipped.into();
        }
        let mut tail = Chunks::new();
        for part in bytes {
            tail.push(part);
        }
        fetched.check(&tail).expect("as many bytes as announced");
        Ok((fetched, tail))
    }
}

struct Yes {
    world: Arc<World>,
    broker: i32,
}

#[async_trait]
impl IsrChanges for Yes {
    fn image(&self) -> Arc<Image> {
        self.world.shown.load_full()
    }

    async fn alter(&self, proposals: Vec<ProposedIsr>) -> Result<Vec<Altered>, String> {
        self.world.check(self.broker, self.broker).map_err(|()| "cut off".to_owned())?;
        let answers = proposals.into_iter().map(|proposal| {
            let known = self.world.registration(proposal.index);
            if (known.leader_epoch, known.partition_epoch) != (proposal.leader_epoch, proposal.partition_epoch) {
                return Altered { outcome: Outcome::Unknown, why: Some("for another registration".to_owned()) };
            }
            let isr = proposal.isr.into_iter().map(|(member, _)| member).collect();
            let registration = self.world.register(proposal.index, PartitionRegistration { isr, ..known });
            Altered { outcome: Outcome::Accepted(registration), why: None }
        });
        Ok(answers.collect())
    }

    async fn give_up(&self, partitions: Vec<(Uuid, i32)>) -> Result<(), String> {
        self.world.check(self.broker, self.broker).map_err(|()| "cut off".to_owned())?;
        for (_, index) in partitions {
            let known = self.world.registration(index);
            let isr: Vec<i32> = known.isr.iter().copied().filter(|member| *member != self.broker).collect();
            let moves = known.leader == self.broker;
            let leader = if moves { isr[0] } else { known.leader };
            let leader_epoch = known.leader_epoch + i32::from(moves);
            self.world.register(index, PartitionRegistration { leader, leader_epoch, isr, ..known });
        }
        Ok(())
    }
}

impl World {
    fn check(&self, a: i32, b: i32) -> Result<(), ()> {
        if self.cut.lock().contains(&(a.min(b), a.max(b))) { Err(()) } else { Ok(()) }
    }

    pub(super) fn registration(&self, index: i32) -> PartitionRegistration {
        let image = self.image.lock();
        image.topic_by_id(TOPIC).expect("the topic").partitions[usize::try_from(index).expect("an index")].clone()
    }

    /// Writes down what is to be known of a partition, and shows it to everybody.
    fn register(&self, index: i32, registration: PartitionRegistration) -> PartitionRegistration {
        let partition_epoch = registration.partition_epoch + 1;
        let registration = PartitionRegistration { partition_epoch, ..registration };
        let partitions = vec![(index, registration.clone())];
        self.write(&MetadataRecord::Partitions { topic: TOPIC, partitions });
        registration
    }

    fn write(&self, record: &MetadataRecord) {
        let mut image = self.image.lock();
        image.replay(record).expect("a record that fits");
        self.shown.store(Arc::new(image.clone()));
        self.changed.send_modify(|entries| *entries += 1);
    }
}

impl Cluster {
    /// As many brokers, from 1 on, and a topic of theirs.
    pub(super) fn new(brokers: i32, flush_mode: FlushMode, partitions: &[&[i32]]) -> Self {
        Self::throttled(brokers, flush_mode, partitions, UNBOUNDED)
    }

    /// The same, where what is not in sync is copied at these rates.
    pub(super) fn throttled(brokers: i32, flush_mode: FlushMode, partitions: &[&[i32]], rates: Rates) -> Self {
        let world = Arc::new(World {
            image: Mutex::default(),
            shown: ArcSwap::default(),
            changed: watch::Sender::new(0),
            sessions: Mutex::default(),
            cut: Mutex::default(),
            corrupting: Mutex::default(),
            named: Mutex::default(),
        });
        world.write(&MetadataRecord::Cluster { cluster_id: "test".to_owned() });
        let config = PartitionConfig {
            log: LogConfig {
                segment_bytes: 1 << 20,
                segment_ms: i64::MAX,
                retention_bytes: None,
                retention_ms: None,
                index_interval_bytes: 4096,
                flush_mode,
                producer_id_expiration_ms: i64::MAX,
            },
            max_message_bytes: 1 << 20,
            message_timestamp_type: TimestampType::CreateTime,
            leader: LeaderRules { min_insync_replicas: 2, replica_lag_time_max_ms: LAG_MS },
            throttled: Throttled { leader: ThrottledReplicas::All, follower: ThrottledReplicas::All },
        };
        let mut cluster = Self { world, nodes: BTreeMap::new(), config, rates };
        for id in 1..=brokers {
            cluster.start(id, MemDisk::new(), 1);
        }
        let configs = BTreeMap::new();
        let topic = MetadataRecord::Topic { id: TOPIC, name: "orders".to_owned(), internal: false, configs };
        cluster.world.write(&topic);
        let partitions =
            (0..).zip(partitions).map(|(index, replicas)| (index, PartitionRegistration::new(replicas.to_vec())));
        cluster.world.write(&MetadataRecord::Partitions { topic: TOPIC, partitions: partitions.collect() });
        cluster
    }

    /// Starts a broker in its `epoch`-th life.
    pub(super) fn start(&mut self, id: i32, disk: MemDisk, epoch: i64) {
        let options = LogDirOptions { disk: Arc::new(disk.clone()), checkpoint_interval: None, on_sync: None };
        let mut ids = 0;
        let new_id = || {
            ids += 1;
            Uuid([id.unsigned_abs() as u8 * 16 + ids; 16])
        };
        let paths = ["/data-a", "/data-b"].map(PathBuf::from);
        let locked = LockedLogDirs::lock(&paths, &options, new_id).expect("data folders");
        let (uuid, clean) = (locked.uuid(), locked.was_clean());
        let failures = Arc::new(Failures::default());
        let (dirs, _) = locked.open("test", id, failures.listener()).expect("data folders");
        let fetching = FetcherConfig {
            wait_max: Duration::from_millis(200),
            partition_bytes_max: 4 << 10,
            response_bytes_max: 256 << 10,
            answer_timeout: Duration::from_secs(5),
            now_ms: || 0,
        };
        let wire = Wire { from: id, epoch, world: Arc::clone(&self.world) };
        let proposals = Arc::new(Proposals::default());
        let (world, config, rates) = (Arc::clone(&self.world), self.config.clone(), self.rates);
        let manager = Manager::new(
            ManagerConfig {
                node_id: id,
                image: Box::new(move || world.shown.load_full()),
                resolve: Box::new(move |_| config.clone()),
                rates: Box::new(move |_| rates),
                append_times: Durations::default(),
                now_ms: || 0,
            },
            dirs,
            Arc::new(GateMarks::default()),
            Fetchers::new(fetching, Arc::new(wire), Arc::new(Throttles::new(rates))),
            Arc::clone(&proposals),
        );
        manager.open_all(&self.world.shown.load()).expect("logs that open");
        self.world.write(&MetadataRecord::BrokerRegistered(BrokerRecord {
            id,
            uuid,
            epoch,
            endpoints: Vec::new(),
            rack: None,
            clean,
            fenced: false,
        }));
        self.world.sessions.lock().insert(id, Arc::new(ReplicaSessions::new(Arc::clone(&manager))));
        manager.begin();
        let yes = Arc::new(Yes { world: Arc::clone(&self.world), broker: id });
        let every = Duration::from_millis(LAG_MS.unsigned_abs() / 4);
        let tasks = vec![
            tokio::spawn(Arc::clone(&manager).follow(self.world.changed.subscribe())),
            tokio::spawn(Arc::clone(&failures).run(Arc::clone(&manager), yes.clone(), self.world.changed.subscribe())),
            tokio::spawn(proposals.run(Arc::clone(&manager), yes, Arc::new(Metrics::new()), every)),
        ];
        self.nodes.insert(id, Node { manager, disk, failures, tasks });
    }

    /// A fetch as a broker in its first life could send it, whatever is cut.
    pub(super) async fn ask(&self, from: i32, leader: i32, fetch: ReplicaFetch) -> ReplicaFetched {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let caller = Caller { id: from, epoch: 1, principal: "CN=test".into(), address };
        let sessions = self.world.sessions.lock().get(&leader).cloned().expect("the leader runs");
        sessions.fetch(&caller, fetch).await.0
    }

    /// Ends a broker as a kill does; its disk stays.
    pub(super) fn kill(&mut self, id: i32) -> MemDisk {
        self.world.sessions.lock().remove(&id);
        let node = self.nodes.remove(&id).expect("a broker that runs");
        node.disk.clone()
    }

    /// From now on these two do not hear each other; a broker and itself: it does not reach the controller.
    pub(super) fn cut(&self, a: i32, b: i32) {
        self.world.cut.lock().insert((a.min(b), a.max(b)));
    }

    pub(super) fn heal(&self) {
        self.world.cut.lock().clear();
    }

    pub(super) fn corrupt(&self, leader: Option<i32>) {
        *self.world.corrupting.lock() = leader;
    }

    /// Has another lead, with this ISR.
    pub(super) fn elect(&self, index: i32, leader: i32, isr: &[i32]) {
        let known = self.world.registration(index);
        let leader_epoch = known.leader_epoch + 1;
        self.world.register(index, PartitionRegistration { leader, leader_epoch, isr: isr.to_vec(), ..known });
    }

    /// Gives a partition other replicas.
    pub(super) fn reassign(&self, index: i32, replicas: &[i32], isr: &[i32]) {
        let known = self.world.registration(index);
        let leader_epoch = known.leader_epoch + 1;
        let (replicas, isr) = (replicas.to_vec(), isr.to_vec());
        self.world.register(index, PartitionRegistration { replicas, isr, leader_epoch, ..known });
    }

    /// A broker's replica, once it is open.
    pub(super) async fn replica(&self, id: i32, index: i32) -> Arc<Partition> {
        let manager = &self.nodes[&id].manager;
        let key = PartitionId { topic: TOPIC, index };
        eventually("the replica is open", || manager.find(key).is_some()).await;
        manager.find(key).expect("it is open")
    }

    /// The leader, once it knows that it leads.
    pub(super) async fn leader(&self, index: i32) -> Arc<Partition> {
        let registration = self.world.registration(index);
        let replica = self.replica(registration.leader, index).await;
        eventually("the leader leads", || replica.leads() && replica.leader_epoch() == registration.leader_epoch).await;
        replica
    }

    /// Waits until the replicas of a partition hold the same, byte for byte, and know that all of it is committed.
    pub(super) async fn converged(&self, index: i32) -> Vec<u8> {
        let leader = self.leader(index).await;
        let end = leader.reader().log_end_offset();
        let expected = content(&leader);
        for id in self.world.registration(index).replicas {
            let replica = self.replica(id, index).await;
            eventually(&format!("broker {id} knows {end} to be committed"), || replica.high_watermark() == end).await;
            assert_eq!(content(&replica), expected, "broker {id} holds what its leader holds");
        }
        expected
    }
}

/// Everything in a log.
fn content(partition: &Partition) -> Vec<u8> {
    let reader = partition.reader();
    let slice = reader.read(reader.log_start_offset(), usize::MAX, i64::MAX, true).expect("it reads");
    let ranges = slice.parts.iter().map(|range| range.read().expect("it reads"));
    ranges.flat_map(|bytes| bytes.to_vec()).collect()
}

/// One record with this value.
pub(super) fn batch(value: &str) -> Batch {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.push(0, None::<&[u8]>, Some(value.as_bytes()), std::iter::empty::<(&str, Option<&[u8]>)>());
    batch.build_batch()
}

/// Appends a record to a leader, and says where it ends and how to wait for it.
pub(super) fn append(
    leader: &Partition,
    value: &str,
) -> (i64, tokio::sync::oneshot::Receiver<Result<(), NotCommitted>>) {
    let placed = leader.append(&batch(value), Passed::NoGate, 0).expect("it is appended");
    let Appended::New { log_end, .. } = placed.at else { panic!("it is new") };
    (log_end, leader.waiters().committed(log_end, placed.leader_epoch))
}

/// Appends a record and waits for its acknowledgement.
pub(super) async fn commit(leader: &Partition, value: &str) -> i64 {
    let (end, committed) = append(leader, value);
    let answer = tokio::time::timeout(PATIENCE, committed).await.expect("an answer in time").expect("an answer");
    assert_eq!(answer, Ok(()), "{value} is committed");
    end
}

/// Waits until something is so.
pub(super) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < until, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
