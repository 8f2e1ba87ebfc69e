//! `sluice dev`, as an author of plugins runs it: no ZooKeeper, certificates of its own making, a home of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::{PATIENCE, Process, Ran, binaries, run};

/// A running `sluice dev` and the folder its author works in.
#[derive(Debug)]
pub struct Dev {
    process: Process,
    folder: TempDir,
}

impl Dev {
    /// Starts it in an empty folder and waits until it serves and has said how to get in.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("sluice-dev-").tempdir().expect("a temporary folder");
        let mut command = at_home(binaries::sluice_binary(), folder.path());
        command.args(["dev", "--port", "0", "--admin-port", "0", "--data"]).arg(folder.path().join("data"));
        let process = Process::spawn("sluice dev", &mut command);
        process.await_line(PATIENCE, |line| line.contains("sluice: serving").then_some(()));
        // The last line of what there is to paste.
        process.await_line(PATIENCE, |line| line.contains("sluice produce orders").then_some(()));
        Self { process, folder }
    }

    /// Where the author works.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it says, the settings to paste among it.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// The file of settings it wrote for librdkafka's clients.
    pub fn librdkafka_settings(&self) -> PathBuf {
        self.folder.path().join("data/client.librdkafka.conf")
    }

    /// Runs a program in a folder of the author's, without a word about where the cluster is.
    pub fn run<S: AsRef<OsStr>>(
        &self,
        program: &Path,
        folder: &Path,
        arguments: impl IntoIterator<Item = S>,
        within: Duration,
    ) -> Ran {
        let mut command = at_home(program, self.folder.path());
        run(command.args(arguments).current_dir(folder), b"", within)
    }

    /// Runs kcat with the settings that were written for it.
    pub fn kcat(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut kcat = Command::new("kcat");
        kcat.arg("-F").arg(self.librdkafka_settings()).args(arguments);
        run(&mut kcat, input, PATIENCE)
    }
}

/// A program that finds nobody's profile but the author's own.
fn at_home(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("XDG_CONFIG_HOME", home.join("config")).env("XDG_DATA_HOME", home.join("data"));
    // What authors build lands beside what we build, and Wasm's standard library is not built twice.
    command.env("CARGO_TARGET_DIR", binaries::target());
    command
}
