//! One child process: what it says is kept, lines of it can be awaited, signals go to its id, and it never outlives the test.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// Lines shown of a process when its test failed: its last words, not its life.
const LINES_SHOWN: usize = 60;

/// Cargo points the loader at libraries that its builds made, the newest librdkafka among them; kcat is to have Debian's.
pub(crate) const CARGO_LIBRARIES: &str = "LD_LIBRARY_PATH";

/// A child process of a test.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    said: Arc<Said>,
}

/// What a process has written to stdout and stderr so far, line by line.
#[derive(Debug, Default)]
struct Said {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    open_streams: usize,
}

impl Process {
    /// Starts `command`; `name` is what failures call it.
    pub fn spawn(name: impl Into<String>, command: &mut Command) -> Self {
        let name = name.into();
        let mut child = command
            .env_remove(CARGO_LIBRARIES)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {} does not start: {error}", program(command).display()));
        let pid = Pid::from_child(&child);
        let said = Arc::new(Said::default());
        let stdout: Box<dyn Read + Send> = Box::new(child.stdout.take().expect("it was piped"));
        let stderr: Box<dyn Read + Send> = Box::new(child.stderr.take().expect("it was piped"));
        said.lines.lock().expect("no reader panics").open_streams = 2;
        for stream in [stdout, stderr] {
            let said = Arc::clone(&said);
            thread::spawn(move || said.listen(stream));
        }
        Self { name, child, pid, said }
    }

    /// Waits for a line that `wanted` takes, among those already said too, and gives what it made of it.
    ///
    /// # Panics
    /// When the process ends or `within` passes first, with all that it said.
    #[track_caller]
    pub fn await_line<T>(&self, within: Duration, wanted: impl Fn(&str) -> Option<T>) -> T {
        match self.find_line(within, wanted) {
            Some(found) => found,
            None => panic!("{} did not say what was awaited; it said:\n{}", self.name, self.said()),
        }
    }

    /// As [`Self::await_line`], but `None` when the process ends or `within` passes first.
    pub fn find_line<T>(&self, within: Duration, wanted: impl Fn(&str) -> Option<T>) -> Option<T> {
        let until = Instant::now() + within;
        let mut seen = 0;
        let mut lines = self.said.lines.lock().expect("no reader panics");
        loop {
            if let Some(found) = lines.lines[seen..].iter().find_map(|line| wanted(line)) {
                return Some(found);
            }
            seen = lines.lines.len();
            let left = until.checked_duration_since(Instant::now()).filter(|_| lines.open_streams > 0)?;
            lines = self.said.more.wait_timeout(lines, left).expect("no reader panics").0;
        }
    }

    /// All lines so far.
    pub fn said(&self) -> String {
        self.said.lines.lock().expect("no reader panics").lines.join("\n")
    }

    /// What failures call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Stops it as a crash does: SIGKILL, and gone when this returns.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child that was not waited for can be signalled");
        self.child.wait().expect("a child can be waited for");
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When `within` passes first, with all that it said.
    #[track_caller]
    pub fn await_end(&mut self, within: Duration) -> ExitStatus {
        match ended_within(&mut self.child, within) {
            Some(status) => {
                // Its last words may still be on their way.
                self.find_line(within, |_| None::<()>);
                status
            }
            None => panic!("{} still runs; it said:\n{}", self.name, self.said()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended and was waited for.
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            let lines = &self.said.lines.lock().expect("no reader panics").lines;
            let last = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
            eprintln!("---- {} said:\n{}\n----", self.name, last.join("\n"));
        }
    }
}

impl Said {
    fn listen(&self, stream: impl Read) {
        // A line that is no UTF-8, or a broken pipe, ends the listening and not the test.
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            self.lines.lock().expect("no reader panics").lines.push(line);
            self.more.notify_all();
        }
        self.lines.lock().expect("no reader panics").open_streams -= 1;
        self.more.notify_all();
    }
}

/// Waits for a child's end; `None` when `within` passes first.
pub(crate) fn ended_within(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    if let Some(status) = child.try_wait().expect("a child can be waited for") {
        return Some(status);
    }
    let pidfd =
        pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("a child that was not waited for is there");
    let limit = Timespec::try_from(within).expect("limits are small");
    let ready = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).expect("polling a pidfd works");
    (ready > 0).then(|| child.wait().expect("a child can be waited for"))
}

fn program(command: &Command) -> PathBuf {
    command.get_program().into()
}
