//! What an idle log weighs.

use super::*;
use crate::indexes::Indexes;

/// What ten thousand idle partitions may weigh, a piece: 40 MB in all.
const IDLE_BYTES_MAX: usize = 4 << 10;

#[test]
fn an_idle_log_is_small() {
    let structs = [
        size_of::<Log>(),
        size_of::<LogReader>(),
        size_of::<Durability>(),
        size_of::<Folder>(),
        size_of::<Segment>(),
        size_of::<Indexes>(),
        size_of::<LeaderEpochs>(),
    ];
    // Paths and names of a topic of 60 letters, list nodes, allocators' rounding.
    let around = 600;
    let bytes = structs.iter().sum::<usize>() + around;
    assert!(bytes <= IDLE_BYTES_MAX, "{bytes} bytes, of {structs:?}");
}
