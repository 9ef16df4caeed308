//! Configuration: flags, environment variables and `.env`, in this order of precedence.

mod credentials;
pub(crate) mod env_file;
mod files;
mod pem;
mod rates;
mod replay;
#[cfg(test)]
mod robustness;
mod secret;
mod senders;
pub(crate) mod text;
mod tls;
mod values;
mod warnings;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Command, FromArgMatches, ValueEnum};
use webhook_core::{InboxOptions, OnFailed, Retention, WorkerOptions, payload};

use crate::http::HttpOptions;
use crate::transaction::Transaction;
pub use credentials::{LineProblem, SecretsError};
pub use env_file::EnvFileError;
pub use files::FileError;
pub use pem::PemError;
pub use rates::{ForwardedHeader, Networks, Rates};
pub(crate) use secret::looks_secret;
pub use secret::{DatabaseUrl, Secrets};
pub use senders::SignatureScheme;
pub use text::TextError;
pub use tls::{TlsError, TlsFiles};
pub use values::LogFilter;
pub(crate) use values::age;

/// How the server behaves, and its limits.
#[derive(Clone, Debug, Args)]
#[non_exhaustive]
pub struct Config {
    /// PostgreSQL's URL; without one, events are kept in memory and lost with the process
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    pub database_url: Option<DatabaseUrl>,

    /// A file that holds the URL, in place of DATABASE_URL
    #[arg(long, env, value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,

    /// Address and port to listen on
    #[arg(long, env, value_name = "IP:PORT", default_value = "127.0.0.1:8000", value_parser = values::address)]
    pub bind_addr: SocketAddr,

    /// Which half of the work to do; api and worker need a database
    #[arg(long, env, value_enum, ignore_case = true, default_value = "all")]
    pub role: Role,

    /// How senders sign: none, standard-webhooks, stripe, github, razorpay, shopify, cashfree,
    /// hmac-hex:HEADER or hmac-base64:HEADER
    #[arg(long, env, value_name = "SCHEME", default_value = "none")]
    pub webhook_signature_scheme: SignatureScheme,

    /// The secrets that they sign with, any of them, one per line
    #[arg(long, env, hide_env_values = true, value_name = "SECRETS")]
    pub webhook_secrets: Option<Secrets>,

    /// A file that holds these secrets, one per line; read again on SIGHUP
    #[arg(long, env, value_name = "FILE")]
    pub webhook_secrets_file: Option<PathBuf>,

    /// How long ago, or how far in the future, a signature may say that it was made
    #[arg(long, env, value_name = "SECONDS", default_value = "300", value_parser = values::timeout_seconds)]
    pub webhook_tolerance_seconds: Duration,

    /// Those who may read: the digests of their tokens, as `webhook-server token` writes them,
    /// separated by commas or white space
    #[arg(long, env, hide_env_values = true, value_name = "DIGESTS")]
    pub api_tokens: Option<Secrets>,

    /// A file with these digests instead, one a line; read again on SIGHUP
    #[arg(long, env, value_name = "FILE")]
    pub api_tokens_file: Option<PathBuf>,

    /// Listen anywhere, and answer everybody, without signatures and tokens, because something in
    /// front of the server checks who comes. Without it, a server that needs neither answers
    /// programs on this machine only: no pages of other origins, and nothing that a proxy forwards
    #[arg(long, env, value_parser = values::boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_name = "BOOL")]
    pub insecure: bool,

    /// Another address and port, for operators alone; without it their routes are on BIND_ADDR,
    /// for those with a token of the scope operate
    #[arg(long, env, value_name = "IP:PORT", value_parser = values::address)]
    pub operator_addr: Option<SocketAddr>,

    /// Who encrypts.
    #[command(flatten)]
    pub tls: TlsFiles,

    /// How often clients may ask.
    #[command(flatten)]
    pub rates: Rates,

    /// How long after acceptance a transaction is processed
    #[arg(long, env, value_name = "SECONDS", default_value = "30", value_parser = values::seconds)]
    pub processing_delay_seconds: Duration,

    /// How long a worker may be silent until others take over its transactions (the lease)
    #[arg(long, env, value_name = "SECONDS", default_value = "120", value_parser = values::lease_seconds)]
    pub processing_stale_timeout_seconds: Duration,

    /// What to log: a level, or a filter such as info,webhook_server=debug
    #[arg(long, env, value_name = "FILTER", default_value = "info", value_parser = values::log_filter)]
    pub log_level: LogFilter,

