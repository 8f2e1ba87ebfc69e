//! Plugins: which names and versions there are, and the digest of each. A version once pushed never becomes another component,
//! and one that a gate or view uses can't be taken from under it.

use serde::{Deserialize, Serialize};

use super::{Change, Decided, Given};
use crate::metadata::{Image, MetadataRecord, PluginKinds};

/// Registers a component whose bytes are already where brokers can read them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddPlugin {
    /// The plugin's name.
    pub name: String,
    /// The version it is to be; the next one if none is named.
    pub version: Option<u32>,
    /// SHA-256 of the component.
    pub digest: [u8; 32],
    /// Bytes of the component.
    pub size: u64,
    /// What it can be bound as.
    pub kinds: PluginKinds,
}

/// A plugin that is there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginAdded {
    /// Its version.
    pub version: u32,
    /// It was there already, with this digest.
    pub known: bool,
}

/// Why a plugin is not added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum AddPluginError {
    /// Names go into topics' keys, file names and metrics.
    #[error(
        "{name:?} is not a plugin's name: 1 to {PLUGIN_NAME_LENGTH_MAX} lower-case letters, digits and '-', a letter first"
    )]
    Name {
        /// As asked.
        name: String,
    },
    /// The version is another component.
    #[error(
        "{name} version {version} is there with another digest; versions are never replaced, the next one is {next}"
    )]
    OtherDigest {
        /// The plugin.
        name: String,
        /// The version.
        version: u32,
        /// The version that would be taken.
        next: u32,
    },
    /// Versions count up without gaps, and a number that was used is not used again.
    #[error("{name} version {version} cannot be added, the next one is {next}")]
    NotNext {
        /// The plugin.
        name: String,
        /// The version.
        version: u32,
        /// The version that would be taken.
        next: u32,
    },
    /// It can't be bound to anything.
    #[error("{name} is neither a gate nor a view")]
    NoKind {
        /// The plugin.
        name: String,
    },
}

/// Longest name of a plugin: it goes into file names and metrics beside other things.
pub const PLUGIN_NAME_LENGTH_MAX: usize = 64;

impl Change for AddPlugin {
    const KIND: u16 = 5;
    type Answer = PluginAdded;
    type Error = AddPluginError;

    /// Answers the version. Pushing the bytes of the newest version again gives that version.
    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<PluginAdded>, AddPluginError> {
        let Self { name, digest, size, kinds, .. } = self.clone();
        check_plugin_name(&name)?;
        if kinds == PluginKinds::default() {
            return Err(AddPluginError::NoKind { name });
        }
        let next = image.plugin_version_last(&name) + 1;
        let same = match self.version {
            Some(version) => image.plugin(&name, version),
            None => image.plugin_latest(&name).filter(|latest| latest.digest == digest),
        };
        if let Some(known) = same {
            if known.digest != digest {
                return Err(AddPluginError::OtherDigest { name, version: known.version, next });
            }
            return Ok(Decided::new(Vec::new(), PluginAdded { version: known.version, known: true }));
        }
        let version = self.version.unwrap_or(next);
        if version != next {
            return Err(AddPluginError::NotNext { name, version, next });
        }
        let record = MetadataRecord::Plugin { name, version, digest, size, kinds, at_ms: given.now_ms };
        Ok(Decided::new(vec![record], PluginAdded { version, known: false }))
    }
}

/// Removes a version of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovePlugin {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: u32,
}

/// Why a plugin is not removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum RemovePluginError {
    /// It is not there.
    #[error("there is no plugin {name} in version {version}")]
    Unknown {
        /// As asked.
        name: String,
        /// As asked.
        version: u32,
    },
    /// Gates or views use it.
    #[error("{name} version {version} is used by {}", users.join(", "))]
    InUse {
        /// The plugin.
        name: String,
        /// Its version.
        version: u32,
        /// Names of the topics whose gate, and of the views, that use it.
        users: Vec<String>,
    },
}

