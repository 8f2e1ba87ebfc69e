//! A partition as its leader sees it: how far its records count as stored, and which replicas count.
//!
//! Invariants:
//! - The high watermark never goes back within a reign. It advances to what every member of the *maximal* ISR has made durable: the
//!   ISR the metadata log knows, and the one that is asked for while nobody knows whether it was granted. It advances only while
//!   the ISR that the log knows has `min.insync.replicas` members (KAFKA-15583): eligible leaders outside the ISR (KIP-966) are
//!   only safe because nothing is acknowledged without them.
//! - What is asked for is given up on a definite refusal or on news that came after, never on silence: it may have been granted.
//! - A follower joins once it has, durably, all below the high watermark and all below the start of this reign (KAFKA-7128), from
//!   fetches of this reign, and in the life that is registered (KIP-903).

use std::collections::{BTreeMap, BTreeSet};

use sluice_protocol::Uuid;

use super::progress::{Progress, UNKNOWN};
use super::{FetchRefused, FollowerFetch, LeaderRules, LogEnd, NotEnoughReplicas, ProposedIsr};
use crate::metadata::PartitionRegistration;
use crate::planted::{Bug, planted};

/// A partition's replication state on its leader, for one reign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    local: i32,
    leader_epoch: i32,
    /// Of the registration that was heard of last.
    partition_epoch: i32,
    /// The log's end when this reign began.
    epoch_start: i64,
    rules: LeaderRules,
    log: LogEnd,
    followers: BTreeMap<i32, Progress>,
    /// The members the metadata log knows.
    isr: BTreeSet<i32>,
    /// Replicas outside the ISR that the controller takes to have all that was ever acknowledged.
    eligible: usize,
    recovering: bool,
    asked: Asked,
    /// Another reign has been heard of: nothing is acknowledged in this one any more.
    over: bool,
    high_watermark: i64,
}

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The metadata log has it, or said the same already; this is the registration now.
    Accepted(PartitionRegistration),
    /// Decided on the registration it would change, and refused: it is not granted and will not be.
    Refused,
    /// Not known, or the controller decided on another registration than the one it would change: then it may have been granted
    /// before.
    Unknown,
}

/// What [`Leader::propose`] came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Review {
    /// An ISR to ask for. Exactly one [`Outcome`] is to be given for it.
    pub proposal: Option<ProposedIsr>,
    /// The high watermark, if it moved.
    pub high_watermark: Option<i64>,
}

/// How far a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaProgress {
    /// Which one.
    pub replica: i32,
    /// Its log end; -1 if it has not been heard of in this reign.
    pub log_end: i64,
    /// What it counts as stored.
    pub durable: i64,
    /// When it last had all there was, or, if it never had in this reign, since when it is waited for; none if it was not looked
    /// at yet.
    pub behind_since_ms: Option<i64>,
    /// A member of the ISR that the metadata log knows.
    pub in_sync: bool,
}

/// What is asked of the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// On its way.
    Sent(ProposedIsr),
    /// It may have been granted: asked again, but not before that time (or, without one, before some time from the next review).
    Again(ProposedIsr, Option<i64>),
    /// Decided by later news; its own outcome is still to come and says nothing any more.
    Overtaken,
    /// Refused: nothing is asked before that time.
    Held(Option<i64>),
}

/// Between two proposals after one came to nothing: the controller is busy or away, or knows what the log will tell us soon.
const ASK_AGAIN_MS: i64 = 200;

impl Leader {
    /// A reign begins: `local` leads in the epoch of `registration`, and what its log holds is what there is. `known_high_watermark`
    /// is what is known to be stored for good from before; nothing below it waits again.
    #[must_use]
    pub fn begin(
        local: i32,
        registration: &PartitionRegistration,
        rules: LeaderRules,
        log: LogEnd,
        known_high_watermark: i64,
        now_ms: i64,
    ) -> Self {
        assert!(log.durable <= log.log_end && log.log_start <= log.log_end, "nothing is stored beyond the log's end");
        let mut leader = Self {
            local,
            leader_epoch: registration.leader_epoch,
            partition_epoch: registration.partition_epoch,
            epoch_start: log.log_end,
            rules,
            log,
            followers: BTreeMap::new(),
            isr: registration.isr.iter().copied().collect(),
            eligible: registration.elr.len(),
            recovering: registration.recovering,
            asked: Asked::Nothing,
            over: false,
            // A checkpoint may be ahead of a log whose tail was lost, and behind one that records were deleted from.
            high_watermark: known_high_watermark.clamp(log.log_start, log.log_end),
        };
        for replica in registration.replicas.iter().filter(|replica| **replica != local) {
            let mut progress = Progress::unheard(leader.isr.contains(replica), now_ms);
            progress.wait_since(now_ms);
            leader.followers.insert(*replica, progress);
        }
        leader.advance();
        leader
    }

