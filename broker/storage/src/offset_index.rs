//! Where offsets lie in a segment: one entry every `index.interval.bytes`, so a read starts within that of its batch.
//!
//! Entries rise in both columns. The first batch has none: it is at position 0.

use crate::rows::Rows;

/// The place of a batch in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The batch's base offset.
    pub(crate) offset: i64,
    /// Bytes before it in the segment.
    pub(crate) position: u64,
}

/// A segment's offset index.
#[derive(Debug)]
pub(crate) struct OffsetIndex {
    base_offset: i64,
    rows: Rows<1>,
}

impl OffsetIndex {
    pub(crate) const fn new(base_offset: i64) -> Self {
        Self { base_offset, rows: Rows::new() }
    }

    /// Adds a batch. By the appender alone; later in both columns than any before.
    ///
    /// # Panics
    /// When offset or position are further from the base than 32 bits say: segments roll before that.
    pub(crate) fn push(&self, place: Place) {
        let offset =
            u32::try_from(place.offset - self.base_offset).expect("a segment spans fewer offsets than 32 bits count");
        let position = u32::try_from(place.position).expect("a segment is below 4 GiB");
        self.rows.push([(u64::from(offset) << 32) | u64::from(position)]);
    }

    /// The last entry at or before `offset`; the segment's start when there is none.
    pub(crate) fn floor(&self, offset: i64) -> Place {
        let base = self.base_offset;
        self.before(self.rows.partition_point(|row| entry(base, row).offset <= offset))
    }

    /// The last entry that is at or before both `offset` and `position`.
    pub(crate) fn floor_within(&self, offset: i64, position: u64) -> Place {
        let base = self.base_offset;
        self.before(self.rows.partition_point(|row| {
            let place = entry(base, row);
            place.offset <= offset && place.position <= position
        }))
    }

    /// All entries, in order.
    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = Place> + '_ {
        (0..self.rows.len()).map(|i| entry(self.base_offset, self.rows.get(i)))
    }

    fn before(&self, index: usize) -> Place {
        index
            .checked_sub(1)
            .map_or(Place { offset: self.base_offset, position: 0 }, |i| entry(self.base_offset, self.rows.get(i)))
    }
}

fn entry(base_offset: i64, [word]: [u64; 1]) -> Place {
    Place { offset: base_offset + (word >> 32) as i64, position: word & u64::from(u32::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn place(offset: i64, position: u64) -> Place {
        Place { offset, position }
    }

    fn index() -> OffsetIndex {
        let index = OffsetIndex::new(100);
        for (offset, position) in [(110, 4000), (120, 8000), (121, 12_000)] {
            index.push(place(offset, position));
        }
        index
    }

    #[test]
    fn floors() {
        for (offset, want) in [
            (100, place(100, 0)),
            (109, place(100, 0)),
            (110, place(110, 4000)),
            (119, place(110, 4000)),
            (120, place(120, 8000)),
            (999, place(121, 12_000)),
        ] {
            assert_eq!(index().floor(offset), want, "offset {offset}");
        }
    }

    #[test]
    fn floors_within_a_position() {
        for (offset, position, want) in [
            (999, 3999, place(100, 0)),
            (999, 8500, place(120, 8000)),
            (115, 8500, place(110, 4000)),
            (999, u64::MAX, place(121, 12_000)),
        ] {
            assert_eq!(index().floor_within(offset, position), want, "offset {offset}, position {position}");
        }
    }

    #[test]
    fn an_empty_index_points_at_the_start() {
        let index = OffsetIndex::new(7);
        assert_eq!(index.floor(1000), place(7, 0));
        assert_eq!(index.entries().len(), 0);
    }
}
