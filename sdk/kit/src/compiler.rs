//! Which compiler makes guests for `wasm32-unknown-unknown`, in this order:
//!
//! 1. the project's own toolchain, if it has the target;
//! 2. the same, after `rustup target add`: only when told to install, and not when `SLUICE_WASM_FROM=debian` says otherwise;
//! 3. Debian's compiler, with the target's library if it is packaged, else with the library built from its packaged source.
//!
//! This is the only place that knows the order; `scripts/wasm-target`, `make plugins` and `sluice plugin build` all ask here.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target of all guests. Not a WASI one: their standard library imports clocks and files.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Set to `debian` where rustup's servers are not to be asked.
const FROM: &str = "SLUICE_WASM_FROM";

/// Debian's compiler. Named by its path, since `rustc` is rustup's.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// The oldest compiler the SDK builds with, as its manifest says.
const OLDEST: (u32, u32) = oldest(env!("CARGO_PKG_RUST_VERSION"));

/// A compiler that can make guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// The toolchain that `cargo` uses anyway has the target.
    Toolchain {
        /// What `rustc --version` says.
        version: String,
    },
    /// Debian's, with the target's library.
    Debian {
        /// What `rustc --version` says.
        version: String,
    },
    /// Debian's, which builds the target's library first.
    DebianSource {
        /// What `rustc --version` says.
        version: String,
    },
}

/// No compiler for guests is here, and why each one was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompilerMissing {
    reasons: Vec<String>,
    packages: Vec<&'static str>,
}

impl fmt::Display for CompilerMissing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no compiler for {TARGET}: {}", self.reasons.join("; "))?;
        writeln!(f, "  run: rustup target add {TARGET}")?;
        write!(f, "  or, on Debian: sudo apt-get install {}", self.packages.join(" "))
    }
}

impl std::error::Error for CompilerMissing {}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Toolchain { version } => write!(f, "{version}, with its own {TARGET}"),
            Self::Debian { version } => write!(f, "{DEBIAN_RUSTC}, {version}, with Debian's {TARGET}"),
            Self::DebianSource { version } => {
                write!(f, "{DEBIAN_RUSTC}, {version}, building {TARGET}'s library from Debian's source")
            }
        }
    }
}

impl Compiler {
    /// The first one that is on this machine, for a crate in `dir` (whose `rust-toolchain.toml` counts).
    pub fn find(dir: &Path) -> Result<Self, CompilerMissing> {
        let mut reasons = Vec::new();
        let found = Self::toolchain(dir, &mut reasons).or_else(|| Self::debian(&mut reasons));
        found.ok_or_else(|| CompilerMissing { reasons, packages: debian_packages() })
    }

    /// The first one that is on this machine or can be brought onto it: rustup as anyone, Debian's packages as root.
    pub fn find_or_install(dir: &Path) -> Result<Self, CompilerMissing> {
        let mut reasons = Vec::new();
        if let Some(found) = Self::toolchain(dir, &mut reasons) {
            return Ok(found);
        }
        match std::env::var_os(FROM) {
            None if runs("rustup", ["target", "add", TARGET], dir) => {
                if let Some(found) = Self::toolchain(dir, &mut reasons) {
                    return Ok(found);
                }
            }
            None => reasons.push(format!("`rustup target add {TARGET}` failed")),
            Some(from) => reasons.push(format!("{FROM}={} leaves rustup out", from.display())),
        }
        if let Some(found) = Self::debian(&mut reasons) {
            return Ok(found);
        }
        let packages = debian_packages();
        if apt_install(&packages, dir)
            && let Some(found) = Self::debian(&mut reasons)
        {
            return Ok(found);
        }
        Err(CompilerMissing { reasons, packages })
    }

    fn toolchain(dir: &Path, reasons: &mut Vec<String>) -> Option<Self> {
        let Some(version) = rustc_version("rustc", dir) else {
            reasons.push("`rustc` does not run".to_owned());
            return None;
        };
        if has_library(OsStr::new("rustc"), dir) {
            return Some(Self::Toolchain { version });
        }
        reasons.push(format!("{version} has no such target"));
        None
    }

    fn debian(reasons: &mut Vec<String>) -> Option<Self> {
        let root = Path::new("/");
        let Some(version) = rustc_version(DEBIAN_RUSTC, root) else {
            reasons.push(format!("there is no {DEBIAN_RUSTC}"));
            return None;
        };
        if parse_version(&version).is_none_or(|version| version < OLDEST) {
            let (major, minor) = OLDEST;
            reasons.push(format!("{DEBIAN_RUSTC} is {version}, and {major}.{minor} is the oldest that serves"));
            return None;
        }
        if says("wasm-ld", ["--version"], root).is_none() {
            reasons.push("there is no wasm-ld".to_owned());
            return None;
        }
        if has_library(OsStr::new(DEBIAN_RUSTC), root) {
            return Some(Self::Debian { version });
        }
        if sysroot_source().is_some_and(|source| source.is_dir()) {
            return Some(Self::DebianSource { version });
        }
        reasons.push(format!("{DEBIAN_RUSTC} has neither the target's library nor its source"));
        None
    }

