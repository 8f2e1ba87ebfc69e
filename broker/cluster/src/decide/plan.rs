//! Plans: which replicas go where, so that brokers carry the same, or so that one of them carries nothing. A plan is only a
//! proposal; what carries it out are reassignments, one a move.
//!
//! The facts it needs are the image and how many bytes each partition has. What the plan keeps to: no partition gets fewer
//! replicas or fewer racks than it has, no broker holds a partition twice, nothing goes to a broker that is not counted on or is
//! being drained, and a partition that is on its way already is left alone. Nothing is moved for less than a tenth: a cluster
//! that is even stays as it is.

mod bytes;
mod layout;
mod leaders;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

use super::placement::places;
use super::reassign::target;
use crate::metadata::Image;
use layout::Layout;

/// Bytes of partitions: of one replica each. One that is not named counts as empty.
pub type PartitionSizes = BTreeMap<(Uuid, i32), u64>;

/// Replicas to be moved, and what brokers carry before and after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The moves, one a partition at most.
    pub moves: Vec<Move>,
    /// What each broker that can be given replicas carries, and each that is to be emptied.
    pub before: BTreeMap<i32, BrokerLoad>,
    /// What it would carry then.
    pub after: BTreeMap<i32, BrokerLoad>,
}

/// One partition's replicas replaced, or only put into another order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The topic.
    pub topic: Uuid,
    /// The partition.
    pub partition: i32,
    /// Its replicas, the preferred leader first.
    pub from: Vec<i32>,
    /// What they are to be.
    pub to: Vec<i32>,
    /// What has to be copied: the partition's bytes for every replica that is new.
    pub bytes: u64,
}

/// What a broker carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BrokerLoad {
    /// Bytes of its replicas.
    pub bytes: u64,
    /// Replicas.
    pub replicas: usize,
    /// Partitions whose preferred leader it is.
    pub leaders: usize,
}

impl Plan {
    /// Evens bytes, leaders and racks over the brokers that can be given replicas, with the fewest moves.
    #[must_use]
    pub fn balance(image: &Image, sizes: &PartitionSizes) -> Self {
        Self::balanced(Layout::of(image, sizes))
    }

    /// What has to be done whether or not brokers are even: every replica taken off the brokers that are being drained, and
    /// topics of the brokers' own spread over as many brokers as they should be on. A partition that nobody else could take
    /// stays, unless it is of such a topic and has another replica: then it has one less.
    #[must_use]
    pub fn upkeep(image: &Image, sizes: &PartitionSizes) -> Self {
        Self::made(Layout::of(image, sizes), |layout| {
            image.brokers().filter(|broker| broker.draining).for_each(|broker| layout.evacuate(broker.id));
            layout.widen_internal();
        })
    }

    /// What has to be copied.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.moves.iter().map(|one| one.bytes).sum()
    }

    fn balanced(layout: Layout<'_>) -> Self {
        Self::made(layout, |layout| {
            layout.mend_racks();
            bytes::even(layout);
            leaders::even(layout);
        })
    }

    fn made<'a>(mut layout: Layout<'a>, make: impl FnOnce(&mut Layout<'a>)) -> Self {
        let before = layout.loads();
        make(&mut layout);
        Self { moves: layout.moves(), before, after: layout.loads() }
    }
}

#[cfg(test)]
mod tests;
