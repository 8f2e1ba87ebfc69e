//! A partition's role: how it comes to lead or to follow, and what the role is told.
//!
//! A role is taken from a registration, in its leader epoch, under the appender's lock: no batch is on its way into the log
//! meanwhile, and none of the reign before can still come. Producers that waited in that reign are told at once, and so are the
//! followers that read here. What was known of the high watermark stays known; readers never see it go back.
//!
//! Durability comes from the flusher's threads, which call [`Partition::on_flushed`]; it counts as far as the log itself says,
//! because the log may have been cut since the flush began.

use std::cmp;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sluice_cluster::PartitionRegistration;
use sluice_cluster::partition::{
    Diverging, FetchRefused, Follower, FollowerFetch, Leader, LogEnd, NotEnoughReplicas, Outcome, ProposedIsr,
    divergence,
};
use sluice_storage::{DirFailed, FlushMode, LogReader};

use super::{NotCommitted, Partition, PartitionConfig};
use crate::metrics::ReplicaLag;
use crate::rpc::FetchError;

/// What this broker is to a partition.
#[derive(Debug)]
pub(super) enum Role {
    Leads(Box<Leader>),
    Follows(Follower),
}

impl Role {
    pub(super) fn high_watermark(&self) -> i64 {
        match self {
            Self::Leads(leader) => leader.high_watermark(),
            Self::Follows(follower) => follower.high_watermark(),
        }
    }
}

impl Partition {
    /// What of the log counts, as its flush mode has it.
    pub(super) fn log_end(&self) -> LogEnd {
        what_counts(&self.reader, self.config.load().log.flush_mode)
    }

    /// The metadata says something of this partition or its topic. `may_lead` is false until this life of the broker is
    /// registered: what an older life was given is not this one's.
    pub(super) fn take(
        &self,
        registration: &PartitionRegistration,
        config: PartitionConfig,
        may_lead: bool,
        now_ms: i64,
    ) {
        self.reconfigure(config);
        self.in_sync.store(registration.isr.contains(&self.local), Ordering::Release);
        let leads = may_lead && registration.leader == self.local;
        if registration.leader_epoch == self.leader_epoch() && leads == self.leads() {
            self.on_registration(registration);
        } else {
            self.begin(registration, leads, now_ms);
        }
    }

    fn begin(&self, registration: &PartitionRegistration, leads: bool, now_ms: i64) {
        let mut appender = self.appender.lock();
        let Some(log) = appender.as_mut() else { return };
        let leader_epoch = registration.leader_epoch;
        let mut role = self.role.lock();
        let rules = self.config.load().leader;
        let end = self.log_end();
        let known = role.high_watermark().min(end.log_end);
        *role = if leads {
            log.begin_epoch(leader_epoch);
            Role::Leads(Box::new(Leader::begin(self.local, registration, rules, end, known, now_ms)))
        } else {
            Role::Follows(Follower::begin(self.local, registration, end, known))
        };
        self.leader_epoch.store(leader_epoch, Ordering::Release);
        self.leads.store(leads, Ordering::Release);
        self.waiters.reign(leads.then_some(leader_epoch));
        self.advance(role.high_watermark());
        self.say_if_too_few(&role);
        drop(role);
        drop(appender);
        tracing::debug!(
            topic = %self.key.topic, partition = self.key.index, leader_epoch, log_end = end.log_end, high_watermark = known,
            "{}", if leads { "leads" } else { "follows" }
        );
        for watch in &**self.watches.load() {
            watch.appended();
        }
        if leads && end.durable < end.log_end {
            self.count_as_stored();
        }
    }

    fn on_registration(&self, registration: &PartitionRegistration) {
        let mut role = self.role.lock();
        if let Role::Leads(leader) = &mut *role {
            if let Some(high_watermark) = leader.on_registration(registration) {
                self.advance(high_watermark);
            }
            self.say_if_too_few(&role);
        }
    }

