//! Fuzz targets for all code that parses bytes from outside.
//!
//! Each function here is a target. It takes any bytes, and panics if a property of the parser does
//! not hold. The same functions run in two ways:
//!
//! - `cargo test -p fuzz`, on stable, replays the [`corpus`] input by input, and then a few thousand
//!   mutations of those inputs, always the same ones.
//! - `verification/fuzz/run <target> [seconds]` searches with libFuzzer, guided by coverage, and
//!   `verification/fuzz/run --keep <target>` adds what it found worth keeping to the corpus. It needs
//!   `cargo install cargo-fuzz` and a C++ compiler, but no nightly Rust.
//!
//! An input that fails is left in `targets/artifacts/<target>/`. It belongs in `corpus/<target>/`
//! together with the fix, under a name that says what it found.

mod config;
pub mod corpus;
mod database_url;
mod decimal;
mod fingerprint;
mod http;
mod id_path;
mod lines;
mod paused;
mod signature;
mod source;
mod transaction;

pub use config::config;
pub use database_url::database_url;
pub use fingerprint::fingerprint;
pub use http::http;
pub use id_path::id_path;
pub use signature::signature;
pub use source::source;
pub use transaction::transaction;
