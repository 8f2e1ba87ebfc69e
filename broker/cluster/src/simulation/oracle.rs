//! What must be so at every moment, seen from outside: it knows every batch that was ever stored anywhere, everything that was
//! ever committed, promised or shown, every leader there was, and the metadata log as it truly is. The first thing that is not as
//! it must be ends the run.

mod partition;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sluice_protocol::Uuid;

use super::disk::{Batch, Key, Log};
use super::executor::Owner;
use super::happened::Happened;
use super::world::World;
use super::zookeeper::Effect;
use crate::PartitionRegistration;
use crate::metadata::batch::Entry;
use crate::metadata::{Image, snapshot};
use crate::partition::ProposedIsr;
use partition::PartitionTruth;

/// What was not as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Property {
    LeaderCompleteness,
    /// An operator is needed though too few brokers failed for that.
    NobodyEligible,
    CandidateCompleteness,
    LogMatching,
    CommittedTwice,
    AcknowledgedUncommitted,
    Duplicate,
    ShownUncommitted,
    Vanished,
    LatestWentBack,
    OneLeaderAnEpoch,
    ImagesEqual,
    OldController,
    WriteTooLarge,
    /// Something was decided on a metadata log that went back, or somebody halted without that.
    WentOn,
    /// A replica's high watermark is where its log has nothing.
    WatermarkOutsideLog,
    /// An assertion of the code under test.
    Panic,
    /// Who is let into an ISR is a replica that is counted on.
    InSync,
    /// Evidence fences only a life that is over.
    FencedAlive,
    /// After everything was healed.
    Progress,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) property: Property,
    pub(super) what: String,
}

#[derive(Default)]
pub(super) struct Oracle {
    state: RefCell<State>,
    violation: RefCell<Option<Violation>>,
    counts: Counts,
}

#[derive(Default)]
struct State {
    image: Image,
    /// By the number of the next entry.
    images: BTreeMap<u64, Image>,
    controller_epoch: i32,
    partitions: BTreeMap<Key, PartitionTruth>,
    names: BTreeMap<Uuid, String>,
}

/// What a run had, so that it can be said how much was tested.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) committed: Cell<u64>,
    pub(super) acknowledged: Cell<u64>,
    pub(super) read: Cell<u64>,
    pub(super) elections: Cell<u64>,
    pub(super) entries: Cell<u64>,
    pub(super) losses: Cell<u64>,
}

/// A leader: the broker and the life of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reign {
    pub(super) broker: i32,
    pub(super) life: Owner,
    pub(super) epoch: i32,
}

