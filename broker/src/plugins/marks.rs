//! Which topics are gated: a mark each, shared by the registry, which sets it, and the topic's partitions, which look at it.
//!
//! An ungated topic pays one load of its mark for a batch. The mark is looked at again under the partition's lock, so a batch
//! that was found ungated cannot enter the log after a gate was set.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use sluice_protocol::Uuid;

/// Whether a topic is gated.
#[derive(Debug, Default)]
pub(crate) struct GateMark {
    gated: AtomicBool,
    /// The entries of the metadata log by which it was last set; changed under the lock of [`GateMarks`].
    since: AtomicU64,
}

impl GateMark {
    pub(crate) fn is_set(&self) -> bool {
        self.gated.load(Ordering::Acquire)
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

    /// The metadata has a gate for the topic, as of so many entries: from now on nothing gets in without one, also before its
    /// chain is made here. Whoever gives a partition its role sets the mark first.
    pub(crate) fn set(&self, topic: Uuid, entries: u64) {
        let mut marks = self.marks.lock();
        let mark = marks.entry(topic).or_default();
        mark.since.fetch_max(entries, Ordering::AcqRel);
        mark.gated.store(true, Ordering::Release);
    }

    /// The metadata, as of so many entries, has gates for these topics and for no others. Marks set by later entries stay.
    pub(super) fn only(&self, gated: &[Uuid], entries: u64) {
        let marks = self.marks.lock();
        let gone = marks.iter().filter(|(topic, _)| !gated.contains(topic));
        for (_, mark) in gone.filter(|(_, mark)| mark.since.load(Ordering::Acquire) <= entries) {
            mark.gated.store(false, Ordering::Release);
        }
    }

    /// Forgets topics that are no more. A mark that a partition holds is kept, whatever the metadata seemed to say: the
    /// partition would go on looking at it, and a new one would be set.
    pub(super) fn retain(&self, exists: impl Fn(Uuid) -> bool) {
        self.marks.lock().retain(|topic, mark| Arc::strong_count(mark) > 1 || exists(*topic));
    }
}
