//! What happened, in words: a hash over all of it, by which two runs are told apart, and the last of it for a reader.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::{self, Write};

/// Lines kept for a reader: the story of a failure is in the last few seconds.
const KEPT: usize = 400;

pub(super) struct Trace {
    hash: Cell<u64>,
    lines: Cell<u64>,
    last: RefCell<VecDeque<String>>,
    /// Each line to standard error as it comes, for whoever looks into one seed.
    aloud: bool,
}

impl Trace {
    pub(super) fn new(aloud: bool) -> Self {
        Self { hash: Cell::new(FNV_OFFSET), lines: Cell::default(), last: RefCell::default(), aloud }
    }

    pub(super) fn note(&self, now: i64, what: fmt::Arguments<'_>) {
        let mut last = self.last.borrow_mut();
        let mut line = if last.len() == KEPT { last.pop_front().unwrap_or_default() } else { String::new() };
        line.clear();
        write!(line, "{now:>7} {what}").expect("a String takes what it is given");
        if self.aloud {
            eprintln!("{line}");
        }
        let hash = line.bytes().fold(self.hash.get(), |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME));
        self.hash.set(hash);
        self.lines.set(self.lines.get() + 1);
        last.push_back(line);
    }

    /// Of all lines so far, FNV-1a.
    pub(super) fn hash(&self) -> u64 {
        self.hash.get()
    }

    /// Lines so far.
    pub(super) fn lines(&self) -> u64 {
        self.lines.get()
    }

    /// The last lines, oldest first.
    pub(super) fn tail(&self, lines: usize) -> Vec<String> {
        let last = self.last.borrow();
        last.iter().skip(last.len().saturating_sub(lines)).cloned().collect()
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_of_all_lines_and_the_tail_of_the_last() {
        let (one, other) = (Trace::new(false), Trace::new(false));
        for at in 0..1_000 {
            one.note(at, format_args!("line {at}"));
            other.note(at, format_args!("line {}", at.max(1)));
        }
        assert_ne!(one.hash(), other.hash(), "one early line differs");
        assert_eq!((one.lines(), one.tail(2)), (1_000, vec!["    998 line 998".into(), "    999 line 999".into()]));
    }
}
