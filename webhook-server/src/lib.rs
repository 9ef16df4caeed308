//! `webhook-server`: the durable inbox as a process of its own.
//!
//! To run the server, read the documents in the repository; to put an inbox into your own app, take
//! `webhook-core`. This crate is a library only so that tests and apps can run the very same server in their
//! process:
//!
//! ```no_run
//! use webhook_server::{CommandLine, Server};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let line = CommandLine::read(["webhook-server", "--bind-addr", "127.0.0.1:0"])?;
//! let server = Server::start(&line.config).await?;
//! println!("listening on {}", server.addr());
//! server.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! [`main`] is the whole program: it parses a [`CommandLine`] and calls [`run`].
//!
//! # Features
//!
//! - `otel` (on by default): OpenTelemetry traces, where the variables `OTEL_*` ask for them.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod audit;
mod backend;
mod client;
mod command_line;
mod commands;
pub mod config;
mod core_dumps;
mod delivery;
mod destinations;
mod file_limit;
mod handler;
mod healthcheck;
pub mod http;
mod https_client;
mod instance;
mod key_fetcher;
mod logging;
mod manual;
pub mod metrics;
mod program;
mod run;
mod server;
mod signals;
mod signing_key;
mod sources;
mod systemd;
mod token;
mod traces;
pub mod transaction;
mod views;

pub use backend::{Backend, OpenError};
pub use command_line::{CommandLine, Task};
pub use commands::{CommandError, OperatorCommand};
pub use handler::LogTransaction;
pub use healthcheck::{Unhealthy, healthcheck};
pub use logging::{LogError, dropped_log_lines, flush_log, start as start_logging};
pub use program::main;
pub use run::{RunError, run};
pub use server::{Server, StartError};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
