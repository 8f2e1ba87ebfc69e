//! A table that grows at its end and is read without locks: what the indexes of an active segment are kept in.
//!
//! One writer, the appender under its partition's lock; any readers. Rows are words in blocks that double in size and never
//! move, so a reader that saw a length may read every row below it. Entries are written before the length is (release) and
//! the length is read before the entries (acquire).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Rows of `WORDS` words.
#[derive(Debug)]
pub(crate) struct Rows<const WORDS: usize> {
    blocks: [OnceLock<Box<[AtomicU64]>>; BLOCKS],
    len: AtomicUsize,
}

impl<const WORDS: usize> Rows<WORDS> {
    pub(crate) const fn new() -> Self {
        Self { blocks: [const { OnceLock::new() }; BLOCKS], len: AtomicUsize::new(0) }
    }

    /// Rows that may be read.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Appends a row. Only one thread at a time may: the appender.
    pub(crate) fn push(&self, row: [u64; WORDS]) {
        let index = self.len.load(Ordering::Relaxed);
        let (block, at) = place(index);
        let block =
            self.blocks[block].get_or_init(|| (0..(FIRST_BLOCK << block) * WORDS).map(|_| AtomicU64::new(0)).collect());
        for (word, cell) in row.iter().zip(&block[at * WORDS..]) {
            cell.store(*word, Ordering::Relaxed);
        }
        self.len.store(index + 1, Ordering::Release);
    }

    /// The row at `index`, which is below a length read before.
    ///
    /// # Panics
    /// When it is not: a row no one wrote.
    pub(crate) fn get(&self, index: usize) -> [u64; WORDS] {
        let (block, at) = place(index);
        let block = self.blocks[block].get().expect("rows below the length are in blocks that exist");
        std::array::from_fn(|word| block[at * WORDS + word].load(Ordering::Relaxed))
    }

    /// How many rows at the front satisfy `holds`, which is true of a front and false of the rest.
    pub(crate) fn partition_point(&self, holds: impl Fn([u64; WORDS]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(self.get(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// Rows of the first block: two pages of nothing for a segment with one batch would be waste in ten thousand of them.
const FIRST_BLOCK: usize = 16;

/// Blocks, each twice the one before: 16 * (2^24 - 1) rows, more than a segment of 2 GiB has batches of one record.
const BLOCKS: usize = 24;

/// The block a row is in and its place there.
const fn place(index: usize) -> (usize, usize) {
    let block = (index / FIRST_BLOCK + 1).ilog2() as usize;
    (block, index - FIRST_BLOCK * ((1 << block) - 1))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn rows_keep_their_places() {
        let rows = Rows::<2>::new();
        for i in 0..1000u64 {
            rows.push([i, i * i]);
        }
        assert_eq!(rows.len(), 1000);
        for i in 0..1000 {
            assert_eq!(rows.get(i), [i as u64, (i * i) as u64]);
        }
        assert_eq!(rows.partition_point(|[i, _]| i < 600), 600);
        assert_eq!(rows.partition_point(|_| true), 1000);
        assert_eq!(rows.partition_point(|_| false), 0);
    }

    #[test]
    fn readers_see_whole_rows_while_one_writes() {
        let rows = Arc::new(Rows::<2>::new());
        let reader = std::thread::spawn({
            let rows = Arc::clone(&rows);
            move || {
                let mut seen = 0;
                while seen < 20_000 {
                    seen = rows.len();
                    if let Some(last) = seen.checked_sub(1) {
                        assert_eq!(rows.get(last), [last as u64, last as u64 + 7]);
                    }
                }
            }
        });
        for i in 0..20_000 {
            rows.push([i, i + 7]);
        }
        reader.join().expect("the reader saw whole rows");
    }
}
