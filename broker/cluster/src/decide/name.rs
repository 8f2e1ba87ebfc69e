//! Names of topics and views: Kafka's rules for topics, whose names end up as folders.

use serde::{Deserialize, Serialize};

/// Kafka's limit: `<name>-<partition>` plus a suffix has to be a file name of at most 255 bytes.
pub const NAME_LENGTH_MAX: usize = 249;

/// Why a name can't be a topic's or a view's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum NameError {
    /// No characters.
    #[error("the name is empty")]
    Empty,
    /// `.` and `..` are folders.
    #[error("the name cannot be '.' or '..'")]
    Dots,
    /// Too long to be a file name.
    #[error("the name has {length} characters of at most {NAME_LENGTH_MAX}")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// A character that is not a letter or digit of ASCII, `.`, `_` or `-`.
    #[error("the name has {found:?} in it; letters and digits of ASCII, '.', '_' and '-' are allowed")]
    Character {
        /// The first such character.
        found: char,
    },
    /// It is the broker's own.
    #[error("names that begin with '{RESERVED}' are the broker's own")]
    Reserved,
}

/// Whether a topic or view could have this name.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(NameError::Dots);
    }
    if name.len() > NAME_LENGTH_MAX {
        return Err(NameError::TooLong { length: name.len() });
    }
    match name.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-')) {
        Some(found) => Err(NameError::Character { found }),
        None => Ok(()),
    }
}

/// What the names of the broker's own topics begin with.
pub(super) const RESERVED: &str = "__sluice_";

/// Whether a client may give a topic or a view this name: a topic that looks like the broker's own would be taken for it.
pub(super) fn check_not_reserved(name: &str) -> Result<(), NameError> {
    if name.starts_with(RESERVED) { Err(NameError::Reserved) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_kafka_takes() {
        for name in ["a", "orders", "Orders.v1_of-us", "...", "-", "0", "__consumer_offsets", &"x".repeat(249)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_kafka_refuses() {
        check("", NameError::Empty);
        check(".", NameError::Dots);
        check("..", NameError::Dots);
        check(&"x".repeat(250), NameError::TooLong { length: 250 });
        check("a b", NameError::Character { found: ' ' });
        check("a/b", NameError::Character { found: '/' });
        check("../etc", NameError::Character { found: '/' });
        check("größe", NameError::Character { found: 'ö' });
        check("a\0", NameError::Character { found: '\0' });
    }

    #[test]
    fn names_of_the_broker_are_not_given_away() {
        assert_eq!(check_not_reserved("__sluice_plugins"), Err(NameError::Reserved));
        assert_eq!(check_not_reserved("__consumer_offsets"), Ok(()));
    }

    fn check(name: &str, why: NameError) {
        assert_eq!(check_name(name), Err(why), "{name:?}");
    }
}
