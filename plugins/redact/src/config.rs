//! What a binding says to `redact`, and what each rule does to a value it leads to.

use std::fmt;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use sluice_sdk::Kind;
use sluice_sdk::json::{Change, Path, Value, quote};

use crate::require::Requirement;

/// What stands for a masked value unless the rule says otherwise.
const MASK: &str = "***";

/// The rules, their paths apart from what they do, as a rewrite wants them.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Config {
    pub(crate) paths: Vec<Path>,
    pub(crate) actions: Vec<Action>,
    pub(crate) on_invalid: Option<OnInvalid>,
    require: Vec<Requirement>,
}

/// What is wrong with a configuration that is JSON of the right shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// No rules.
    NoRules,
    /// A rule's path is none.
    Path(String),
    /// A rule would have no value left.
    Whole,
    /// `with` or `keep_last` on a rule that masks nothing.
    NotAMask(String),
    /// A view has nobody to reject to.
    RejectInView,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRules => f.write_str("`rules` is empty: nothing would be redacted"),
            Self::Path(error) => f.write_str(error),
            Self::Whole => f.write_str("path `$` is the whole value; name a field in it"),
            Self::NotAMask(path) => write!(f, "path `{path}`: `with` and `keep_last` are for `mask`"),
            Self::RejectInView => f.write_str("`on_invalid` is `reject`, which a view cannot: say keep or drop"),
        }
    }
}

/// The configuration as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    rules: Vec<Rule>,
    #[serde(default)]
    require: Vec<Requirement>,
    #[serde(default)]
    salt: String,
    on_invalid: Option<OnInvalid>,
}

/// One rule as it is written. Flat, and not an enum by action: serde then cannot refuse unknown fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    path: String,
    action: ActionName,
    with: Option<String>,
    #[serde(default)]
    keep_last: usize,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum ActionName {
    Remove,
    Mask,
    Hash,
}

/// What happens to a record whose value is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnInvalid {
    Keep,
    Drop,
    Reject,
}

/// What happens to a value.
#[derive(Debug)]
pub(crate) enum Action {
    Remove,
    Mask { with: String, keep_last: usize },
    Hash { salt: String },
}

impl Config {
    /// The first requirement that a value does not meet.
    pub(crate) fn unmet(&self, value: Value<'_>) -> Option<&Requirement> {
        self.require.iter().find(|requirement| !requirement.holds(value))
    }

    /// Refuses what cannot be done where the plugin is bound.
    pub(crate) fn check(&self, kind: Kind) -> Result<(), ConfigError> {
        match (kind, self.on_invalid) {
            (Kind::View, Some(OnInvalid::Reject)) => Err(ConfigError::RejectInView),
            _ => Ok(()),
        }
    }
}

impl TryFrom<Written> for Config {
    type Error = ConfigError;

    fn try_from(written: Written) -> Result<Self, ConfigError> {
        if written.rules.is_empty() {
            return Err(ConfigError::NoRules);
        }
        let Written { require, on_invalid, .. } = written;
        let mut config = Self { paths: Vec::new(), actions: Vec::new(), on_invalid, require };
        for rule in written.rules {
            let path: Path =
                rule.path.parse().map_err(|error| ConfigError::Path(format!("path `{}`: {error}", rule.path)))?;
            if path.is_whole() {
                return Err(ConfigError::Whole);
            }
            if rule.action != ActionName::Mask && (rule.with.is_some() || rule.keep_last > 0) {
                return Err(ConfigError::NotAMask(rule.path));
            }
            config.paths.push(path);
            config.actions.push(match rule.action {
                ActionName::Remove => Action::Remove,
                ActionName::Mask => {
                    Action::Mask { with: rule.with.unwrap_or_else(|| MASK.to_owned()), keep_last: rule.keep_last }
                }
                ActionName::Hash => Action::Hash { salt: written.salt.clone() },
            });
        }
        Ok(config)
    }
}

impl Action {
    pub(crate) fn apply(&self, found: Value<'_>) -> Change {
        match self {
            Self::Remove => Change::Remove,
            Self::Mask { with, keep_last } => {
                let text = found.as_str().unwrap_or_default();
                // As many as asked for, and never more than half: a mask that shows all of a short value is none.
                let kept = (*keep_last).min(text.chars().count() / 2);
                let last = text.char_indices().rev().take(kept).last().map_or("", |(at, _)| &text[at..]);
                Change::Replace(quote(&format!("{with}{last}")))
            }
            Self::Hash { salt } => {
                let mut hash = Sha256::new_with_prefix(salt);
                // A string by what it says, not by how it is escaped; anything else as it is written.
                hash.update(found.as_str().as_deref().unwrap_or_else(|| found.text()));
                Change::Replace(quote(&hex(&hash.finalize())))
            }
        }
    }
}

/// Without `format!`, which for each byte would cost as much as the hash does.
fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
