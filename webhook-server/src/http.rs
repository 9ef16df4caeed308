//! The wire: connections, requests and answers.
//!
//! Knows no backend and no configuration; embed it with [`Site`] and [`Listening`].

mod answer;
mod auth;
mod body;
mod body_room;
mod connection;
mod connections;
mod head;
mod listening;
mod local;
mod operator;
mod problem;
mod quoted;
mod rates;
mod ready;
mod rejections;
mod route;
mod tls;
mod tokens;
mod transactions;
mod verify;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use body_room::BodyRoom;
use rates::Rates;
use ready::ReadyProbe;
use tokio::sync::Semaphore;
use webhook_core::{Admin, Inbox, Store};

pub use auth::{AnonymousAccess, Auth, AuthConfig};
pub use connection::serve_stream;
pub use listening::Listening;
pub use rates::{Forwarding, Network, RateOptions};
pub use tls::Tls;
pub use tokens::{Scope, TokenDigest, TokenName};

/// The limits of the HTTP side.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// A longer body is answered 413. Default: 1 MiB.
    pub max_body_bytes: usize,
    /// All bodies under way may hold so many bytes together, and those of one address, or of one
    /// IPv6 network of 64 bits, a quarter of it; the first 8 KiB of each are not counted. The last
    /// eighth is for bodies of up to 64 KiB. Beyond that they are answered 503. Default: 64 MiB.
    pub max_buffered_bytes: usize,
    /// A body that takes longer is answered 408. Default: 10 s.
    pub body_timeout: Duration,
    /// A request's head that takes longer closes the connection, and so does the wait for the
    /// first request. Default: 30 s.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request. Default: 75 s, since load balancers
    /// keep connections for 60 s.
    pub keep_alive_timeout: Duration,
    /// The most connections. Beyond it those that have waited longest for their clients make room;
    /// where none has waited for a second, those of the address that holds most, which come first
    /// where it holds more than half of all. Where that is of no use, the new one is answered 503.
    /// Default: 10,000.
    pub max_connections: usize,
    /// At most as many connections of one address, or of one IPv6 network of 64 bits, that is no
    /// trusted proxy. Default: all but 64.
    pub max_connections_per_address: Option<usize>,
    /// How long `/readyz` waits for the store. Default: 3 s.
    pub ready_timeout: Duration,
    /// How often clients may ask; more is answered 429.
    pub rates: RateOptions,
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

/// What is served.
#[derive(Debug)]
pub struct Site {
    /// Where deliveries go; without it only `/` and `/readyz` are served.
    inbox: Option<Inbox>,
    store: Face<dyn Store>,
    operator: Option<Face<dyn Admin>>,
    auth: Arc<Auth>,
    rates: Rates,
    options: HttpOptions,
    draining: AtomicBool,
    body_room: BodyRoom,
    /// What is left of the verifications of long bodies.
    verifying: Arc<Semaphore>,
    ready: ReadyProbe,
}

impl Site {
    /// The whole contract, on `inbox`, whose store is `store`.
    pub fn of_inbox(inbox: Inbox, store: Arc<dyn Store>, options: HttpOptions) -> Self {
        Self::new(Some(inbox), store, options)
    }

    /// Only `/`, `/readyz`, and what is added to them.
    pub fn without_inbox(store: Arc<dyn Store>, options: HttpOptions) -> Self {
        Self::new(None, store, options)
    }

    /// Serves operators, too, of whom the auth knows a token: `/v1/operator/`.
    #[must_use]
    pub fn for_operators(self, operator: Arc<dyn Admin>) -> Self {
        Self {
            operator: Some(Face(operator)),
            ..self
        }
    }

    /// Takes only requests that `auth` lets through.
    #[must_use]
    pub fn behind(self, auth: Arc<Auth>) -> Self {
        Self { auth, ..self }
    }

    fn new(inbox: Option<Inbox>, store: Arc<dyn Store>, options: HttpOptions) -> Self {
        Self {
            inbox,
            store: Face(store),
            operator: None,
            auth: Arc::default(),
            rates: Rates::new(options.rates.clone()),
            draining: AtomicBool::new(false),
            body_room: BodyRoom::new(options.max_buffered_bytes),
            verifying: Arc::new(Semaphore::new(verify::MAX_CONCURRENT)),
            ready: ReadyProbe::default(),
            options,
        }
    }

    /// Lets a verified request of `client` pass, unless all clients together sent too many.
    fn check_rate_of_all(&self, client: Option<IpAddr>) -> Result<(), problem::Problem> {
        let checked = self.rates.check_all();
        checked.inspect_err(|_| self.auth.note_rate_limited(client))
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// A backend's face, which says nothing of itself.
struct Face<T: ?Sized>(Arc<T>);

impl<T: ?Sized> std::fmt::Debug for Face<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::any::type_name::<T>())
    }
}
