//! Debian's `kcat`, on librdkafka 2.0.2: the oldest client we hold to.

use std::process::Command;
use std::time::Duration;

use crate::{Contact, PATIENCE, Ran, run};

/// A kcat command to come.
#[derive(Debug)]
pub struct Kcat<'a> {
    contact: Contact<'a>,
    properties: Vec<String>,
    patience: Duration,
}

impl<'a> Kcat<'a> {
    pub(crate) fn new(contact: Contact<'a>) -> Self {
        let certificates = contact.certificates();
        let properties = vec![
            "security.protocol=ssl".to_owned(),
            format!("ssl.ca.location={}", certificates.ca.display()),
            format!("ssl.certificate.location={}", certificates.client.certificate.display()),
            format!("ssl.key.location={}", certificates.client.key.display()),
        ];
        Self { contact, properties, patience: PATIENCE }
    }

    /// Sets a property of librdkafka: kcat's `-X`.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.properties.push(format!("{key}={value}"));
        self
    }

    /// Produces each line as a record.
    pub fn produce<S: AsRef<str>>(&self, topic: &str, lines: impl IntoIterator<Item = S>) -> Ran {
        let input: String = lines.into_iter().flat_map(|line| [line.as_ref().to_owned(), "\n".to_owned()]).collect();
        self.run(&["-P", "-t", topic], input.as_bytes())
    }

    /// Reads a topic's values from its first offset to its end, one a line.
    pub fn consume(&self, topic: &str) -> Ran {
        self.run(&["-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%s\n"], b"")
    }

    /// Reads `count` values and leaves.
    pub fn consume_some(&self, topic: &str, count: usize) -> Ran {
        self.run(&["-C", "-t", topic, "-o", "beginning", "-c", &count.to_string(), "-q", "-f", "%s\n"], b"")
    }

    /// Runs kcat with these arguments after those that reach the broker.
    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", self.contact.bootstrap()]);
        kcat.args(self.properties.iter().flat_map(|property| ["-X", property.as_str()]));
        run(kcat.args(arguments), input, self.patience)
    }
}