    /// The log grew to `log_end`. Not durable yet, so nothing moves.
    pub fn on_append(&mut self, log_end: i64) {
        assert!(log_end >= self.log.log_end, "a leader's log does not shrink");
        self.log.log_end = log_end;
    }

    /// The local log is durable below `end`. Gives the high watermark if it moved. Flushes may be reported late and out of
    /// order; what was durable stays so.
    pub fn on_durable(&mut self, end: i64) -> Option<i64> {
        assert!(end <= self.log.log_end, "durable beyond the log's end");
        self.log.durable = self.log.durable.max(end);
        self.advance()
    }

    /// Records below `log_start` were deleted, which only committed ones are.
    pub fn on_log_start(&mut self, log_start: i64) {
        self.log.log_start = self.log.log_start.max(log_start);
        self.high_watermark = self.high_watermark.max(self.log.log_start);
    }

    /// Whether a fetch may be answered at all: asked before anything is compared or read for it.
    pub fn check_fetch(&self, fetch: &FollowerFetch) -> Result<(), FetchRefused> {
        let Some(progress) = self.followers.get(&fetch.replica) else {
            return Err(FetchRefused::NotReplica);
        };
        if fetch.leader_epoch < self.leader_epoch {
            return Err(FetchRefused::FencedLeaderEpoch);
        }
        if fetch.leader_epoch > self.leader_epoch {
            return Err(FetchRefused::UnknownLeaderEpoch);
        }
        match progress.broker_epoch {
            Some(known) if known > fetch.broker_epoch => {
                Err(FetchRefused::StaleBroker { known, given: fetch.broker_epoch })
            }
            _ => Ok(()),
        }
    }

    /// A follower fetched, and its log does not diverge from ours (see [`divergence`](super::divergence)): what it says of itself
    /// counts. Gives the high watermark if it moved.
    pub fn on_fetch(&mut self, fetch: &FollowerFetch, now_ms: i64) -> Result<Option<i64>, FetchRefused> {
        self.check_fetch(fetch)?;
        let LogEnd { log_start, log_end, .. } = self.log;
        if !(log_start..=log_end).contains(&fetch.fetch_offset) {
            return Err(FetchRefused::Offset { log_start, log_end });
        }
        let progress = self.followers.get_mut(&fetch.replica).ok_or(FetchRefused::NotReplica)?;
        progress.on_fetch(fetch, log_end, now_ms);
        Ok(self.advance())
    }