    fn reconfigure(&self, config: PartitionConfig) {
        if **self.config.load() == config {
            return;
        }
        if let Some(log) = &mut *self.appender.lock() {
            log.set_config(config.log.clone());
        }
        if let Role::Leads(leader) = &mut *self.role.lock()
            && let Some(high_watermark) = leader.on_rules(config.leader)
        {
            self.advance(high_watermark);
        }
        self.config.store(Arc::new(config));
        self.say_if_too_few(&self.role.lock());
        // From `group` to `os`, what waits for a sync counts now; the other way it is asked for with the next append.
        self.count_as_stored();
    }

    /// Producers that wait learn that the ISR has become too small for them.
    fn say_if_too_few(&self, role: &Role) {
        if let Role::Leads(leader) = role {
            self.waiters.too_few(leader.enough_replicas().is_err());
        }
    }

    /// Whether `acks=all` can be promised now.
    pub(crate) fn enough_replicas(&self) -> Result<(), NotEnoughReplicas> {
        match &*self.role.lock() {
            Role::Leads(leader) => leader.enough_replicas(),
            // The append will say that another leads.
            Role::Follows(_) => Ok(()),
        }
    }

    /// The end of what consumers read, once it is certain that it is not below what they have read from an earlier leader
    /// (KIP-207).
    pub(crate) fn readable_latest(&self) -> Option<i64> {
        match &*self.role.lock() {
            Role::Leads(leader) => leader.readable_latest(),
            Role::Follows(_) => None,
        }
    }

    pub(super) fn on_flushed(&self, flushed: Result<(), DirFailed>) {
        match flushed {
            Ok(()) => self.on_stored(),
            Err(failed) => {
                tracing::error!(topic = %self.key.topic, partition = self.key.index, error = %failed, "the log directory failed");
                self.waiters.end(NotCommitted::Storage);
            }
        }
    }

    /// More of the log counts. How much is asked under the lock: a flush may have begun before the log was cut.
    pub(super) fn on_stored(&self) {
        let mut role = self.role.lock();
        let end = self.log_end();
        match &mut *role {
            Role::Leads(leader) => {
                // A flush may report an append before its appender came to.
                leader.on_append(end.log_end.max(leader.log_end()));
                if let Some(high_watermark) = leader.on_durable(end.durable) {
                    self.advance(high_watermark);
                }
            }
            // The fetcher looks it up for its next fetch.
            Role::Follows(_) => self.report(),
        }
    }

    /// Whether this broker leads in `leader_epoch`.
    pub(super) fn check_leads(&self, leader_epoch: i32) -> Result<(), FetchError> {
        let ours = self.leader_epoch();
        match leader_epoch.cmp(&ours) {
            cmp::Ordering::Less => Err(FetchError::FencedLeaderEpoch),
            cmp::Ordering::Greater => Err(FetchError::UnknownLeaderEpoch),
            cmp::Ordering::Equal if self.leads() => Ok(()),
            cmp::Ordering::Equal => Err(FetchError::NotLeader),
        }
    }

    /// A follower says how far it has come. Its log is compared with this one each time, and counts only if it is the beginning of
    /// it: a word about what became durable may come from before the follower cut back what diverges.
    pub(super) fn on_follower_fetch(
        &self,
        fetch: &FollowerFetch,
        now_ms: i64,
    ) -> Result<Option<Diverging>, FetchError> {
        let mut role = self.role.lock();
        self.check_leads(fetch.leader_epoch)?;
        let Role::Leads(leader) = &mut *role else { return Err(FetchError::NotLeader) };
        leader.check_fetch(fetch).map_err(fetch_error)?;
        let end_of = |epoch| self.reader.end_offset_for_epoch(epoch);
        if let Some(diverging) = divergence(fetch, end_of, self.reader.log_start_offset()) {
            return Ok(Some(diverging));
        }
        leader.on_append(self.reader.log_end_offset().max(leader.log_end()));
        leader.on_log_start(self.reader.log_start_offset());
        match leader.on_fetch(fetch, now_ms) {
            Ok(Some(high_watermark)) => self.advance(high_watermark),
            Ok(None) => {}
            Err(refused) => return Err(fetch_error(refused)),
        }
        if !leader.isr().contains(&fetch.replica) {
            self.proposals.suggest(self.key);
        }
        Ok(None)
    }

