//! What a broker makes of the image: which partitions it leads, which it follows, which it drops. And the syncing of logs, after
//! which records count.

use std::rc::Rc;

use super::super::disk::{Batch, Key, Log, Syncing};
use super::super::oracle::{Name, Reign};
use super::Process;
use crate::PartitionRegistration;
use crate::metadata::Topic;
use crate::partition::{Follower, Leader, LeaderRules, LogEnd};
use crate::planted::{Bug, planted};

pub(super) struct Replica {
    pub(super) role: Role,
    /// Of the topic.
    pub(super) os: bool,
}

pub(super) enum Role {
    Leading(Leader),
    Following(Follower),
    /// Nobody leads.
    Waiting,
}

/// Syncs what waits for it, all logs together, for ever; records whose topics don't ask for it in time, from time to time.
pub(super) async fn sync(process: Rc<Process>) {
    loop {
        let seen = process.unsynced.seen();
        let (setup, random) = (&process.world.setup, &process.world.random);
        let late = random.chance(100);
        let is_os = |key: &Key| process.replicas.borrow().get(key).is_none_or(|replica| replica.os);
        let begun: Vec<(Key, Syncing)> = {
            let disk = process.disk.borrow();
            disk.logs.iter().filter(|(key, _)| late || !is_os(key)).map(|(key, log)| (*key, log.sync_begin())).collect()
        };
        process.sleep(setup.sync_takes_ms(random)).await;
        process.disks().await;
        for (key, syncing) in begun {
            let end = {
                let disk = &mut *process.disk.borrow_mut();
                let failed = disk.is_offline(&key);
                match disk.logs.get_mut(&key) {
                    // Nothing of it counts, and it is never tried again.
                    Some(_) if failed && !planted(Bug::FailedSyncCounts) => continue,
                    Some(log) if failed => log.end(),
                    Some(log) => {
                        log.sync_end(syncing);
                        log.durable()
                    }
                    None => continue,
                }
            };
            if !is_os(&key) {
                process.on_synced(key, end);
            }
        }
        process.note_high_watermarks();
        process.moved.raise();
        process.unsynced.after(seen).await;
    }
}

/// Where a log stands, for decisions.
pub(super) fn log_end(log: &Log, os: bool) -> LogEnd {
    let durable = if os { log.end() } else { log.durable() };
    LogEnd { log_start: log.start(), log_end: log.end(), durable }
}

impl Process {
    /// Does what the image says, once it says it of this life.
    pub(super) fn take_roles(self: &Rc<Self>) {
        let image = self.image();
        let is_registered = image.broker(self.id).is_some_and(|own| Some(own.epoch) == self.epoch.get());
        if !is_registered || self.stopping.get() {
            return;
        }
        for topic in image.topics() {
            for (index, registration) in (0..).zip(&topic.partitions) {
                let key = self.log_of(topic, index);
                if registration.replicas.contains(&self.id) {
                    self.take_role(key, topic, registration);
                } else if self.replicas.borrow_mut().remove(&key).is_some() {
                    note!(self.world, "broker {} drops {}", self.id, Name(key));
                    let disk = &mut *self.disk.borrow_mut();
                    if !disk.is_offline(&key) {
                        disk.logs.remove(&key);
                    }
                }
            }
        }
        let is_known = |key: &Key| image.topic_by_id(key.0).is_some();
        self.replicas.borrow_mut().retain(|key, _| is_known(key));
        {
            let disk = &mut *self.disk.borrow_mut();
            let failed = disk.offline();
            disk.logs.retain(|key, _| is_known(key) || failed.contains(key));
        }
        self.moved.raise();
    }

    /// Logs are kept by the topic's id: one made again under the same name is another topic.
    fn log_of(&self, topic: &Topic, index: i32) -> Key {
        let key = (topic.id, index);
        if planted(Bug::TopicsByName) && !self.disk.borrow().logs.contains_key(&key) {
            let of_that_name = self.world.topic_ids(&topic.name);
            let mut disk = self.disk.borrow_mut();
            let old = of_that_name.into_iter().find_map(|id| disk.logs.remove(&(id, index)));
            disk.logs.extend(old.map(|log| (key, log)));
        }
        key
    }

    fn take_role(self: &Rc<Self>, key: Key, topic: &Topic, registration: &PartitionRegistration) {
        let os = self.world.setup.topic(&topic.name).os || planted(Bug::DurableIgnored);
        if self.is_offline(&key) {
            if !planted(Bug::MadeAgainElsewhere) {
                self.replicas.borrow_mut().insert(key, Replica { role: Role::Waiting, os });
                return;
            }
            self.disk.borrow_mut().logs.remove(&key);
        }
        let (log, noted) = {
            let mut disk = self.disk.borrow_mut();
            let log = disk.log_of(key);
            (log_end(log, os), log.high_watermark_noted)
        };
        let (mut committed, mut begun) = (None, false);
        {
            let mut replicas = self.replicas.borrow_mut();
            let replica = replicas.entry(key).or_insert_with(|| Replica { role: Role::Waiting, os });
            let known = match &replica.role {
                Role::Leading(leader) => leader.high_watermark(),
                Role::Following(follower) => follower.high_watermark(),
                Role::Waiting => noted,
            };
            let epoch = registration.leader_epoch;
            match &mut replica.role {
                Role::Leading(leader) if registration.leader == self.id && leader.leader_epoch() == epoch => {
                    committed = leader.on_registration(registration);
                }
                Role::Following(follower)
                    if follower.leader() == registration.leader && follower.leader_epoch() == epoch => {}
                role => {
                    if let Role::Leading(leader) = role {
                        leader.on_registration(registration);
                    }
                    *role = match registration.leader {
                        PartitionRegistration::NO_LEADER => Role::Waiting,
                        leader if leader == self.id => {
                            let leader =
                                Leader::begin(self.id, registration, self.rules(topic), log, known, self.now());
                            (committed, begun) = (Some(leader.high_watermark()), true);
                            Role::Leading(leader)
                        }
                        _ => Role::Following(self.follow(key, registration, log, known)),
                    };
                }
            }
            if let Some(log) = self.disk.borrow_mut().logs.get_mut(&key) {
                log.high_watermark_noted = known.min(log.end());
            }
        }
        if begun {
            self.begin_reign(key);
        }
        if let Some(high_watermark) = committed {
            self.on_committed(key, high_watermark);
        }
    }

