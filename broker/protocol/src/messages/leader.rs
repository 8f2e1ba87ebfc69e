//! Who leads a partition and where: what answers to producers and consumers bring along when they asked the wrong broker,
//! so that no metadata request has to follow (KIP-951).

use crate::wire::message;

message! {
    /// The leader of a partition; -1 for both where nothing is said.
    pub LeaderIdAndEpoch {
        leader_id: i32 [0..] = -1,
        leader_epoch: i32 [0..] = -1,
    }
}

message! {
    /// A broker that was named as a leader, at the address it advertises on the listener that was asked.
    pub NodeEndpoint {
        node_id: i32 [0..],
        host: String [0..],
        port: i32 [0..],
        rack: Option<String> [0..],
    }
}
