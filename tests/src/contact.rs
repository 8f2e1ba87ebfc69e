//! How a cluster is reached: what clients are told, whatever it is that serves.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use crate::clients::{Connection, Java, Kcat, Python, PythonClient, Rdkafka};
use crate::{Certificates, PATIENCE, Ran, binaries, run};

/// What a client has to know to reach a cluster.
#[derive(Debug, Clone)]
pub struct Contact<'a> {
    bootstrap: String,
    admin: String,
    certificates: &'a Certificates,
    folder: &'a Path,
}

impl<'a> Contact<'a> {
    /// Brokers at `bootstrap`, the admin API at `admin`; commands run in `folder`.
    pub(crate) fn new(
        bootstrap: impl Into<String>,
        admin: impl Into<String>,
        certificates: &'a Certificates,
        folder: &'a Path,
    ) -> Self {
        Self { bootstrap: bootstrap.into(), admin: admin.into(), certificates, folder }
    }

    /// `host:port`, with commas between several.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Where the admin API is.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// The cluster's certificates.
    pub fn certificates(&self) -> &'a Certificates {
        self.certificates
    }

    /// Runs the `sluice` command line.
    pub fn cli<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        run(&mut self.command(arguments), b"", PATIENCE)
    }

    /// A command of the `sluice` command line.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binaries::sluice_binary());
        command.args(arguments).current_dir(self.folder);
        command.args(["--bootstrap-server", self.bootstrap(), "--admin", self.admin()]);
        command.arg("--ca").arg(&self.certificates.ca);
        command.arg("--cert").arg(&self.certificates.client.certificate);
        command.arg("--key").arg(&self.certificates.client.key);
        command
    }

    /// A librdkafka client, through the rdkafka crate.
    pub fn rdkafka(self) -> Rdkafka {
        Rdkafka::new(&self)
    }

    /// Debian's kcat.
    pub fn kcat(self) -> Kcat<'a> {
        Kcat::new(self)
    }

    /// A Python client.
    pub fn python(self, client: PythonClient) -> Python<'a> {
        Python::new(self, client)
    }

    /// Apache's Java client.
    pub fn java(self) -> Java<'a> {
        Java::new(self)
    }

    /// A TLS connection to say anything on, to the first of the brokers.
    pub fn connection(&self) -> Connection {
        Connection::open(self)
    }
}
