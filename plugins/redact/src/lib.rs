//! redact
#![deny(unsafe_code)]

use sluice_sdk::{Record, Verdict, plugin};
/// x
#[plugin(gate, view)]
pub fn redact(record: &Record<'_>) -> Verdict {
    if record.value().is_none() { Verdict::Drop } else { Verdict::Keep }
}
