//! A reign: decide by the real changes on the image, append to the metadata log, replay, answer. Nothing is true before it is in
//! the log; when it is not known whether an entry is there, the log is asked; in doubt the seat is given up.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::happened::Happened;
use super::super::messages::{Answered, Asked};
use super::super::oracle::CONTROLLER_EPOCH;
use super::super::sync::{First, Sender, oneshot, race};
use super::super::zookeeper::Change as Write;
use super::super::zookeeper::session::{Session, Standing, Unavailable, WriteError};
use super::membership::{BROKER_IDS, META_HEAD, Presence, catch_up, entry};
use super::seat::{Seat, gone};
use super::{Pending, Process, snapshots};
use crate::Image;
use crate::decide::{
    AdvanceReassignments, Change, ConfigRules, ElectLeaders, ElectionKind, FenceAbsent, FenceBroker, Given,
    RegisterBroker, TakeSeat, leaders_to_return,
};
use crate::metadata::batch::{Entry, Head};
use crate::metadata::{FeatureLevels, MetadataRecord};
use crate::planted::{Bug, planted};
use sluice_protocol::Uuid;

pub(in super::super) const CLUSTER_ID: &str = "simulated";

/// An append whose outcome is unknown is sent again this often.
const APPEND_TRIES: usize = 4;
/// A change waits for its entry so long at most; then whoever asked no longer knows.
const ANSWER_MS: i64 = 1_500;

/// `leader.imbalance.per.broker.percentage`.
const IMBALANCE_PERCENTAGE: u32 = 10;

/// Why a reign is over.
struct Over;

struct Reign<'a> {
    process: &'a Rc<Process>,
    session: &'a Session,
    seat: Seat,
    head: Head,
    head_version: i32,
}

/// Asks the controller here, if it is.
pub(super) async fn submit_here(process: &Rc<Process>, asked: Asked) -> Answered {
    if !process.reigns.get() {
        return Answered::NotController;
    }
    let (answer, answered) = oneshot();
    process.changes.borrow_mut().push_back(Pending { asked, answer });
    process.asked.raise();
    match race(answered, process.world.executor.sleep(ANSWER_MS)).await {
        First::Left(Some(answered)) => answered,
        First::Left(None) | First::Right(_) => Answered::Unknown,
    }
}

/// Until it is over.
pub(super) async fn reign(process: &Rc<Process>, session: &Session, seat: Seat) {
    let Ok(head) = catch_up(process, session).await else { return };
    let Ok(Some(node)) = session.read(META_HEAD).await else { return };
    if Head::decode(&node.data) != Ok(head) {
        return;
    }
    let mut reign = Reign { process, session, seat, head, head_version: node.version };
    let take = TakeSeat {
        id: process.id,
        epoch: seat.epoch,
        cluster_id: CLUSTER_ID.to_owned(),
        features: FeatureLevels::OURS,
    };
    if reign.change(&take).await.is_err() {
        return;
    }
    process.reigns.set(true);
    let _: First<_, _> = race(session.doubtful(), race(look_after(process), reign.go_on())).await;
    process.reigns.set(false);
    // Whoever waits is not answered any more: what was asked may be in the log.
    process.changes.borrow_mut().clear();
}

/// What a controller does unasked, from time to time: reassignments go on, leaders return to the first replicas.
async fn look_after(process: &Rc<Process>) {
    let world = &process.world;
    loop {
        process.sleep(world.setup.look_after_ms).await;
        let image = process.image();
        if AdvanceReassignments::is_needed(&image) {
            world.tally.count(Happened::ReassignmentsAdvanced);
            submit_here(process, Asked::Advance(AdvanceReassignments::default())).await;
        }
        let returning = leaders_to_return(&image, IMBALANCE_PERCENTAGE);
        if world.setup.leaders_return && !returning.is_empty() {
            world.tally.count(Happened::LeadersReturned);
            let elect = ElectLeaders { kind: ElectionKind::Preferred, partitions: Some(returning) };
            submit_here(process, Asked::Elect(elect)).await;
        }
    }
}

