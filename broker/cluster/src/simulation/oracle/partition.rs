//! One partition as it truly is: every batch that any replica ever stored, what was committed, who led.

use std::collections::{BTreeMap, BTreeSet};

use super::super::disk::{Batch, Log};
use super::{Property, Reign, Value};
use crate::PartitionRegistration;

pub(super) struct PartitionTruth {
    /// What was ever stored, by leader epoch and offset, each with what comes before it: two logs that have the same batch at the
    /// same place have the same before it (log matching).
    stored: BTreeMap<Place, (Batch, Option<Place>)>,
    committed: Vec<Batch>,
    values: BTreeMap<u64, i64>,
    /// Retention has removed what is before.
    pub(super) start: i64,
    pub(super) read_end: i64,
    leaders: BTreeMap<i32, Reign>,
    pub(super) losses: Losses,
}

/// A leader epoch and an offset.
type Place = (i32, i64);

/// Who has lost written records and has not been in sync again since, and whether that is more than replication survives:
/// `min.insync.replicas` less one.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses {
    min_insync_replicas: usize,
    lossy: BTreeSet<i32>,
    /// Those that ended so that they may have lost something.
    unclean: BTreeSet<i32>,
    /// They were more than that.
    pub(super) nobody_may_be_eligible: bool,
    forgiven: bool,
}

impl PartitionTruth {
    /// A partition is made. A replica whose broker has ended meanwhile comes back as one that may have lost something.
    pub(super) fn made(min_insync_replicas: usize, at: &PartitionRegistration, runs: impl Fn(i32) -> bool) -> Self {
        let mut losses = Losses { min_insync_replicas, ..Losses::default() };
        for gone in at.replicas.iter().filter(|replica| !runs(**replica)) {
            losses.on_unclean(*gone, at.replicas.len());
        }
        Self {
            stored: BTreeMap::new(),
            committed: Vec::new(),
            values: BTreeMap::new(),
            start: 0,
            read_end: 0,
            leaders: BTreeMap::new(),
            losses,
        }
    }

    pub(super) fn is_forgiven(&self) -> bool {
        self.losses.forgiven
    }

    /// What is committed and not retained away.
    pub(super) fn committed(&self) -> &[Batch] {
        &self.committed[self.committed.partition_point(|batch| batch.base < self.start)..]
    }

    pub(super) fn begin(&mut self, reign: Reign) -> Result<(), String> {
        match self.leaders.insert(reign.epoch, reign) {
            Some(known) if known != reign => Err(format!("{known:?} and {reign:?}")),
            _ => Ok(()),
        }
    }

    pub(super) fn is_latest(&self, epoch: i32) -> bool {
        self.leaders.last_key_value().is_some_and(|(latest, _)| *latest == epoch)
    }

    /// A log that may be elected holds all that is committed.
    pub(super) fn check_complete(&self, log: &Log) -> Result<(), String> {
        if self.is_forgiven() {
            return Ok(());
        }
        let committed = self.committed();
        let Some(first) = committed.first() else { return Ok(()) };
        let held = log.read(first.base, committed.len());
        // The last batch decides almost always: the same batch at the same place has the same before it.
        if held.len() == committed.len() && held.first() == Some(first) && held.last() == committed.last() {
            return Ok(());
        }
        let lost = committed
            .iter()
            .zip(held.iter().map(Some).chain(std::iter::repeat(None)))
            .find(|(it, held)| Some(*it) != *held);
        match lost {
            Some((batch, Some(other))) => Err(format!("has {} in place of committed {}", Value(*other), Value(*batch))),
            Some((batch, None)) => Err(format!("lacks committed {}; its log ends at {}", Value(*batch), log.end())),
            None => Ok(()),
        }
    }

