//! What a cluster's brokers are: ours, or Apache Kafka's, which the benchmarks measure beside us in the same run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries;
use crate::clients::cached;
use crate::network::Place;
use crate::serving::Serving;

/// Whose brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Software {
    /// Ours.
    #[default]
    Sluice,
    /// Apache Kafka 3.9, the last that is coordinated by ZooKeeper.
    Kafka,
}

/// A logger that says on stderr what Kafka does.
const LOGGER: &str = "/usr/share/java/slf4j-simple.jar";

impl Software {
    /// Whether it can be run here; Kafka where scripts/prerequisites has fetched it.
    pub fn is_there(self) -> bool {
        match self {
            Self::Sluice => true,
            Self::Kafka => kafka().is_dir() && Path::new("/usr/bin/java").exists(),
        }
    }

    /// The command that runs a broker.
    pub(super) fn broker(self, place: &Place, config: &Path) -> Command {
        match self {
            Self::Sluice => {
                let mut command = place.command(binaries::sluice_binary());
                command.args(["broker", "--config"]).arg(config);
                command
            }
            Self::Kafka => {
                let mut java = place.command("java");
                // As Kafka's own scripts start it, but for the heap: three of them share a small machine.
                java.args(["-Xms512m", "-Xmx512m", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]);
                java.arg("-cp").arg(format!("{LOGGER}:{}", kafka().join("*").display()));
                java.arg("kafka.Kafka").arg(config);
                java
            }
        }
    }

    /// Whether a line says that it serves; and where, if it does not just listen where it was told to.
    pub(super) fn serving(self, line: &str) -> Option<Option<Serving>> {
        match self {
            Self::Sluice => Serving::parse(line).map(Some),
            Self::Kafka => (line.contains("kafka.server.KafkaServer") && line.ends_with("] started")).then_some(None),
        }
    }
}

fn kafka() -> PathBuf {
    cached("kafka")
}