    /// Tells cargo to use this compiler.
    pub(crate) fn apply(&self, cargo: &mut Command) {
        if matches!(self, Self::Toolchain { .. }) {
            return;
        }
        cargo.env("RUSTC", DEBIAN_RUSTC).arg("--config").arg(format!("target.{TARGET}.linker='wasm-ld'"));
        if matches!(self, Self::DebianSource { .. }) {
            // Building the library is a nightly switch of cargo; this is the documented way to use one with a stable compiler.
            cargo.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_abort");
        }
    }

    /// Where this compiler's own source lies, which its panics name.
    pub(crate) fn source(&self) -> Option<PathBuf> {
        if matches!(self, Self::DebianSource { .. }) { sysroot_source() } else { None }
    }
}

/// `rustc 1.96.0`, without the commit and the packager's remarks.
fn rustc_version(rustc: &str, dir: &Path) -> Option<String> {
    let version = says(rustc, ["--version"], dir)?;
    Some(version.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

/// What a command prints, if it runs and succeeds.
fn says<const N: usize>(program: &str, arguments: [&str; N], dir: &Path) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(dir).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether a command succeeds; what it prints goes to standard error.
fn runs<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>, dir: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir).env("DEBIAN_FRONTEND", "noninteractive").stdout(std::io::stderr());
    command.status().is_ok_and(|status| status.success())
}

/// Whether a compiler has the standard library of the target. It says where it would be, whether it is there or not.
fn has_library(rustc: &OsStr, dir: &Path) -> bool {
    let rustc = rustc.to_string_lossy();
    let Some(libraries) = says(&rustc, ["--print", "target-libdir", "--target", TARGET], dir) else { return false };
    let Ok(files) = std::fs::read_dir(libraries) else { return false };
    files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}

fn sysroot_source() -> Option<PathBuf> {
    let sysroot = says(DEBIAN_RUSTC, ["--print", "sysroot"], Path::new("/"))?;
    Path::new(&sysroot).join("lib/rustlib/src/rust").canonicalize().ok()
}

/// The packages to install: the compiler and its target's library where Debian's is new enough, else the one that Debian
/// keeps up with browsers, which comes without that library but with its source.
fn debian_packages() -> Vec<&'static str> {
    let new_enough = |package| {
        let policy = says("apt-cache", ["policy", package], Path::new("/"))?;
        let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
        Some(parse_version(candidate)? >= OLDEST)
    };
    if new_enough("rustc") == Some(true) {
        vec!["rustc", "libstd-rust-dev-wasm32", "lld"]
    } else {
        vec!["rustc-web", "rust-web-src", "lld"]
    }
}

/// With the package lists as they are first, and refreshed if that fails. Only root may, and apt says so to anyone else.
fn apt_install(packages: &[&str], dir: &Path) -> bool {
    let install = || {
        let arguments = ["install", "-qy", "--no-install-recommends"].into_iter().chain(packages.iter().copied());
        runs("apt-get", arguments, dir)
    };
    install() || (runs("apt-get", ["update", "-q"], dir) && install())
}

/// Major and minor of `1.95`, `rustc 1.96.0 (...)` or `1.96.0+dfsg1-1`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let digits = &text[text.find(|c: char| c.is_ascii_digit())?..];
    let mut numbers = digits.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// As [`parse_version`], of the manifest's `1.95`, while compiling.
const fn oldest(version: &str) -> (u32, u32) {
    let bytes = version.as_bytes();
    let (mut numbers, mut at, mut i) = ([0; 2], 0, 0);
    while i < bytes.len() && at < numbers.len() {
        if bytes[i] == b'.' {
            at += 1;
        } else {
            numbers[at] = numbers[at] * 10 + (bytes[i] - b'0') as u32;
        }
        i += 1;
    }
    (numbers[0], numbers[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let check = |text: &str, expected| assert_eq!(parse_version(text), expected, "{text}");
        check("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)", Some((1, 96)));
        check("1.63.0+dfsg1-2", Some((1, 63)));
        check("1.95", Some((1, 95)));
        check("(none)", None);
        assert_eq!(Some(OLDEST), parse_version(env!("CARGO_PKG_RUST_VERSION")));
    }

    #[test]
    fn a_missing_compiler_comes_with_the_commands_that_bring_one() {
        let missing =
            CompilerMissing { reasons: vec!["rustc 1.95.0 has no such target".into()], packages: vec!["lld"] };
        assert_eq!(
            missing.to_string(),
            "no compiler for wasm32-unknown-unknown: rustc 1.95.0 has no such target\n  \
             run: rustup target add wasm32-unknown-unknown\n  or, on Debian: sudo apt-get install lld"
        );
    }
}
