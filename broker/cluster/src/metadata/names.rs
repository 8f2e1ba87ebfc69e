//! One namespace for topics and views: a name is one or the other, never both, and no two names differ only in `.` and `_`,
//! because metrics systems write both as `_` (Kafka refuses such topics for the same reason).

use std::collections::BTreeMap;

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
    by_name: BTreeMap<String, Named>,
    /// Names with `.` or `_` in them, folded: only these can collide.
    by_fold: BTreeMap<String, String>,
}

impl Names {
    pub(super) fn get(&self, name: &str) -> Option<Named> {
        self.by_name.get(name).copied()
    }

    /// The name in use, other than `name` itself, that `name` would be confused with.
    pub(super) fn confused_with(&self, name: &str) -> Option<&str> {
        self.by_fold.get(&fold(name)?).map(String::as_str).filter(|taken| *taken != name)
    }

    /// False when the name is taken: the caller's log is wrong.
    pub(super) fn insert(&mut self, name: &str, named: Named) -> bool {
        if self.by_name.contains_key(name) {
            return false;
        }
        self.by_name.insert(name.to_owned(), named);
        if let Some(folded) = fold(name) {
            self.by_fold.insert(folded, name.to_owned());
        }
        true
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.by_name.remove(name);
        if let Some(folded) = fold(name) {
            self.by_fold.remove(&folded);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Named> + '_ {
        self.by_name.values().copied()
    }
}

/// The name as a metrics system would write it, if that loses anything.
fn fold(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}
