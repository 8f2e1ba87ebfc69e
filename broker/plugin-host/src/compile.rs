//! Compiling a plugin, in a process of its own: Cranelift takes what time and memory a hostile plugin makes it take, so
//! it runs under limits and is killed at its deadline. Here is the broker's side; the child's is
//! [`compile_child`](crate::compile_child).
//!
//! ```text
//!   broker  -- job: magic, fingerprint, memory, CPU seconds, length, plugin -->  child (stdin)
//!           <-- compiled code (stdout), or one line that says why not (stderr) --
//! ```
//! Both sides are one binary, so the job has no versions: the fingerprint of the engine tells a child of another build.

use std::{
    ffi::OsString,
    io::{self, Read, Write as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::ExitStatusExt as _,
    },
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open},
};

/// Begins a job; the digit is the version of its layout.
pub(crate) const JOB_MAGIC: [u8; 8] = *b"SLJOB1\0\0";

/// Magic, fingerprint, and three numbers.
pub(crate) const JOB_HEADER_BYTES: usize = 8 + 32 + 3 * 8;

/// Code of one plugin, compiled. Cranelift makes two to four times as many bytes as it reads; a plugin may be 10 MiB.
pub(crate) const CODE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// What is kept of the child's words.
const WORDS_BYTES_MAX: usize = 4 * 1024;

/// How much is read of a pipe at once: a pipe's usual capacity.
const PIPE_BYTES: usize = 64 * 1024;

/// The child's exit code when the plugin is not valid, as against one that could not work.
pub(crate) const EXIT_INVALID: u8 = 3;

/// How plugins are compiled.
#[derive(Debug, Clone)]
pub(crate) struct Compiler {
    /// The child's program and arguments.
    pub(crate) argv: Vec<OsString>,
    pub(crate) timeout: Duration,
    pub(crate) memory_bytes: u64,
    pub(crate) fingerprint: [u8; 32],
}

