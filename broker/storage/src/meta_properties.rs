//! Whose a log directory is: `meta.properties`, by Kafka's name and keys.

use std::collections::BTreeMap;

use sluice_protocol::Uuid;

/// The file in the log directory.
pub(crate) const FILE: &str = "meta.properties";

/// The format of the file, as Kafka counts it.
const VERSION: &str = "1";

/// The file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetaProperties {
    pub(crate) cluster_id: String,
    pub(crate) broker_id: i32,
    pub(crate) directory_id: Uuid,
}

impl MetaProperties {
    pub(crate) fn to_file(&self) -> String {
        let Self { cluster_id, broker_id, directory_id } = self;
        format!("version={VERSION}\ncluster.id={cluster_id}\nbroker.id={broker_id}\ndirectory.id={directory_id}\n")
    }

    /// Reads the file back; comments and unknown keys are passed over, a missing key is damage.
    pub(crate) fn from_file(content: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(content).ok()?;
        let keys: BTreeMap<&str, &str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        if keys.get("version") != Some(&VERSION) {
            return None;
        }
        Some(Self {
            cluster_id: (*keys.get("cluster.id")?).to_owned(),
            broker_id: keys.get("broker.id")?.parse().ok()?,
            directory_id: keys.get("directory.id")?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_reads_back() {
        let meta = MetaProperties { cluster_id: "abc=def".to_owned(), broker_id: 7, directory_id: Uuid([9; 16]) };
        assert_eq!(MetaProperties::from_file(meta.to_file().as_bytes()), Some(meta.clone()));
        let edited = format!("# by hand\n\n{}extra.key=1\n", meta.to_file());
        assert_eq!(MetaProperties::from_file(edited.as_bytes()), Some(meta.clone()));
        for missing in ["version", "cluster.id", "broker.id", "directory.id"] {
            let without: String = meta
                .to_file()
                .lines()
                .filter(|line| !line.starts_with(missing))
                .map(|line| format!("{line}\n"))
                .collect();
            assert_eq!(MetaProperties::from_file(without.as_bytes()), None, "{missing}");
        }
    }
}
