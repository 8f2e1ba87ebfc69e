//! A file of the disk in memory: its bytes, those of them that are durable, and what lies between.

use super::{Crash, Random};

/// What the disk writes whole or not at all.
const SECTOR: usize = 512;

/// A file without its name.
#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// What was done since the last sync, in order.
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { position: usize, bytes: Vec<u8> },
    Len(usize),
}

impl Inode {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn write(&mut self, position: usize, bytes: Vec<u8>) {
        put(&mut self.bytes, position, &bytes);
        self.pending.push(Change::Write { position, bytes });
    }

    pub(super) fn extend(&mut self, len: usize) {
        if len > self.bytes.len() {
            self.truncate(len);
        }
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.bytes.resize(len, 0);
        self.pending.push(Change::Len(len));
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write { position, bytes } => put(&mut self.durable, position, &bytes),
                Change::Len(len) => self.durable.resize(len, 0),
            }
        }
        debug_assert_eq!(self.bytes, self.durable);
    }

    /// Changes what is on the disk and in memory alike.
    pub(super) fn overwrite(&mut self, change: impl Fn(&mut Vec<u8>)) {
        self.sync();
        change(&mut self.bytes);
        self.durable.clone_from(&self.bytes);
    }

    /// The file as a crash leaves it.
    pub(super) fn after(&self, crash: Crash, random: &mut Random) -> Self {
        let bytes = match crash {
            Crash::Killed => return self.clone(),
            Crash::PowerCut => self.durable.clone(),
            Crash::Torn(_) => self.torn(random),
        };
        Self { durable: bytes.clone(), bytes, pending: Vec::new() }
    }

    /// Each sector of each write made it or did not, and so did each change of the length.
    fn torn(&self, random: &mut Random) -> Vec<u8> {
        let mut torn = self.durable.clone();
        for change in &self.pending {
            match change {
                Change::Len(len) if random.one_in(2) => torn.resize(*len, 0),
                Change::Len(_) => {}
                Change::Write { position, bytes } => {
                    let (mut at, end) = (*position, position + bytes.len());
                    while at < end {
                        let next = ((at / SECTOR + 1) * SECTOR).min(end);
                        if random.one_in(2) {
                            put(&mut torn, at, &bytes[at - position..next - position]);
                        }
                        at = next;
                    }
                }
            }
        }
        torn
    }
}

fn put(file: &mut Vec<u8>, position: usize, bytes: &[u8]) {
    let end = position + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[position..end].copy_from_slice(bytes);
}
