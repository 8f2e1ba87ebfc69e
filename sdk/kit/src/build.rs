//! From a plugin's crate to a file that can be pushed: cargo with the guest's compiler, then [`componentise`].
//!
//! Every plugin is built one way, whatever its manifest's profile says: optimised as a whole, panics abort, paths of the
//! machine it was built on left out, so that the same sources and compiler give the same digest.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::compiler::{Compiler, CompilerMissing, TARGET};
use crate::component::{Component, ComponentError, componentise};

/// A plugin's component, on disk.
#[derive(Debug)]
pub struct Built {
    /// The package's name, and the plugin's unless `push` says otherwise.
    pub name: String,
    /// `<target folder>/plugins/<name>.wasm`.
    pub path: PathBuf,
    /// What is in it.
    pub component: Component,
    /// What made it.
    pub compiler: Compiler,
}

/// Why there is no component. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No crate in the folder.
    #[error("no Cargo.toml in {}\n  run this in a plugin's crate, or make one: sluice plugin new NAME", .0.display())]
    NoCrate(PathBuf),
    /// A workspace without a crate of its own.
    #[error("{} has no [package]: it is a workspace\n  run this in the folder of one of its plugins", .0.display())]
    NotAPackage(PathBuf),
    /// No compiler for guests.
    #[error(transparent)]
    Compiler(#[from] CompilerMissing),
    /// cargo can't be run, or prints what it should not.
    #[error("cargo: {0}")]
    Cargo(String),
    /// cargo failed, and has said why on standard error.
    #[error("`{0}` does not compile; cargo's messages are above")]
    Failed(String),
    /// The crate has no library that can be linked as a module.
    #[error("`{0}` is not built as a module\n  its Cargo.toml needs: [lib] crate-type = [\"cdylib\", \"rlib\"]")]
    NotAModule(String),
    /// It compiles, but it is not a plugin.
    #[error("`{name}`: {error}")]
    Component {
        /// The package.
        name: String,
        /// What is wrong with it.
        #[source]
        error: ComponentError,
    },
    /// A file can't be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// Builds the plugin whose crate is in `dir`. cargo's progress and messages go to standard error.
pub fn build(dir: &Path) -> Result<Built, BuildError> {
    let manifest = dir.join("Cargo.toml");
    let manifest = manifest.canonicalize().map_err(|_| BuildError::NoCrate(dir.to_owned()))?;
    let dir = manifest.parent().unwrap_or(dir);
    let package = Package::of(&manifest)?;
    let compiler = Compiler::find(dir)?;
    let module_path = package.compile(&manifest, &compiler)?;
    let module = std::fs::read(&module_path).map_err(file(&module_path))?;
    let component =
        componentise(&module).map_err(|error| BuildError::Component { name: package.name.clone(), error })?;
    let path = package.target_dir.join("plugins").join(format!("{}.wasm", package.name));
    replace(&path, &component.bytes).map_err(file(&path))?;
    Ok(Built { name: package.name, path, component, compiler })
}

/// What cargo knows of the crate.
struct Package {
    name: String,
    target_dir: PathBuf,
}

impl Package {
    fn of(manifest: &Path) -> Result<Self, BuildError> {
        let mut cargo = cargo(manifest, "metadata");
        cargo.args(["--no-deps", "--format-version", "1"]);
        let output = cargo.output().map_err(|error| BuildError::Cargo(error.to_string()))?;
        if !output.status.success() {
            return Err(BuildError::Cargo(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let metadata: Value = serde_json::from_slice(&output.stdout).map_err(unexpected)?;
        let target_dir = metadata["target_directory"].as_str().map(PathBuf::from);
        let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let package = packages.iter().find(|package| is_path(&package["manifest_path"], manifest));
        let name = package.and_then(|package| package["name"].as_str());
        Ok(Self {
            name: name.ok_or_else(|| BuildError::NotAPackage(manifest.to_owned()))?.to_owned(),
            target_dir: target_dir.ok_or_else(|| unexpected("no target_directory"))?,
        })
    }

    /// Compiles the crate for the guest's target; gives the module's path.
    fn compile(&self, manifest: &Path, compiler: &Compiler) -> Result<PathBuf, BuildError> {
        let mut cargo = cargo(manifest, "build");
        cargo.args(["--release", "--lib", "--message-format", "json-render-diagnostics", "--target", TARGET]);
        // Of its own: the guest's compiler may be another than the one that builds everything else there.
        cargo.arg("--target-dir").arg(self.target_dir.join("wasm"));
        for setting in ["lto='fat'", "codegen-units=1", "panic='abort'", "debug=false"] {
            cargo.arg("--config").arg(format!("profile.release.{setting}"));
        }
        cargo.arg("--config").arg(format!("target.{TARGET}.rustflags={}", flags(compiler)));
        compiler.apply(&mut cargo);
        // Meant for the machine that compiles, or, as incremental compilation, at odds with optimising as a whole.
        for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_INCREMENTAL"] {
            cargo.env_remove(variable);
        }
        cargo.stderr(Stdio::inherit());
        let output = cargo.output().map_err(|error| BuildError::Cargo(error.to_string()))?;
        if !output.status.success() {
            return Err(BuildError::Failed(self.name.clone()));
        }
        let module = output.stdout.split(|byte| *byte == b'\n').find_map(|line| module_of(line, manifest));
        module.ok_or_else(|| BuildError::NotAModule(self.name.clone()))
    }
}

/// As a TOML list: SIMD, which the broker's engine has, and no paths of this machine. The same for every plugin, so that
/// what plugins share is compiled once in a target folder; cargo names a workspace's own files relative to it anyway.
fn flags(compiler: &Compiler) -> Value {
    let home = std::env::home_dir();
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| home.as_ref().map(|home| home.join(".cargo")));
    // Of several that fit a path the last one counts.
    let paths =
        [(home, "~"), (cargo_home.map(|home| home.join("registry/src")), "/crates"), (compiler.source(), "/rustc")];
    let paths = paths.into_iter().filter_map(|(from, to)| Some((from?, to)));
    let remapped = paths.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    ["-Ctarget-feature=+simd128".to_owned()].into_iter().chain(remapped).collect()
}

/// cargo, as whoever runs us runs it.
fn cargo(manifest: &Path, command: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg(command).arg("--manifest-path").arg(manifest);
    // rustup finds `rust-toolchain.toml` from the folder it is called in.
    cargo.current_dir(manifest.parent().unwrap_or_else(|| Path::new(".")));
    cargo
}

/// The module that a line of cargo's says it has made of the crate.
fn module_of(line: &[u8], manifest: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_slice(line).ok()?;
    let ours = message["reason"] == "compiler-artifact" && is_path(&message["manifest_path"], manifest);
    let files = message["filenames"].as_array().filter(|_| ours)?;
    files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
}

fn is_path(value: &Value, path: &Path) -> bool {
    value.as_str().is_some_and(|value| Path::new(value) == path)
}

/// Writes a file as a whole or not at all, and leaves one alone that is the same already: whoever builds with it in view
/// of its time builds no more than needed.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let partial = path.with_extension("wasm.partial");
    std::fs::write(&partial, bytes)?;
    std::fs::rename(partial, path)
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |error| BuildError::File { path, error }
}

fn unexpected(what: impl std::fmt::Display) -> BuildError {
    BuildError::Cargo(format!("its answer is not understood: {what}"))
}
