//! What a binding says to `select`.

use std::fmt;

use serde::Deserialize;
use sluice_sdk::{Columns, Kind};

use crate::expression::{Condition, ParseError, parse};

/// The condition, cut where `&&` joins its parts, and what happens to a record for which it does not hold.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Config {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) otherwise: Else,
    pub(crate) tombstones: Tombstones,
}

/// What is wrong with a configuration that is JSON of the right shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// The condition is none.
    Condition(String),
    /// A view has nobody to reject to.
    RejectInView,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Condition(error) => write!(f, "`if`: {error}"),
            Self::RejectInView => f.write_str("`else` is `reject`, which a view cannot: say drop"),
        }
    }
}

/// The configuration as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "if")]
    condition: String,
    #[serde(rename = "else", default)]
    otherwise: Else,
    #[serde(default)]
    tombstones: Tombstones,
}

/// What happens to a record for which the condition does not hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Else {
    #[default]
    Drop,
    Reject,
}

/// What happens to a record with a null value. Kept unless said, so that a view of a compacted topic can be materialised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tombstones {
    #[default]
    Keep,
    Drop,
    Evaluate,
}

impl Config {
    /// Refuses what cannot be done where the plugin is bound.
    pub(crate) fn check(&self, kind: Kind) -> Result<(), ConfigError> {
        match (kind, self.otherwise) {
            (Kind::View, Else::Reject) => Err(ConfigError::RejectInView),
            _ => Ok(()),
        }
    }

    /// The columns that the condition speaks of, and values where their absence matters.
    pub(crate) fn columns(&self) -> Columns {
        let start = if self.tombstones == Tombstones::Evaluate { Columns::NONE } else { Columns::VALUES };
        self.conditions.iter().fold(start, |all, condition| all.and(condition.expression.columns()))
    }
}

impl TryFrom<Written> for Config {
    type Error = ConfigError;

    fn try_from(written: Written) -> Result<Self, ConfigError> {
        let conditions =
            parse(&written.condition).map_err(|error: ParseError| ConfigError::Condition(error.to_string()))?;
        Ok(Self { conditions, otherwise: written.otherwise, tombstones: written.tombstones })
    }
}
