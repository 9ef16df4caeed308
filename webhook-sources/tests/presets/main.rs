//! The presets, with requests of their senders: published ones, computed ones, and ones that the senders' own SDKs
//! made or accepted. The fixtures say what each is; `scripts/record-sdk-signatures` records them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod documents;
mod fixture;
mod handshakes;
mod requests;
