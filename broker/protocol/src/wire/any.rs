//! Values of every kind for the tests: whatever a field can hold in a version, from a seed that a failure prints.

use bytes::Bytes;

use super::At;
use crate::records::{Chunks, Part};
use crate::{ErrorCode, Uuid};

/// A source of choices, the same for the same seed (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    pub(crate) fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| self.roll() as u8).collect()
    }
}

/// A value a field can hold; what a version lacks stays at its default.
pub(crate) trait Any: Sized {
    fn any(dice: &mut Dice, at: At) -> Self;
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Any for $type {
            fn any(dice: &mut Dice, _: At) -> Self {
                match dice.below(8) {
                    0 => Self::MIN,
                    1 => Self::MAX,
                    2 => -1,
                    3 => 0,
                    _ => dice.roll() as Self,
                }
            }
        }
    )*};
}

integer!(i8, i16, i32, i64);

impl Any for bool {
    fn any(dice: &mut Dice, _: At) -> Self {
        dice.below(2) == 1
    }
}

impl Any for ErrorCode {
    fn any(dice: &mut Dice, at: At) -> Self {
        i16::any(dice, at).into()
    }
}

impl Any for Uuid {
    fn any(dice: &mut Dice, _: At) -> Self {
        Self((u128::from(dice.roll()) << 64 | u128::from(dice.roll())).to_be_bytes())
    }
}

impl Any for String {
    fn any(dice: &mut Dice, _: At) -> Self {
        // Some longer than a length of one byte can say.
        let length = if dice.below(10) == 0 { 120 + dice.below(200) } else { dice.below(12) };
        (0..length).map(|_| ['a', 'Z', '-', '\n', '"', 'é', '語', '🦀'][dice.below(8) as usize]).collect()
    }
}

impl<T: Any> Any for Vec<T> {
    fn any(dice: &mut Dice, at: At) -> Self {
        (0..dice.below(4)).map(|_| T::any(dice, at)).collect()
    }
}

fn nullable<T: Any>(dice: &mut Dice, at: At) -> Option<T> {
    (!at.nullable || dice.below(4) > 0).then(|| T::any(dice, at))
}

impl Any for Option<String> {
    fn any(dice: &mut Dice, at: At) -> Self {
        nullable(dice, at)
    }
}

impl<T: Any> Any for Option<Vec<T>> {
    fn any(dice: &mut Dice, at: At) -> Self {
        nullable(dice, at)
    }
}

impl Any for Option<Chunks> {
    fn any(dice: &mut Dice, _: At) -> Self {
        (dice.below(4) > 0).then(|| (0..dice.below(4)).map(|_| any_bytes(dice)).collect())
    }
}

/// One part at most: two that were written come back as one.
impl Any for Vec<Part> {
    fn any(dice: &mut Dice, _: At) -> Self {
        let bytes = any_bytes(dice);
        if bytes.is_empty() { Self::new() } else { vec![Part::Bytes(bytes)] }
    }
}

fn any_bytes(dice: &mut Dice) -> Bytes {
    let length = dice.below(200);
    dice.bytes(length).into()
}