    /// How to log
    #[arg(long, env, value_enum, ignore_case = true, default_value = "human")]
    pub log_format: LogFormat,

    /// Whether to bring the database's schema up to date at the start
    #[arg(long, env, value_enum, ignore_case = true, default_value = "auto")]
    pub migrate: Migrate,

    /// How long to try to reach the database at the start
    #[arg(long, env, value_name = "SECONDS", default_value = "30", value_parser = values::seconds)]
    pub database_wait_seconds: Duration,

    /// Most connections to the database
    #[arg(long, env, value_name = "COUNT", default_value = "8", value_parser = values::connections)]
    pub database_pool_size: NonZeroU32,

    /// Most transactions kept in memory, where there is no database; processed ones make room
    #[arg(long, env, value_name = "COUNT", default_value = "1000000", value_parser = values::count)]
    pub memory_capacity: usize,

    /// Most bytes of transactions kept in memory, with their conflicts and reasons; processed ones make room
    #[arg(long, env, value_name = "BYTES", default_value = "268435456", value_parser = values::count)]
    pub memory_max_bytes: usize,

    /// Most attempts at a transaction before it is FAILED; 25 last for 44 to 89 hours, 10 for 8 to 17 minutes
    #[arg(long, env, value_name = "COUNT", default_value = "25", value_parser = values::count_u32)]
    pub max_attempts: NonZeroU32,

    /// Most transactions processed at a time
    #[arg(long, env, value_name = "COUNT", default_value = "256", value_parser = values::count)]
    pub worker_concurrency: usize,

    /// Whether the redelivery of a FAILED transaction, with the same content, processes it again
    #[arg(long, env, value_name = "BOOL", action = ArgAction::Set, default_value = "false", value_parser = values::boolean)]
    pub revive_failed: bool,

    /// Delete transactions by themselves as many days after they were PROCESSED or FAILED, a
    /// minute sooner or later; unset, keep them for ever
    #[arg(long, env, value_name = "DAYS", value_parser = values::days)]
    pub retention_days: Option<Duration>,

    /// Of PROCESSED ones delete only the bodies then, and the rest, like FAILED ones, after as
    /// many days: until then, redeliveries are known as such
    #[arg(long, env, value_name = "DAYS", value_parser = values::days)]
    pub key_retention_days: Option<Duration>,

    /// Longest wait for the store before a delivery is answered 503
    #[arg(long, env, value_name = "SECONDS", default_value = "3", value_parser = values::timeout_seconds)]
    pub accept_timeout_seconds: Duration,

    /// Most deliveries waiting for the store; more are answered 503
    #[arg(long, env, value_name = "COUNT", default_value = "8192", value_parser = values::count)]
    pub max_queued: usize,

    /// Most bytes of bodies waiting for the store, and of long bodies being read; more are answered 503
    #[arg(long, env, value_name = "BYTES", default_value = "67108864", value_parser = values::count)]
    pub max_queued_bytes: usize,

    /// Most deliveries made durable by one statement; 1 commits each by itself
    #[arg(long, env, value_name = "COUNT", default_value = "512", value_parser = values::count)]
    pub max_batch: usize,

    /// Most such statements under way at a time; each takes a connection
    #[arg(long, env, value_name = "COUNT", default_value = "1", value_parser = values::count)]
    pub max_flushes: usize,

    /// Longest body; longer ones are answered 413
    #[arg(long, env, value_name = "BYTES", default_value = "1048576", value_parser = values::count)]
    pub max_body_bytes: usize,

    /// Longest time for a body to arrive; slower ones are answered 408
    #[arg(long, env, value_name = "SECONDS", default_value = "10", value_parser = values::timeout_seconds)]
    pub body_timeout_seconds: Duration,

    /// Longest time for a request's head, or for a connection's first request, to arrive
    #[arg(long, env, value_name = "SECONDS", default_value = "30", value_parser = values::timeout_seconds)]
    pub header_timeout_seconds: Duration,

    /// How long a connection may wait for its next request: longer than load balancers keep theirs
    #[arg(long, env, value_name = "SECONDS", default_value = "75", value_parser = values::timeout_seconds)]
    pub keep_alive_seconds: Duration,

    /// Most connections; beyond, idle ones are closed, or the new one is answered 503
    #[arg(long, env, value_name = "COUNT", default_value = "10000", value_parser = values::count)]
    pub max_connections: usize,

