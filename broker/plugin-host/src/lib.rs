//! Runs plugins: components in WebAssembly that users give the broker, on batches that pass through it. The only crate
//! that names wasmtime.
//!
//! ```text
//!   inspect    what the bytes say of themselves        in this process: only walked
//!   load       compile, or read what was compiled      in a child process, under limits
//!   bind       an instance, initialised with its configuration
//!   process    a batch in, packed; verdicts out, validated      on a plugin thread
//! ```
//! A plugin is trusted with nothing. It imports a log and metrics, no WASI. What it may use is a binding's [`Limits`]:
//! memory, CPU time, time by the clock, output, volume. A trap, a missed deadline or a wrong answer costs it its
//! instance, and its caller gets a [`PluginError`] that says why; what then becomes of the batch is the binding's
//! policy, decided by the broker.
//!
//! Synchronous throughout: there is no runtime here. The contract with plugins is `wit/plugin.wit` and
//! `wit/batch-layout.md`.
//!
//! In reading order: `inspect`, `host`, `compile` and `compile_child`, `cache`, `plugin`; `limits`, `bound`, `layout`,
//! `instance`, `imports`, `verdicts`; and what keeps time and order, `ticker` and `threads`.

#![deny(unsafe_code)]

mod bound;
mod cache;
mod compile;
mod compile_child;
mod engine;
mod error;
mod host;
mod imports;
mod inspect;
mod instance;
mod layout;
mod limits;
mod observer;
mod plugin;
mod threads;
mod ticker;
mod verdicts;

pub use bound::{BindError, Bound, BoundStats};
pub use cache::CacheFolderError;
pub use compile::CompileError;
pub use compile_child::compile_child;
pub use error::{PLUGIN_ERROR_BYTES_MAX, PluginError};
pub use host::{Host, HostConfig, HostError, LoadError};
pub use inspect::{Kind, Kinds, Manifest, Refusal, inspect};
pub use layout::{BatchContext, NO_OFFSET};
pub use limits::{LOG_LINE_BYTES_MAX, LimitOutOfRange, Limits, METRIC_NAME_BYTES_MAX, PLUGIN_BYTES_MAX, VOLUME_WINDOW};
pub use observer::{BindingName, Level, Observer};
pub use plugin::Plugin;
pub use threads::QueueFull;
pub use verdicts::{LieKind, MESSAGE_BYTES_MAX, Replacement, Verdict, Verdicts};
