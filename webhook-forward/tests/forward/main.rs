//! Forwarding, tested against sockets on 127.0.0.1.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod delivery;
mod network;
