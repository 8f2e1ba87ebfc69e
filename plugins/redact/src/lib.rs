//! `redact`: removes, masks or hashes fields of JSON values, found by path.
//!
//! What no rule leads to keeps its bytes: white space, order of members, digits of numbers. A record in which nothing is
//! found is kept and never crosses back. What cannot be read as JSON cannot be redacted either, so it does not pass unless
//! the configuration says so.

#![deny(unsafe_code)]

mod config;
mod require;

pub use config::{Config, ConfigError};

use config::OnInvalid;
use sluice_sdk::{Kind, Record, Verdict, json, plugin};

/// Redacts a record's value; null values pass.
#[plugin(gate, view, columns(values), check = Config::check)]
pub fn redact(record: &Record<'_>, config: &Config) -> Verdict {
    let Some(value) = record.value() else { return Verdict::Keep };
    match json::parse(value) {
        Ok(value) => match (config.unmet(value), record.batch().kind()) {
            (None, _) => match json::rewrite(value, &config.paths, |rule, found| config.actions[rule].apply(found)) {
                Some(redacted) => Verdict::replace_value(redacted),
                None => Verdict::Keep,
            },
            (Some(unmet), Kind::Gate) => Verdict::reject(format!("redact: {unmet}")),
            (Some(_), Kind::View) => Verdict::Drop,
        },
        Err(error) => match (config.on_invalid, record.batch().kind()) {
            (Some(OnInvalid::Keep), _) => Verdict::Keep,
            (Some(OnInvalid::Drop), _) | (None, Kind::View) => Verdict::Drop,
            (Some(OnInvalid::Reject), _) | (None, Kind::Gate) => Verdict::reject(format!("redact: {error}")),
        },
    }
}

#[cfg(test)]
mod tests;
