//! What a run had, counted by kind: a report of many runs shows by it that nothing it is about never happened.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::faults::Kind;

/// Something that is to happen in some runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happened {
    Struck(Kind),
    /// The controller gave leaders back to the first replicas.
    LeadersReturned,
    /// It took reassignments further.
    ReassignmentsAdvanced,
    /// A topic went while a broker was away that held a replica of it.
    DeletedWithBrokerAway,
    /// After the faults a broker stayed away, and the others had to go on.
    OneStayedAway,
    /// Or a disk of it did.
    OneDiskStayedAway,
    /// The head of the metadata log names a new snapshot.
    SnapshotNamed,
    /// A broker began with a snapshot.
    SnapshotRead,
    /// A broker ended because the metadata log had gone back.
    Halted,
}

impl Happened {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let others = [
            Self::LeadersReturned,
            Self::ReassignmentsAdvanced,
            Self::DeletedWithBrokerAway,
            Self::OneStayedAway,
            Self::OneDiskStayedAway,
            Self::SnapshotNamed,
            Self::SnapshotRead,
            Self::Halted,
        ];
        Kind::ALL.into_iter().map(Self::Struck).chain(others)
    }
}

#[derive(Default)]
pub(super) struct Tally(RefCell<BTreeMap<Happened, u64>>);

impl Tally {
    pub(super) fn count(&self, what: Happened) {
        *self.0.borrow_mut().entry(what).or_default() += 1;
    }

    pub(super) fn counts(&self) -> BTreeMap<Happened, u64> {
        self.0.borrow().clone()
    }
}
