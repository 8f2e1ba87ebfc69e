//! What plugins say, on its way to the broker's log and metrics. Called on plugin threads, so it only hands on.

use std::sync::Arc;

use sluice_plugin_host::{BindingName, Level, Observer};

use crate::metrics::Metrics;

/// Puts a plugin's lines into the log, under its binding's name, and its metrics beside the broker's.
pub(crate) struct Report(pub(crate) Arc<Metrics>);

impl Observer for Report {
    fn log(&self, binding: &BindingName, level: Level, line: &str) {
        // A plugin must not write to the operator's terminal in its own colours.
        let line = line.escape_debug();
        match level {
            Level::Trace => tracing::trace!(target: "plugin", %binding, "{line}"),
            Level::Debug => tracing::debug!(target: "plugin", %binding, "{line}"),
            Level::Info => tracing::info!(target: "plugin", %binding, "{line}"),
            Level::Warn => tracing::warn!(target: "plugin", %binding, "{line}"),
            Level::Error => tracing::error!(target: "plugin", %binding, "{line}"),
        }
    }

    fn lines_dropped(&self, binding: &BindingName, lines: u64) {
        self.0.plugin_lines_dropped(binding.as_str(), lines);
        tracing::warn!(target: "plugin", %binding, lines, "log lines over the binding's volume were dropped");
    }

    fn add(&self, binding: &BindingName, name: &str, delta: u64) {
        self.0.plugin_add(binding.as_str(), name, delta);
    }

    fn set(&self, binding: &BindingName, name: &str, value: f64) {
        self.0.plugin_set(binding.as_str(), name, value);
    }
}
