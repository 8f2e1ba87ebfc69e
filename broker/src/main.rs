//! The `sluice` binary: everything is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Batches are allocated on one thread and freed on another all day, which this allocator is good at.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    sluice::cli::run(std::env::args_os())
}
