//! What `scripts/wasm-target` and `scripts/build-plugins` run: the kit without the broker around it.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use sluice_plugin_kit::{Compiler, build};

const USAGE: &str = "usage: sluice-plugin-kit target | sluice-plugin-kit build CRATE...";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["target"] => target(),
        ["build", crates @ ..] if !crates.is_empty() => crates.iter().try_for_each(|dir| plugin(Path::new(dir))),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn target() -> Result<(), Box<dyn Error>> {
    let compiler = Compiler::find_or_install(Path::new("."))?;
    writeln!(stdout(), "plugins are compiled with {compiler}")?;
    Ok(())
}

fn plugin(dir: &Path) -> Result<(), Box<dyn Error>> {
    let built = build(dir)?;
    let (bytes, kinds) = (built.component.bytes.len(), built.component.kinds.join(" and "));
    writeln!(stdout(), "{}  {bytes} bytes  {kinds}  sha256 {}", built.path.display(), built.component.digest())?;
    Ok(())
}
