//! kafka-python and confluent-kafka: a script for each with the same verbs, in `tests/clients`.

use std::process::Command;

use crate::binaries::checkout;
use crate::clients::fetched;
use crate::{Contact, PATIENCE, Ran, run};

/// Which of the two.
#[derive(Debug, Clone, Copy)]
pub enum PythonClient {
    /// kafka-python: a protocol implementation of its own.
    KafkaPython,
    /// confluent-kafka: the newest librdkafka.
    ConfluentKafka,
}

impl PythonClient {
    // The names differ from the packages' own, which Python would otherwise take these files for.
    fn script(self) -> &'static str {
        match self {
            Self::KafkaPython => "kafka_python_client.py",
            Self::ConfluentKafka => "confluent_kafka_client.py",
        }
    }
}

/// A Python client, ready to run.
#[derive(Debug)]
pub struct Python<'a> {
    contact: Contact<'a>,
    client: PythonClient,
}

impl<'a> Python<'a> {
    pub(crate) fn new(contact: Contact<'a>, client: PythonClient) -> Self {
        Self { contact, client }
    }

    /// Creates a topic.
    #[track_caller]
    pub fn create_topic(&self, topic: &str, partitions: u32) {
        self.run(&["create", topic, &partitions.to_string()], "").ok();
    }

    /// Produces each line as a record, `acks=all`, with a codec by Kafka's name for it; one line of JSON for each.
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
        let mut python = Command::new(fetched("venv/bin/python"));
        python.arg(checkout().join("tests/clients").join(self.client.script()));
        python.args([self.contact.bootstrap()]).arg(&certificates.ca);
        python.arg(&certificates.client.certificate).arg(&certificates.client.key);
        run(python.args(arguments), input.as_bytes(), PATIENCE)
    }
}