impl Reign<'_> {
    async fn go_on(&mut self) {
        while self.once().await.is_ok() {}
    }

    /// Looks at who is there, then decides what is asked until that changes.
    async fn once(&mut self) -> Result<(), Over> {
        self.session.sync().await.map_err(|Unavailable| Over)?;
        let (names, changed) = self.session.children_and_watch(BROKER_IDS).await.map_err(|Unavailable| Over)?;
        let mut present = BTreeMap::new();
        for name in names {
            let path = format!("{BROKER_IDS}/{name}");
            if let Some(node) = self.session.read(&path).await.map_err(|Unavailable| Over)? {
                let id: i32 = name.parse().expect("a broker's id");
                present.insert(id, (node.created, Presence::decode(&node.data)));
            }
        }
        let epochs = present.iter().map(|(id, (epoch, _))| (*id, *epoch)).collect();
        self.change(&FenceAbsent { present: epochs }).await?;
        for (id, (epoch, Presence { uuid, clean })) in present {
            if self.process.image.borrow().broker(id).is_none_or(|known| known.epoch != epoch) {
                self.register(id, epoch, uuid, clean).await?;
            }
        }
        self.watch_processes();
        let mut changed = std::pin::pin!(changed);
        loop {
            let seen = self.process.asked.seen();
            self.decide_asked().await?;
            if let First::Left(_) = race(changed.as_mut(), self.process.asked.after(seen)).await {
                return Ok(());
            }
        }
    }

    async fn register(&mut self, id: i32, epoch: i64, uuid: Uuid, clean: bool) -> Result<(), Over> {
        let register =
            RegisterBroker { id, uuid, epoch, endpoints: Vec::new(), rack: None, clean, features: FeatureLevels::OURS };
        self.change(&register).await
    }

    /// A broker whose process is gone is fenced before its session ends.
    fn watch_processes(&self) {
        let image = self.process.image.borrow().clone();
        for broker in image.brokers().filter(|broker| !broker.fenced && broker.id != self.process.id) {
            let (process, id, epoch, seat) = (Rc::clone(self.process), broker.id, broker.epoch, self.seat.epoch);
            // One watcher a life: it ends with it, and what it says of an earlier life is ignored.
            if !process.world.watched(process.owner, seat, id, epoch) {
                continue;
            }
            self.process.world.executor.spawn(self.process.owner, async move {
                gone(&process, id).await;
                if process.reigns.get() {
                    note!(process.world, "broker {} sees that broker {id} is gone", process.id);
                    let fence = FenceBroker { id, epoch, why: "connection reset, listener refuses".to_owned() };
                    submit_here(&process, Asked::Fence(fence)).await;
                }
            });
        }
    }

    /// Changes that wait go into one entry, each decided on what those before it leave.
    async fn decide_asked(&mut self) -> Result<(), Over> {
        loop {
            let mut answers: Vec<(Sender<Answered>, Answered)> = Vec::new();
            let mut records = Vec::new();
            let mut may_split = false;
            let mut image = self.process.image();
            while answers.len() < self.process.world.setup.entry_changes && !may_split {
                let Some(Pending { asked, answer }) = self.process.changes.borrow_mut().pop_front() else { break };
                let (decided, split, answered) = decide(self.process, &image, &asked);
                note!(self.process.world, "controller {}: {asked:?} is {answered:?}", self.process.id);
                if let Asked::Fence(_) = asked {
                    self.tell_of_evidence(&decided);
                }
                if let (Asked::AlterPartition(change), Answered::Altered(results)) = (&asked, &answered) {
                    for (proposal, _) in change.partitions.iter().zip(results).filter(|(_, result)| result.is_ok()) {
                        self.process.world.oracle.on_granted(&self.process.world, &image, proposal);
                    }
                }
                decided.iter().for_each(|record| image.replay(record).expect("what was decided fits"));
                may_split = split && records.is_empty();
                records.extend(decided);
                answers.push((answer, answered));
            }
            if answers.is_empty() {
                return Ok(());
            }
            self.append_all(records, may_split).await?;
            answers.into_iter().for_each(|(answer, answered)| answer.send(answered));
        }
    }

    fn tell_of_evidence(&self, decided: &[MetadataRecord]) {
        let world = &self.process.world;
        for record in decided {
            if let MetadataRecord::BrokerFenced { id, epoch } = record {
                world.oracle.on_evidence(world, *id, *epoch);
            }
        }
    }

    /// Decides something of the controller's own. What is refused is no reason to resign: the log knows better.
    async fn change<C: Change>(&mut self, change: &C) -> Result<(), Over> {
        let image = self.process.image();
        match with_given(self.process, |given| change.decide(&image, given)) {
            Ok(decided) => self.append_all(decided.records, decided.may_split).await,
            Err(error) => {
                note!(self.process.world, "controller {}: refused: {error}", self.process.id);
                Ok(())
            }
        }
    }

    async fn append_all(&mut self, records: Vec<MetadataRecord>, may_split: bool) -> Result<(), Over> {
        let at_once = if may_split { self.process.world.setup.entry_records } else { records.len().max(1) };
        for records in records.chunks(at_once) {
            self.append(records.to_vec()).await?;
        }
        Ok(())
    }

    async fn append(&mut self, records: Vec<MetadataRecord>) -> Result<(), Over> {
        let image = self.process.image();
        let seq = image.next_seq();
        if self.head.next_seq != seq {
            return Err(Over);
        }
        let nonce = self.process.world.random.next();
        let entry = Entry { controller_epoch: self.seat.epoch, nonce, previous: image.hash(), records };
        let (bytes, hash) = entry.encode();
        let head = Head { next_seq: seq + 1, hash, ..self.head };
        self.write(seq, &bytes, head).await?;
        self.head = head;
        self.head_version += 1;
        self.process.replay(seq, &bytes);
        self.keep_snapshots().await
    }

    /// Now that the log has grown.
    async fn keep_snapshots(&mut self) -> Result<(), Over> {
        let (image, before) = (self.process.image(), self.head.snapshot);
        let grown = image.next_seq() - before.map_or(0, |at| at.next_seq);
        if self.process.world.setup.snapshot_every.is_none_or(|every| grown < every) {
            return Ok(());
        }
        let parts = 1 + self.process.world.random.below(3);
        let at = snapshots::write(self.session, self.seat, &image, parts).await.map_err(|_| Over)?;
        let head = Head { snapshot: Some(at), ..self.head };
        let names = vec![
            Write::Check { path: CONTROLLER_EPOCH.to_owned(), version: self.seat.epoch_version },
            Write::Set { path: META_HEAD.to_owned(), data: head.encode(), version: self.head_version },
        ];
        self.session.multi(names).await.map_err(|_| Over)?;
        (self.head, self.head_version) = (head, self.head_version + 1);
        note!(self.process.world, "the head names the snapshot before entry {}", at.next_seq);
        self.process.world.tally.count(Happened::SnapshotNamed);
        match before {
            Some(before) => snapshots::tidy(self.session, self.seat, before.next_seq).await.map_err(|Unavailable| Over),
            None => Ok(()),
        }
    }

    async fn write(&self, seq: u64, bytes: &[u8], head: Head) -> Result<(), Over> {
        let path = entry(seq);
        let mut writes = vec![
            Write::Check { path: CONTROLLER_EPOCH.to_owned(), version: self.seat.epoch_version },
            Write::Create { path: path.clone(), data: bytes.to_vec(), ephemeral: false },
            Write::Set { path: META_HEAD.to_owned(), data: head.encode(), version: self.head_version },
        ];
        if planted(Bug::ControllerEpochUnchecked) {
            writes.remove(0);
        }
        for _ in 0..APPEND_TRIES {
            let refused = match self.session.multi(writes.clone()).await {
                Ok(()) => return Ok(()),
                Err(WriteError::NotConnected) => return Err(Over),
                Err(WriteError::Refused(..)) => true,
                Err(WriteError::Unknown) => false,
            };
            // In doubt as long as the session is: another reign, perhaps ours, will see what is there.
            if self.session.standing() != Standing::Connected {
                return Err(Over);
            }
            self.session.sync().await.map_err(|Unavailable| Over)?;
            match self.session.read(&path).await.map_err(|Unavailable| Over)? {
                Some(node) if node.data == bytes => return Ok(()),
                Some(_) => return Err(Over),
                None if refused => return Err(Over),
                None => {}
            }
        }
        Err(Over)
    }
}

