//! Profiles: which cluster, and how to get in, under a name. TOML files in `$XDG_CONFIG_HOME/sluice/profiles`, by default
//! `~/.config/sluice/profiles`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::error::CliError;

/// A cluster and the way in. Relative paths are relative to the working folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Profile {
    /// Brokers: `host:port`, with commas between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bootstrap_server: Option<String>,
    /// The admin API: `https://host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) admin: Option<String>,
    /// A PEM file with the authorities whose brokers are believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ca: Option<PathBuf>,
    /// A PEM file with the client's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cert: Option<PathBuf>,
    /// A PEM file with the client's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<PathBuf>,
    /// Whether the brokers' listener has no TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) plaintext: bool,
}

/// The profiles that are looked for when none is named, in this order. `sluice dev` writes the second.
pub(super) const WHEN_NONE_IS_NAMED: [&str; 2] = ["default", DEV];

/// The profile of the broker that `sluice dev` runs.
pub(super) const DEV: &str = "dev";

impl Profile {
    /// Reads a profile; `None` if there is none of that name.
    pub(super) fn read(name: &str) -> Result<Option<Self>, CliError> {
        let path = path_of(name)?;
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text).map(Some),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(CliError::failed(format!("cannot read {}: {cause}", path.display()))),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, CliError> {
        toml::from_str(text).map_err(|cause| CliError::failed(format!("{}: {cause}", path.display())))
    }

    /// Writes a profile and says where.
    pub(super) fn write(&self, name: &str) -> Result<PathBuf, CliError> {
        let path = path_of(name)?;
        let text = toml::to_string(self).map_err(|cause| CliError::failed(format!("{}: {cause}", path.display())))?;
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        written.map_err(|cause| CliError::failed(format!("cannot write {}: {cause}", path.display())))?;
        Ok(path)
    }
}

/// The file of a profile.
fn path_of(name: &str) -> Result<PathBuf, CliError> {
    let good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if !good {
        return Err(CliError::usage(format!("`{name}` cannot be a profile's name: letters, digits, - and _")));
    }
    let base = match (absolute("XDG_CONFIG_HOME"), absolute("HOME")) {
        (Some(config), _) => config,
        (None, Some(home)) => home.join(".config"),
        (None, None) => return Err(CliError::failed("no place for profiles: neither XDG_CONFIG_HOME nor HOME is set")),
    };
    Ok(base.join("sluice/profiles").join(format!("{name}.toml")))
}

/// A folder from the environment; the XDG specification has relative ones ignored.
pub(super) fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let profile = Profile {
            bootstrap_server: Some("localhost:9092".to_owned()),
            ca: Some(PathBuf::from("/data/tls/ca.pem")),
            ..Profile::default()
        };
        let text = toml::to_string(&profile).expect("writes");
        assert_eq!(text, "bootstrap-server = \"localhost:9092\"\nca = \"/data/tls/ca.pem\"\n");
        assert_eq!(Profile::parse(Path::new("p"), &text).expect("reads"), profile);
    }

    #[test]
    fn a_line_nobody_knows_is_refused() {
        let error = Profile::parse(Path::new("p.toml"), "bootstrap = \"x\"\n").expect_err("unknown").to_string();
        assert!(error.contains("p.toml") && error.contains("bootstrap-server"), "{error}");
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        for name in ["", "../x", "a/b", "a.b"] {
            assert!(path_of(name).is_err(), "{name}");
        }
    }
}
