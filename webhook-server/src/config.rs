//! Configuration: flags, environment variables and `.env`, in this order of precedence.

mod backend_url;
mod credentials;
mod destination_url;
pub(crate) mod env_file;
mod files;
mod forward;
mod otel;
mod pem;
mod rates;
mod replay;
#[cfg(test)]
mod robustness;
mod secret;
mod senders;
mod sources;
pub(crate) mod text;
mod tls;
mod values;
mod warnings;

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Command, FromArgMatches, ValueEnum};
use webhook_core::{InboxOptions, OnFailed, Retention, WorkerOptions, payload};

use crate::http::HttpOptions;
use crate::transaction::Transaction;
pub use backend_url::InvalidDatabaseUrl;
pub(crate) use backend_url::{BackendUrl, file_of_partitions, partition_file};
pub use credentials::{LineProblem, SecretsError};
pub use destination_url::DestinationUrl;
pub use env_file::EnvFileError;
pub(crate) use env_file::exposure as env_file_exposure;
pub use files::FileError;
pub use forward::ForwardError;
pub(crate) use forward::{Forwarding, InputsDigest, of_transactions};
pub use otel::Otel;
#[cfg(feature = "otel")]
pub(crate) use otel::Sampling;
pub use pem::PemError;
pub use rates::{ForwardedHeader, Networks, Rates};
pub(crate) use secret::looks_secret;
pub use secret::{DatabaseUrl, Secrets};
pub use senders::SignatureScheme;
pub(crate) use sources::{PlaceOfSecret, SourceConfig, SourcesFile, destination_of, source_names};
pub use sources::{Problem, SourcesError};
pub use text::TextError;
pub(crate) use tls::ReadTls;
pub use tls::{TlsError, TlsFiles};
pub use values::LogFilter;
pub(crate) use values::age;

/// The options of the server.
#[derive(Clone, Debug, Args)]
#[non_exhaustive]
pub struct Config {
    /// Where events are kept: sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE, or memory: for trials,
    /// which loses them when the process ends. Default: sqlite:webhook.db in the working directory, or in
    /// $STATE_DIRECTORY where systemd sets it
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    pub database_url: Option<DatabaseUrl>,

    /// File that holds the URL, instead of DATABASE_URL
    #[arg(long, env, value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,

    /// How many partitions the inbox has: databases or files that are one inbox together. PostgreSQL: the schemas
    /// webhook_0, webhook_1 and so on, spread over the databases of DATABASE_URL, which may hold several URLs with
    /// spaces between them. SQLite: the files NAME-0.db, NAME-1.db and so on for sqlite:NAME.db. The number cannot
    /// be changed later: docs/scaling.md
    #[arg(long, env, value_name = "COUNT", default_value = "1", value_parser = values::partitions)]
    pub partitions: NonZeroUsize,

    /// Address and port to listen on
    #[arg(long, env, value_name = "IP:PORT", default_value = "127.0.0.1:8000", value_parser = values::address)]
    pub bind_addr: SocketAddr,

    /// File of further sources (TOML), each served at /v1/webhooks/NAME: docs/sources.md. Reloaded on
    /// SIGHUP, and checked by the command check
    #[arg(long, env, value_name = "FILE")]
    pub config_file: Option<PathBuf>,

    /// What the process does: all (receive and process), api (receive) or worker (process). api and
    /// worker need PostgreSQL
    #[arg(long, env, value_enum, ignore_case = true, default_value = "all")]
    pub role: Role,

    /// Signature scheme of the senders: none, standard-webhooks, stripe, github, razorpay, shopify,
    /// cashfree, hmac-hex:HEADER or hmac-base64:HEADER
    #[arg(long, env, value_name = "SCHEME", default_value = "none")]
    pub webhook_signature_scheme: SignatureScheme,

    /// Secrets of the signature scheme, one per line; a signature by any of them is valid
    #[arg(long, env, hide_env_values = true, value_name = "SECRETS")]
    pub webhook_secrets: Option<Secrets>,

    /// File that holds the secrets, one per line, instead of WEBHOOK_SECRETS. Reloaded on SIGHUP
    #[arg(long, env, value_name = "FILE")]
    pub webhook_secrets_file: Option<PathBuf>,