impl Change for RemovePlugin {
    const KIND: u16 = 6;
    type Answer = [u8; 32];
    type Error = RemovePluginError;

    /// Answers the digest it had.
    fn decide(&self, image: &Image, _: &mut Given<'_>) -> Result<Decided<[u8; 32]>, RemovePluginError> {
        let Self { name, version } = self.clone();
        let Some(plugin) = image.plugin(&name, version) else {
            return Err(RemovePluginError::Unknown { name, version });
        };
        let users: Vec<String> = image.users_of(&name, version).map(str::to_owned).collect();
        if !users.is_empty() {
            return Err(RemovePluginError::InUse { name, version, users });
        }
        Ok(Decided::new(vec![MetadataRecord::PluginRemoved { name, version }], plugin.digest))
    }
}

fn check_plugin_name(name: &str) -> Result<(), AddPluginError> {
    let starts = name.starts_with(|first: char| first.is_ascii_lowercase());
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if starts && plain && name.len() <= PLUGIN_NAME_LENGTH_MAX {
        return Ok(());
    }
    Err(AddPluginError::Name { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Cluster;
    use super::*;

    #[test]
    fn versions_count_up() {
        let mut cluster = Cluster::serving(1);
        let news = |version| Ok(PluginAdded { version, known: false });
        assert_eq!(cluster.decide(&add("select", None, 1)), news(1));
        assert_eq!(
            cluster.decide(&add("select", None, 1)),
            Ok(PluginAdded { version: 1, known: true }),
            "pushed twice"
        );
        assert_eq!(cluster.decide(&add("select", Some(2), 2)), news(2));
        assert_eq!(cluster.decide(&add("select", Some(1), 1)), Ok(PluginAdded { version: 1, known: true }));
        assert_eq!(cluster.decide(&add("redact", None, 1)), news(1), "each name for itself");
        assert_eq!(cluster.decide(&RemovePlugin { name: "select".into(), version: 2 }), Ok([2; 32]));
        assert_eq!(cluster.decide(&add("select", None, 2)), news(3), "a number that was used is not used again");
    }

    #[test]
    fn plugins_that_cannot_be() {
        let check = |what: &str, add: AddPlugin, why: AddPluginError| {
            assert_eq!(Cluster::serving(1).plugin("select").decide(&add), Err(why), "{what}");
        };
        let name = || "select".to_owned();
        check(
            "another component",
            add("select", Some(1), 9),
            AddPluginError::OtherDigest { name: name(), version: 1, next: 2 },
        );
        check("a gap", add("select", Some(3), 9), AddPluginError::NotNext { name: name(), version: 3, next: 2 });
        check("version 0", add("select", Some(0), 9), AddPluginError::NotNext { name: name(), version: 0, next: 2 });
        check(
            "no kind",
            AddPlugin { kinds: PluginKinds::default(), ..add("select", None, 9) },
            AddPluginError::NoKind { name: name() },
        );
        for bad in ["", "Select", "1st", "../x", "a_b", &"x".repeat(65)] {
            check("no name", add(bad, None, 9), AddPluginError::Name { name: bad.into() });
        }
    }

    #[test]
    fn a_plugin_in_use_stays() {
        let mut cluster = Cluster::serving(1).topic("orders", 1).plugin("select").view("big", "orders");
        let remove = RemovePlugin { name: "select".into(), version: 1 };
        let in_use = RemovePluginError::InUse { name: "select".into(), version: 1, users: vec!["big".into()] };
        assert_eq!(cluster.decide(&remove), Err(in_use));
        cluster.decide(&super::super::RemoveView { name: "big".into() }).unwrap();
        assert!(cluster.decide(&remove).is_ok());
        assert_eq!(cluster.decide(&remove), Err(RemovePluginError::Unknown { name: "select".into(), version: 1 }));
    }

    fn add(name: &str, version: Option<u32>, digest: u8) -> AddPlugin {
        AddPlugin {
            name: name.into(),
            version,
            digest: [digest; 32],
            size: 10,
            kinds: PluginKinds { gate: true, view: true },
        }
    }
}
