//! What the tests of all crates share: servers to start, processes to kill, ports and time limits.
//!
//! Nothing here knows a crate of the product, so that each of them can use it as a dev-dependency.

pub mod folder;
pub mod http;
pub mod pgbouncer;
pub mod port;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod tools;
pub mod wait;