impl Oracle {
    pub(super) fn violation(&self) -> Option<Violation> {
        self.violation.borrow().clone()
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The metadata as it truly is.
    pub(super) fn image(&self) -> Image {
        self.state.borrow().image.clone()
    }

    /// Something is not as it must be.
    pub(super) fn fail(&self, world: &World, property: Property, what: fmt::Arguments<'_>) {
        note!(world, "VIOLATION {property:?}: {what}");
        self.violation.borrow_mut().get_or_insert_with(|| Violation { property, what: what.to_string() });
        world.executor.stop();
    }

    /// So many bytes are written to a node.
    pub(super) fn on_write(&self, world: &World, bytes: usize) {
        if bytes > NODE_BYTES_MAX {
            self.fail(world, Property::WriteTooLarge, format_args!("{bytes} bytes in one write"));
        }
    }

    /// The ensemble changed.
    pub(super) fn on_transaction(&self, world: &World, effects: &[Effect]) {
        for effect in effects {
            let Effect::Put { path, node } = effect else { continue };
            if path == CONTROLLER_EPOCH {
                let epoch = std::str::from_utf8(&node.data).ok().and_then(|text| text.parse().ok());
                self.state.borrow_mut().controller_epoch = epoch.expect("a number");
            } else if path.starts_with(LOG_PREFIX) {
                self.on_entry(world, &node.data);
            }
        }
    }

    fn on_entry(&self, world: &World, bytes: &[u8]) {
        Counts::add(&self.counts.entries, 1);
        if world.is_restored() {
            self.fail(world, Property::WentOn, format_args!("an entry is added to a log that went back"));
            return;
        }
        let state = &mut *self.state.borrow_mut();
        let entry = Entry::decode(bytes).expect("an entry, as it was written");
        note!(
            world,
            "entry {} of controller epoch {}: {}",
            state.image.next_seq(),
            entry.controller_epoch,
            Briefly(&entry)
        );
        if entry.controller_epoch != state.controller_epoch {
            let (found, current) = (entry.controller_epoch, state.controller_epoch);
            self.fail(
                world,
                Property::OldController,
                format_args!("written in epoch {found}, the seat is in {current}"),
            );
        }
        let before = state.image.clone();
        match state.image.after(bytes) {
            Ok(image) => state.image = image,
            Err(error) => {
                self.fail(world, Property::ImagesEqual, format_args!("the log can't be replayed: {error}"));
                return;
            }
        }
        if state.image.next_seq().is_multiple_of(SNAPSHOT_EVERY) {
            let again = snapshot::decode(&snapshot::encode(&state.image));
            if again.as_ref() != Ok(&state.image) {
                self.fail(world, Property::ImagesEqual, format_args!("a snapshot gives another image: {again:?}"));
            }
        }
        let mut counted = BTreeSet::new();
        for broker in state.image.serving() {
            world.with_running(broker.id, |epoch, _| {
                if epoch == Some(broker.epoch) {
                    counted.insert(broker.id);
                }
            });
        }
        let is_counted_on = |key: &Key, id: i32| counted.contains(&id) && !world.is_offline(id, key);
        for topic in state.image.topics() {
            let setup = world.setup.topic(&topic.name);
            state.names.entry(topic.id).or_insert_with(|| topic.name.clone());
            for (index, at) in (0..).zip(&topic.partitions) {
                let fresh = || PartitionTruth::made(setup.min_insync_replicas, at, |id| counted.contains(&id));
                state.partitions.entry((topic.id, index)).or_insert_with(fresh);
            }
        }
        for (key, truth) in &mut state.partitions {
            if let Some(registration) = registration(&state.image, *key) {
                truth.losses.on_registration(registration, |id| is_counted_on(key, id));
                if registration.isr.is_empty() && registration.elr.is_empty() && !truth.losses.nobody_may_be_eligible {
                    self.fail(world, Property::NobodyEligible, format_args!("{}: {registration:?}", Name(*key)));
                }
            }
        }
        // Record by record: several decisions may be in one entry, and who joins by the first may be about to end by the next.
        let mut image = before.clone();
        for record in &entry.records {
            let known = image.clone();
            image.replay(record).expect("it was replayed above");
            self.check_in_sync(world, &known, &image);
        }
        for topic in before.topics().filter(|topic| state.image.topic_by_id(topic.id).is_none()) {
            let is_away = |id: &i32| world.process(*id).is_none();
            if topic.partitions.iter().flat_map(|partition| &partition.replicas).any(is_away) {
                world.tally.count(Happened::DeletedWithBrokerAway);
            }
        }
        let image = state.image.clone();
        state.images.insert(image.next_seq(), image);
        self.check_candidates(world, state);
    }

    /// A broker has replayed the log so far.
    pub(super) fn on_image(&self, world: &World, broker: i32, image: &Image) {
        let state = self.state.borrow();
        if state.images.get(&image.next_seq()).is_some_and(|known| known != image) {
            let seq = image.next_seq();
            self.fail(
                world,
                Property::ImagesEqual,
                format_args!("broker {broker} has another image before entry {seq}"),
            );
        }
    }

    /// A reign begins.
    pub(super) fn on_leader(&self, world: &World, key: Key, reign: Reign, log: &Log) {
        Counts::add(&self.counts.elections, 1);
        let state = &mut *self.state.borrow_mut();
        let Some(truth) = state.partitions.get_mut(&key) else { return };
        note!(world, "broker {} leads {} in epoch {} from {}", reign.broker, Name(key), reign.epoch, log.end());
        if let Err(what) = truth.begin(reign) {
            self.fail(world, Property::OneLeaderAnEpoch, format_args!("{}: {what}", Name(key)));
        }
        // One that replays late leads for a while in a reign that is over. It was complete when that began, and commits nothing now.
        let is_current = registration(&state.image, key).is_some_and(|it| it.leader_epoch == reign.epoch);
        if let Err(what) = truth.check_complete(log).or_else(|what| if is_current { Err(what) } else { Ok(()) }) {
            self.fail(
                world,
                Property::LeaderCompleteness,
                format_args!("{} led by {}: {what}", Name(key), reign.broker),
            );
        }
    }

    /// A replica stored a batch, behind what it has.
    pub(super) fn on_stored(&self, world: &World, key: Key, broker: i32, before: Option<Batch>, batch: Batch) {
        let state = &mut *self.state.borrow_mut();
        let Some(truth) = state.partitions.get_mut(&key) else { return };
        if let Err(what) = truth.store(before, batch) {
            self.fail(world, Property::LogMatching, format_args!("{} on broker {broker}: {what}", Name(key)));
        }
    }

    /// A leader's high watermark moved.
    pub(super) fn on_committed(&self, world: &World, key: Key, reign: Reign, log: &Log, high_watermark: i64) {
        let state = &mut *self.state.borrow_mut();
        let Some(truth) = state.partitions.get_mut(&key) else { return };
        match truth.commit(reign, log, high_watermark) {
            Ok(batches) => Counts::add(&self.counts.committed, batches),
            Err((property, what)) => {
                self.fail(world, property, format_args!("{} led by {}: {what}", Name(key), reign.broker));
            }
        }
        self.check_candidates_of(world, &state.image, key, truth);
    }

    /// A leader's log begins later: retention.
    pub(super) fn on_start_raised(&self, key: Key, start: i64) {
        if let Some(truth) = self.state.borrow_mut().partitions.get_mut(&key) {
            truth.start = truth.start.max(start);
        }
    }

    /// A producer that waits for all is told that its batch is stored.
    pub(super) fn on_acknowledged(&self, world: &World, key: Key, batch: Batch) {
        Counts::add(&self.counts.acknowledged, 1);
        let state = self.state.borrow();
        if state.partitions.get(&key).is_some_and(|truth| !truth.is_committed(batch)) {
            self.fail(world, Property::AcknowledgedUncommitted, format_args!("{} of {}", Value(batch), Name(key)));
        }
    }

    /// A reader at `position` is shown batches, by the leader of that epoch whose log ends at `log_end`, or by a follower, which
    /// may be behind, as may a leader that has been replaced.
    pub(super) fn on_read(&self, world: &World, key: Key, position: i64, batches: &[Batch], led: Option<(i32, i64)>) {
        Counts::add(&self.counts.read, batches.len() as u64);
        let state = &mut *self.state.borrow_mut();
        let Some(truth) = state.partitions.get_mut(&key) else { return };
        let current = led.filter(|(epoch, _)| truth.is_latest(*epoch));
        if let Some((_, log_end)) = current.filter(|(_, log_end)| *log_end < position && !truth.is_forgiven()) {
            let what = format_args!("{}: a reader has read up to {position}, the log ends at {log_end}", Name(key));
            self.fail(world, Property::Vanished, what);
        }
        if let Some(batch) = batches.iter().find(|batch| !truth.is_committed(**batch)) {
            self.fail(world, Property::ShownUncommitted, format_args!("{} of {}", Value(*batch), Name(key)));
        }
        truth.read_end = batches.last().map_or(truth.read_end, |batch| batch.end.max(truth.read_end));
    }

    /// Where a partition ends, says its leader of that epoch.
    pub(super) fn on_latest(&self, world: &World, key: Key, epoch: i32, latest: i64) {
        let state = self.state.borrow();
        let Some(truth) = state.partitions.get(&key) else { return };
        if truth.is_latest(epoch) && latest < truth.read_end && !truth.is_forgiven() {
            let what = format_args!("{}: latest is {latest}, {} was read before", Name(key), truth.read_end);
            self.fail(world, Property::LatestWentBack, what);
        }
    }

    /// Every topic there ever was under that name.
    pub(super) fn topic_ids(&self, name: &str) -> Vec<Uuid> {
        self.state.borrow().names.iter().filter(|(_, known)| *known == name).map(|(id, _)| *id).collect()
    }

    /// Whether a broker may lose what it has written without more being lost than replication promises to survive.
    pub(super) fn may_lose(&self, broker: i32, affects: impl Fn(Key) -> bool) -> bool {
        let state = self.state.borrow();
        state.partitions.iter().filter(|(key, _)| affects(**key)).all(|(key, truth)| {
            registration(&state.image, *key).is_none_or(|registration| {
                !registration.replicas.contains(&broker) || truth.losses.may_lose(broker, own_replicas(registration))
            })
        })
    }

    /// A broker lost something it had written. Beyond what replication survives, its partitions are forgiven.
    pub(super) fn on_lost(&self, broker: i32, key: Key) {
        Counts::add(&self.counts.losses, 1);
        let state = &mut *self.state.borrow_mut();
        if let Some(truth) = state.partitions.get_mut(&key) {
            truth.losses.lose(broker, registration(&state.image, key).map_or(0, own_replicas));
        }
    }

    /// A broker's process ended so that it may have lost something of its replicas, or of those of them that `affects` names.
    pub(super) fn on_unclean(&self, broker: i32, affects: impl Fn(&Key, &str) -> bool) {
        let state = &mut *self.state.borrow_mut();
        for (key, truth) in &mut state.partitions {
            let Some(registration) = registration(&state.image, *key) else { continue };
            let affected = state.names.get(&key.0).is_some_and(|name| affects(key, name));
            if affected && registration.replicas.contains(&broker) {
                truth.losses.on_unclean(broker, own_replicas(registration));
            }
        }
    }

    pub(super) fn is_forgiven(&self, key: Key) -> bool {
        self.state.borrow().partitions.get(&key).is_some_and(PartitionTruth::is_forgiven)
    }

    /// Who joins an ISR is a replica, and neither fenced nor about to end.
    fn check_in_sync(&self, world: &World, before: &Image, after: &Image) {
        for topic in after.topics() {
            for (index, at) in (0..).zip(&topic.partitions) {
                let known = registration(before, (topic.id, index));
                let joins = |id: &&i32| known.is_some_and(|known| !known.isr.contains(id));
                let wrong = |id: &&i32| !at.replicas.contains(id) || joins(id) && !after.is_active(**id);
                if let Some(member) = at.isr.iter().find(wrong) {
                    let what = format_args!("{}: broker {member} is in {at:?}", Name((topic.id, index)));
                    self.fail(world, Property::InSync, what);
                }
            }
        }
    }

    /// A controller that knows `image` has granted an ISR. Whoever joins by it is in the life that caught up.
    pub(super) fn on_granted(&self, world: &World, image: &Image, proposal: &ProposedIsr) {
        let key = (proposal.topic, proposal.index);
        let Some(known) = registration(image, key) else { return };
        let is_over = |id: i32, epoch: i64| image.broker(id).is_none_or(|broker| broker.epoch != epoch);
        let joins = proposal.isr.iter().filter(|(id, _)| !known.isr.contains(id));
        if let Some((id, epoch)) = joins.copied().find(|(id, epoch)| is_over(*id, *epoch)) {
            let what = format_args!("{}: broker {id} joins for a life that is over, epoch {epoch}", Name(key));
            self.fail(world, Property::InSync, what);
        }
    }

    /// A controller has fenced a life of a broker because its process is gone.
    pub(super) fn on_evidence(&self, world: &World, broker: i32, fenced: i64) {
        world.with_running(broker, |epoch, _| {
            if epoch == Some(fenced) {
                self.fail(world, Property::FencedAlive, format_args!("broker {broker}, epoch {fenced}"));
            }
        });
    }

    fn check_candidates(&self, world: &World, state: &State) {
        for (key, truth) in &state.partitions {
            self.check_candidates_of(world, &state.image, *key, truth);
        }
    }

    /// Whoever may be elected holds all that is committed, as far as the registration is of the life that is running.
    fn check_candidates_of(&self, world: &World, image: &Image, key: Key, truth: &PartitionTruth) {
        let Some(registration) = registration(image, key) else { return };
        for member in registration.isr.iter().chain(&registration.elr) {
            let registered = image.broker(*member).map(|broker| broker.epoch);
            world.with_running(*member, |epoch, disk| {
                if epoch.is_none() || epoch != registered {
                    return;
                }
                let Some(log) = disk.logs.get(&key) else { return };
                if let Err(what) = truth.check_complete(log) {
                    let what = format_args!("{}: broker {member} may be elected, and {what}", Name(key));
                    self.fail(world, Property::CandidateCompleteness, what);
                }
            });
        }
    }
}

impl Counts {
    fn add(count: &Cell<u64>, more: u64) {
        count.set(count.get() + more);
    }
}

/// The registration of a partition.
pub(super) fn registration(image: &Image, key: Key) -> Option<&PartitionRegistration> {
    image.topic_by_id(key.0)?.partitions.get(usize::try_from(key.1).ok()?)
}

/// How many replicas a partition has, without those that a reassignment is adding: nothing is promised of them yet.
fn own_replicas(registration: &PartitionRegistration) -> usize {
    registration.replicas.iter().filter(|replica| !registration.adding.contains(replica)).count()
}

/// A partition, for a reader of a trace.
pub(super) struct Name(pub(super) Key);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}/{}", self.0.0.0[0], self.0.0.0[1], self.0.1)
    }
}

