//! What a plugin's author depends on.
//!
//! A plugin is a function of one record, and an attribute that says where it may be bound:
//!
//! ```
//! use serde::Deserialize;
//! use sluice_sdk::{Record, Verdict, plugin};
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! pub struct Config {
//!     longest: usize,
//! }
//!
//! /// Refuses values longer than the configuration allows.
//! #[plugin(gate, columns(values))]
//! pub fn limit(record: &Record<'_>, config: &Config) -> Verdict {
//!     match record.value() {
//!         Some(value) if value.len() > config.longest => {
//!             Verdict::reject(format!("{} bytes, {} are allowed", value.len(), config.longest))
//!         }
//!         _ => Verdict::Keep,
//!     }
//! }
//!
//! // Tested as any function is, by `cargo test`, through the same bytes that cross in the broker:
//! use sluice_sdk::testing::Driver;
//! let mut gate = Driver::gate::<limit>(r#"{"longest": 3}"#).unwrap();
//! assert_eq!(gate.run(["abc", "abcd"]).unwrap(), [Verdict::Keep, Verdict::reject("4 bytes, 3 are allowed")]);
//! ```
//!
//! In reading order: [`macro@plugin`] (what the attribute takes), [`Record`] and [`Batch`] (what comes in), [`Verdict`] and
//! [`Verdicts`] (what goes out), [`log`] and [`metrics`] (what a plugin may call: nothing else is granted; there is no
//! clock, no file, no network), [`json`] (fields of a JSON value without parsing it into a tree), [`testing`].
//!
//! Records are borrowed from the batch as the broker packed it: nothing is copied before a plugin asks for it, and a kept
//! record never crosses back. The bytes of both directions are described in `batch-layout.md`, next to `plugin.wit`;
//! those two files are all that the SDK and the broker share.

#![deny(unsafe_code)]

mod batch;
#[cfg(target_arch = "wasm32")]
mod guest;
mod host;
pub mod json;
mod layout;
pub mod log;
pub mod metrics;
mod plugin;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod verdict;
mod verdicts;

pub use batch::{Batch, Header, Headers, LayoutError, Record, Records};
pub use layout::Columns;
pub use plugin::{Instance, IntoDone, IntoVerdict, Kind, Plugin, each_record};
pub use sluice_sdk_macros::plugin;
pub use verdict::{OwnedHeaders, Replacement, Verdict};
pub use verdicts::{AnswerTooLarge, MESSAGE_BYTES_MAX, Verdicts};

/// What the attribute's code for the guest refers to. Not for authors, and not stable.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod __guest {
    pub use crate::guest::Slot;
    pub use wit_bindgen;
}
