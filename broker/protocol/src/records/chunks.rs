//! A byte string in pieces, as it came off a socket: the same bytes travel from there to the log without being joined.
//!
//! A piece is a [`Bytes`], so cutting and cloning count references and copy nothing. Most frames arrive in one piece, and
//! then a `Chunks` allocates nothing either. No piece is empty, and `len` is always the sum of the pieces.

use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// Room taken when a second piece comes: what 64 KiB arrive in over TLS, whose records carry 16 KiB.
const PIECES_EXPECTED: usize = 4;

/// A byte string in pieces. Equal to another when the bytes are, wherever either is cut.
#[derive(Clone, Default)]
pub struct Chunks {
    pieces: Pieces,
    len: usize,
}

#[derive(Clone, Default)]
enum Pieces {
    #[default]
    None,
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Chunks {
    /// The empty string.
    pub const fn new() -> Self {
        Self { pieces: Pieces::None, len: 0 }
    }

    /// Bytes in all pieces together.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte at all.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in order, none of them empty.
    pub fn parts(&self) -> &[Bytes] {
        match &self.pieces {
            Pieces::None => &[],
            Pieces::One(piece) => std::slice::from_ref(piece),
            Pieces::Many(pieces) => pieces,
        }
    }

    /// Appends a piece; an empty one changes nothing.
    pub fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.len += piece.len();
        match &mut self.pieces {
            Pieces::Many(pieces) => pieces.push(piece),
            one @ Pieces::One(_) => {
                if let Pieces::One(first) = std::mem::take(one) {
                    let mut pieces = Vec::with_capacity(PIECES_EXPECTED);
                    pieces.extend([first, piece]);
                    *one = Pieces::Many(pieces);
                }
            }
            none @ Pieces::None => *none = Pieces::One(piece),
        }
    }

    /// The bytes of `range`, sharing the memory of these.
    ///
    /// # Panics
    /// When the range does not lie within `0..len`, as slicing an array does: callers compare with [`Chunks::len`] first.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len, "range {range:?} of {} bytes", self.len);
        let mut cut = Self::new();
        let mut piece_start = 0;
        for piece in self.parts() {
            let piece_end = piece_start + piece.len();
            let (from, to) = (range.start.max(piece_start), range.end.min(piece_end));
            if from < to {
                cut.push(piece.slice(from - piece_start..to - piece_start));
            }
            if piece_end >= range.end {
                break;
            }
            piece_start = piece_end;
        }
        cut
    }

    /// Cuts off and returns the first `n` bytes; the rest stays.
    ///
    /// # Panics
    /// When there are fewer than `n`.
    #[must_use]
    pub fn split_to(&mut self, n: usize) -> Self {
        let head = self.slice(0..n);
        *self = self.slice(n..self.len);
        head
    }

    /// Fills `buf` with the bytes from position `at` on.
    ///
    /// # Panics
    /// When fewer than `buf.len()` bytes follow `at`.
    pub fn copy_to(&self, buf: &mut [u8], at: usize) {
        assert!(at <= self.len && buf.len() <= self.len - at, "{} bytes at {at} of {}", buf.len(), self.len);
        let (mut skip, mut filled) = (at, 0);
        for piece in self.parts() {
            if filled == buf.len() {
                break;
            }
            if skip >= piece.len() {
                skip -= piece.len();
                continue;
            }
            let taken = (piece.len() - skip).min(buf.len() - filled);
            buf[filled..filled + taken].copy_from_slice(&piece[skip..skip + taken]);
            filled += taken;
            skip = 0;
        }
    }

    /// The bytes in one piece: shared when they already are, copied together when not.
    pub fn to_bytes(&self) -> Bytes {
        match &self.pieces {
            Pieces::None => Bytes::new(),
            Pieces::One(piece) => piece.clone(),
            Pieces::Many(pieces) => {
                let mut joined = BytesMut::with_capacity(self.len);
                for piece in pieces {
                    joined.extend_from_slice(piece);
                }
                joined.freeze()
            }
        }
    }
}

impl From<Bytes> for Chunks {
    fn from(piece: Bytes) -> Self {
        let mut chunks = Self::new();
        chunks.push(piece);
        chunks
    }
}

