//! `select`: lets through the records for which a condition holds, over JSON fields, key, headers and timestamp.
//!
//! What does not hold is left out, or, in a gate that says so, rejected with the condition in the message. Only the columns
//! that the condition speaks of cross into the plugin, and a value is read as JSON only when the condition gets that far.

#![deny(unsafe_code)]

mod config;
mod expression;

pub use config::{Config, ConfigError};

use config::{Else, Tombstones};
use expression::Subject;
use sluice_sdk::{Record, Verdict, plugin};

/// Keeps a record for which the condition holds.
#[plugin(gate, view, columns = Config::columns, check = Config::check)]
pub fn select(record: &Record<'_>, config: &Config) -> Verdict {
    match config.tombstones {
        Tombstones::Keep if record.value().is_none() => return Verdict::Keep,
        Tombstones::Drop if record.value().is_none() => return Verdict::Drop,
        _ => {}
    }
    let subject = Subject::new(record);
    for condition in &config.conditions {
        let why = match condition.expression.holds(&subject) {
            Ok(true) => continue,
            Ok(false) => format!("{} does not hold", condition.text),
            Err(not_json) => not_json.to_string(),
        };
        return match config.otherwise {
            Else::Drop => Verdict::Drop,
            Else::Reject => Verdict::reject(format!("select: {why}")),
        };
    }
    Verdict::Keep
}

#[cfg(test)]
mod tests;
