//! What a gate and a view have in common: a chain of plugins that exist and can be bound so, with limits in range. A binding
//! pins the version and digest it was made with.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::metadata::{Binding, Image, OnError, Plugin, PluginKinds, PluginLimits, PluginUse};

/// A binding as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewBinding {
    /// The plugins in the order they see a record.
    pub chain: Vec<NewPluginUse>,
    /// What they may use.
    pub limits: PluginLimits,
    /// What becomes of a batch whose plugin failed.
    pub on_error: OnError,
}

/// One plugin of a chain as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPluginUse {
    /// The plugin.
    pub plugin: String,
    /// Its version; the highest one if none is named.
    pub version: Option<u32>,
    /// Configuration as JSON text; whoever asks has made sure that it is JSON and that the plugin takes it.
    pub config: String,
}

/// Why plugins can't be bound so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum BindingError {
    /// Chains have one plugin for now.
    #[error("a chain has exactly one plugin, not {length}")]
    ChainLength {
        /// As asked.
        length: usize,
    },
    /// There is no such plugin, or not in that version.
    #[error("there is no plugin {plugin}{}", version.map(|version| format!(" in version {version}")).unwrap_or_default())]
    UnknownPlugin {
        /// As asked.
        plugin: String,
        /// As asked.
        version: Option<u32>,
    },
    /// The plugin doesn't export what it would be bound as.
    #[error("plugin {plugin} version {version} is not made to be a {wanted}")]
    WrongKind {
        /// The plugin.
        plugin: String,
        /// Its version.
        version: u32,
        /// What it would be.
        wanted: As,
    },
    /// The configuration is too long for the metadata log.
    #[error("the configuration of {plugin} has {length} bytes of at most {max}")]
    ConfigTooLong {
        /// The plugin.
        plugin: String,
        /// Its length.
        length: usize,
        /// How long it may be.
        max: usize,
    },
    /// A limit is out of its range.
    #[error(transparent)]
    Limit(#[from] LimitOutOfRange),
}

/// A limit of a binding is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{limit} is {value}, it may be {least} to {most}")]
pub struct LimitOutOfRange {
    /// Which limit.
    pub limit: Limit,
    /// As asked.
    pub value: u64,
    /// The least it may be.
    pub least: u64,
    /// The most it may be.
    pub most: u64,
}

/// A limit of a binding, by the name it is asked for under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// [`PluginLimits::memory_bytes`].
    MemoryBytes,
    /// [`PluginLimits::cpu_ms`].
    CpuMs,
    /// [`PluginLimits::wall_ms`].
    WallMs,
    /// [`PluginLimits::output_bytes`].
    OutputBytes,
    /// [`PluginLimits::log_bytes_per_second`].
    LogBytesPerSecond,
    /// [`PluginLimits::metric_names`].
    MetricNames,
}

/// What a binding is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum As {
    /// A topic's produce path.
    Gate,
    /// A view's fetch path.
    View,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MemoryBytes => "memory_bytes",
            Self::CpuMs => "cpu_ms",
            Self::WallMs => "wall_ms",
            Self::OutputBytes => "output_bytes",
            Self::LogBytesPerSecond => "log_bytes_per_second",
            Self::MetricNames => "metric_names",
        })
    }
}

impl fmt::Display for As {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gate => "gate",
            Self::View => "view",
        })
    }
}

impl As {
    fn is_in(self, kinds: PluginKinds) -> bool {
        match self {
            Self::Gate => kinds.gate,
            Self::View => kinds.view,
        }
    }
}

/// The binding to write, with the next revision.
pub(super) fn bind(image: &Image, asked: &NewBinding, wanted: As) -> Result<Binding, BindingError> {
    if !Binding::CHAIN_LENGTH.contains(&asked.chain.len()) {
        return Err(BindingError::ChainLength { length: asked.chain.len() });
    }
    let chain = asked.chain.iter().map(|link| resolve(image, link, wanted)).collect::<Result<_, _>>()?;
    check_limits(&asked.limits)?;
    Ok(Binding { chain, limits: asked.limits, on_error: asked.on_error, revision: image.last_revision() + 1 })
}

/// Whether the binding says what is asked for, so that there is nothing to change.
pub(super) fn is_same(known: &Binding, new: &Binding) -> bool {
    let Binding { chain, limits, on_error, revision: _ } = new;
    known.chain == *chain && known.limits == *limits && known.on_error == *on_error
}

fn resolve(image: &Image, asked: &NewPluginUse, wanted: As) -> Result<PluginUse, BindingError> {
    let found = match asked.version {
        Some(version) => image.plugin(&asked.plugin, version),
        None => image.plugin_latest(&asked.plugin),
    };
    let Some(plugin) = found else {
        return Err(BindingError::UnknownPlugin { plugin: asked.plugin.clone(), version: asked.version });
    };
    let Plugin { name, version, digest, kinds, .. } = plugin.as_ref();
    if !wanted.is_in(*kinds) {
        return Err(BindingError::WrongKind { plugin: name.clone(), version: *version, wanted });
    }
    if asked.config.len() > PluginUse::CONFIG_BYTES_MAX {
        let (length, max) = (asked.config.len(), PluginUse::CONFIG_BYTES_MAX);
        return Err(BindingError::ConfigTooLong { plugin: name.clone(), length, max });
    }
    Ok(PluginUse { plugin: name.clone(), version: *version, digest: *digest, config: asked.config.clone() })
}

fn check_limits(limits: &PluginLimits) -> Result<(), LimitOutOfRange> {
    let PluginLimits { memory_bytes, cpu_ms, wall_ms, output_bytes, log_bytes_per_second, metric_names } = *limits;
    in_range(Limit::MemoryBytes, memory_bytes, PluginLimits::MEMORY_BYTES)?;
    in_range(Limit::CpuMs, cpu_ms, PluginLimits::CPU_MS)?;
    in_range(Limit::WallMs, wall_ms, PluginLimits::WALL_MS)?;
    in_range(Limit::OutputBytes, output_bytes, PluginLimits::OUTPUT_BYTES)?;
    in_range(Limit::LogBytesPerSecond, log_bytes_per_second, PluginLimits::LOG_BYTES_PER_SECOND)?;
    in_range(Limit::MetricNames, metric_names, PluginLimits::METRIC_NAMES)
}

fn in_range<T: Into<u64> + Copy + PartialOrd>(
    limit: Limit,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), LimitOutOfRange> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(LimitOutOfRange { limit, value: value.into(), least: (*range.start()).into(), most: (*range.end()).into() })
}
