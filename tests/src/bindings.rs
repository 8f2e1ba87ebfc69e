//! The first-party plugins as tests configure them: the one place that writes their configuration.

use serde_json::json;

/// A plugin to bind, with its configuration.
#[derive(Debug, Clone)]
pub struct Plugin {
    name: String,
    pub(crate) config: String,
    pub(crate) options: Vec<String>,
}

impl Plugin {
    /// The plugin of that name, the newest version pushed, configured by this JSON text.
    pub fn new(name: &str, config: impl Into<String>) -> Self {
        Self { name: name.to_owned(), config: config.into(), options: Vec::new() }
    }

    /// `select`: keeps records for which a condition holds, and does `or_else` (`drop` or `reject`) to the others.
    pub fn select(condition: &str, or_else: &str) -> Self {
        Self::new("select", json!({"if": condition, "else": or_else}).to_string())
    }

    /// `redact`: removes fields, and hashes others.
    pub fn redact(remove: &[&str], hash: &[&str]) -> Self {
        let rule = |action: &'static str| move |path: &&str| json!({"path": path, "action": action});
        let rules: Vec<_> = remove.iter().map(rule("remove")).chain(hash.iter().map(rule("hash"))).collect();
        Self::new("redact", json!({"rules": rules}).to_string())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its configuration, as JSON text.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// A further option of `gate set` or `view create`, such as `--on-error=pass`.
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }
}
