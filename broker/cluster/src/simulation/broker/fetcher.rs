//! Replication: a follower's loop for each leader, over one connection, and the leader's answers.

use std::rc::Rc;

use super::super::disk::{Key, Log};
use super::super::messages::{FetchPartition, Fetched, ReplicaFetch, Reply, Request};
use super::super::network::{Connection, Node as Address};
use super::super::oracle::{Name, Property};
use super::super::sync::{First, race};
use super::Process;
use super::replicas::{Role, log_end};
use crate::partition::{FetchAnswer, FollowerFetch, Step, divergence};
use crate::planted::{Bug, planted};

/// A leader that has nothing for a follower answers after so long.
const FETCH_WAIT_MS: i64 = 120;
/// A leader that does not answer for so long is not waited for on this connection.
const DEADLINE_MS: i64 = 500;
/// Between fetches that brought nothing to do.
const PAUSE_MS: i64 = 30;

/// Follows one leader, as far as it leads anything that is followed here.
pub(super) async fn run(process: Rc<Process>, leader: i32) {
    let mut connection: Option<Rc<Connection>> = None;
    loop {
        process.disks().await;
        let seen = process.moved.seen();
        let partitions = process.fetches_of(leader);
        if partitions.is_empty() {
            let _: First<_, _> = race(process.moved.after(seen), process.sleep(10 * FETCH_WAIT_MS)).await;
            continue;
        }
        let Some(epoch) = process.epoch.get() else {
            process.sleep(PAUSE_MS).await;
            continue;
        };
        let open = connection.take().filter(|connection| connection.is_open()).unwrap_or_else(|| {
            Connection::open(&process.world, process.owner, process.node(), Address::Broker(leader))
        });
        let fetch = Request::Fetch(ReplicaFetch { from: process.id, epoch, partitions: partitions.clone() });
        match open.call(&process.world, fetch, DEADLINE_MS).await {
            Ok(Reply::Fetched(answers)) => {
                let mut idle = true;
                for (key, fetched) in answers {
                    let asked = partitions.iter().find(|asked| asked.key == key);
                    idle &= asked.is_none_or(|asked| !process.on_fetched(asked, fetched));
                }
                connection = Some(open);
                if idle {
                    process.sleep(PAUSE_MS).await;
                }
            }
            Ok(_) | Err(_) => process.sleep(PAUSE_MS).await,
        }
    }
}

/// A follower's fetch has arrived at this broker.
pub(super) fn serve(process: &Rc<Process>, connection: &Rc<Connection>, call: u64, fetch: ReplicaFetch) {
    let (world, owner) = (&process.world, process.owner);
    let (process, connection) = (Rc::clone(process), Rc::clone(connection));
    world.executor.spawn(owner, async move {
        let until = process.now() + FETCH_WAIT_MS;
        let mut first = true;
        loop {
            let seen = process.moved.seen();
            let answers: Vec<(Key, Fetched)> =
                fetch.partitions.iter().map(|asked| (asked.key, process.answer(&fetch, asked, first))).collect();
            let empty = |fetched: &Fetched| matches!(fetched, Fetched::Batches { batches, .. } if batches.is_empty());
            if process.now() >= until || !answers.iter().all(|(_, fetched)| empty(fetched)) {
                connection.reply(&process.world, call, Reply::Fetched(answers));
                return;
            }
            first = false;
            let _: First<_, _> = race(process.moved.after(seen), process.sleep(until - process.now())).await;
        }
    });
}

impl Process {
    fn fetches_of(&self, leader: i32) -> Vec<FetchPartition> {
        let disk = self.disk.borrow();
        let replicas = self.replicas.borrow();
        let followed = replicas.iter().filter_map(|(key, replica)| match &replica.role {
            Role::Following(follower) if follower.leader() == leader => {
                let log = disk.logs.get(key)?;
                // Unless it fetches ahead, what it has is synced first.
                if !replica.os && !self.world.setup.fetch_ahead && log.durable() < log.end() {
                    return None;
                }
                let fetch = follower.next_fetch(self.epoch.get()?, log.latest_epoch());
                Some(FetchPartition {
                    key: *key,
                    leader_epoch: fetch.leader_epoch,
                    fetch_offset: fetch.fetch_offset,
                    durable: fetch.durable,
                    last_fetched_epoch: fetch.last_fetched_epoch,
                })
            }
            Role::Following(_) | Role::Leading(_) | Role::Waiting => None,
        });
        followed.collect()
    }