    /// How far the timestamp of a signature may differ from now
    #[arg(long, env, value_name = "SECONDS", default_value = "300", value_parser = values::timeout_seconds)]
    pub webhook_tolerance_seconds: Duration,

    /// Digests of the API tokens, as `webhook-server token` prints them, separated by commas or white
    /// space
    #[arg(long, env, hide_env_values = true, value_name = "DIGESTS")]
    pub api_tokens: Option<Secrets>,

    /// File that holds the digests, one per line, instead of API_TOKENS. Reloaded on SIGHUP
    #[arg(long, env, value_name = "FILE")]
    pub api_tokens_file: Option<PathBuf>,

    /// Allow anyone to deliver without signatures and to read without tokens, on any address. Set this
    /// only if something in front of the server authenticates clients. Without it, a server without
    /// signatures or tokens answers only programs on this machine: no pages of other origins, no
    /// forwarded requests
    #[arg(long, env, value_parser = values::boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_name = "BOOL")]
    pub insecure: bool,

    /// Separate address and port for operators. Without one, operators use BIND_ADDR with a token of
    /// the scope operate
    #[arg(long, env, value_name = "IP:PORT", value_parser = values::address)]
    pub operator_addr: Option<SocketAddr>,

    /// Address for `/metrics` alone, instead of OPERATOR_ADDR or BIND_ADDR. An address that other machines can reach
    /// needs a token of the scope metrics
    #[arg(long, env, value_name = "IP:PORT", value_parser = values::address)]
    pub metrics_addr: Option<SocketAddr>,

    /// Name of this instance in the dashboard, such as production. Default: the name of the machine
    #[arg(long, env, value_name = "NAME", value_parser = values::instance_name)]
    pub instance_name: Option<String>,

    /// Colour of this instance in the dashboard: #rrggbb, or red, orange, yellow, green, teal, blue, purple, pink
    /// or gray
    #[arg(long, env, value_name = "COLOR", value_parser = values::color)]
    pub instance_color: Option<String>,

    /// Page of a trace, for links in the dashboard: a URL with {trace_id}, such as
    /// `https://jaeger.example.com/trace/{trace_id}`
    #[arg(long, env, value_name = "URL", value_parser = values::trace_url)]
    pub trace_url: Option<String>,

    /// TLS.
    #[command(flatten)]
    pub tls: TlsFiles,

    /// Rate limits and trusted proxies.
    #[command(flatten)]
    pub rates: Rates,

    /// How long after its acceptance a transaction is processed
    #[arg(long, env, value_name = "SECONDS", default_value = "30", value_parser = values::seconds)]
    pub processing_delay_seconds: Duration,

    /// Lease: how long a worker may be silent before others take over its transactions
    #[arg(long, env, value_name = "SECONDS", default_value = "120", value_parser = values::lease_seconds)]
    pub processing_stale_timeout_seconds: Duration,

    /// URL that gets each transaction as a signed POST when it is due; otherwise the log has a line for it.
    /// The sources of CONFIG_FILE have URLs of their own
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    pub forward_url: Option<DestinationUrl>,

    /// Keys that sign what is forwarded, one per line, as `webhook-server secret` makes them; sources may
    /// have their own
    #[arg(long, env, hide_env_values = true, value_name = "KEYS")]
    pub forward_secrets: Option<Secrets>,

    /// File that holds the keys, one per line, instead of FORWARD_SECRETS. Reloaded on SIGHUP
    #[arg(long, env, value_name = "FILE")]
    pub forward_secrets_file: Option<PathBuf>,

    /// What to log: a level, or a filter such as info,webhook_server=debug
    #[arg(long, env, value_name = "FILTER", default_value = "info", value_parser = values::log_filter)]
    pub log_level: LogFilter,

    /// Format of the log
    #[arg(long, env, value_enum, ignore_case = true, default_value = "human")]
    pub log_format: LogFormat,

    /// How the trace of an attempt refers to that of the acceptance of its event: linked (a trace of its
    /// own) or child. Where traces go is set by OTEL_EXPORTER_OTLP_ENDPOINT: docs/operating.md
    #[arg(long, env, value_enum, ignore_case = true, default_value = "linked")]
    pub trace_process: TraceProcess,

    /// Whether traces have the keys of events
    #[arg(long, env, value_name = "BOOL", action = ArgAction::Set, default_value = "false", value_parser = values::boolean)]
    pub trace_keys: bool,