    pub(super) fn store(&mut self, before: Option<Batch>, batch: Batch) -> Result<(), String> {
        let before = before.map(|before| (before.epoch, before.base));
        match self.stored.get(&(batch.epoch, batch.base)) {
            None => {
                self.stored.insert((batch.epoch, batch.base), (batch, before));
                Ok(())
            }
            Some((known, _)) if *known != batch => Err(format!("{} and {}", Value(*known), Value(batch))),
            // Where a log begins, nothing comes before, for retention or for starting over.
            Some((_, known)) if *known != before && known.is_some() && before.is_some() => {
                Err(format!("{} comes behind {known:?} and behind {before:?} (epoch, offset)", Value(batch)))
            }
            Some(_) => Ok(()),
        }
    }

    /// The leader has it that all below `high_watermark` is committed. Gives how many batches are so for the first time.
    pub(super) fn commit(&mut self, reign: Reign, log: &Log, high_watermark: i64) -> Result<u64, (Property, String)> {
        let end = self.committed.last().map_or(0, |batch| batch.end);
        let mut more = 0;
        for batch in
            log.batches().iter().skip_while(|batch| batch.end <= end).take_while(|batch| batch.end <= high_watermark)
        {
            if batch.base < end {
                let known = self.committed.last().copied().map_or_else(String::new, |known| Value(known).to_string());
                return self.twice(format!("{} and {known} overlap", Value(*batch)));
            }
            // What tells a retry from something new is deleted with the records.
            let before = self.values.insert(batch.value, batch.base);
            if before.is_some_and(|before| before >= self.start) && !self.is_forgiven() {
                return Err((Property::Duplicate, format!("{} was committed before", Value(*batch))));
            }
            self.committed.push(*batch);
            more += 1;
        }
        // What was committed before is what this leader has.
        let last = self
            .committed
            .iter()
            .rev()
            .find(|batch| batch.end <= high_watermark && batch.base >= self.start.max(log.start()));
        match last {
            Some(last) if log.read(last.base, 1).first() != Some(last) => {
                let held = log
                    .read(last.base, 1)
                    .first()
                    .map_or_else(|| "nothing".to_owned(), |held| Value(*held).to_string());
                self.twice(format!("{} was committed, and {held} in epoch {}", Value(*last), reign.epoch))
            }
            _ => Ok(more),
        }
    }

    fn twice(&mut self, what: String) -> Result<u64, (Property, String)> {
        if self.is_forgiven() { Ok(0) } else { Err((Property::CommittedTwice, what)) }
    }

    pub(super) fn is_committed(&self, batch: Batch) -> bool {
        let at = self.committed.partition_point(|known| known.base < batch.base);
        self.committed.get(at) == Some(&batch) || batch.base < self.start || self.is_forgiven()
    }
}

impl Losses {
    /// Who is in sync in the life that is running holds everything again.
    pub(super) fn on_registration(&mut self, registration: &PartitionRegistration, runs: impl Fn(i32) -> bool) {
        let is_whole = |id: &i32| registration.isr.contains(id) && runs(*id);
        self.lossy.retain(|id| !is_whole(id));
        self.unclean.retain(|id| !is_whole(id));
        self.nobody_may_be_eligible &= !self.unclean.is_empty();
        // An operator chose: what the others had more is lost.
        self.forgiven |= registration.recovering;
    }

    pub(super) fn may_lose(&self, broker: i32, replicas: usize) -> bool {
        self.forgiven || self.is_survived(&self.lossy, broker, replicas)
    }

    pub(super) fn lose(&mut self, broker: i32, replicas: usize) {
        self.forgiven |= !self.may_lose(broker, replicas);
        self.lossy.insert(broker);
    }

    /// Its replica is not counted on any more, whether it lost anything or not.
    pub(super) fn on_unclean(&mut self, broker: i32, replicas: usize) {
        self.nobody_may_be_eligible |= !self.is_survived(&self.unclean, broker, replicas);
        self.unclean.insert(broker);
    }

    fn is_survived(&self, others: &BTreeSet<i32>, broker: i32, replicas: usize) -> bool {
        let all = others.iter().filter(|id| **id != broker).count() + 1;
        all < self.min_insync_replicas.clamp(1, replicas.max(1))
    }
}
