//! Brokers that go: found absent, found dead, or saying so themselves. Leaders and ISRs move in the same decision, so that no
//! image shows a leader that is not counted on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::partition_change::{Brokers, Election, PartitionChange, change_partitions};
use super::{Change, Decided, Given, Never};
use crate::metadata::{BrokerRegistration, Image, MetadataRecord, PartitionRegistration};
use crate::planted::{Bug, planted};

/// Fences the brokers that hold no session, or hold one of another life than the one registered. The first thing a new controller
/// decides after taking its seat: whatever happened while there was none is found by comparing epochs, also a broker that went
/// and came back meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceAbsent {
    /// Brokers with a session, and the epoch of their life.
    pub present: BTreeMap<i32, i64>,
}

impl Change for FenceAbsent {
    const KIND: u16 = 14;
    type Answer = Vec<i32>;
    type Error = Never;

    /// Answers the brokers that were fenced.
    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<Vec<i32>>, Never> {
        let is_present = |broker: &BrokerRegistration| {
            let present = self.present.get(&broker.id);
            present == Some(&broker.epoch) || planted(Bug::BounceUnnoticed) && present.is_some()
        };
        let absent = image.serving().filter(|broker| !is_present(broker)).map(|broker| (broker.id, broker.epoch));
        let absent: BTreeMap<i32, i64> = absent.collect();
        let records = fence(image, given, &absent);
        Ok(Decided { records, answer: absent.into_keys().collect(), may_split: true })
    }
}

/// Fences a broker whose process is gone, before its session is. The life that is fenced is over even if it was a mistake: the
/// broker comes back in another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceBroker {
    /// The broker.
    pub id: i32,
    /// The life of it that is over.
    pub epoch: i64,
    /// How that is known, for the controller's log.
    pub why: String,
}

impl Change for FenceBroker {
    const KIND: u16 = 15;
    type Answer = bool;
    type Error = Never;

    /// Answers whether that life was there to be fenced.
    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<bool>, Never> {
        let is_meant = |epoch: i64| epoch == self.epoch || planted(Bug::StaleFence);
        let serves = image.serving().find(|broker| broker.id == self.id && is_meant(broker.epoch));
        let records = serves.map_or_else(Vec::new, |broker| fence(image, given, &[(broker.id, broker.epoch)].into()));
        Ok(Decided { records, answer: serves.is_some(), may_split: true })
    }
}

/// A broker is about to end: others lead and it leaves the ISRs, while it still answers. It asks again until nothing remains or it
/// has waited long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutDownBroker {
    /// The broker.
    pub id: i32,
    /// The life of it that ends.
    pub epoch: i64,
}

/// How far a broker's end is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShuttingDown {
    /// Partitions it leads on, because nobody else can.
    pub remaining_leaders: usize,
}

/// Why a broker's end is not prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ShutDownError {
    /// There is none.
    #[error("there is no broker {id}")]
    Unknown {
        /// As asked.
        id: i32,
    },
    /// The life that asks is over.
    #[error("broker {id} is registered with epoch {known}, not {epoch}")]
    StaleEpoch {
        /// As asked.
        id: i32,
        /// As asked.
        epoch: i64,
        /// As registered.
        known: i64,
    },
}

impl Change for ShutDownBroker {
    const KIND: u16 = 16;
    type Answer = ShuttingDown;
    type Error = ShutDownError;

    /// The record that it ends comes first: from there on it joins nothing any more, however late the rest gets into the log.
    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<ShuttingDown>, ShutDownError> {
        let &Self { id, epoch } = self;
        let broker = image.broker(id).ok_or(ShutDownError::Unknown { id })?;
        if broker.epoch != epoch {
            return Err(ShutDownError::StaleEpoch { id, epoch, known: broker.epoch });
        }
        if broker.fenced {
            return Ok(Decided::new(Vec::new(), ShuttingDown { remaining_leaders: 0 }));
        }
        let mut records = Vec::new();
        if !broker.shutting_down {
            records.push(MetadataRecord::BrokerShuttingDown { id, epoch });
        }
        let (brokers, mut remaining_leaders) = (Brokers::of(image).ending(id), 0);
        let counts_on_it = |partition: &PartitionRegistration| partition.leader == id || partition.isr.contains(&id);
        records.extend(change_partitions(image, given.configs, counts_on_it, |partition, rules| {
            let change = PartitionChange::of(partition, &brokers, rules).election(Election::Stay);
            let after = change.leave(|it| it == id).build()?;
            // With nobody to hand it to, it serves as long as it can.
            let remains = after.leader == PartitionRegistration::NO_LEADER;
            remaining_leaders += usize::from(remains);
            (!remains).then_some(after)
        }));
        Ok(Decided { records, answer: ShuttingDown { remaining_leaders }, may_split: true })
    }
}

/// The partitions that change come before the fences: if these take several entries and only the first of them gets into the log,
/// the broker is still to be fenced, and the rest is done with it. Partitions that have no leader are looked at as well, for an
/// election that an earlier decision didn't come to.
fn fence(image: &Image, given: &Given<'_>, absent: &BTreeMap<i32, i64>) -> Vec<MetadataRecord> {
    let brokers = absent.keys().fold(Brokers::of(image), |brokers, id| brokers.without(*id));
    let gone: BTreeSet<i32> = absent.keys().copied().collect();
    let counts_on_them = |partition: &PartitionRegistration| {
        partition.leader == PartitionRegistration::NO_LEADER
            || gone.contains(&partition.leader)
            || partition.isr.iter().any(|member| gone.contains(member))
    };
    let mut records = change_partitions(image, given.configs, counts_on_them, |partition, rules| {
        PartitionChange::of(partition, &brokers, rules).leave(|member| gone.contains(&member)).build()
    });
    records.extend(absent.iter().map(|(id, epoch)| MetadataRecord::BrokerFenced { id: *id, epoch: *epoch }));
    records
}

#[cfg(test)]
mod tests;
