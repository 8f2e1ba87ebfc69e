//! Native tests of a plugin: records in, verdicts out, with nothing but `cargo test`.
//!
//! [`Driver`] stands where the broker stands. It packs records into the bytes that cross in the broker, with the columns the
//! plugin asked for and no others, calls the plugin, and reads the answer as strictly as the broker does. What does not
//! happen here: limits on memory, time and output, which belong to a binding.

mod driver;
mod pack;
mod unpack;

pub use driver::{Driver, DriverError};
pub use pack::{BatchInfo, TestRecord, pack};
pub use unpack::{Lie, unpack};
