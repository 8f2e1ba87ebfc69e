//! What the command says when it cannot do what it was asked: the cause, and the next step.

use std::{
    error::Error,
    io::{self, Write as _},
    process::ExitCode,
};

use sluice_protocol::ErrorCode;
use sluice_storage::OpenError;

use crate::{
    admin::AdminError,
    broker::BrokerError,
    client::{ClientError, ClientTlsError, SPEAKS_TLS},
    config::ConfigError,
    coordination::{Halt, StartError},
    dev::cluster::ClusterError,
    net::BindError,
};

/// A command that ends without having done everything.
#[derive(Debug)]
pub(super) struct CliError {
    code: u8,
    /// The cause; nothing if everything has been said already.
    message: String,
    hints: Vec<String>,
}

/// Exit codes.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNHEALTHY: u8 = 3;

impl CliError {
    /// What was asked for could not be done.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self { code: FAILED, message: message.into(), hints: Vec::new() }
    }

    /// It was not asked for as it should be.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, message: message.into(), hints: Vec::new() }
    }

    /// It has been said on standard error already what failed.
    pub(super) const fn said() -> Self {
        Self { code: FAILED, message: String::new(), hints: Vec::new() }
    }

    /// What was looked at was shown, and is not as it should be.
    pub(super) const fn unhealthy() -> Self {
        Self { code: UNHEALTHY, message: String::new(), hints: Vec::new() }
    }

    /// Adds what to do about it.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Tells standard error, and gives the exit code.
    pub(super) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            // If standard error is gone there is nobody left to tell.
            let _ = write!(io::stderr().lock(), "{self}");
        }
        ExitCode::from(self.code)
    }
}

impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut lines = self.message.lines();
        writeln!(f, "error: {}", lines.next().unwrap_or_default())?;
        for line in lines.chain(self.hints.iter().flat_map(|hint| hint.lines())) {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let hint = match &error {
            ClientError::Connect { cause, .. } => Some(connect_hint(cause)),
            ClientError::Refused { code, .. } | ClientError::RecordsRefused { code, .. } => refusal_hint(*code),
            ClientError::Lost { .. } => Some("whether the broker did it is not known; look before you ask again"),
            ClientError::Tls(_)
            | ClientError::Decode { .. }
            | ClientError::Encode { .. }
            | ClientError::NoVersion { .. }
            | ClientError::NoPartition { .. }
            | ClientError::Damaged { .. } => None,
        };
        let said = Self::failed(error.to_string());
        match hint {
            Some(hint) => said.hint(hint),
            None => said,
        }
    }
}

impl From<ClientTlsError> for CliError {
    fn from(error: ClientTlsError) -> Self {
        Self::failed(error.to_string()).hint("see: --ca, --cert and --key, or the profile")
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::failed(format!("the configuration does not work\n{error}")).hint("see: sluice config keys")
    }
}

impl From<ClusterError> for CliError {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::Broker { cause, .. } => Self::from(*cause),
            ClusterError::Runtime { .. } | ClusterError::Failed { .. } => Self::failed(with_causes(&error)),
        }
    }
}

impl From<BrokerError> for CliError {
    fn from(error: BrokerError) -> Self {
        let hint = match &error {
            BrokerError::Bind(BindError::Listen { .. }) => {
                Some("who has that port? choose another in `listeners`, for `sluice dev` with --port")
            }
            BrokerError::Admin(AdminError::Listen { .. }) => {
                Some("who has that port? choose another in `sluice.admin.listener`, for `sluice dev` with --admin-port")
            }
            BrokerError::Bind(BindError::Tls { .. })
            | BrokerError::Admin(AdminError::Tls(_))
            | BrokerError::InterBroker(_) => Some("see: sluice config keys ssl."),
            BrokerError::LogDir(OpenError::Locked { .. }) => {
                Some("end the other broker, or choose another folder in `log.dirs`")
            }
            BrokerError::LogDir(OpenError::OtherCluster { .. })
            | BrokerError::Coordination(StartError::Halted(Halt::OtherCluster { .. })) => Some(
                "is `zookeeper.connect` right? a folder keeps to its cluster; for a new one choose another in `log.dirs`",
            ),
            BrokerError::LogDir(OpenError::OtherBroker { .. }) => {
                Some("is `broker.id` right? a folder keeps to its broker")
            }
            BrokerError::Coordination(StartError::Unreachable { .. }) => {
                Some("does it run there? see: sluice config keys zookeeper.")
            }
            BrokerError::Coordination(StartError::Unregistered { .. }) => {
                Some("is a controller there? see the log of the other brokers")
            }
            BrokerError::Coordination(StartError::Halted(Halt::IdInUse { .. })) => {
                Some("give this broker another `broker.id`")
            }
            BrokerError::NotWelcome { .. } => {
                Some("is it this broker's certificate? see: sluice config keys sluice.broker.principals")
            }
            BrokerError::Unreachable { .. } => Some("see: sluice config keys inter.broker.listener.name"),
            BrokerError::LogDir(_)
            | BrokerError::Coordination(StartError::Halted(_))
            | BrokerError::Logs(_)
            | BrokerError::Plugins(_)
            | BrokerError::Random(_) => None,
        };
        let said = Self::failed(with_causes(&error));
        match hint {
            Some(hint) => said.hint(hint),
            None => said,
        }
    }
}

/// An error and what lies behind it, as far as it does not say so itself.
fn with_causes(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.contains(&text) {
            said.push_str(": ");
            said.push_str(&text);
        }
        cause = error.source();
    }
    said
}

/// What usually lies behind a connection that cannot be made.
pub(super) fn connect_hint(cause: &io::Error) -> &'static str {
    let said = cause.to_string();
    if said.contains("UnknownIssuer") || said.contains("UnknownCA") {
        "its certificate comes from another authority: --ca FILE names the one to believe"
    } else if said.contains("NotValidForName") {
        "its certificate is for another name: connect by a name that the certificate has"
    } else if said.contains("CertificateRequired") || said.contains("HandshakeFailure") {
        "it wants a certificate: --cert FILE and --key FILE"
    } else if said == SPEAKS_TLS {
        "leave out --plaintext"
    } else if said.contains("InvalidContentType") || said.contains("corrupt message") {
        "it does not speak TLS there: is the port right? a listener without TLS needs --plaintext"
    } else {
        "is a broker running there? start one of your own: sluice dev"
    }
}

fn refusal_hint(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::UnknownTopicOrPartition => {
            Some("see: sluice topic list        or create it: sluice topic create NAME")
        }
        ErrorCode::TopicAlreadyExists => Some("see: sluice topic describe NAME"),
        ErrorCode::InvalidConfig => Some("see: sluice config keys --topic"),
        ErrorCode::OffsetOutOfRange => Some("see where the topic begins and ends: sluice topic describe NAME"),
        _ => None,
    }
}
