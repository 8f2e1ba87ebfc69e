//! The store's file: what every multi left behind, one frame after the other.
//!
//! ```text
//!   file:   "SLUICE-COORD-1\n" | frame | frame | …
//!   frame:  length u32 LE | crc32c u32 LE of length and content | the nodes that changed and how they are now (postcard)
//! ```
//! A frame is written and synced before its multi is answered. The last frame may be torn by a crash: it was not answered and is
//! dropped. A frame that is damaged and has others behind it was answered: then nothing is opened. At every open the file is
//! written anew with only what is alive, beside the old one, and takes its place by a rename; a lock file of its own says who
//! has it, since a lock would not survive the rename.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::coordinator::{Change, Node};
use super::LocalStoreError;
use super::tree::Tree;

const MAGIC: &[u8] = b"SLUICE-COORD-1\n";
/// Length and checksum.
const PREFIX_LEN: usize = 8;

pub(super) struct Journal {
    file: File,
    /// Held while the journal is.
    _lock: File,
}

/// What one multi left behind.
#[derive(Default, Serialize, Deserialize)]
struct Frame {
    next_created: i64,
    nodes: Vec<(String, Option<Stored>)>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    data: Vec<u8>,
    version: i32,
    created: i64,
}

impl Journal {
    /// Reads what is there, writes it anew, and goes on behind it.
    pub(super) fn open(path: &Path) -> Result<(Self, Tree), LocalStoreError> {
        let failed = |cause| LocalStoreError::Io { path: path.to_owned(), cause };
        let lock = lock(path)?;
        let tree = match fs::read(path) {
            Ok(bytes) => read(path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Tree::default(),
            Err(error) => return Err(failed(error)),
        };
        let file = rewrite(path, &tree).map_err(failed)?;
        Ok((Self { file, _lock: lock }, tree))
    }

    /// Keeps what the changes made of the tree. Nodes that live with a session are not kept.
    pub(super) fn append(&mut self, tree: &Tree, changes: &[Change]) -> io::Result<()> {
        let kept = changes.iter().filter(|change| !matches!(change, Change::Check { .. })).map(Change::path);
        let kept = kept.filter(|path| tree.get(path).is_none_or(|node| node.owner.is_none()));
        let nodes: Vec<_> = kept.map(|path| (path.to_owned(), tree.get(path).map(Stored::new))).collect();
        // Also when only nodes of sessions were made: what is made later has to be told apart from them in the next process too.
        if nodes.is_empty() && !changes.iter().any(|change| matches!(change, Change::Create { .. })) {
            return Ok(());
        }
        self.file.write_all(&Frame { next_created: tree.next_created(), nodes }.encode())?;
        self.file.sync_data()
    }
}

fn lock(path: &Path) -> Result<File, LocalStoreError> {
    let lock_path = path.with_extension("lock");
    let failed = |cause| LocalStoreError::Io { path: lock_path.clone(), cause };
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(LocalStoreError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

fn rewrite(path: &Path, tree: &Tree) -> io::Result<File> {
    let fresh_path: PathBuf = path.with_extension("new");
    let mut fresh = File::create(&fresh_path)?;
    let nodes = tree.persistent().map(|(path, node)| (path.clone(), Some(Stored::new(node)))).collect();
    fresh.write_all(MAGIC)?;
    fresh.write_all(&Frame { next_created: tree.next_created(), nodes }.encode())?;
    fresh.sync_data()?;
    fs::rename(&fresh_path, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(fresh)
}

fn read(path: &Path, bytes: &[u8]) -> Result<Tree, LocalStoreError> {
    let damaged = |position: usize, reason: &str| LocalStoreError::Damaged {
        path: path.to_owned(),
        position: position as u64,
        reason: reason.to_owned(),
    };
    let mut rest = match bytes.strip_prefix(MAGIC) {
        Some(rest) => rest,
        // Cut off while it was first made: nothing was ever answered from it.
        None if MAGIC.starts_with(bytes) => return Ok(Tree::default()),
        None => return Err(damaged(0, "not a coordination file of this version")),
    };
    let mut tree = Tree::default();
    while let Some((frame, behind)) = Frame::split(rest) {
        let position = bytes.len() - rest.len();
        match frame {
            Ok(frame) => {
                for (path, stored) in frame.nodes {
                    tree.restore(path, stored.map(Stored::node));
                }
                tree.restore_next_created(frame.next_created);
            }
            Err(_) if behind.is_empty() => break,
            Err(reason) => return Err(damaged(position, reason)),
        }
        rest = behind;
    }
    Ok(tree)
}

impl Frame {
    fn encode(&self) -> Vec<u8> {
        let content = postcard::to_stdvec(self).expect("a frame of known length into a growing buffer");
        let length =
            u32::try_from(content.len()).expect("a multi is bounded, and so is what a tree holds in this process");
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(content);
        let crc = crc(&bytes);
        bytes[4..PREFIX_LEN].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The first frame and what is behind it; nothing if not even its length is whole.
    fn split(bytes: &[u8]) -> Option<(Result<Self, &'static str>, &[u8])> {
        let ([a, b, c, d, crc_bytes @ ..], content) = bytes.split_first_chunk::<PREFIX_LEN>()?;
        let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        if content.len() < length {
            return Some((Err("the frame is cut off"), &[]));
        }
        let (frame, behind) = bytes.split_at(PREFIX_LEN + length);
        if crc(frame) != u32::from_le_bytes(*crc_bytes) {
            return Some((Err("the frame's checksum does not match"), behind));
        }
        Some((postcard::from_bytes(&frame[PREFIX_LEN..]).map_err(|_| "the frame does not parse"), behind))
    }
}

impl Stored {
    fn new(node: &Node) -> Self {
        Self { data: node.data.clone(), version: node.version, created: node.created }
    }

    fn node(self) -> Node {
        Node { data: self.data, version: self.version, created: self.created, owner: None }
    }
}

/// Over length and content, not over the place of the checksum itself.
fn crc(frame: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&frame[..4]);
    digest.update(&frame[PREFIX_LEN..]);
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::super::super::coordinator::Lifetime;
    use super::*;

    #[test]
    fn what_was_answered_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("coordination");
        written(&path);
        let (_, tree) = Journal::open(&path).unwrap();
        assert_eq!(
            tree.get("/a").map(|node| (node.data.as_slice(), node.version, node.created)),
            Some((&b"two"[..], 1, 0))
        );
        assert!(tree.get("/b").is_none(), "removed");
        assert!(tree.get("/s").is_none(), "of a session");
        assert_eq!(tree.next_created(), 3, "what was made is counted on from");
    }

    #[test]
    fn cut_anywhere_it_opens_with_a_prefix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("coordination");
        written(&path);
        let whole = fs::read(&path).unwrap();
        let mut before = None;
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (_, tree) = Journal::open(&path).unwrap();
            let seen = tree.get("/a").map(|node| node.version);
            assert!(seen >= before, "cut at {cut}: {seen:?} after {before:?}");
            before = seen;
        }
        assert_eq!(before, Some(1));
    }

    #[test]
    fn damage_with_frames_behind_it_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("coordination");
        written(&path);
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(3).position(|window| window == b"one").unwrap();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(Journal::open(&path), Err(LocalStoreError::Damaged { .. })));
        fs::write(&path, b"something else").unwrap();
        assert!(matches!(Journal::open(&path), Err(LocalStoreError::Damaged { position: 0, .. })));
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("coordination");
        let held = Journal::open(&path).unwrap();
        assert!(matches!(Journal::open(&path), Err(LocalStoreError::InUse { .. })));
        drop(held);
        assert!(Journal::open(&path).is_ok());
    }

    /// `/a` made and changed, `/b` made and removed, `/s` of a session.
    fn written(path: &Path) {
        let (mut journal, mut tree) = Journal::open(path).unwrap();
        let create =
            |path: &str, data: &[u8], lifetime| Change::Create { path: path.into(), data: data.into(), lifetime };
        let multis = [
            vec![create("/a", b"one", Lifetime::Persistent), create("/b", b"", Lifetime::Persistent)],
            vec![create("/s", b"", Lifetime::Session)],
            vec![
                Change::Set { path: "/a".into(), data: b"two".into(), version: 0 },
                Change::Delete { path: "/b".into(), version: 0 },
            ],
        ];
        for changes in multis {
            tree.multi(1, &changes).unwrap();
            journal.append(&tree, &changes).unwrap();
        }
    }
}