    /// Most connections of one address, or of one IPv6 network of 64 bits; trusted proxies have no
    /// such limit. Unset: all but 64 of MAX_CONNECTIONS
    #[arg(long, env, value_name = "COUNT", value_parser = values::count)]
    pub max_connections_per_address: Option<usize>,

    /// How long requests and handlers may take to finish on SIGTERM or SIGINT
    #[arg(long, env, value_name = "SECONDS", default_value = "25", value_parser = values::seconds)]
    pub drain_seconds: Duration,
}

/// Which half of the work a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Receive and process
    All,
    /// Receive only
    Api,
    /// Process only; HTTP serves / and /readyz alone
    Worker,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Api => "api",
            Self::Worker => "worker",
        })
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Human,
    /// One JSON object a line
    Json,
}

/// Whether the server migrates the database at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Migrate {
    /// Yes
    Auto,
    /// No; run `webhook-server migrate`
    Off,
}

/// The defaults of all options, whatever the environment variables are.
impl Default for Config {
    fn default() -> Self {
        let options = Self::augment_args(Command::new("webhook-server"));
        let matches = options
            .mut_args(|arg| arg.env(None::<&str>))
            .try_get_matches_from(["webhook-server"]);
        matches
            .and_then(|matches| Self::from_arg_matches(&matches))
            .expect("the defaults parse, as a test shows")
    }
}

impl Config {
    /// Refuses options that contradict each other.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        self.check_senders()?;
        self.tls.check()?;
        match (self.retention_days, self.key_retention_days) {
            (None, Some(_)) => {
                return Err(
                    "KEY_RETENTION_DAYS (--key-retention-days) needs RETENTION_DAYS \
                     (--retention-days), after which the bodies go",
                );
            }
            (Some(bodies), Some(keys)) if keys < bodies => {
                return Err(
                    "KEY_RETENTION_DAYS (--key-retention-days) must not be less than \
                     RETENTION_DAYS (--retention-days): a body goes with its key",
                );
            }
            _ => {}
        }
        if self.database_url.is_some() && self.database_url_file.is_some() {
            return Err("DATABASE_URL and DATABASE_URL_FILE exclude each other");
        }
        Ok(())
    }

    /// Refuses options that a server cannot run with.
    pub(crate) fn check_serving(&self) -> Result<(), &'static str> {
        if self.role != Role::All && !self.has_database() {
            return Err(
                "ROLE (--role) api and worker need DATABASE_URL (--database-url): events in memory \
                 are seen by one process only",
            );
        }
        Ok(())
    }

    /// Whether events are kept in a database, and not in memory.
    pub const fn has_database(&self) -> bool {
        self.database_url.is_some() || self.database_url_file.is_some()
    }

    /// The options of the receiving side.
    pub fn inbox_options(&self) -> InboxOptions {
        InboxOptions::default()
            .with_delay(self.processing_delay_seconds)
            .with_on_failed(if self.revive_failed {
                OnFailed::Requeue
            } else {
                OnFailed::Keep
            })
            .with_max_queued(self.max_queued)
            .with_max_queued_bytes(self.max_queued_bytes)
            .with_max_batch(self.max_batch)
            .with_max_concurrent_flushes(self.max_flushes)
            .with_accept_timeout(self.accept_timeout_seconds)
    }

    /// The options of the processing side.
    pub fn worker_options(&self) -> WorkerOptions {
        WorkerOptions::default()
            .with_concurrency(self.worker_concurrency)
            .with_lease(self.processing_stale_timeout_seconds)
            .with_max_attempts(self.max_attempts)
    }

    /// How long transactions are kept, where not for ever.
    pub fn retention(&self) -> Option<Retention> {
        let keep_bodies = self.retention_days?;
        let keys = self.key_retention_days.unwrap_or(keep_bodies);
        Some(Retention::new(payload::kind_of::<Transaction>(), keys).with_keep_bodies(keep_bodies))
    }

    /// The limits of the HTTP side.
    pub fn http_options(&self) -> HttpOptions {
        HttpOptions {
            max_body_bytes: self.max_body_bytes,
            max_buffered_bytes: self.max_queued_bytes,
            body_timeout: self.body_timeout_seconds,
            header_timeout: self.header_timeout_seconds,
            keep_alive_timeout: self.keep_alive_seconds,
            max_connections: self.max_connections,
            max_connections_per_address: self.max_connections_per_address,
            ready_timeout: self.accept_timeout_seconds,
            rates: self.rates.options(),
        }
    }
}
