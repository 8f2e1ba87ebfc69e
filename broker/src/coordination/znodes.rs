//! What the cluster keeps with its coordinator: every path, what is there, and how it is written. Nothing else makes nodes.
//!
//! ```text
//!   /cluster/id         text: the cluster's id                                     stays
//!   /controller_epoch   text: the epoch of the last controller; its version fences stays
//!   /controller         Holder: the broker in the controller's seat                with its session
//!   /brokers/ids/<id>   Presence: a broker that is there                           with its session
//!   /meta/head          Head: where the metadata log ends                          stays
//!   /meta/log/<seq>     Entry: one entry of the metadata log                       until two snapshots have it
//!   /meta/snap/<seq>/<chunk>  part of the image before entry <seq>                 until two newer ones are there
//! ```

use serde::{Deserialize, Serialize};
use sluice_cluster::metadata::sealed::{DecodeError, seal, unseal};
use sluice_cluster::{Endpoint, FeatureLevels};
use sluice_protocol::Uuid;

use super::Registering;

pub(super) const CLUSTER_ID: &str = "/cluster/id";
pub(super) const CONTROLLER: &str = "/controller";
pub(super) const CONTROLLER_EPOCH: &str = "/controller_epoch";
pub(super) const BROKER_IDS: &str = "/brokers/ids";
pub(super) const META_HEAD: &str = "/meta/head";
pub(super) const META_LOG: &str = "/meta/log";
pub(super) const META_SNAP: &str = "/meta/snap";

/// Folders that have to be there before anything else, each before what is in it.
pub(super) const FOLDERS: [&str; 6] = ["/cluster", "/brokers", BROKER_IDS, "/meta", META_LOG, META_SNAP];

/// Where a broker says that it is there.
pub(super) fn broker_id(id: i32) -> String {
    format!("{BROKER_IDS}/{id}")
}

/// Where an entry of the metadata log is. As wide as any number gets, so that names sort as numbers do.
pub(super) fn entry(seq: u64) -> String {
    format!("{META_LOG}/{seq:020}")
}

/// Where the snapshot of the image before an entry is.
pub(super) fn snapshot(seq: u64) -> String {
    format!("{META_SNAP}/{seq:020}")
}

/// One part of it.
pub(super) fn chunk(seq: u64, index: u32) -> String {
    format!("{META_SNAP}/{seq:020}/{index:010}")
}

/// A broker that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Presence {
    pub(super) id: i32,
    uuid: [u8; 16],
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) rack: Option<String>,
    pub(super) clean: bool,
    pub(super) features: FeatureLevels,
}

/// The broker in the controller's seat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    pub(super) id: i32,
    uuid: [u8; 16],
    pub(super) epoch: i32,
}

impl Presence {
    /// What a broker says of itself when it registers.
    pub(super) fn new(id: i32, uuid: Uuid, registering: &Registering) -> Self {
        let Registering { endpoints, rack, clean, features } = registering.clone();
        Self { id, uuid: uuid.0, endpoints, rack, clean, features }
    }

    pub(super) fn uuid(&self) -> Uuid {
        Uuid(self.uuid)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        seal(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        unseal(bytes)
    }
}

impl Holder {
    pub(super) fn new(id: i32, uuid: Uuid, epoch: i32) -> Self {
        Self { id, uuid: uuid.0, epoch }
    }

    pub(super) fn uuid(&self) -> Uuid {
        Uuid(self.uuid)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        seal(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        unseal(bytes)
    }
}

/// What `/controller_epoch` holds, if it is a number.
pub(super) fn parse_epoch(data: &[u8]) -> Option<i32> {
    std::str::from_utf8(data).ok()?.parse().ok().filter(|epoch| *epoch >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let endpoint =
            Endpoint { listener: "SSL".into(), host: "h".into(), port: 9093, security_protocol: "SSL".into() };
        let registering = Registering {
            endpoints: vec![endpoint],
            rack: Some("r".into()),
            clean: true,
            features: FeatureLevels { lowest: 1, highest: 2 },
        };
        let presence = Presence::new(1, Uuid([0xaa; 16]), &registering);
        check(&presence.encode(), "02aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa010353534c016885470353534c010172010102");
        assert_eq!(Presence::decode(&presence.encode()), Ok(presence));
        let holder = Holder::new(1, Uuid([0xaa; 16]), 7);
        check(&holder.encode(), "02aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa0e");
        assert_eq!(Holder::decode(&holder.encode()), Ok(holder));
        assert_eq!(entry(42), "/meta/log/00000000000000000042");
        assert_eq!(chunk(42, 7), "/meta/snap/00000000000000000042/0000000007");
    }

    /// Behind version and checksum.
    fn check(bytes: &[u8], golden: &str) {
        assert_eq!(bytes[0], 1);
        assert_eq!(bytes[5..].iter().map(|byte| format!("{byte:02x}")).collect::<String>(), golden);
    }
}
