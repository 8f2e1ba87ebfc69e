//! A command run to its end, with a limit: what went in, what came out.

use std::io::{Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crate::process::{CARGO_LIBRARIES, ended_within};

/// What a command that ended left behind.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its stdout.
    pub stdout: String,
    /// All of its stderr.
    pub stderr: String,
    shown: String,
}

impl Ran {
    /// Its stdout, given that it succeeded.
    ///
    /// # Panics
    /// When it did not, with what it said.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{} ended with {}:\n{}{}", self.shown, self.status, self.stdout, self.stderr);
        self.stdout
    }

    /// Its stderr, given that it succeeded: what it had to complain about.
    #[track_caller]
    pub fn stderr_of_success(self) -> String {
        assert!(self.status.success(), "{} ended with {}:\n{}{}", self.shown, self.status, self.stdout, self.stderr);
        self.stderr
    }

    /// Its stderr, given that it failed with `code`.
    ///
    /// # Panics
    /// When it succeeded or failed otherwise.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.status.code(), Some(code), "{}:\n{}{}", self.shown, self.stdout, self.stderr);
        self.stderr
    }

    /// Lines of its stdout, given that it succeeded.
    #[track_caller]
    pub fn lines(self) -> Vec<String> {
        self.ok().lines().map(str::to_owned).collect()
    }
}

/// Runs `command` with `input` on its stdin.
///
/// # Panics
/// When it does not start, or does not end `within` the limit: it is then killed.
#[track_caller]
pub fn run(command: &mut Command, input: &[u8], within: Duration) -> Ran {
    let shown = format!("{command:?}");
    let spawned =
        command.env_remove(CARGO_LIBRARIES).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("{shown} does not start: {error}"));
    let mut stdin = child.stdin.take().expect("it was piped");
    let stdout = child.stdout.take().expect("it was piped");
    let stderr = child.stderr.take().expect("it was piped");
    thread::scope(|scope| {
        // A command that ends before it read everything is judged by its status, not by the broken pipe.
        scope.spawn(move || stdin.write_all(input));
        let stdout = scope.spawn(|| read_all(stdout));
        let stderr = scope.spawn(|| read_all(stderr));
        let status = ended_within(&mut child, within);
        if status.is_none() {
            child.kill().expect("a child that was not waited for can be signalled");
            child.wait().expect("a child can be waited for");
        }
        let stdout = stdout.join().expect("reading does not panic");
        let stderr = stderr.join().expect("reading does not panic");
        match status {
            Some(status) => Ran { status, stdout, stderr, shown },
            None => panic!("{shown} did not end within {within:?}:\n{stdout}{stderr}"),
        }
    })
}

fn read_all(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("a pipe can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}
