//! Apache's own Java client, through `tests/clients/Client.java`.

use std::process::Command;

use crate::binaries::checkout;
use crate::clients::fetched;
use crate::{Contact, PATIENCE, Ran, run};

/// The Java client.
#[derive(Debug)]
pub struct Java<'a> {
    contact: Contact<'a>,
}

impl<'a> Java<'a> {
    pub(crate) fn new(contact: Contact<'a>) -> Self {
        Self { contact }
    }

    /// Creates a topic.
    #[track_caller]
    pub fn create_topic(&self, topic: &str, partitions: u32) {
        self.run(&["create", topic, &partitions.to_string()], "").ok();
    }

    /// Produces each line as a record with the idempotent producer and a codec by Kafka's name for it.
    pub fn produce(&self, topic: &str, codec: &str, lines: &[&str]) -> Ran {
        self.run(&["produce", topic, codec], &lines.join("\n"))
    }

    /// Reads the first `count` values of partition 0.
    #[track_caller]
    pub fn consume(&self, topic: &str, count: usize) -> Vec<String> {
        self.run(&["consume", topic, &count.to_string()], "").lines()
    }

    fn run(&self, arguments: &[&str], input: &str) -> Ran {
        let certificates = self.contact.certificates();
        let mut java = Command::new("java");
        // The source is compiled as it starts, so that there is no build of it to be stale.
        java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
        java.arg(fetched("java").join("*")).arg(checkout().join("tests/clients/Client.java"));
        java.args([self.contact.bootstrap()]).arg(&certificates.ca).arg(&certificates.client.both);
        run(java.args(arguments), input.as_bytes(), PATIENCE)
    }
}