/// A batch, for a reader of a trace.
pub(super) struct Value(pub(super) Batch);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Batch { base, end, epoch, producer, sequence, .. } = self.0;
        write!(f, "[{base}..{end} epoch {epoch}, producer {producer} #{sequence}]")
    }
}

/// An entry of the metadata log, for a reader of a trace.
struct Briefly<'a>(&'a Entry);

impl fmt::Display for Briefly<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::MetadataRecord;
        for record in &self.0.records {
            match record {
                MetadataRecord::Partitions { topic, partitions } => {
                    for (index, at) in partitions {
                        let (replicas, isr, elr) = (&at.replicas, &at.isr, &at.elr);
                        write!(
                            f,
                            "{} leader {} epoch {}.{} ",
                            Name((*topic, *index)),
                            at.leader,
                            at.leader_epoch,
                            at.partition_epoch
                        )?;
                        write!(f, "replicas {replicas:?} isr {isr:?} elr {elr:?}; ")?;
                    }
                }
                MetadataRecord::BrokerRegistered(broker) => {
                    let how = if broker.clean { "clean" } else { "unclean" };
                    write!(f, "broker {} registered, epoch {}, {how}; ", broker.id, broker.epoch)?;
                }
                other => write!(f, "{other:?}; ")?,
            }
        }
        Ok(())
    }
}

pub(super) const CONTROLLER_EPOCH: &str = "/controller_epoch";
pub(super) const LOG_PREFIX: &str = "/meta/log/";

/// As the broker's coordinator.
const NODE_BYTES_MAX: usize = 512 << 10;

/// Entries between two looks at a snapshot.
const SNAPSHOT_EVERY: u64 = 16;
