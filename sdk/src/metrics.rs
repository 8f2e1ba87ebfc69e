//! Counters and gauges, shown by the broker with the binding's name beside them. The number of names is bounded by the
//! binding, so a name never comes from a record.

use crate::host;

/// Adds to a counter.
pub fn add(name: &str, delta: u64) {
    host::add(name, delta);
}

/// Sets a gauge.
pub fn set(name: &str, value: f64) {
    host::set(name, value);
}
