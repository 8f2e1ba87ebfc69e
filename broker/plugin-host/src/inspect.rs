//! What can be said of a plugin's binary without compiling it: that it is a component, what it exports, what it asks
//! for.
//!
//! The bytes come from users. They are only walked here, section by section, in time and memory that follow their
//! length; function bodies are skipped, and types are compared once the compiler, in a process of its own, has
//! validated them.

use std::fmt;

use wasmparser::{BinaryReaderError, ComponentExternalKind, Encoding, Parser, Payload};

use crate::limits::PLUGIN_BYTES_MAX;

/// The interface a gate exports.
pub(crate) const GATE: &str = "sluice:plugin/gate@0.1.0";
/// The interface a view exports.
pub(crate) const VIEW: &str = "sluice:plugin/view@0.1.0";
/// The interface with the host's log.
pub(crate) const LOG: &str = "sluice:plugin/log@0.1.0";
/// The interface with the host's metrics.
pub(crate) const METRICS: &str = "sluice:plugin/metrics@0.1.0";
/// The interface that names the types of the others; there is no function in it.
const TYPES: &str = "sluice:plugin/types@0.1.0";

/// What a plugin may import: nothing else is linked, and nothing of WASI.
const GRANTED: [&str; 3] = [LOG, METRICS, TYPES];

/// The package whose interfaces are ours, whatever their version.
const PACKAGE: &str = "sluice:plugin/";

/// How a plugin is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// On the produce path of a topic.
    Gate,
    /// On the fetch path of a view.
    View,
}

impl Kind {
    pub(crate) fn interface(self) -> &'static str {
        match self {
            Self::Gate => GATE,
            Self::View => VIEW,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gate => "gate",
            Self::View => "view",
        })
    }
}

/// How a plugin can be bound, by what it exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds {
    /// It can be a gate.
    pub gate: bool,
    /// It can be a view.
    pub view: bool,
}

impl Kinds {
    /// Whether it can be bound so.
    pub fn has(self, kind: Kind) -> bool {
        match kind {
            Kind::Gate => self.gate,
            Kind::View => self.view,
        }
    }
}

/// What a plugin's binary says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manifest {
    /// How it can be bound.
    pub kinds: Kinds,
    /// Its length in bytes.
    pub size: usize,
}

/// Why a binary is no plugin of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too long.
    #[error("the plugin is {size} bytes long, and at most {max} are taken")]
    TooLarge {
        /// Its length.
        size: usize,
        /// The most that is taken.
        max: usize,
    },
    /// Not WebAssembly in its binary form.
    #[error("this is not a WebAssembly binary")]
    NotWasm,
    /// A core module: what a compiler makes before it is wrapped as a component.
    #[error("this is a core module, not a component: build it with `sluice plugin build`")]
    CoreModule,
    /// Broken off, or not put together as a component is.
    #[error("the component is malformed at byte {offset}: {what}")]
    Malformed {
        /// Where.
        offset: usize,
        /// The parser's words.
        what: String,
    },
    /// It asks for something the host does not grant.
    #[error(
        "the plugin imports `{name}`, which is not granted; a plugin may import sluice:plugin/log and sluice:plugin/metrics, and no WASI"
    )]
    Import {
        /// The import's name.
        name: String,
    },
    /// It exports neither a gate nor a view.
    #[error("the plugin exports neither `{GATE}` nor `{VIEW}`{}", also(.ours))]
    NoExport {
        /// Exports of our package in versions that are not served.
        ours: Vec<String>,
    },
}

fn also(ours: &[String]) -> String {
    if ours.is_empty() {
        String::new()
    } else {
        format!(", but {}, which this broker does not serve", ours.join(" and "))
    }
}

/// Checks a plugin's binary as far as that goes without compiling it. Types are checked when it is loaded.
pub fn inspect(bytes: &[u8]) -> Result<Manifest, Refusal> {
    if bytes.len() > PLUGIN_BYTES_MAX {
        return Err(Refusal::TooLarge { size: bytes.len(), max: PLUGIN_BYTES_MAX });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(Refusal::NotWasm);
    }
    let mut kinds = Kinds::default();
    let mut ours = Vec::new();
    // Modules and components nest; only what the outermost component imports and exports concerns the host.
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(Refusal::CoreModule),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    let name = import?.name.name;
                    if !GRANTED.contains(&name) {
                        return Err(Refusal::Import { name: name.to_owned() });
                    }
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    let export = export?;
                    let instance = export.kind == ComponentExternalKind::Instance;
                    match export.name.name {
                        GATE if instance => kinds.gate = true,
                        VIEW if instance => kinds.view = true,
                        name if name.starts_with(PACKAGE) => ours.push(name.to_owned()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if kinds == Kinds::default() {
        return Err(Refusal::NoExport { ours });
    }
    Ok(Manifest { kinds, size: bytes.len() })
}

impl From<BinaryReaderError> for Refusal {
    fn from(error: BinaryReaderError) -> Self {
        Self::Malformed { offset: error.offset(), what: error.message().to_owned() }
    }
}
