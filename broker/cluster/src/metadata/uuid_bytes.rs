//! How a [`Uuid`] goes into a record: its sixteen bytes, no length. `protocol` knows nothing of serde; this is the boundary.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sluice_protocol::Uuid;

pub(super) fn serialize<S: Serializer>(id: &Uuid, to: S) -> Result<S::Ok, S::Error> {
    id.0.serialize(to)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Uuid, D::Error> {
    <[u8; 16]>::deserialize(from).map(Uuid)
}
