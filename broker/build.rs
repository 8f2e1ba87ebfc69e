//! Puts the first-party plugins into the binary, if they have been built, for `sluice demo` to push: from
//! `$SLUICE_PLUGINS_DIR`, or from `plugins` in the target folder, where `make plugins` leaves them.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

const PLUGINS: [&str; 2] = ["redact", "select"];

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?);
    let mut tell_cargo = io::stdout();
    writeln!(tell_cargo, "cargo::rerun-if-env-changed=SLUICE_PLUGINS_DIR")?;
    let dir = match env::var_os("SLUICE_PLUGINS_DIR") {
        Some(dir) => PathBuf::from(dir).canonicalize()?,
        None => target_dir(&out)?.join("plugins"),
    };
    fs::create_dir_all(&dir)?;
    let mut source = String::new();
    for name in PLUGINS {
        let component = dir.join(format!("{name}.wasm"));
        let there = component.is_file();
        // Of what is not there the folder is watched: cargo takes a file that is missing for one that has changed, each time.
        writeln!(tell_cargo, "cargo::rerun-if-changed={}", if there { &component } else { &dir }.display())?;
        let bytes = if there {
            let copy = out.join(format!("{name}.wasm"));
            fs::copy(&component, &copy)?;
            format!("Some(include_bytes!({copy:?}))")
        } else {
            "None".to_owned()
        };
        source += &format!("const {}: Option<&[u8]> = {bytes};\n", name.to_uppercase());
    }
    fs::write(out.join("first_party.rs"), source)
}

/// The target folder, which cargo marks.
fn target_dir(out: &Path) -> io::Result<&Path> {
    let marked = out.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    marked.ok_or_else(|| {
        io::Error::other("no target folder around OUT_DIR; say where the plugins are: SLUICE_PLUGINS_DIR")
    })
}