    /// The metadata log says this of the partition now. Gives the high watermark if it moved. What is older than what is known is
    /// ignored: answers to proposals may come before the log is replayed here.
    pub fn on_registration(&mut self, registration: &PartitionRegistration) -> Option<i64> {
        if registration.leader_epoch > self.leader_epoch {
            self.over = true;
        }
        if registration.leader_epoch != self.leader_epoch || registration.partition_epoch <= self.partition_epoch {
            return None;
        }
        self.forget_removed(registration);
        // Whatever is asked for was for an earlier registration: either this one came of it, or it can't be granted any more.
        self.asked = match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Sent(_) | Asked::Overtaken => Asked::Overtaken,
            Asked::Nothing | Asked::Again(..) | Asked::Held(_) => Asked::Nothing,
        };
        self.adopt(registration);
        self.advance_without_news()
    }

    /// The topic's configuration changed. Gives the high watermark if it moved.
    pub fn on_rules(&mut self, rules: LeaderRules) -> Option<i64> {
        self.rules = rules;
        self.advance()
    }

    /// Looks at who keeps up, who fell behind and who caught up, and says what ISR to ask for. To be called when a fetch came
    /// from outside the ISR, and from time to time (a fraction of `replica.lag.time.max.ms`), since silence is what a replica
    /// that fell behind sends. `brokers` gives the epoch of a broker that is registered, unfenced and not shutting down.
    pub fn propose(&mut self, now_ms: i64, brokers: &dyn Fn(i32) -> Option<i64>) -> Review {
        self.review_joining(now_ms, brokers);
        let high_watermark = self.advance_without_news();
        Review { proposal: self.next_proposal(now_ms, brokers), high_watermark }
    }

    /// What became of the proposal that was sent. Gives the high watermark if it moved.
    pub fn on_outcome(&mut self, outcome: Outcome) -> Option<i64> {
        let asked = std::mem::replace(&mut self.asked, Asked::Nothing);
        match (outcome, asked) {
            (Outcome::Accepted(registration), asked) => self.on_accepted(&registration, asked),
            (Outcome::Refused, Asked::Sent(_)) => {
                self.asked = Asked::Held(None);
                self.advance()
            }
            (Outcome::Unknown, Asked::Sent(proposal)) => {
                self.asked = Asked::Again(proposal, None);
                None
            }
            (Outcome::Refused | Outcome::Unknown, Asked::Overtaken) => None,
            // Nothing was on its way: whoever says so says it twice (KAFKA-12686).
            (Outcome::Refused | Outcome::Unknown, asked) => {
                self.asked = asked;
                None
            }
        }
    }

    /// The exclusive end of what is stored for good: what consumers read, what is acknowledged.
    #[must_use]
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// The exclusive end of what has been appended.
    #[must_use]
    pub fn log_end(&self) -> i64 {
        self.log.log_end
    }

    /// The epoch of this reign.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// Where this reign's records begin.
    #[must_use]
    pub fn epoch_start(&self) -> i64 {
        self.epoch_start
    }

    /// The ISR that the metadata log knows.
    #[must_use]
    pub fn isr(&self) -> &BTreeSet<i32> {
        &self.isr
    }

    /// What ListOffsets may call the latest: the high watermark, once it is known to be at least as far as any leader before
    /// this one told a client (KIP-207).
    #[must_use]
    pub fn readable_latest(&self) -> Option<i64> {
        (self.high_watermark >= self.epoch_start).then_some(self.high_watermark)
    }

    /// Whether `acks=all` may be promised: asked before the append, so that nothing is stored that can't be acknowledged, and
    /// of the ISR that the metadata log knows. While the controller has eligible replicas outside the ISR, it decided that the
    /// ISR is too small, whatever `min.insync.replicas` is known to be here: its answer can be ahead of the log as it is here.
    pub fn enough_replicas(&self) -> Result<(), NotEnoughReplicas> {
        let isr = self.isr.len();
        let known = self.rules.min_insync_replicas.clamp(1, self.followers.len() + 1);
        let min_insync_replicas = if self.eligible > 0 { known.max(isr + 1) } else { known };
        if isr < min_insync_replicas { Err(NotEnoughReplicas { isr, min_insync_replicas }) } else { Ok(()) }
    }

    /// How far each replica is, the leader's own too.
    #[must_use]
    pub fn replica_states(&self, now_ms: i64) -> Vec<ReplicaProgress> {
        let own = ReplicaProgress {
            replica: self.local,
            log_end: self.log.log_end,
            durable: self.log.durable,
            behind_since_ms: Some(now_ms),
            in_sync: self.isr.contains(&self.local),
        };
        let followers = self.followers.iter().map(|(replica, progress)| ReplicaProgress {
            replica: *replica,
            log_end: progress.log_end,
            durable: progress.durable,
            behind_since_ms: progress.behind_since_ms,
            in_sync: self.isr.contains(replica),
        });
        std::iter::once(own).chain(followers).collect()
    }

    fn on_accepted(&mut self, registration: &PartitionRegistration, asked: Asked) -> Option<i64> {
        if registration.leader_epoch != self.leader_epoch {
            // It was granted, and the leader changed with it. Going back to the ISR from before would acknowledge without the
            // members that were granted, one of which may lead now.
            self.over |= registration.leader_epoch > self.leader_epoch;
            self.asked = asked;
            return None;
        }
        if registration.partition_epoch > self.partition_epoch {
            self.adopt(registration);
        }
        self.advance_without_news()
    }

    /// Members that left the ISR without our asking gave the replica up, with a disk that failed, or are gone: that they kept up a
    /// moment ago is no reason to wait for them, or to ask for them again, until they are heard of.
    fn forget_removed(&mut self, registration: &PartitionRegistration) {
        let asked_for = match &self.asked {
            Asked::Sent(proposal) | Asked::Again(proposal, _) => Some(&proposal.isr),
            Asked::Nothing | Asked::Overtaken | Asked::Held(_) => None,
        };
        for member in self.isr.iter().filter(|member| !registration.isr.contains(member)) {
            // One that we want out may have caught up meanwhile, and said so for the last time.
            let is_ours = asked_for.is_some_and(|isr| isr.iter().all(|(asked, _)| asked != member));
            if let Some(progress) = self.followers.get_mut(member).filter(|_| !is_ours) {
                progress.forget();
            }
        }
    }

    fn adopt(&mut self, registration: &PartitionRegistration) {
        self.partition_epoch = registration.partition_epoch;
        self.isr = registration.isr.iter().copied().collect();
        self.eligible = registration.elr.len();
        self.recovering = registration.recovering;
        self.followers.retain(|replica, _| registration.replicas.contains(replica));
        for replica in registration.replicas.iter().filter(|replica| **replica != self.local) {
            // Members join by proposals of ours, after they fetched: who is new here is new to the partition.
            self.followers.entry(*replica).or_insert_with(|| Progress::unheard(false, 0));
        }
    }

    /// What the high watermark waits for besides the ISR: followers that keep up and are about to join.
    fn review_joining(&mut self, now_ms: i64, brokers: &dyn Fn(i32) -> Option<i64>) {
        let (isr, log_end, lag) = (&self.isr, self.log.log_end, self.rules.replica_lag_time_max_ms);
        for (replica, progress) in &mut self.followers {
            progress.wait_since(now_ms);
            let serves = progress.broker_epoch.is_some() && progress.broker_epoch == brokers(*replica);
            progress.joining = !planted(Bug::MaximalIsrUnused)
                && serves
                && !isr.contains(replica)
                && progress.is_caught_up(log_end, now_ms, lag);
        }
    }

    fn next_proposal(&mut self, now_ms: i64, brokers: &dyn Fn(i32) -> Option<i64>) -> Option<ProposedIsr> {
        if self.over {
            return None;
        }
        match &mut self.asked {
            Asked::Sent(_) | Asked::Overtaken => return None,
            Asked::Again(_, until) | Asked::Held(until) => {
                if now_ms < *until.get_or_insert(now_ms + ASK_AGAIN_MS) {
                    return None;
                }
            }
            Asked::Nothing => {}
        }
        let proposal = match std::mem::replace(&mut self.asked, Asked::Nothing) {
            // The same again, whatever was learnt since: it may be granted already, and then another would be refused.
            Asked::Again(proposal, _) => Some(proposal),
            _ => self.wanted_isr(now_ms, brokers),
        }?;
        self.asked = Asked::Sent(proposal.clone());
        Some(proposal)
    }

    /// The ISR there should be, if the metadata log knows another.
    fn wanted_isr(&self, now_ms: i64, brokers: &dyn Fn(i32) -> Option<i64>) -> Option<ProposedIsr> {
        let own = (self.local, brokers(self.local)?);
        let (log_end, lag) = (self.log.log_end, self.rules.replica_lag_time_max_ms);
        let wanted = self.followers.iter().filter_map(|(replica, progress)| {
            let epoch = brokers(*replica)?;
            let joins = !self.isr.contains(replica);
            let is_in_sync = if self.isr.contains(replica) {
                progress.broker_epoch.is_none_or(|known| known == epoch)
            } else {
                self.may_join(progress, epoch)
            };
            // Asked of those that would join too: who fell behind has all below a high watermark that didn't move since.
            let keeps_up = progress.is_caught_up(log_end, now_ms, lag) || joins && planted(Bug::EpochStartUnchecked);
            (is_in_sync && keeps_up).then_some((*replica, epoch))
        });
        let mut isr: Vec<(i32, i64)> = std::iter::once(own).chain(wanted).collect();
        isr.sort_unstable();
        let is_known = isr.iter().map(|(member, _)| member).eq(self.isr.iter());
        let recovered = self.recovering && self.readable_latest().is_some();
        (!is_known || recovered).then_some(ProposedIsr {
            topic: Uuid::ZERO,
            index: 0,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            isr,
            recovered: true,
        })
    }

    fn may_join(&self, progress: &Progress, epoch: i64) -> bool {
        let begins = if planted(Bug::EpochStartUnchecked) { 0 } else { self.epoch_start };
        let all_below = self.high_watermark.max(begins);
        progress.broker_epoch == Some(epoch) && progress.durable >= all_below
    }

    /// Nobody stored anything: others are waited for than before (KAFKA-13091).
    fn advance_without_news(&mut self) -> Option<i64> {
        if planted(Bug::ShrinkUnnoticed) { None } else { self.advance() }
    }

    fn advance(&mut self) -> Option<i64> {
        if self.over {
            return None;
        }
        self.enough_replicas().ok().or_else(|| planted(Bug::MinIsrIgnored).then_some(()))?;
        let asked_for = match &self.asked {
            _ if planted(Bug::MaximalIsrUnused) => &[],
            Asked::Sent(proposal) | Asked::Again(proposal, _) => proposal.isr.as_slice(),
            Asked::Nothing | Asked::Overtaken | Asked::Held(_) => &[],
        };
        let members = self.isr.iter().copied().chain(asked_for.iter().map(|(member, _)| *member));
        let joining = self.followers.iter().filter(|(_, progress)| progress.joining).map(|(replica, _)| *replica);
        let durable = |replica: i32| match self.followers.get(&replica).map_or(UNKNOWN, |progress| progress.durable) {
            UNKNOWN if planted(Bug::StateCleared) => i64::MAX,
            durable => durable,
        };
        let of_followers = members.chain(joining).filter(|member| *member != self.local).map(durable);
        let stored_by_all = of_followers.fold(self.log.durable, i64::min);
        if stored_by_all <= self.high_watermark {
            return None;
        }
        self.high_watermark = stored_by_all;
        Some(stored_by_all)
    }
}

#[cfg(test)]
mod tests;
