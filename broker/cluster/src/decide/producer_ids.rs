//! Producer ids: given to brokers in blocks, so that InitProducerId costs no round trip to the controller. A block is used once;
//! what is left of it when a broker ends is lost, of 2^63.

use serde::{Deserialize, Serialize};

use super::{Change, Decided, Given};
use crate::metadata::{Image, MetadataRecord};

/// Takes the next block of producer ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocateProducerIds;

/// A block of producer ids, nobody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerIdBlock {
    /// The first id.
    pub first: i64,
    /// How many.
    pub count: i64,
}

/// No block is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("all producer ids are given out")]
pub struct ProducerIdsExhausted;

impl ProducerIdBlock {
    /// Ids in a block, as in Kafka.
    pub const COUNT: i64 = 1_000;
}

impl Change for AllocateProducerIds {
    const KIND: u16 = 4;
    type Answer = ProducerIdBlock;
    type Error = ProducerIdsExhausted;

    fn decide(&self, image: &Image, _: &mut Given<'_>) -> Result<Decided<ProducerIdBlock>, ProducerIdsExhausted> {
        let first = image.producer_ids_next();
        let next = first.checked_add(ProducerIdBlock::COUNT).ok_or(ProducerIdsExhausted)?;
        let block = ProducerIdBlock { first, count: ProducerIdBlock::COUNT };
        Ok(Decided::new(vec![MetadataRecord::ProducerIds { next }], block))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Cluster;
    use super::*;

    #[test]
    fn blocks_follow_each_other() {
        let mut cluster = Cluster::serving(1);
        assert_eq!(cluster.decide(&AllocateProducerIds), Ok(ProducerIdBlock { first: 0, count: 1_000 }));
        assert_eq!(cluster.decide(&AllocateProducerIds), Ok(ProducerIdBlock { first: 1_000, count: 1_000 }));
        cluster.image.replay(&MetadataRecord::ProducerIds { next: i64::MAX - 5 }).unwrap();
        assert_eq!(cluster.decide(&AllocateProducerIds), Err(ProducerIdsExhausted));
    }
}
