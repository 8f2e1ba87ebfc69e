//! From a core module, as the compiler leaves it, to a component, as the broker takes it.
//!
//! What the broker would refuse at `push` is refused here already, where its author still sees which crate it came from:
//! imports that no world grants, a module without a plugin in it, a component over the size limit.

use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};

/// Bytes of a component: the broker's limit, so that a plugin travels in few chunks and compiles in bounded time.
pub const COMPONENT_BYTES_MAX: usize = 10 << 20;

/// The interfaces a guest may import: what the worlds in `wit/plugin.wit` grant.
const GRANTED: [&str; 2] = ["sluice:plugin/log@0.1.0", "sluice:plugin/metrics@0.1.0"];

/// What a guest exports of each kind.
const KINDS: [(&str, &str); 2] =
    [("gate", "sluice:plugin/gate@0.1.0#process"), ("view", "sluice:plugin/view@0.1.0#process")];

/// The sections in which wit-bindgen describes the worlds; all other custom sections are names and debugging.
const DESCRIPTION: &str = "component-type";

/// A component, ready to be pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// The file.
    pub bytes: Vec<u8>,
    /// Where it may be bound: `gate`, `view`.
    pub kinds: Vec<&'static str>,
}

impl Component {
    /// The SHA-256 that identifies it, in hex.
    #[must_use]
    pub fn digest(&self) -> String {
        Sha256::digest(&self.bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Why a module does not become a component.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// Not WebAssembly, or not such as components are made of.
    #[error("not a WebAssembly module: {0}")]
    Module(String),
    /// No exports of ours.
    #[error("there is no plugin in it\n  put #[sluice_sdk::plugin(gate)] on a function of the crate's library")]
    NoPlugin,
    /// Imports that the worlds don't grant.
    #[error(
        "it imports what no plugin is granted: {}\n  a plugin has logs and metrics, no clock, files, randomness or network; find the crate that wants these with: cargo tree --target wasm32-unknown-unknown",
        .0.join(", ")
    )]
    StrayImports(Vec<String>),
    /// wit-component's own reason.
    #[error("the module does not fit its world: {0}")]
    World(String),
    /// Over [`COMPONENT_BYTES_MAX`].
    #[error(
        "{0} bytes, and a broker takes {COMPONENT_BYTES_MAX}\n  large tables belong into a topic or the configuration, not into the code"
    )]
    TooLarge(usize),
}

/// Makes a component of a core module, without names and debugging information.
pub fn componentise(module: &[u8]) -> Result<Component, ComponentError> {
    let interface = Interface::read(module)?;
    let kinds = KINDS.iter().filter(|(_, export)| interface.exports.iter().any(|name| name == export));
    let kinds: Vec<_> = kinds.map(|(kind, _)| *kind).collect();
    if kinds.is_empty() || !interface.described {
        return Err(ComponentError::NoPlugin);
    }
    let stray = interface.imports.into_iter().filter(|(from, _)| !GRANTED.contains(&from.as_str()));
    let stray: Vec<_> = stray.map(|(from, name)| format!("{from} {name}")).collect();
    if !stray.is_empty() {
        return Err(ComponentError::StrayImports(stray));
    }
    let encoder = wit_component::ComponentEncoder::default().validate(true);
    let bytes = encoder
        .module(&stripped(module)?)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| ComponentError::World(format!("{error:#}")))?;
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(ComponentError::TooLarge(bytes.len()));
    }
    Ok(Component { bytes, kinds })
}

/// What a module wants and gives.
#[derive(Default)]
struct Interface {
    imports: Vec<(String, String)>,
    exports: Vec<String>,
    /// Whether it says which worlds its exports are of. Without that they are functions that happen to be called so.
    described: bool,
}

impl Interface {
    fn read(module: &[u8]) -> Result<Self, ComponentError> {
        let invalid = |error: wasmparser::BinaryReaderError| ComponentError::Module(error.to_string());
        let mut interface = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload.map_err(invalid)? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import.map_err(invalid)?;
                        interface.imports.push((import.module.to_owned(), import.name.to_owned()));
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        interface.exports.push(export.map_err(invalid)?.name.to_owned());
                    }
                }
                Payload::CustomSection(custom) => interface.described |= custom.name().starts_with(DESCRIPTION),
                _ => {}
            }
        }
        Ok(interface)
    }
}

/// The module without custom sections other than the descriptions of its worlds: names and debugging information are four
/// fifths of what the compiler leaves.
fn stripped(module: &[u8]) -> Result<Vec<u8>, ComponentError> {
    let mut stripped = module.get(..8).unwrap_or_default().to_vec();
    let mut end = stripped.len();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(|error| ComponentError::Module(error.to_string()))?;
        let dropped = matches!(&payload, Payload::CustomSection(custom) if !custom.name().starts_with(DESCRIPTION));
        if let Some((_, contents)) = payload.as_section() {
            // A section's id and length lie between the end of the one before and its contents.
            if !dropped {
                stripped.extend(&module[end..contents.end]);
            }
            end = contents.end;
        }
    }
    Ok(stripped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let module = wat::parse_str(text).unwrap();
        let error = componentise(&module).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn what_is_refused_says_why() {
        check("(module)", "there is no plugin in it");
        check(r#"(module (func (export "sluice:plugin/gate@0.1.0#proces")))"#, "there is no plugin in it");
        check(r#"(module (func (export "sluice:plugin/gate@0.1.0#process")))"#, "there is no plugin in it");
        check(
            r#"(module
                (import "env" "now" (func))
                (import "sluice:plugin/log@0.1.0" "write" (func (param i32 i32 i32)))
                (import "wasi_snapshot_preview1" "fd_write" (func))
                (func (export "sluice:plugin/gate@0.1.0#process"))
                (@custom "component-type" ""))"#,
            "it imports what no plugin is granted: env now, wasi_snapshot_preview1 fd_write\n",
        );
        check(
            r#"(module (func (export "sluice:plugin/gate@0.1.0#process")) (@custom "component-type" "?"))"#,
            "the module does not fit its world: ",
        );
        let error = componentise(b"#!/bin/sh").unwrap_err();
        assert!(matches!(error, ComponentError::Module(_)), "{error}");
    }

    #[test]
    fn names_are_stripped_and_the_rest_is_not_touched() {
        let named = wat::parse_str(r#"(module $m (func $f (export "f") (result i32) i32.const 7))"#).unwrap();
        let bare = wat::parse_str(r#"(module (func (export "f") (result i32) i32.const 7))"#).unwrap();
        assert!(named.len() > bare.len());
        assert_eq!(stripped(&named).unwrap(), bare);
    }
}
