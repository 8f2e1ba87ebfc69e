//! A row of the configuration: what a setting is called, what it may hold, what it holds when nobody says, and why.
//!
//! One row serves parsing, the answer to DescribeConfigs, the help of the command line and `sluice config show`. The
//! macro [`keys`] declares a table of rows and the typed struct that reads it, so that a new setting is one entry in
//! one file.

use std::fmt;

use sluice_cluster::throttle::ThrottledReplicas;

use crate::net::Secret;

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// Its dotted name, Kafka's own where Kafka has it.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// What it holds when nothing is said; none: nothing.
    pub default: Option<&'static str>,
    doc: &'static [&'static str],
}

impl Key {
    /// A row; [`keys`] writes it.
    pub(super) const fn new(
        name: &'static str,
        kind: Kind,
        default: Option<&'static str>,
        doc: &'static [&'static str],
    ) -> Self {
        Self { name, kind, default, doc }
    }

    /// What it is for, in a sentence or two.
    pub fn doc(&self) -> String {
        self.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }

    /// Whether its value is never shown.
    pub const fn is_sensitive(&self) -> bool {
        matches!(self.kind, Kind::Password)
    }
}

/// What a setting may hold. The names of the types are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number of 32 bits, within a range.
    Int {
        /// The least.
        min: i32,
        /// The greatest.
        max: i32,
    },
    /// A whole number of 64 bits, within a range.
    Long {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// Any text.
    String,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Words with commas between them.
    List,
    /// Some of these words, with commas between them.
    SomeOf(&'static [&'static str]),
    /// A list of replicas, `PARTITION:BROKER`, or `*` for all.
    Replicas,
    /// Text that is never shown.
    Password,
}

impl Kind {
    /// A whole number of 32 bits from 0.
    pub(super) const COUNT: Self = Self::Int { min: 0, max: i32::MAX };
    /// A whole number of 32 bits from 1.
    pub(super) const POSITIVE: Self = Self::Int { min: 1, max: i32::MAX };
    /// A whole number of 64 bits from 0.
    pub(super) const LONG_COUNT: Self = Self::Long { min: 0, max: i64::MAX };
    /// A whole number of 64 bits from 1.
    pub(super) const LONG_POSITIVE: Self = Self::Long { min: 1, max: i64::MAX };
    /// A whole number of 64 bits from 0, or -1 for "no limit".
    pub(super) const LIMIT: Self = Self::Long { min: -1, max: i64::MAX };

    /// Kafka's number of the type in DescribeConfigs (KIP-569).
    pub const fn kafka_type(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String | Self::OneOf(_) => 2,
            Self::Int { .. } => 3,
            Self::Long { .. } => 5,
            Self::List | Self::SomeOf(_) | Self::Replicas => 7,
            Self::Password => 9,
        }
    }

    /// Whether `text` is a value of this kind.
    pub fn check(self, text: &str) -> Result<(), BadValue> {
        let good = match self {
            Self::Boolean => matches!(text.trim(), "true" | "false"),
            Self::Int { min, max } => text.trim().parse::<i32>().is_ok_and(|n| (min..=max).contains(&n)),
            Self::Long { min, max } => text.trim().parse::<i64>().is_ok_and(|n| (min..=max).contains(&n)),
            Self::String | Self::List | Self::Password => true,
            Self::OneOf(words) => words.contains(&text.trim()),
            Self::Replicas => text.parse::<ThrottledReplicas>().is_ok(),
            Self::SomeOf(words) => {
                let mut given = words_of(text).peekable();
                given.peek().is_some() && given.all(|word| words.contains(&word))
            }
        };
        if good { Ok(()) } else { Err(BadValue { kind: self }) }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("true or false"),
            Self::Int { min, max: i32::MAX } => write!(f, "a whole number from {min}"),
            Self::Int { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Long { min, max: i64::MAX } => write!(f, "a whole number from {min}"),
            Self::Long { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::String | Self::Password => f.write_str("text"),
            Self::List => f.write_str("a list with commas"),
            Self::Replicas => f.write_str("a list of PARTITION:BROKER, or *"),
            Self::OneOf([only]) => f.write_str(only),
            Self::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Self::SomeOf([only]) => f.write_str(only),
            Self::SomeOf(words) => write!(f, "a list out of {}", words.join(", ")),
        }
    }
}

/// A text that is no value of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has to be {kind}")]
pub struct BadValue {
    /// The kind it is no value of.
    pub kind: Kind,
}

