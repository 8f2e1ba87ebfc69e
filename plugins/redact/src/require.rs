//! What a value must be before it is redacted: fields that equal what the configuration says.

use std::fmt;

use serde::Deserialize;
use sluice_sdk::json::{Path, Value, quote};

/// One field and what it must equal.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) struct Requirement {
    path: Path,
    equals: Literal,
}

/// A requirement as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    path: String,
    equals: Literal,
}

/// What a field can be compared with. Nothing is converted: `"5"` is not 5.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Literal {
    Bool(bool),
    Number(f64),
    Text(String),
}

impl TryFrom<Written> for Requirement {
    type Error = String;

    fn try_from(Written { path, equals }: Written) -> Result<Self, String> {
        let path = path.parse().map_err(|error| format!("path `{path}`: {error}"))?;
        Ok(Self { path, equals })
    }
}

impl Requirement {
    /// Whether any value that the path leads to is the one that is wanted.
    pub(crate) fn holds(&self, value: Value<'_>) -> bool {
        self.path.any(value, |found| match &self.equals {
            Literal::Bool(wanted) => found.as_bool() == Some(*wanted),
            Literal::Number(wanted) => found.as_f64() == Some(*wanted),
            Literal::Text(wanted) => found.as_str().is_some_and(|found| found == wanted.as_str()),
        })
    }
}

/// What is said of a value for which it does not hold.
impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.equals {
            Literal::Bool(wanted) => write!(f, "{} is not {wanted}", self.path),
            Literal::Number(wanted) => write!(f, "{} is not {wanted}", self.path),
            Literal::Text(wanted) => write!(f, "{} is not {}", self.path, quote(wanted)),
        }
    }
}
