//! Which cluster a command talks to, and as whom: flags over the environment over a profile. And the commands that are about
//! the cluster itself.

mod balance;
pub(super) mod commands;
mod drain;
mod elect;
mod features;
mod progress;
mod reassign;
mod recover;
mod status;
mod text;
mod throttle;

use std::path::PathBuf;

use clap::Args;

use super::{
    admin_client::AdminClient,
    error::CliError,
    profile::{Profile, WHEN_NONE_IS_NAMED},
};
use crate::client::{Client, ClientConfig, ClientTls};

/// Flags that every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct ClusterArguments {
    /// Brokers: HOST:PORT, with commas between them.
    #[arg(long, global = true, value_name = "HOST:PORT", env = "SLUICE_BOOTSTRAP_SERVER")]
    bootstrap_server: Option<String>,
    /// The admin API: https://HOST:PORT.
    #[arg(long, global = true, value_name = "URL", env = "SLUICE_ADMIN")]
    admin: Option<String>,
    /// A PEM file with the authorities whose brokers are believed.
    #[arg(long, global = true, value_name = "FILE", env = "SLUICE_CA")]
    ca: Option<PathBuf>,
    /// A PEM file with the client's certificate.
    #[arg(long, global = true, value_name = "FILE", env = "SLUICE_CERT")]
    cert: Option<PathBuf>,
    /// A PEM file with the client's key, if it is not in the certificate's.
    #[arg(long, global = true, value_name = "FILE", env = "SLUICE_KEY")]
    key: Option<PathBuf>,
    /// The brokers' listener has no TLS.
    #[arg(long, global = true)]
    plaintext: bool,
    /// The profile that has all of this under a name.
    #[arg(long, global = true, value_name = "NAME", env = "SLUICE_PROFILE")]
    profile: Option<String>,
}

impl ClusterArguments {
    /// Connects to the brokers.
    pub(super) async fn client(self) -> Result<Client, CliError> {
        let profile = self.resolved()?;
        let bootstrap = profile.bootstrap_server.clone().ok_or_else(|| no_cluster("--bootstrap-server HOST:PORT"))?;
        let bootstrap =
            bootstrap.split(',').map(|server| server.trim().to_owned()).filter(|server| !server.is_empty()).collect();
        let tls = if profile.plaintext { None } else { Some(tls(&profile)?) };
        Ok(Client::connect(ClientConfig::new(bootstrap, tls)).await?)
    }

    /// A client of the admin API, which always has TLS.
    pub(super) fn admin(self) -> Result<AdminClient, CliError> {
        let profile = self.resolved()?;
        let url = profile.admin.clone().ok_or_else(|| no_cluster("--admin https://HOST:PORT"))?;
        AdminClient::new(&url, &tls(&profile)?)
    }

    /// The flags over the profile. Without a name the profile is one of the usual ones, unless flags name a cluster:
    /// then nothing of another cluster is mixed in.
    fn resolved(self) -> Result<Profile, CliError> {
        let base = match &self.profile {
            Some(name) => Profile::read(name)?.ok_or_else(|| {
                CliError::usage(format!("there is no profile `{name}`")).hint("`sluice dev` writes the profile `dev`")
            })?,
            None if self.bootstrap_server.is_some() || self.admin.is_some() => Profile::default(),
            None => {
                let mut found = None;
                for name in WHEN_NONE_IS_NAMED {
                    found = Profile::read(name)?;
                    if found.is_some() {
                        break;
                    }
                }
                found.unwrap_or_default()
            }
        };
        Ok(self.over(base))
    }

    fn over(self, base: Profile) -> Profile {
        Profile {
            bootstrap_server: self.bootstrap_server.or(base.bootstrap_server),
            admin: self.admin.or(base.admin),
            ca: self.ca.or(base.ca),
            // A certificate and its key come from the same place.
            key: if self.cert.is_some() { self.key } else { self.key.or(base.key) },
            cert: self.cert.or(base.cert),
            plaintext: self.plaintext || base.plaintext,
        }
    }
}

fn no_cluster(flag: &str) -> CliError {
    CliError::usage("no cluster is named, and there is no profile")
        .hint(format!("name one: {flag}, or --profile NAME"))
        .hint("or start a broker of your own, which writes a profile: sluice dev")
}

fn tls(profile: &Profile) -> Result<ClientTls, CliError> {
    let ca = profile.ca.clone().ok_or_else(|| {
        CliError::usage("nothing says which brokers to believe")
            .hint("--ca FILE names the authority; --plaintext is for a listener without TLS")
    })?;
    let identity = match (&profile.cert, &profile.key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (Some(both), None) => Some((both.clone(), both.clone())),
        (None, Some(_)) => return Err(CliError::usage("--key comes with --cert")),
    };
    Ok(ClientTls { ca, identity })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_over_profile() {
        let base = Profile {
            bootstrap_server: Some("a:1".to_owned()),
            admin: Some("https://a:2".to_owned()),
            ca: Some("ca".into()),
            cert: Some("cert".into()),
            key: Some("key".into()),
            plaintext: false,
        };
        let flags = ClusterArguments { cert: Some("mine".into()), ..ClusterArguments::default() };
        let merged = flags.over(base.clone());
        assert_eq!(merged, Profile { cert: Some("mine".into()), key: None, ..base.clone() });
        assert_eq!(tls(&merged).expect("both in one file").identity, Some(("mine".into(), "mine".into())));
        assert_eq!(ClusterArguments::default().over(base.clone()), base);
    }

    #[test]
    fn nobody_is_believed_by_default() {
        assert!(tls(&Profile::default()).expect_err("no authority").to_string().contains("--ca FILE"));
        let key_alone = Profile { ca: Some("ca".into()), key: Some("key".into()), ..Profile::default() };
        assert!(tls(&key_alone).expect_err("no certificate").to_string().contains("--key comes with --cert"));
    }
}
