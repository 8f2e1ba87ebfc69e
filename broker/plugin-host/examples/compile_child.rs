//! The compiling process on its own, as a program that embeds the host has to provide it. The broker is its own
//! compiler, under a hidden subcommand; the tests of this crate use this one.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice_plugin_host::compile_child()
}