fn decide(process: &Process, image: &Image, asked: &Asked) -> (Vec<MetadataRecord>, bool, Answered) {
    match asked {
        Asked::AlterPartition(change) => decided(process, image, change, Answered::Altered),
        Asked::ShutDown(change) => decided(process, image, change, |answer| Answered::ShuttingDown {
            remaining_leaders: answer.remaining_leaders,
        }),
        Asked::Fence(change) => decided(process, image, change, |_| Answered::Done),
        Asked::CreateTopics(change) => decided(process, image, change, |_| Answered::Done),
        Asked::DeleteTopics(change) => decided(process, image, change, |_| Answered::Done),
        Asked::Reassign(change) => decided(process, image, change, |_| Answered::Done),
        Asked::Recover(change) => decided(process, image, change, |_| Answered::Done),
        Asked::Advance(change) => decided(process, image, change, |_| Answered::Done),
        Asked::Elect(change) => decided(process, image, change, |_| Answered::Done),
        Asked::Drain(change) => decided(process, image, change, |_| Answered::Done),
        Asked::Undrain(change) => decided(process, image, change, |_| Answered::Done),
        Asked::FailReplicas(change) => decided(process, image, change, |_| Answered::Done),
    }
}

fn decided<C: Change>(
    process: &Process,
    image: &Image,
    change: &C,
    answer: impl FnOnce(C::Answer) -> Answered,
) -> (Vec<MetadataRecord>, bool, Answered) {
    match with_given(process, |given| change.decide(image, given)) {
        Ok(decided) => (decided.records, decided.may_split, answer(decided.answer)),
        Err(error) => (Vec::new(), false, Answered::Refused(error.to_string())),
    }
}

fn with_given<T>(process: &Process, decide: impl FnOnce(&mut Given<'_>) -> T) -> T {
    let mut random = || process.world.random.bytes();
    decide(&mut Given { now_ms: process.now(), random: &mut random, configs: &Rules })
}

/// The configs that decisions ask for.
pub(in super::super) struct Rules;

impl ConfigRules for Rules {
    fn check(&self, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn check_broker(&self, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn list_default(&self, _: &str) -> Option<String> {
        None
    }

    fn value(&self, configs: &BTreeMap<String, String>, name: &str) -> Option<String> {
        configs.get(name).cloned()
    }
}
