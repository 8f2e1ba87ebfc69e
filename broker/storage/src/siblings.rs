//! Which log directories a broker has: written in each of them, so that one that was wiped, or taken away for good, is missed.
//!
//! ```text
//!   all there                       the same broker, nothing lost
//!   all there, and a new one        a disk was added: nothing lost
//!   one away, its disk not read     it may be back: nothing lost that is not offline
//!   one missing, none away          wiped or given up: whatever was counted on there is gone, and the set is another
//! ```

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use sluice_protocol::Uuid;

use crate::checkpoint::{self, Naming};
use crate::disk::{Disk, read_whole};

/// The file in each log directory.
const FILE: &str = "log-directories";

/// First line of the file.
const TITLE: &str = "sluice log directories 1";

/// The log directories of a broker, by their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Siblings {
    /// Tells this set from one that something was lost of.
    pub(crate) uuid: Uuid,
    /// Rises with every change: a directory that was away has an older copy.
    pub(crate) generation: u64,
    pub(crate) members: BTreeSet<Uuid>,
}

impl Siblings {
    /// The set after a start. `known` is the newest copy, `there` are the directories that have an owner, `new` those that have
    /// none, `away` counts those that do not read.
    ///
    /// A broker that never had several knows no set: it is told by its one directory's id.
    pub(crate) fn after(known: Option<Self>, there: &[Uuid], new: &[Uuid], away: usize, fresh: Uuid) -> Self {
        let all: BTreeSet<Uuid> = there.iter().chain(new).copied().collect();
        let first = there.iter().chain(new).next().copied().unwrap_or(fresh);
        let known = known.unwrap_or_else(|| Self {
            uuid: first,
            generation: 0,
            members: if there.is_empty() { all.clone() } else { there.iter().copied().collect() },
        });
        let missing = known.members.difference(&all).count();
        if missing > away {
            return Self { uuid: fresh, generation: known.generation + 1, members: all };
        }
        let members: BTreeSet<Uuid> = known.members.union(&all).copied().collect();
        let generation = known.generation + u64::from(members != known.members);
        Self { members, generation, ..known }
    }

    /// The copy in a directory; `None` when there is none, or it is damaged: the others have theirs.
    pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Self>> {
        match read_whole(disk, &dir.join(FILE)) {
            Ok(content) => Ok(Self::from_file(&content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn write(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        let head = [self.uuid.to_string(), self.generation.to_string()];
        let lines = head.into_iter().chain(self.members.iter().map(ToString::to_string));
        checkpoint::replace(disk, &dir.join(FILE), &checkpoint::encode(TITLE, lines), Naming::Durable)
    }

    fn from_file(content: &[u8]) -> Option<Self> {
        let lines = checkpoint::decode(TITLE, content).ok()?;
        let [uuid, generation, members @ ..] = &lines[..] else { return None };
        Some(Self {
            uuid: uuid.parse().ok()?,
            generation: generation.parse().ok()?,
            members: members.iter().map(|id| id.parse().ok()).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(byte: u8) -> Uuid {
        Uuid([byte; 16])
    }

    fn set(uuid: u8, generation: u64, members: &[u8]) -> Siblings {
        Siblings { uuid: id(uuid), generation, members: members.iter().map(|byte| id(*byte)).collect() }
    }

    fn check(sentence: &str, known: Option<Siblings>, there: &[u8], new: &[u8], away: usize, want: &Siblings) {
        let ids = |bytes: &[u8]| bytes.iter().map(|byte| id(*byte)).collect::<Vec<_>>();
        assert_eq!(Siblings::after(known, &ids(there), &ids(new), away, id(99)), *want, "{sentence}");
    }

    #[test]
    fn a_set_is_another_when_a_member_is_lost() {
        let known = || Some(set(1, 4, &[1, 2, 3]));
        check("all there", known(), &[1, 2, 3], &[], 0, &set(1, 4, &[1, 2, 3]));
        check("a disk was added", known(), &[1, 2, 3], &[4], 0, &set(1, 5, &[1, 2, 3, 4]));
        check("one is away", known(), &[1, 3], &[], 1, &set(1, 4, &[1, 2, 3]));
        check("the first is away", known(), &[2, 3], &[], 1, &set(1, 4, &[1, 2, 3]));
        check("one was wiped", known(), &[1, 3], &[4], 0, &set(99, 5, &[1, 3, 4]));
        check("one is not asked for any more", known(), &[1, 3], &[], 0, &set(99, 5, &[1, 3]));
        check("one away, one wiped", known(), &[1], &[4], 1, &set(99, 5, &[1, 4]));
        check("the first start", None, &[], &[7, 8], 0, &set(7, 0, &[7, 8]));
        check("the only one, as ever", None, &[7], &[], 0, &set(7, 0, &[7]));
        check("the only one, wiped", None, &[], &[8], 0, &set(8, 0, &[8]));
        check("a second beside the only one", None, &[7], &[8], 0, &set(7, 1, &[7, 8]));
    }

    #[test]
    fn the_file_reads_back() {
        let disk = crate::testing::MemDisk::new();
        let dir = Path::new("/a");
        disk.create_dir_all(dir).expect("made");
        assert_eq!(Siblings::read(&disk, dir).expect("nothing"), None);
        set(1, 4, &[1, 2]).write(&disk, dir).expect("written");
        assert_eq!(Siblings::read(&disk, dir).expect("read"), Some(set(1, 4, &[1, 2])));
        assert_eq!(Siblings::from_file(&checkpoint::encode(TITLE, ["x".to_owned()].into_iter())), None);
    }
}
