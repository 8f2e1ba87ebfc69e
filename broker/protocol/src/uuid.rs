//! Topic ids and other 128-bit identifiers, as Kafka writes them: sixteen bytes on the wire, base64url without padding in text
//! (KIP-516). Made elsewhere: this crate has no randomness.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A 128-bit identifier: a topic's, a view's, a broker's life, a log directory's. Where brokers write it for each other it is its
/// sixteen bytes as well, without a length.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// The absent id. Never given to anything.
    pub const ZERO: Self = Self([0; 16]);

    /// Whether this is [`Uuid::ZERO`], which stands for "no id" in every message that carries one.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; TEXT_LEN];
        let value = u128::from_be_bytes(self.0);
        for (i, slot) in text.iter_mut().enumerate() {
            // 22 digits of 6 bits hold 132 bits: the last digit carries the final 2 bits, shifted up by 4.
            let shift = 122_i32 - 6 * i as i32;
            let digit = if shift >= 0 { value >> shift } else { value << -shift };
            *slot = ALPHABET[(digit & 0x3f) as usize];
        }
        text.iter().try_for_each(|&byte| fmt::Write::write_char(f, char::from(byte)))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Self, ParseUuidError> {
        let bytes = text.as_bytes();
        if bytes.len() != TEXT_LEN {
            return Err(ParseUuidError);
        }
        let mut value: u128 = 0;
        for (i, byte) in bytes.iter().enumerate() {
            let digit = ALPHABET.iter().position(|known| known == byte).ok_or(ParseUuidError)? as u128;
            if i + 1 < TEXT_LEN {
                value = value << 6 | digit;
            } else if digit & 0x0f == 0 {
                value = value << 2 | digit >> 4;
            } else {
                // Two texts would name one id.
                return Err(ParseUuidError);
            }
        }
        Ok(Self(value.to_be_bytes()))
    }
}

/// The text is not 22 digits of base64url, or its last digit has bits no id has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a uuid of 22 base64url digits")]
pub struct ParseUuidError;

/// Digits of base64 that hold 128 bits.
const TEXT_LEN: usize = 22;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_kafka_writes() {
        check([0; 16], "AAAAAAAAAAAAAAAAAAAAAA");
        check([0xff; 16], "_____________________w");
        check([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], "AAECAwQFBgcICQoLDA0ODw");
    }

    #[test]
    fn texts_that_are_no_ids() {
        for text in
            ["", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAA+AAAAAAAAAAA"]
        {
            assert_eq!(text.parse::<Uuid>(), Err(ParseUuidError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_id_reads_back(bytes: [u8; 16]) {
            prop_assert_eq!(Uuid(bytes).to_string().parse(), Ok(Uuid(bytes)));
        }
    }

    fn check(bytes: [u8; 16], text: &str) {
        assert_eq!(Uuid(bytes).to_string(), text);
        assert_eq!(text.parse(), Ok(Uuid(bytes)));
    }
}
