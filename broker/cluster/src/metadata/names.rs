//! One namespace for topics and views: a name is one or the other, never both, and no two names differ only in `.` and `_`,
//! because metrics systems write both as `_` (Kafka refuses such topics for the same reason).

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_protocol::Uuid;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Topic(Uuid),
    View(Uuid),
}

/// Names in use, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Shared text: an image is copied for every entry of the log, and its names with it.
    by_name: BTreeMap<Arc<str>, Named>,
    /// Names with `.` or `_` in them, folded: only these can collide.
    by_fold: BTreeMap<Arc<str>, Arc<str>>,
}

impl Names {
    pub(super) fn get(&self, name: &str) -> Option<Named> {
        self.by_name.get(name).copied()
    }

    /// The name in use, other than `name` itself, that `name` would be confused with.
    pub(super) fn confused_with(&self, name: &str) -> Option<&str> {
        self.by_fold.get(fold(name)?.as_str()).map(AsRef::as_ref).filter(|taken| *taken != name)
    }

    /// False when the name is taken: the caller's log is wrong.
    pub(super) fn insert(&mut self, name: &str, named: Named) -> bool {
        if self.by_name.contains_key(name) {
            return false;
        }
        let shared: Arc<str> = name.into();
        if let Some(folded) = fold(name) {
            self.by_fold.insert(folded.into(), Arc::clone(&shared));
        }
        self.by_name.insert(shared, named);
        true
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.by_name.remove(name);
        if let Some(folded) = fold(name) {
            self.by_fold.remove(folded.as_str());
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Named> + '_ {
        self.by_name.values().copied()
    }
}

/// The name as a metrics system would write it, if that loses anything.
pub(crate) fn fold(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}
