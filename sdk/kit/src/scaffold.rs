//! A new plugin's crate: builds, and passes its test, as it is written.
//!
//! The SDK is unpacked into it, so that a plugin needs nothing but a package registry and is built again years later with the SDK it
//! was written for. The files are those of this repository, put into the binary when it is compiled; a test holds
//! [`SDK`] against the folder.

use std::io;
use std::path::{Path, PathBuf};

/// Bytes of a plugin's name: it names files, crates and metric labels.
const NAME_BYTES_MAX: usize = 64;

/// Names that cargo refuses, or that a dependency has already.
const TAKEN: [&str; 9] =
    ["test", "core", "std", "alloc", "proc-macro", "serde", "serde-json", "sluice-sdk", "sluice-sdk-macros"];

/// Rust's words, which no function can be called. Those that are not lowercase letters can't be names anyway.
const KEYWORDS: [&str; 50] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while",
];

macro_rules! embedded {
    ($($path:literal)*) => { &[$(($path, include_str!(concat!("../../", $path)))),*] };
}

/// The SDK's sources, by their path from its folder.
const SDK: &[(&str, &str)] = embedded! {
    "Cargo.toml"
    "macros/Cargo.toml"
    "macros/src/arguments.rs"
    "macros/src/function.rs"
    "macros/src/lib.rs"
    "src/batch.rs"
    "src/guest.rs"
    "src/host.rs"
    "src/json/mod.rs"
    "src/json/path.rs"
    "src/json/rewrite.rs"
    "src/json/scan.rs"
    "src/layout.rs"
    "src/lib.rs"
    "src/log.rs"
    "src/metrics.rs"
    "src/plugin.rs"
    "src/testing/driver.rs"
    "src/testing/mod.rs"
    "src/testing/pack.rs"
    "src/testing/unpack.rs"
    "src/verdict.rs"
    "src/verdicts.rs"
};

/// The contract with the broker, which the SDK expects beside its own folder.
const WIT: &[(&str, &str)] = &[
    ("plugin.wit", include_str!("../../../wit/plugin.wit")),
    ("batch-layout.md", include_str!("../../../wit/batch-layout.md")),
];

/// What was written.
#[derive(Debug, PartialEq, Eq)]
pub struct Scaffold {
    /// The crate's folder.
    pub dir: PathBuf,
    /// The files an author edits, by their path in it. The SDK's come on top.
    pub files: Vec<&'static str>,
}

/// Why a name is not a plugin's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Other characters, or too long.
    #[error(
        "`{0}` is not a plugin's name\n  a name is up to {NAME_BYTES_MAX} of a-z, 0-9 and -, and starts with a letter"
    )]
    Characters(String),
    /// It is another crate's or Rust's.
    #[error("`{0}` means something to Rust already\n  another name: my-{0}")]
    Taken(String),
}

/// Why there is no new crate.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    /// The name won't do.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Something is there. Nothing has been written.
    #[error("{} is there already\n  another name, or another folder", .0.display())]
    Exists(PathBuf),
    /// A file can't be written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// Whether a plugin may be called so.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let fits = name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !fits {
        return Err(NameError::Characters(name.to_owned()));
    }
    if TAKEN.contains(&name) || KEYWORDS.contains(&name) {
        return Err(NameError::Taken(name.to_owned()));
    }
    Ok(())
}

/// Writes a new plugin's crate into the folder `name` in `parent`.
pub fn scaffold(parent: &Path, name: &str) -> Result<Scaffold, ScaffoldError> {
    check_name(name)?;
    let dir = parent.join(name);
    if dir.symlink_metadata().is_ok() {
        return Err(ScaffoldError::Exists(dir));
    }
    let fill = |template: &str| template.replace("{name}", name).replace("{ident}", &name.replace('-', "_"));
    let own = [
        ("src/lib.rs", fill(include_str!("../template/lib.rs.in"))),
        ("Cargo.toml", fill(include_str!("../template/Cargo.toml.in"))),
        ("README.md", fill(include_str!("../template/README.md.in"))),
        (".gitignore", "/target\n".to_owned()),
    ];
    for (path, text) in &own {
        write(&dir.join(path), text)?;
    }
    for (vendored, files) in [("vendor/sluice-sdk", SDK), ("vendor/wit", WIT)] {
        for (path, text) in files {
            // What the SDK's own tests need is not unpacked, and need not be resolved either.
            let text = text.split("\n[dev-dependencies]").next().unwrap_or(text);
            write(&dir.join(vendored).join(path), text)?;
        }
    }
    Ok(Scaffold { dir, files: own.map(|(path, _)| path).to_vec() })
}

fn write(path: &Path, text: &str) -> Result<(), ScaffoldError> {
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, text));
    written.map_err(|error| ScaffoldError::File { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |name: &str, taken: bool, fits: bool| match check_name(name) {
            Ok(()) => assert!(fits, "{name}"),
            Err(NameError::Taken(_)) => assert!(taken, "{name}"),
            Err(NameError::Characters(_)) => assert!(!taken && !fits, "{name}"),
        };
        check("mine", false, true);
        check("hide-card-2", false, true);
        check(&"x".repeat(64), false, true);
        check(&"x".repeat(65), false, false);
        for refused in ["", "2fast", "-x", "Mine", "a_b", "a/b", "../a", "a b", "é"] {
            check(refused, false, false);
        }
        for taken in ["fn", "gen", "serde", "sluice-sdk", "test"] {
            check(taken, true, false);
        }
    }

    #[test]
    fn every_source_of_the_sdk_is_unpacked() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut there = vec!["Cargo.toml".to_owned(), "macros/Cargo.toml".to_owned()];
        let mut folders = vec![sdk.join("src"), sdk.join("macros/src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    there.push(path.strip_prefix(sdk).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        there.sort();
        let embedded: Vec<_> = SDK.iter().map(|(path, _)| *path).collect();
        assert_eq!(embedded, there);
    }

    #[test]
    fn nothing_is_overwritten() {
        let parent = tempfile::tempdir().unwrap();
        let made = scaffold(parent.path(), "mine").unwrap();
        assert_eq!(made.dir, parent.path().join("mine"));
        std::fs::write(made.dir.join("src/lib.rs"), "mine").unwrap();
        let again = scaffold(parent.path(), "mine").unwrap_err();
        assert!(matches!(again, ScaffoldError::Exists(_)), "{again}");
        assert_eq!(std::fs::read_to_string(made.dir.join("src/lib.rs")).unwrap(), "mine");
        assert!(matches!(scaffold(parent.path(), "../mine"), Err(ScaffoldError::Name(_))));
    }
}
