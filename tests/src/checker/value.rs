//! What a record of a test carries: a number nobody else sends, and bytes that follow from it.

use std::fmt;

/// The number of one call to send, unique in a history and rising in the order in which calls began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub(super) u64);

/// Digits of the number at the head of a payload.
const DIGITS: usize = 20;

impl Value {
    /// Its payload, `size` bytes of it but never less than the number takes. Every byte follows from the number, so that one
    /// that was altered shows.
    pub fn payload(self, size: usize) -> Vec<u8> {
        let mut payload = format!("{:0DIGITS$}", self.0).into_bytes();
        payload.extend((DIGITS..size).map(|at| self.filler(at)));
        payload
    }

    /// The value whose payload this is; `None` when a byte of it is not as it was sent.
    pub fn of(payload: &[u8]) -> Option<Self> {
        let (digits, filler) = payload.split_at_checked(DIGITS)?;
        let value = Self(std::str::from_utf8(digits).ok()?.parse().ok()?);
        filler.iter().zip(DIGITS..).all(|(&byte, at)| byte == value.filler(at)).then_some(value)
    }

    fn filler(self, at: usize) -> u8 {
        // Not constant, so that compression and a shift by a byte both have something to get wrong.
        b'a' + ((self.0.wrapping_mul(31).wrapping_add(at as u64 * 7)) % 26) as u8
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "value {}", self.0)
    }
}
