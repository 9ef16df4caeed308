//! Why a server does not start.

use std::io;
use std::net::SocketAddr;

use tokio::task::JoinError;

use super::access::FILES_TIMEOUT;
use crate::backend::OpenError;
use crate::config::{ForwardError, SecretsError, SourcesError, TlsError};

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address is in use, or is not one of this machine.
    #[error("cannot listen on {name} {addr}")]
    Bind {
        /// The variable.
        name: &'static str,
        /// The address.
        addr: SocketAddr,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The secrets of senders or the tokens of readers and operators cannot be used.
    #[error("invalid webhook secrets or API tokens")]
    Secrets(#[source] SecretsError),
    /// `webhook.toml`, or a secret that it names, cannot be used.
    #[error("invalid CONFIG_FILE; `webhook-server check` lists what is wrong")]
    Sources(#[source] SourcesError),
    /// Transactions cannot be forwarded.
    #[error("cannot forward to FORWARD_URL")]
    Forward(#[source] ForwardError),
    /// Operators have an address of their own, but no token allows anybody to use it.
    #[error(
        "OPERATOR_ADDR {addr} needs a token of the scope operate in API_TOKENS or API_TOKENS_FILE: \
         create one with `webhook-server token operate`"
    )]
    NoOperator {
        /// The address.
        addr: SocketAddr,
    },
    /// The metrics have an address that others can reach, but no token allows anybody to read them.
    #[error(
        "METRICS_ADDR {addr} can be reached from other machines and needs a token of the scope metrics \
         in API_TOKENS or API_TOKENS_FILE: create one with `webhook-server token metrics`, or use an \
         address of this machine, such as 127.0.0.1:9464"
    )]
    NoMetricsToken {
        /// The address.
        addr: SocketAddr,
    },
    /// The certificates or the private key cannot be used.
    #[error("invalid TLS configuration")]
    Tls(#[source] TlsError),
    /// The backend cannot be opened.
    #[error("failed to open the database")]
    Backend(#[source] OpenError),
    /// The task that reads the files panicked.
    #[error("failed to read the files of secrets, tokens and certificates")]
    Files(#[from] JoinError),
    /// A file of secrets, tokens or certificates cannot be read in time.
    #[error(
        "the files of secrets, tokens and certificates were not read within {FILES_TIMEOUT:?}: is \
         their file system reachable?"
    )]
    FilesTimedOut,
}