/// Why a plugin was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The compiler refused it: it is not a valid component.
    #[error("it is not a valid component: {0}")]
    Invalid(String),
    /// It was not done in time, and killed.
    #[error("compiling it took longer than {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// The code is longer than a plugin's may be.
    #[error("its compiled code is longer than {CODE_BYTES_MAX} bytes")]
    TooLarge,
    /// It died, by a limit or a bug: of memory mostly.
    #[error("compiling it failed ({how}; it may use {memory_bytes} bytes of memory): {words}")]
    Died {
        /// Exit code or signal.
        how: String,
        /// The limit it ran under.
        memory_bytes: u64,
        /// What it said before.
        words: String,
    },
    /// The child could not be started or talked to.
    #[error("the compiling process {program:?}")]
    Process {
        /// What was to be run.
        program: OsString,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

impl Compiler {
    /// Compiles; blocks until the child is done or killed.
    pub(crate) fn compile(&self, wasm: &[u8]) -> Result<Vec<u8>, CompileError> {
        let deadline = Instant::now() + self.timeout;
        let program = self.argv.first().cloned().unwrap_or_default();
        let process = |cause| CompileError::Process { program: program.clone(), cause };
        let mut child = Guarded(
            Command::new(&program)
                .args(self.argv.iter().skip(1))
                .env_clear()
                .current_dir("/")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(process)?,
        );
        let talk = Talk::with(&mut child.0, self.job(wasm)).map_err(process)?;
        match talk.until(deadline).map_err(process)? {
            Talked::Overdue => Err(CompileError::Timeout(self.timeout)),
            Talked::TooMuch => Err(CompileError::TooLarge),
            Talked::Ended { code, words } => {
                let status = child.0.wait().map_err(process)?;
                self.outcome(status, code, String::from_utf8_lossy(&words).trim_end().to_owned())
            }
        }
    }

    fn job(&self, wasm: &[u8]) -> Vec<u8> {
        // A second more than the clock gives it: the kill is to be ours, unless we are no longer there.
        let cpu_seconds = self.timeout.as_secs() + 1;
        let mut job = Vec::with_capacity(JOB_HEADER_BYTES + wasm.len());
        job.extend_from_slice(&JOB_MAGIC);
        job.extend_from_slice(&self.fingerprint);
        for number in [self.memory_bytes, cpu_seconds, wasm.len() as u64] {
            job.extend_from_slice(&number.to_le_bytes());
        }
        job.extend_from_slice(wasm);
        job
    }

    fn outcome(&self, status: ExitStatus, code: Vec<u8>, words: String) -> Result<Vec<u8>, CompileError> {
        if status.success() && !code.is_empty() {
            return Ok(code);
        }
        if status.code() == Some(i32::from(EXIT_INVALID)) {
            return Err(CompileError::Invalid(words));
        }
        let how = match status.signal() {
            Some(signal) if signal == Signal::XCPU.as_raw() => return Err(CompileError::Timeout(self.timeout)),
            Some(signal) => format!("signal {signal}"),
            None => format!("exit code {}", status.code().unwrap_or_default()),
        };
        Err(CompileError::Died { how, memory_bytes: self.memory_bytes, words })
    }
}

/// A child that does not outlive its job, however that ends.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // Both fail only for a child that is gone and waited for, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The conversation with the child, on one thread: the job goes in as its pipe takes it, code and words come out.
struct Talk {
    process: rustix::fd::OwnedFd,
    input: Option<ChildStdin>,
    job: Vec<u8>,
    written: usize,
    code: Pipe<std::process::ChildStdout>,
    words: Pipe<std::process::ChildStderr>,
}

enum Talked {
    Ended { code: Vec<u8>, words: Vec<u8> },
    TooMuch,
    Overdue,
}

/// A pipe from the child, read to its end.
struct Pipe<P> {
    pipe: Option<P>,
    bytes: Vec<u8>,
}

impl Talk {
    fn with(child: &mut Child, job: Vec<u8>) -> io::Result<Self> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let input = child.stdin.take().ok_or_else(gone)?;
        let output = child.stdout.take().ok_or_else(gone)?;
        let errors = child.stderr.take().ok_or_else(gone)?;
        for pipe in [input.as_fd(), output.as_fd(), errors.as_fd()] {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(Self {
            process,
            input: Some(input),
            job,
            written: 0,
            code: Pipe { pipe: Some(output), bytes: Vec::new() },
            words: Pipe { pipe: Some(errors), bytes: Vec::new() },
        })
    }

    /// Until the child has ended and all it said was read; or the deadline; or too much code.
    fn until(mut self, deadline: Instant) -> io::Result<Talked> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Talked::Overdue);
            }
            let ended = self.wait(left)?;
            self.write()?;
            self.code.read(CODE_BYTES_MAX)?;
            self.words.read(WORDS_BYTES_MAX)?;
            if self.code.bytes.len() > CODE_BYTES_MAX {
                return Ok(Talked::TooMuch);
            }
            // What it wrote before it ended was there to be read; the ends of the pipes may never come, if something that
            // it started holds them.
            if ended {
                return Ok(Talked::Ended { code: self.code.bytes, words: self.words.bytes });
            }
        }
    }

    /// Waits until something can be done; says whether the child has ended.
    fn wait(&self, at_most: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(at_most).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut fds = vec![PollFd::new(&self.process, PollFlags::IN)];
        let pipes: [(Option<BorrowedFd<'_>>, PollFlags); 3] = [
            (self.input.as_ref().map(AsFd::as_fd), PollFlags::OUT),
            (self.code.pipe.as_ref().map(AsFd::as_fd), PollFlags::IN),
            (self.words.pipe.as_ref().map(AsFd::as_fd), PollFlags::IN),
        ];
        fds.extend(pipes.into_iter().filter_map(|(fd, flags)| Some(PollFd::from_borrowed_fd(fd?, flags))));
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) => Ok(fds[0].revents().contains(PollFlags::IN)),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let Some(input) = &mut self.input else { return Ok(()) };
        while self.written < self.job.len() {
            match input.write(&self.job[self.written..]) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It stopped listening: it has its reasons, and says them or dies of them.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                Err(error) => return Err(error),
            }
        }
        self.input = None;
        Ok(())
    }
}

impl<P: Read> Pipe<P> {
    /// Reads what is there. Beyond `max` one byte is kept, to tell that there was more, and the rest is dropped.
    fn read(&mut self, max: usize) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        let mut piece = [0; PIPE_BYTES];
        loop {
            match pipe.read(&mut piece) {
                Ok(0) => {
                    self.pipe = None;
                    return Ok(());
                }
                Ok(n) => {
                    let room = (max + 1).saturating_sub(self.bytes.len());
                    self.bytes.extend_from_slice(&piece[..n.min(room)]);
                    if n > room {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