impl From<Vec<Bytes>> for Chunks {
    fn from(mut pieces: Vec<Bytes>) -> Self {
        pieces.retain(|piece| !piece.is_empty());
        let len = pieces.iter().map(Bytes::len).sum();
        let pieces = match pieces.len() {
            0 => Pieces::None,
            1 => pieces.pop().map_or(Pieces::None, Pieces::One),
            _ => Pieces::Many(pieces),
        };
        Self { pieces, len }
    }
}

impl FromIterator<Bytes> for Chunks {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut chunks = Self::new();
        for piece in pieces {
            chunks.push(piece);
        }
        chunks
    }
}

impl PartialEq for Chunks {
    fn eq(&self, other: &Self) -> bool {
        let (mut ours, mut theirs): (&[u8], &[u8]) = (&[], &[]);
        let (mut our_parts, mut their_parts) = (self.parts().iter(), other.parts().iter());
        self.len == other.len
            && loop {
                if ours.is_empty() {
                    ours = our_parts.next().map_or(&[], |piece| piece);
                }
                if theirs.is_empty() {
                    theirs = their_parts.next().map_or(&[], |piece| piece);
                }
                let n = ours.len().min(theirs.len());
                if n == 0 || ours[..n] != theirs[..n] {
                    break n == 0;
                }
                (ours, theirs) = (&ours[n..], &theirs[n..]);
            }
    }
}

impl Eq for Chunks {}

impl fmt::Debug for Chunks {
    /// The size and the cuts, not the bytes: they are users' data and may be megabytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunks({} bytes in {} pieces)", self.len, self.parts().len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `bytes` cut into pieces of the given lengths, which repeat.
    fn cut(bytes: &[u8], lengths: &[usize]) -> Chunks {
        let mut rest = Bytes::copy_from_slice(bytes);
        let mut chunks = Chunks::new();
        for &n in lengths.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            chunks.push(rest.split_to(n.min(rest.len())));
        }
        chunks
    }

    #[test]
    fn empty_pieces_vanish() {
        let chunks = Chunks::from(vec![Bytes::new(), Bytes::from_static(b"ab"), Bytes::new()]);
        assert_eq!((chunks.len(), chunks.parts().len()), (2, 1));
        assert!(Chunks::from(Bytes::new()).is_empty());
        assert!(Chunks::from(vec![Bytes::new()]).parts().is_empty());
    }

    #[test]
    fn one_piece_is_shared_not_copied() {
        let bytes = Bytes::from_static(b"hello");
        let chunks = Chunks::from(bytes.clone());
        assert_eq!(chunks.to_bytes().as_ptr(), bytes.as_ptr());
        assert_eq!(chunks.slice(1..3).to_bytes().as_ptr(), bytes[1..].as_ptr());
    }

    #[test]
    #[should_panic(expected = "range 3..6 of 5 bytes")]
    fn a_slice_beyond_the_end_panics() {
        let _ = Chunks::from(Bytes::from_static(b"hello")).slice(3..6);
    }

    #[test]
    fn debug_shows_no_data() {
        assert_eq!(format!("{:?}", cut(b"secret", &[4])), "Chunks(6 bytes in 2 pieces)");
    }

    proptest! {
        #[test]
        fn behaves_as_the_joined_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            lengths in prop::collection::vec(1usize..9, 1..5),
            a in 0usize..200,
            b in 0usize..200,
        ) {
            let chunks = cut(&bytes, &lengths);
            let (a, b) = (a.min(bytes.len()), b.min(bytes.len()));
            let (from, to) = (a.min(b), a.max(b));

            prop_assert_eq!(&chunks.to_bytes()[..], &bytes[..]);
            prop_assert_eq!(&chunks.slice(from..to).to_bytes()[..], &bytes[from..to]);
            prop_assert_eq!(chunks.slice(from..to).len(), to - from);

            let mut copied = vec![0; to - from];
            chunks.copy_to(&mut copied, from);
            prop_assert_eq!(&copied[..], &bytes[from..to]);

            let mut tail = chunks.clone();
            let head = tail.split_to(from);
            prop_assert_eq!(&head.to_bytes()[..], &bytes[..from]);
            prop_assert_eq!(&tail.to_bytes()[..], &bytes[from..]);

            prop_assert_eq!(&chunks, &Chunks::from(Bytes::from(bytes.clone())));
            if let Some(first) = bytes.first() {
                let mut other = bytes.clone();
                other[0] = first.wrapping_add(1);
                prop_assert_ne!(&chunks, &Chunks::from(Bytes::from(other)));
            }
        }
    }
}
