//! webhook-server: the durable inbox as a process of its own, a thin shell around `webhook-core`.
//!
//! [`main`] parses a [`CommandLine`](config::CommandLine) and calls [`run`]. Apps and tests embed a
//! [`Server`], or only its HTTP side: [`http::HttpServer`] serving a [`http::App`].
//!
//! This crate has no features.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod audit;
mod backend;
mod commands;
pub mod config;
mod core_dumps;
mod file_limit;
mod handler;
mod healthcheck;
pub mod http;
mod logging;
mod program;
mod run;
mod server;
mod signals;
mod token;
pub mod transaction;
mod views;

pub use backend::{Backend, OpenError};
pub use commands::{CommandError, OperatorCommand};
pub use handler::LogTransaction;
pub use healthcheck::{Unhealthy, healthcheck};
pub use logging::{LogError, dropped_log_lines, flush_log, start as start_logging, with_causes};
pub use program::main;
pub use run::{RunError, run};
pub use server::{Server, StartError};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
