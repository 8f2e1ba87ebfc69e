//! The guest's side of the boundary, compiled for wasm32 only: calls to the host, and the slot that an export keeps its
//! instance in. The exports themselves are written by the attribute into the plugin's own crate.

use std::cell::RefCell;
use std::sync::Once;

use crate::log::Level;
use crate::{Columns, Instance, Kind, Plugin};

/// What wit-bindgen writes for the imports. The unsafe code is its own, and the only one in this crate.
#[allow(unsafe_code, missing_docs, unreachable_pub, unused_qualifications, elided_lifetimes_in_paths, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        inline: "package sluice:sdk; world host { import sluice:plugin/log@0.1.0; import sluice:plugin/metrics@0.1.0; }",
        path: "../wit",
        generate_all,
    });
}

use bindings::sluice::plugin as imports;

pub(crate) fn write((level, message): crate::host::Line<'_>) {
    let level = match level {
        Level::Trace => imports::log::Level::Trace,
        Level::Debug => imports::log::Level::Debug,
        Level::Info => imports::log::Level::Info,
        Level::Warn => imports::log::Level::Warn,
        Level::Error => imports::log::Level::Error,
    };
    imports::log::write(level, message);
}

pub(crate) use imports::metrics::{add, set};

/// Where an export keeps the instance between `init` and the batches.
pub struct Slot<P: Plugin>(RefCell<Option<Instance<P>>>);

impl<P: Plugin> Slot<P> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// Reads the configuration; gives the columns wanted.
    pub fn init(&self, kind: Kind, config: &str) -> Result<Columns, String> {
        log_panics();
        let instance = Instance::init(kind, config)?;
        let columns = instance.columns();
        self.0.replace(Some(instance));
        Ok(columns)
    }

    /// Answers a batch.
    pub fn process(&self, packed: &[u8]) -> Result<Vec<u8>, String> {
        match &*self.0.borrow() {
            Some(instance) => instance.process(packed),
            None => Err("a batch before init".to_owned()),
        }
    }
}

/// A panic is a trap, and a trap has no words: the hook logs the message and the place while there is still someone to log it.
fn log_panics() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| std::panic::set_hook(Box::new(|panic| crate::log::error(panic))));
}