/// The words of a list: what stands between commas, without the space around it.
pub(super) fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// A type that a checked text becomes.
pub(super) trait FromText: Sized {
    /// The value of `text`, which [`Kind::check`] has passed; `None` where nothing is said and there is no default.
    /// `None` comes back for a text that does not fit the type: the row's kind and the field's type disagree.
    fn from_text(text: Option<&str>) -> Option<Self>;
}

impl FromText for bool {
    fn from_text(text: Option<&str>) -> Option<Self> {
        text?.trim().parse().ok()
    }
}

impl FromText for i32 {
    fn from_text(text: Option<&str>) -> Option<Self> {
        text?.trim().parse().ok()
    }
}

impl FromText for i64 {
    fn from_text(text: Option<&str>) -> Option<Self> {
        text?.trim().parse().ok()
    }
}

impl FromText for usize {
    fn from_text(text: Option<&str>) -> Option<Self> {
        text?.trim().parse().ok()
    }
}

impl FromText for String {
    fn from_text(text: Option<&str>) -> Option<Self> {
        Some(text?.trim().to_owned())
    }
}

impl FromText for Secret {
    fn from_text(text: Option<&str>) -> Option<Self> {
        Some(Self::new(text?.to_owned()))
    }
}

impl FromText for ThrottledReplicas {
    fn from_text(text: Option<&str>) -> Option<Self> {
        text?.parse().ok()
    }
}

impl FromText for Vec<String> {
    fn from_text(text: Option<&str>) -> Option<Self> {
        Some(words_of(text?).map(str::to_owned).collect())
    }
}

impl<T: FromText> FromText for Option<T> {
    fn from_text(text: Option<&str>) -> Option<Self> {
        match text {
            None => Some(None),
            Some(text) => T::from_text(Some(text)).map(Some),
        }
    }
}

/// Declares a table of [`Key`]s and the struct that holds their values. The comment over an entry is its documentation
/// in both.
macro_rules! keys {
    (
        $(#[$meta:meta])*
        pub struct $values:ident, table $table:ident {
            $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $name:literal, $kind:expr, $default:expr; )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub struct $values { $( $(#[doc = $doc])+ pub $field: $type, )* }

        /// The rows behind the struct's fields, in the same order.
        pub static $table: &[$crate::config::key::Key] = &[
            $( $crate::config::key::Key::new($name, $kind, $default, &[$($doc),+]), )*
        ];

        impl $values {
            /// Reads every field's text; `Err` names the setting whose text does not fit its field.
            pub(in $crate::config) fn read<'a>(text: impl Fn(&'static str) -> Option<&'a str>) -> Result<Self, &'static str> {
                Ok(Self { $( $field: $crate::config::key::FromText::from_text(text($name)).ok_or($name)?, )* })
            }
        }
    };
}
pub(super) use keys;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kind_takes() {
        let check = |kind: Kind, good: &[&str], bad: &[&str]| {
            for text in good {
                assert_eq!(kind.check(text), Ok(()), "{kind:?} {text:?}");
            }
            for text in bad {
                assert_eq!(kind.check(text), Err(BadValue { kind }), "{kind:?} {text:?}");
            }
        };
        check(Kind::Boolean, &["true", " false "], &["", "yes", "TRUE", "1"]);
        check(Kind::Int { min: -1, max: 5 }, &["-1", "0", " 5"], &["-2", "6", "", "1.0", "0x1", "1 2"]);
        check(Kind::COUNT, &["2147483647"], &["2147483648", "-1"]);
        check(Kind::LIMIT, &["-1", "9223372036854775807"], &["9223372036854775808", "-2"]);
        check(Kind::OneOf(&["a", "b"]), &["a", "b "], &["", "A", "a,b"]);
        check(Kind::SomeOf(&["a", "b"]), &["a", "b, a"], &["", ",", "a,c"]);
        check(Kind::List, &["", "a,b"], &[]);
    }

    #[test]
    fn a_range_says_what_it_takes() {
        assert_eq!(BadValue { kind: Kind::LIMIT }.to_string(), "has to be a whole number from -1");
        assert_eq!(BadValue { kind: Kind::OneOf(&["a", "b"]) }.to_string(), "has to be one of a, b");
        assert_eq!(BadValue { kind: Kind::OneOf(&["delete"]) }.to_string(), "has to be delete");
    }
}