    /// What a fetch gets. It counts for the high watermark once, when it came.
    fn answer(self: &Rc<Self>, fetch: &ReplicaFetch, asked: &FetchPartition, counts: bool) -> Fetched {
        let given = FollowerFetch {
            replica: fetch.from,
            broker_epoch: fetch.epoch,
            leader_epoch: asked.leader_epoch,
            fetch_offset: asked.fetch_offset,
            durable: asked.durable,
            last_fetched_epoch: asked.last_fetched_epoch,
        };
        let key = asked.key;
        let (mut moved, mut joins) = (None, false);
        let fetched = {
            let disk = self.disk.borrow();
            let mut replicas = self.replicas.borrow_mut();
            let Some(Role::Leading(leader)) = replicas.get_mut(&key).map(|replica| &mut replica.role) else {
                return Fetched::NotLeader;
            };
            let log = &disk.logs[&key];
            if let Err(refused) = leader.check_fetch(&given) {
                return Fetched::Refused(refused);
            }
            if let Some(diverging) = divergence(&given, |epoch| log.end_of_epoch(epoch), log.start()) {
                return Fetched::Diverging(diverging);
            }
            if counts {
                match leader.on_fetch(&given, self.now()) {
                    Ok(high_watermark) => moved = high_watermark,
                    Err(refused) => return Fetched::Refused(refused),
                }
                joins = !leader.isr().contains(&fetch.from);
            }
            let batches = log.read(given.fetch_offset, self.world.setup.fetch_batches).to_vec();
            Fetched::Batches { high_watermark: leader.high_watermark(), log_start: log.start(), batches }
        };
        if let Some(high_watermark) = moved {
            self.on_committed(key, high_watermark);
        }
        if joins {
            self.review.raise();
        }
        fetched
    }

    /// An answer to a fetch, if it is still followed as it was asked. Gives whether there is more to do at once.
    fn on_fetched(self: &Rc<Self>, asked: &FetchPartition, fetched: Fetched) -> bool {
        let key = asked.key;
        let (answer, batches) = match fetched {
            Fetched::Batches { high_watermark, log_start, batches } => {
                (FetchAnswer::Fetched { high_watermark, log_start }, batches)
            }
            Fetched::Diverging(diverging) => (FetchAnswer::Diverging(diverging), Vec::new()),
            Fetched::Refused(refused) => (FetchAnswer::Refused(refused), Vec::new()),
            Fetched::NotLeader => (FetchAnswer::Failed, Vec::new()),
        };
        let step = {
            let disk = self.disk.borrow();
            let mut replicas = self.replicas.borrow_mut();
            let Some(Role::Following(follower)) = replicas.get_mut(&key).map(|replica| &mut replica.role) else {
                return false;
            };
            let Some(log) = disk.logs.get(&key) else { return false };
            if follower.leader_epoch() != asked.leader_epoch || log.end() != asked.fetch_offset {
                return false;
            }
            follower.on_answer(&answer, |epoch| log.end_of_epoch(epoch))
        };
        match step {
            Step::Append if batches.is_empty() => {
                self.after_change(key);
                false
            }
            Step::Append => {
                batches.into_iter().for_each(|batch| self.store(key, batch));
                self.after_change(key);
                true
            }
            Step::TruncateTo(offset) => {
                note!(self.world, "broker {} truncates {} to {offset}", self.id, Name(key));
                self.change_log(key, |log| log.truncate_to(offset));
                true
            }
            Step::StartOver { log_start } => {
                note!(self.world, "broker {} begins {} again at {log_start}", self.id, Name(key));
                self.change_log(key, |log| log.start_at(log_start));
                true
            }
            Step::Wait | Step::Stale => false,
        }
    }

    fn change_log(self: &Rc<Self>, key: Key, change: impl FnOnce(&mut Log)) {
        if let Some(log) = self.disk.borrow_mut().logs.get_mut(&key) {
            change(log);
        }
        self.unsynced.raise();
        self.after_change(key);
    }

    fn after_change(self: &Rc<Self>, key: Key) {
        let raise = {
            let disk = self.disk.borrow();
            let mut replicas = self.replicas.borrow_mut();
            let Some(replica) = replicas.get_mut(&key) else { return };
            let (Role::Following(follower), Some(log)) = (&mut replica.role, disk.logs.get(&key)) else { return };
            follower.on_log(log_end(log, replica.os));
            let high_watermark = follower.high_watermark();
            if !(log.start()..=log.end()).contains(&high_watermark) {
                let what = format_args!("{} on broker {}: {high_watermark}", Name(key), self.id);
                self.world.oracle.fail(&self.world, Property::WatermarkOutsideLog, what);
            }
            follower.raise_log_start_to()
        };
        if let Some(offset) = raise {
            self.change_log(key, |log| log.raise_start(offset));
        }
        if planted(Bug::HighWatermarkTruncation) {
            self.review.raise();
        }
    }
}
