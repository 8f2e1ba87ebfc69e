//! Which topics are gated: a mark each, shared by the registry, which sets it, and the topic's partitions, which look at it.
//!
//! An ungated topic pays one load of its mark for a batch. The mark is looked at again under the partition's lock, so a batch
//! that was found ungated cannot enter the log after a gate was set.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use sluice_protocol::Uuid;

/// Whether a topic is gated.
#[derive(Debug, Default)]
pub(crate) struct GateMark(AtomicBool);

impl GateMark {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn set(&self, gated: bool) {
        self.0.store(gated, Ordering::Release);
    }
}

/// All marks. A topic's is made by whoever asks first and lives until the topic is removed.
#[derive(Debug, Default)]
pub(crate) struct GateMarks {
    marks: Mutex<HashMap<Uuid, Arc<GateMark>>>,
}

impl GateMarks {
    /// The mark of a topic.
    pub(crate) fn of(&self, topic: Uuid) -> Arc<GateMark> {
        Arc::clone(self.marks.lock().entry(topic).or_default())
    }

    /// Forgets topics that are no more. A mark that a partition holds is kept, whatever the metadata seemed to say: the
    /// partition would go on looking at it, and a new one would be set.
    pub(super) fn retain(&self, exists: impl Fn(Uuid) -> bool) {
        self.marks.lock().retain(|topic, mark| Arc::strong_count(mark) > 1 || exists(*topic));
    }
}
