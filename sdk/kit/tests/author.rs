//! The author's loop as a whole: a new plugin passes its test and becomes a component, with nothing changed in it.
//!
//! cargo runs for real here, with what it needs from the registry, and builds where this repository does: what the new
//! plugin shares with the first-party ones is not compiled again.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sluice_plugin_kit::scaffold;

fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// The target folder, in which cargo keeps one for tests.
fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
}

fn cargo(dir: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(dir).env("CARGO_TARGET_DIR", target_dir()).env_remove("RUSTFLAGS");
    cargo
}

fn kit(dir: &Path) -> Command {
    let mut kit = Command::new(env!("CARGO_BIN_EXE_sluice-plugin-kit"));
    kit.args(["build", "."]).current_dir(dir).env("CARGO_TARGET_DIR", target_dir());
    kit
}

#[test]
fn a_new_plugin_passes_its_test_and_becomes_a_component() {
    // Always the same folder, so that a run leaves nothing in the target folder that the next one does not use.
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let _ = std::fs::remove_dir_all(parent.join("leave-out"));
    let dir = scaffold(parent, "leave-out").unwrap().dir;

    let tested = run(cargo(&dir).args(["test", "--quiet"]));
    assert!(tested.contains("2 passed"), "{tested}");

    let built = run(&mut kit(&dir));
    let path = target_dir().join("plugins/leave-out.wasm");
    assert!(built.starts_with(&format!("{}  ", path.display())) && built.contains("gate and view"), "{built}");
    let component = std::fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&component);
    let here = parent.to_str().unwrap();
    let home = std::env::home_dir().unwrap();
    for private in [here, home.to_str().unwrap()] {
        assert!(!text.contains(private), "{private} is named in the component");
    }

    std::fs::write(dir.join("src/lib.rs"), "//! Not a plugin.\n").unwrap();
    let refused = kit(&dir).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("`leave-out`: there is no plugin in it"), "{said}");

    let manifest = std::fs::read_to_string(dir.join("Cargo.toml")).unwrap();
    std::fs::write(dir.join("Cargo.toml"), manifest.replace("crate-type", "#crate-type")).unwrap();
    let refused = kit(&dir).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("`leave-out` is not built as a module\n  its Cargo.toml needs: [lib] crate-type"), "{said}");
    std::fs::write(dir.join("Cargo.toml"), manifest).unwrap();

    std::fs::write(dir.join("src/lib.rs"), "compile_error!(\"as it says\");\n").unwrap();
    let refused = kit(&dir).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("error: as it says") && said.contains("`leave-out` does not compile"), "{said}");
}

#[test]
fn what_is_no_plugins_crate_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |expected: &str| {
        let output = kit(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{said}");
    };
    refused("no Cargo.toml in .\n  run this in a plugin's crate, or make one: sluice plugin new NAME");
    std::fs::write(dir.path().join("Cargo.toml"), "[workspace]\n").unwrap();
    refused("it is a workspace");
    std::fs::write(dir.path().join("Cargo.toml"), "[package\n").unwrap();
    refused("error: cargo: error: ");
}
