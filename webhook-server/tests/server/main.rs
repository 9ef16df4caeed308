//! The server, tested from outside: over raw sockets, and as a process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod attacks;
mod audit;
mod bad_input;
mod conformance;
mod connections;
mod containers;
mod contract;
mod doctor;
mod documents;
mod drain;
mod environment;
mod faults;
mod faulty;
mod forwarding;
mod hardening;
mod json_corpus;
mod log_sink;
mod manual;
mod metrics;
mod move_events;
mod operator;
mod partitions;
mod process;
mod rates;
mod roles;
mod secret_files;
mod secret_leaks;
mod serve;
mod signatures;
mod slow;
mod sources;
mod sqlite;
#[path = "../support/mod.rs"]
mod support;
mod systemd;
mod tls;
#[cfg(feature = "otel")]
mod traces;
mod verification;