    /// Where traces are exported to, as the variables `OTEL_*` say. They have no flags.
    #[arg(skip)]
    pub otel: Option<Otel>,

    /// PostgreSQL: whether to bring the database schema up to date at the start. An SQLite file is
    /// updated whenever it is opened
    #[arg(long, env, value_enum, ignore_case = true, default_value = "auto")]
    pub migrate: Migrate,

    /// PostgreSQL: how long to wait for the database at the start
    #[arg(long, env, value_name = "SECONDS", default_value = "30", value_parser = values::seconds)]
    pub database_wait_seconds: Duration,

    /// PostgreSQL: most connections to the database, for each partition
    #[arg(long, env, value_name = "COUNT", default_value = "8", value_parser = values::connections)]
    pub database_pool_size: NonZeroU32,

    /// memory: most transactions kept. Processed ones are evicted first
    #[arg(long, env, value_name = "COUNT", default_value = "1000000", value_parser = values::count)]
    pub memory_capacity: usize,

    /// memory: most bytes kept, including conflicts and reasons. Processed transactions are evicted first
    #[arg(long, env, value_name = "BYTES", default_value = "268435456", value_parser = values::count)]
    pub memory_max_bytes: usize,

    /// Most attempts at a transaction before it is FAILED. 25 attempts take 44 to 89 hours, 10 take 8
    /// to 17 minutes
    #[arg(long, env, value_name = "COUNT", default_value = "25", value_parser = values::count_u32)]
    pub max_attempts: NonZeroU32,

    /// Most transactions processed at the same time
    #[arg(long, env, value_name = "COUNT", default_value = "256", value_parser = values::count)]
    pub worker_concurrency: usize,

    /// Whether a redelivery with the same content requeues a FAILED transaction
    #[arg(long, env, value_name = "BOOL", action = ArgAction::Set, default_value = "false", value_parser = values::boolean)]
    pub requeue_failed_on_redelivery: bool,

    /// Delete PROCESSED and FAILED transactions after this many days, checked every minute. Default:
    /// never
    #[arg(long, env, value_name = "DAYS", value_parser = values::days)]
    pub retention_days: Option<Duration>,

    /// Keep keys for this many days, so that redeliveries are still recognised. RETENTION_DAYS then
    /// deletes only the bodies of PROCESSED transactions
    #[arg(long, env, value_name = "DAYS", value_parser = values::days)]
    pub key_retention_days: Option<Duration>,

    /// How long a delivery waits for the store before it gets 503
    #[arg(long, env, value_name = "SECONDS", default_value = "3", value_parser = values::timeout_seconds)]
    pub accept_timeout_seconds: Duration,

    /// Most deliveries waiting for the store; further ones get 503
    #[arg(long, env, value_name = "COUNT", default_value = "8192", value_parser = values::count)]
    pub max_queued: usize,

    /// Most bytes of bodies waiting for the store, and of long bodies being received; further ones get
    /// 503
    #[arg(long, env, value_name = "BYTES", default_value = "67108864", value_parser = values::count)]
    pub max_queued_bytes: usize,

    /// Most deliveries committed by one statement; 1 commits each one separately
    #[arg(long, env, value_name = "COUNT", default_value = "512", value_parser = values::count)]
    pub max_batch: usize,

    /// Most such statements at the same time; each one uses a connection
    #[arg(long, env, value_name = "COUNT", default_value = "1", value_parser = values::count)]
    pub max_concurrent_flushes: usize,

    /// Longest body; longer ones get 413
    #[arg(long, env, value_name = "BYTES", default_value = "1048576", value_parser = values::count)]
    pub max_body_bytes: usize,

    /// How long a body may take to arrive; slower ones get 408
    #[arg(long, env, value_name = "SECONDS", default_value = "10", value_parser = values::timeout_seconds)]
    pub body_timeout_seconds: Duration,

    /// How long the head of a request may take to arrive, and a new connection may wait before its
    /// first request
    #[arg(long, env, value_name = "SECONDS", default_value = "30", value_parser = values::timeout_seconds)]
    pub header_timeout_seconds: Duration,

