//! The HTTP side: connections, requests and answers.
//!
//! Independent of the backend and of how the program is configured. To embed it, serve an [`App`] with an
//! [`HttpServer`].

mod access;
mod answer;
mod app;
mod auth;
mod body;
mod body_room;
mod connection;
mod connections;
mod document;
mod events;
mod head;
mod local;
mod method;
mod metrics;
mod problem;
mod quoted;
mod rates;
mod ready;
mod rejections;
mod route;
mod senders;
mod server;
mod sources;
mod tls;
mod transactions;
mod verify;

use std::time::Duration;

pub(crate) use answer::Answer;
pub use app::App;
pub use auth::{AnonymousAccess, Auth, AuthConfig};
pub use connection::serve_stream;
pub use rates::{Forwarding, Network, RateOptions};
pub use senders::{Senders, Verifier};
pub use server::HttpServer;
pub(crate) use sources::DECISION_TIME;
pub use tls::Tls;
pub use webhook_ui::{Expiry, Scope, TokenDigest, TokenName, Tokens};

/// The limits of the HTTP side.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The longest body; longer ones get 413. Default: 1 MiB.
    pub max_body_bytes: usize,
    /// The most bytes that all bodies being received may hold together. The bodies of one address, or
    /// of one IPv6 /64 network, may hold a quarter of it. The first 8 KiB of each body are not
    /// counted, and the last eighth is reserved for bodies of up to 64 KiB. Bodies over the limit get
    /// 503. Default: 64 MiB.
    pub max_buffered_bytes: usize,
    /// How long a body may take to arrive; slower ones get 408. Default: 10 s.
    pub body_timeout: Duration,
    /// How long the head of a request may take to arrive, and how long a new connection may wait
    /// before its first request. After that the connection is closed. Default: 30 s.
    pub header_timeout: Duration,
    /// How long a connection may stay idle between two requests. Default: 75 s, because load
    /// balancers keep connections open for 60 s.
    pub keep_alive_timeout: Duration,
    /// The most open connections. At the limit, a new connection evicts those that have waited
    /// longest for their clients, for a second at least. If there are none, or if one address holds
    /// more than half of all connections, it evicts connections of the address that holds most. If
    /// nothing can be evicted, the new connection gets 503. Default: 10,000.
    pub max_connections: usize,
    /// The most open connections of one address, or of one IPv6 /64 network. Trusted proxies have no
    /// such limit. Default: all but 64 of `max_connections`.
    pub max_connections_per_address: Option<usize>,
    /// How long `/readyz` waits for the store. Default: 3 s.
    pub ready_timeout: Duration,
    /// The rate limits; requests over them get 429.
    pub rates: RateOptions,
}

impl HttpOptions {
    /// Raises the limit of all bodies together so that a body of `bytes` fits into the part of one address.
    pub(crate) fn make_room_for(&mut self, bytes: usize) {
        let needed = bytes.saturating_mul(body_room::CLIENT_FRACTION);
        self.max_buffered_bytes = self.max_buffered_bytes.max(needed);
    }
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            max_body_bytes: 1 << 20,
            max_buffered_bytes: 64 << 20,
            body_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(75),
            max_connections: 10_000,
            max_connections_per_address: None,
            ready_timeout: Duration::from_secs(3),
            rates: RateOptions::default(),
        }
    }
}
