//! What clients are served: produce on the leader, reads up to the high watermark on any replica, where a partition ends.

use std::rc::Rc;

use super::super::disk::{Batch, Key};
use super::super::messages::{NotServed, Produce, ProduceError, Reply};
use super::super::network::Connection;
use super::super::oracle::Name;
use super::super::sync::{First, race};
use super::super::zookeeper::session::Standing;
use super::Process;
use super::replicas::Role;

/// A produce request waits so long for its records to be stored by all.
const PRODUCE_MS: i64 = 1_200;
/// Batches in an answer to a reader.
const READ_BATCHES: usize = 8;

impl Process {
    /// Appends, and answers once that is what was asked for.
    pub(super) fn produce(self: &Rc<Self>, connection: &Rc<Connection>, call: u64, produce: Produce) {
        let (process, connection) = (Rc::clone(self), Rc::clone(connection));
        let appended = self.append(produce);
        self.world.executor.spawn(self.owner, async move {
            let result = match appended {
                Ok((batch, epoch)) if produce.all => process.stored_by_all(produce.key, batch, epoch).await,
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            connection.reply(&process.world, call, Reply::Produced(result));
        });
    }

    fn append(self: &Rc<Self>, produce: Produce) -> Result<(Batch, i32), ProduceError> {
        let Produce { key, producer, sequence, records, value, all } = produce;
        if self.stopping.get() {
            return Err(ProduceError::NotLeader);
        }
        let epoch = match self.replicas.borrow().get(&key).map(|replica| &replica.role) {
            Some(Role::Leading(leader)) => {
                if all && leader.enough_replicas().is_err() {
                    return Err(ProduceError::NotEnoughReplicas);
                }
                leader.leader_epoch()
            }
            _ => return Err(ProduceError::NotLeader),
        };
        if !all && self.is_doubtful(key) {
            return Err(ProduceError::Doubtful);
        }
        let (base, start, window) = {
            let disk = self.disk.borrow();
            let log = &disk.logs[&key];
            (log.end(), log.start(), log.window(producer))
        };
        if let Some(known) = window.iter().find(|batch| batch.sequence == sequence) {
            return Ok((*known, epoch));
        }
        // Stored so long ago that it may be deleted: its acknowledgement was lost (Kafka's DUPLICATE_SEQUENCE_NUMBER).
        if let Some(first) = window.first().filter(|first| sequence < first.sequence) {
            return Ok((*first, epoch));
        }
        let expected = window.last().map_or(0, |last| last.sequence + 1);
        // Of a producer that retention has left nothing of, any sequence is the next.
        if sequence != expected && (start == 0 || !window.is_empty()) {
            return Err(ProduceError::OutOfOrder);
        }
        let batch = Batch { base, end: base + records, epoch, producer, sequence, value };
        self.store(key, batch);
        let os = self.replicas.borrow().get(&key).is_some_and(|replica| replica.os);
        self.with_leader(key, epoch, |leader| {
            leader.on_append(batch.end);
            if os { leader.on_durable(batch.end) } else { None }
        });
        self.moved.raise();
        Ok((batch, epoch))
    }

    /// The session may have ended: another may lead, and what only this broker stores may be lost.
    fn is_doubtful(&self, key: Key) -> bool {
        let replicas = super::super::oracle::registration(&self.image.borrow(), key).map_or(0, |it| it.replicas.len());
        let connected = self.session.borrow().as_ref().is_some_and(|it| it.standing() == Standing::Connected);
        replicas > 1 && !connected
    }

    async fn stored_by_all(self: &Rc<Self>, key: Key, batch: Batch, epoch: i32) -> Result<(), ProduceError> {
        let until = self.now() + PRODUCE_MS;
        loop {
            let seen = self.moved.seen();
            let high_watermark = match self.replicas.borrow().get(&key).map(|replica| &replica.role) {
                Some(Role::Leading(leader)) if leader.leader_epoch() == epoch => leader.high_watermark(),
                _ => return Err(ProduceError::NotLeader),
            };
            if high_watermark >= batch.end {
                note!(
                    self.world,
                    "broker {} acknowledges {} of {}",
                    self.id,
                    super::super::oracle::Value(batch),
                    Name(key)
                );
                self.world.oracle.on_acknowledged(&self.world, key, batch);
                return Ok(());
            }
            if self.now() >= until {
                return Err(ProduceError::TimedOut);
            }
            let _: First<_, _> = race(self.moved.after(seen), self.sleep(until - self.now())).await;
        }
    }

    /// What a reader at `position` gets, of the leader or a follower.
    pub(super) fn read(&self, key: Key, position: i64) -> Result<Vec<Batch>, NotServed> {
        let replicas = self.replicas.borrow();
        let (high_watermark, led) = match &replicas.get(&key).ok_or(NotServed::NotHere)?.role {
            Role::Leading(leader) => (leader.high_watermark(), Some((leader.leader_epoch(), leader.log_end()))),
            Role::Following(follower) => (follower.high_watermark(), None),
            Role::Waiting => return Err(NotServed::NotHere),
        };
        let disk = self.disk.borrow();
        let log = &disk.logs[&key];
        if position < log.start() {
            return Err(NotServed::StartsAt(log.start()));
        }
        let batches: Vec<Batch> =
            log.read(position, READ_BATCHES).iter().take_while(|batch| batch.end <= high_watermark).copied().collect();
        self.world.oracle.on_read(&self.world, key, position, &batches, led);
        Ok(batches)
    }

    /// Where readers that begin at the end begin.
    pub(super) fn latest(&self, key: Key) -> Option<i64> {
        match &self.replicas.borrow().get(&key)?.role {
            Role::Leading(leader) => {
                let latest = leader.readable_latest()?;
                self.world.oracle.on_latest(&self.world, key, leader.leader_epoch(), latest);
                Some(latest)
            }
            Role::Following(_) | Role::Waiting => None,
        }
    }
}