    /// How long a connection may stay idle between two requests; must be longer than the keep-alive of
    /// load balancers
    #[arg(long, env, value_name = "SECONDS", default_value = "75", value_parser = values::timeout_seconds)]
    pub keep_alive_seconds: Duration,

    /// Most connections. At the limit, idle ones are closed, or the new one gets 503
    #[arg(long, env, value_name = "COUNT", default_value = "10000", value_parser = values::count)]
    pub max_connections: usize,

    /// Most connections of one address or IPv6 /64 network. Trusted proxies have no such limit.
    /// Default: all but 64 of MAX_CONNECTIONS
    #[arg(long, env, value_name = "COUNT", value_parser = values::count)]
    pub max_connections_per_address: Option<usize>,

    /// How long requests and handlers may take to finish on SIGTERM or SIGINT
    #[arg(long, env, value_name = "SECONDS", default_value = "25", value_parser = values::seconds)]
    pub drain_seconds: Duration,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Receive and process
    All,
    /// Receive only
    Api,
    /// Process only. HTTP serves only / and /readyz
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

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text
    Human,
    /// One JSON object per line
    Json,
}

/// How the trace of an attempt refers to the trace of the request that delivered its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TraceProcess {
    /// It is a trace of its own, with a link
    Linked,
    /// It is the same trace
    Child,
}

/// Whether the server migrates the database at the start.
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
                     (--retention-days), after which bodies are deleted",
                );
            }
            (Some(bodies), Some(keys)) if keys < bodies => {
                return Err(
                    "KEY_RETENTION_DAYS (--key-retention-days) must not be less than \
                     RETENTION_DAYS (--retention-days): a body is deleted with its key",
                );
            }
            _ => {}
        }
        if self.database_url.is_some() && self.database_url_file.is_some() {
            return Err("DATABASE_URL and DATABASE_URL_FILE are both set: unset one of them");
        }
        if self.forward_secrets.is_some() && self.forward_secrets_file.is_some() {
            return Err("FORWARD_SECRETS and FORWARD_SECRETS_FILE are both set: unset one of them");
        }
        self.check_addresses()
    }

    /// Refuses one address for two purposes. Port 0 is another port each time.
    fn check_addresses(&self) -> Result<(), &'static str> {
        let are_same =
            |one: Option<SocketAddr>, other| one == other && one.is_some_and(|it| it.port() != 0);
        let public = Some(self.bind_addr);
        if are_same(self.operator_addr, public) {
            Err(
                "OPERATOR_ADDR and BIND_ADDR are the same address: without OPERATOR_ADDR, operators are served on BIND_ADDR",
            )
        } else if are_same(self.metrics_addr, public) {
            Err(
                "METRICS_ADDR and BIND_ADDR are the same address: without METRICS_ADDR, metrics are served on BIND_ADDR",
            )
        } else if are_same(self.metrics_addr, self.operator_addr) {
            Err(
                "METRICS_ADDR and OPERATOR_ADDR are the same address: without METRICS_ADDR, metrics are served on OPERATOR_ADDR",
            )
        } else {
            Ok(())
        }
    }

    /// The backend that `DATABASE_URL` names; `None` if the URL is in a file or invalid, which shows when
    /// the backend is opened.
    pub(crate) fn named_backend(&self) -> Option<BackendUrl> {
        if self.database_url_file.is_some() {
            return None;
        }
        self.backend(self.database_url.as_ref()).ok()
    }

    /// The options of the inbox.
    pub fn inbox_options(&self) -> InboxOptions {
        InboxOptions::default()
            .with_name("transactions")
            .with_delay(self.processing_delay_seconds)
            .with_on_failed(if self.requeue_failed_on_redelivery {
                OnFailed::Requeue
            } else {
                OnFailed::Keep
            })
            .with_max_queued(self.max_queued)
            .with_max_queued_bytes(self.max_queued_bytes)
            .with_max_batch(self.max_batch)
            .with_max_concurrent_flushes(self.max_concurrent_flushes)
            .with_accept_timeout(self.accept_timeout_seconds)
    }

    /// The options of the worker.
    pub fn worker_options(&self) -> WorkerOptions {
        WorkerOptions::default()
            .with_concurrency(self.worker_concurrency)
            .with_lease(self.processing_stale_timeout_seconds)
            .with_max_attempts(self.max_attempts)
    }

    /// How long transactions are kept; `None` keeps them for ever.
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