    fn follow(&self, key: Key, registration: &PartitionRegistration, mut log: LogEnd, known: i64) -> Follower {
        if planted(Bug::HighWatermarkTruncation) {
            let mut disk = self.disk.borrow_mut();
            let held = disk.log_of(key);
            held.truncate_to(known.max(held.start()));
            log = log_end(held, log.durable == log.log_end);
        }
        Follower::begin(self.id, registration, log, known)
    }

    fn rules(&self, topic: &Topic) -> LeaderRules {
        let setup = &self.world.setup;
        LeaderRules {
            min_insync_replicas: setup.topic(&topic.name).min_insync_replicas,
            replica_lag_time_max_ms: setup.replica_lag_time_max_ms,
        }
    }

    /// A reign begins: those who watch are told.
    fn begin_reign(&self, key: Key) {
        let Some(reign) = self.reign(key) else { return };
        let disk = self.disk.borrow();
        self.world.oracle.on_leader(&self.world, key, reign, &disk.logs[&key]);
    }

    pub(super) fn reign(&self, key: Key) -> Option<Reign> {
        match &self.replicas.borrow().get(&key)?.role {
            Role::Leading(leader) => Some(Reign { broker: self.id, life: self.owner, epoch: leader.leader_epoch() }),
            Role::Following(_) | Role::Waiting => None,
        }
    }

    /// Changes a leader, if it is still in that reign, and says so if its high watermark moved.
    pub(super) fn with_leader(&self, key: Key, epoch: i32, change: impl FnOnce(&mut Leader) -> Option<i64>) {
        let moved = match self.replicas.borrow_mut().get_mut(&key).map(|replica| &mut replica.role) {
            Some(Role::Leading(leader)) if leader.leader_epoch() == epoch => change(leader),
            _ => return,
        };
        if let Some(high_watermark) = moved {
            self.on_committed(key, high_watermark);
        }
    }

    pub(super) fn on_committed(&self, key: Key, high_watermark: i64) {
        let Some(reign) = self.reign(key) else { return };
        let disk = self.disk.borrow();
        self.world.oracle.on_committed(&self.world, key, reign, &disk.logs[&key], high_watermark);
        self.moved.raise();
    }

    fn on_synced(&self, key: Key, end: i64) {
        let moved = {
            let disk = self.disk.borrow();
            let log = &disk.logs[&key];
            match self.replicas.borrow_mut().get_mut(&key).map(|replica| &mut replica.role) {
                Some(Role::Leading(leader)) => leader.on_durable(end.min(leader.log_end())),
                Some(Role::Following(follower)) => {
                    follower.on_log(log_end(log, false));
                    None
                }
                Some(Role::Waiting) | None => None,
            }
        };
        if let Some(high_watermark) = moved {
            self.on_committed(key, high_watermark);
        }
    }

    /// A batch goes into the log: of a leader, or a copy of its leader's.
    pub(super) fn store(&self, key: Key, batch: Batch) {
        let before = {
            let mut disk = self.disk.borrow_mut();
            let log = disk.log_of(key);
            let before = log.last().copied();
            log.append(batch);
            before
        };
        self.world.oracle.on_stored(&self.world, key, self.id, before, batch);
        self.unsynced.raise();
    }

    /// Deletes some of what is committed, where it leads.
    pub(in super::super) fn retain(self: &Rc<Self>) -> bool {
        let mut raised = Vec::new();
        for (key, replica) in self.replicas.borrow_mut().iter_mut() {
            let Role::Leading(leader) = &mut replica.role else { continue };
            let mut disk = self.disk.borrow_mut();
            let log = disk.log_of(*key);
            let committed = log.batches().iter().filter(|batch| batch.end <= leader.high_watermark()).count();
            if committed > 1 {
                log.raise_start(log.batches()[committed / 2].base);
                leader.on_log_start(log.start());
                raised.push((*key, log.start()));
            }
        }
        for (key, start) in &raised {
            note!(self.world, "FAULT {} begins at {start}", Name(*key));
            self.world.oracle.on_start_raised(*key, *start);
        }
        !raised.is_empty()
    }

    /// On disk, from time to time: what a later life begins with.
    fn note_high_watermarks(&self) {
        if !self.world.random.chance(self.world.setup.noted) {
            return;
        }
        let mut disk = self.disk.borrow_mut();
        for (key, replica) in self.replicas.borrow().iter() {
            let known = match &replica.role {
                Role::Leading(leader) => leader.high_watermark(),
                Role::Following(follower) => follower.high_watermark(),
                Role::Waiting => continue,
            };
            if let Some(log) = disk.logs.get_mut(key) {
                log.high_watermark_noted = known;
            }
        }
    }
}
