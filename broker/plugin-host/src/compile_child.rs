//! The compiling process: reads one job, takes its limits on itself, compiles, answers, ends. It runs no plugin and
//! opens no file.

use std::{
    io::{self, Read as _, Write as _},
    process::ExitCode,
};

use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};

use crate::{
    compile::{EXIT_INVALID, JOB_HEADER_BYTES, JOB_MAGIC},
    engine,
    limits::PLUGIN_BYTES_MAX,
};

/// How much nicer than the broker the child is: serving comes before a push.
const NICENESS: i32 = 10;

/// The body of the hidden subcommand that [`HostConfig::compiler`](crate::HostConfig) names: a plugin on standard
/// input, its code on standard output. Not for people: what it reads and writes belongs to this version of the host.
pub fn compile_child() -> ExitCode {
    let (code, words) = match run() {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Invalid(words)) => (ExitCode::from(EXIT_INVALID), words),
        Err(Failure::Job(words)) => (ExitCode::FAILURE, words.to_owned()),
        Err(Failure::Io(error)) => (ExitCode::FAILURE, error.to_string()),
    };
    // With no one to read it there is no one to tell.
    let _ = writeln!(io::stderr(), "{words}");
    code
}

enum Failure {
    Invalid(String),
    Job(&'static str),
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}

fn run() -> Result<(), Failure> {
    // The broker's thread waits for us; without it nobody reads the answer.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    nice(NICENESS)?;

    let mut input = io::stdin().lock();
    let mut header = [0; JOB_HEADER_BYTES];
    input.read_exact(&mut header)?;
    let (magic, rest) = header.split_at(JOB_MAGIC.len());
    let (fingerprint, numbers) = rest.split_at(32);
    if magic != JOB_MAGIC {
        return Err(Failure::Job("standard input is not a job: this is run by the broker, not by hand"));
    }
    let number = |n: usize| numbers.as_chunks::<8>().0.get(n).map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let (memory_bytes, cpu_seconds, length) = (number(0), number(1), number(2));
    limit(memory_bytes, cpu_seconds)?;

    if length > PLUGIN_BYTES_MAX as u64 {
        return Err(Failure::Job("the plugin is longer than a plugin may be"));
    }
    let mut wasm = Vec::new();
    if input.take(length).read_to_end(&mut wasm)? as u64 != length {
        return Err(Failure::Job("the job ended early"));
    }
    let engine = engine::compiling().map_err(|error| Failure::Invalid(format!("{error:#}")))?;
    if engine::fingerprint(&engine) != fingerprint {
        return Err(Failure::Job("the compiler is of another build than the broker: restart the broker"));
    }
    let code = engine.precompile_component(&wasm).map_err(|error| Failure::Invalid(format!("{error:#}")))?;
    io::stdout().lock().write_all(&code)?;
    Ok(())
}

/// Takes the limits on this process: memory and CPU as the job says, no core file, no file written, no process started.
fn limit(memory_bytes: u64, cpu_seconds: u64) -> Result<(), Failure> {
    let most = |n: u64| Rlimit { current: Some(n), maximum: Some(n) };
    setrlimit(Resource::As, most(memory_bytes))?;
    setrlimit(Resource::Cpu, most(cpu_seconds))?;
    setrlimit(Resource::Core, most(0))?;
    setrlimit(Resource::Fsize, most(0))?;
    Ok(())
}
