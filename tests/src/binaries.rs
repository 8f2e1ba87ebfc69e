//! What is under test: the `sluice` binary and the first-party plugins, built once a test run.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The `sluice` binary: what `SLUICE_BIN` names (`make test` sets it), else built now.
pub fn sluice_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("SLUICE_BIN") {
        Some(binary) if Path::new(&binary).is_file() => binary.into(),
        _ => {
            succeed(Command::new(env!("CARGO")).args(["build", "--quiet", "--package", "sluice"]));
            target().join("debug/sluice")
        }
    })
}

/// The Wasm component of a first-party plugin, built unless it is there.
pub fn plugin_file(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let file = target().join("plugins").join(name).with_extension("wasm");
    BUILT.get_or_init(|| {
        if !file.is_file() {
            succeed(Command::new(checkout().join("scripts/build-plugins")).env("CARGO_TARGET_DIR", target()));
        }
    });
    assert!(file.is_file(), "scripts/build-plugins did not make {}", file.display());
    file
}

/// The root of the checkout.
pub(crate) fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is in a folder of the checkout")
}

/// Where cargo builds: this test runs from `<target>/debug/deps/`.
pub(crate) fn target() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own file");
    test.ancestors().nth(3).expect("cargo puts tests three folders deep").to_owned()
}

#[track_caller]
fn succeed(command: &mut Command) {
    let status = command.current_dir(checkout()).stdin(Stdio::null()).status();
    let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?} ended with {status}");
}