    /// The ISR as it should be, if it should change and no change is under way.
    pub(super) fn propose(&self, now_ms: i64, brokers: &dyn Fn(i32) -> Option<i64>) -> Option<ProposedIsr> {
        let mut role = self.role.lock();
        let Role::Leads(leader) = &mut *role else { return None };
        leader.on_append(self.reader.log_end_offset().max(leader.log_end()));
        let review = leader.propose(now_ms, brokers);
        if let Some(high_watermark) = review.high_watermark {
            self.advance(high_watermark);
        }
        review.proposal.map(|proposal| proposal.of(self.key.topic, self.key.index))
    }

    /// Whether what this follower gets counts against the leader's throttle.
    pub(super) fn sends_throttled(&self, follower: i32) -> bool {
        let listed = self.config.load().throttled.leader.contain(self.key.index, self.local);
        listed && matches!(&*self.role.lock(), Role::Leads(leader) if !leader.isr().contains(&follower))
    }

    /// Whether what this replica fetches counts against the follower's throttle.
    pub(super) fn fetches_throttled(&self) -> bool {
        !self.in_sync.load(Ordering::Acquire)
            && self.config.load().throttled.follower.contain(self.key.index, self.local)
    }

    /// Members of the ISR; none where another leads.
    pub(super) fn isr_len(&self) -> usize {
        match &*self.role.lock() {
            Role::Leads(leader) => leader.isr().len(),
            Role::Follows(_) => 0,
        }
    }

    /// How far its followers are behind at most; not at all where another leads. A follower that has not been heard of in this
    /// reign lacks all records; one that has all, and not yet durably, is behind.
    pub(super) fn replica_lag_max(&self, now_ms: i64) -> ReplicaLag {
        let Role::Leads(leader) = &*self.role.lock() else { return ReplicaLag::default() };
        let log_end = self.reader.log_end_offset();
        let log_start = self.reader.log_start_offset();
        let replicas = leader.replica_states(now_ms);
        let followers = replicas.iter().filter(|replica| replica.replica != self.local);
        let lags = followers.map(|follower| ReplicaLag {
            records: log_end - follower.log_end.max(log_start),
            ms: if follower.durable < log_end { now_ms - follower.behind_since_ms.unwrap_or(now_ms) } else { 0 },
        });
        lags.fold(ReplicaLag::default(), ReplicaLag::max)
    }

    /// What became of a proposal made in `leader_epoch`.
    pub(super) fn on_outcome(&self, leader_epoch: i32, outcome: Outcome) {
        let mut role = self.role.lock();
        let Role::Leads(leader) = &mut *role else { return };
        if leader.leader_epoch() != leader_epoch {
            return;
        }
        if let Some(high_watermark) = leader.on_outcome(outcome) {
            self.advance(high_watermark);
        }
        self.say_if_too_few(&role);
    }
}

/// What of a log counts: what was written, or what is on the disk.
pub(super) fn what_counts(reader: &LogReader, flush_mode: FlushMode) -> LogEnd {
    let (log_end, durable) = (reader.log_end_offset(), reader.durable_offset());
    LogEnd {
        log_start: reader.log_start_offset(),
        log_end,
        durable: match flush_mode {
            FlushMode::Group => durable.min(log_end),
            FlushMode::Os => log_end,
        },
    }
}

fn fetch_error(refused: FetchRefused) -> FetchError {
    match refused {
        FetchRefused::NotReplica => FetchError::NotReplica,
        FetchRefused::StaleBroker { .. } => FetchError::StaleBroker,
        FetchRefused::FencedLeaderEpoch => FetchError::FencedLeaderEpoch,
        FetchRefused::UnknownLeaderEpoch => FetchError::UnknownLeaderEpoch,
        FetchRefused::Offset { log_start, log_end } => FetchError::OffsetOutOfRange { log_start, log_end },
    }
}
