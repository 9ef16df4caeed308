//! The listener: takes connections in, and ends them all.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection;
use super::connections::Connections;
use super::{App, HttpOptions, Tls};

/// How many clients are told at a time that there are too many connections; more are dropped.
const MAX_REFUSALS: usize = 64;

/// How long the listener, told to stop, waits for connections that the operating system has made
/// for it already: closing it would reset them.
const BACKLOG_PAUSE: Duration = Duration::from_millis(50);

/// How many of those it takes in.
const MAX_BACKLOG: usize = 1024;

/// How long to wait after the operating system had no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How much longer than any time-out a connection may wait for its client.
const STUCK_MARGIN: Duration = Duration::from_secs(5);

/// How long connections that were told to end at once may take to do so.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// A app that is being served.
///
/// Dropped without a [`shutdown`](Self::shutdown), it goes on.
#[derive(Debug)]
pub struct HttpServer {
    addr: SocketAddr,
    app: Arc<App>,
    connections: Arc<Connections>,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
}

impl HttpServer {
    /// Serves `app` to whoever connects to `listener`.
    ///
    /// # Errors
    ///
    /// When the listener has no address, which means that it is broken.
    pub fn start(listener: TcpListener, app: App) -> io::Result<Self> {
        Self::begin(listener, None, app)
    }

    /// The same, for those alone who speak TLS.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub fn start_tls(listener: TcpListener, tls: Arc<Tls>, app: App) -> io::Result<Self> {
        Self::begin(listener, Some(tls), app)
    }

    fn begin(listener: TcpListener, tls: Option<Arc<Tls>>, app: App) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let connections = Arc::new(Connections::new(
            app.options.max_connections,
            app.options.max_connections_per_address,
            app.options.rates.forwarding.clone(),
        ));
        let app = Arc::new(app);
        let stop = CancellationToken::new();
        let acceptor = Acceptor {
            listener,
            tls,
            builder: connection::builder(),
            app: Arc::clone(&app),
            connections: Arc::clone(&connections),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
        };
        let accepting = tokio::spawn(acceptor.run(stop.clone()));
        Ok(Self {
            addr,
            app,
            connections,
            stop,
            accepting,
        })
    }

    /// Where it listens, with the port that the system chose.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more connections, finishes the requests under way for up to `drain`, and closes
    /// what is left; says how many connections that were.
    pub async fn shutdown(self, drain: Duration) -> usize {
        self.app.start_draining();
        self.stop.cancel();
        // The listener is closed once this task is over; it never panics.
        let _ = self.accepting.await;
        self.connections.finish();
        if timeout(drain, self.connections.closed()).await.is_ok() {
            return 0;
        }
        let aborted = self.connections.abort();
        let _ = timeout(ABORT_GRACE, self.connections.closed()).await;
        aborted
    }
}

struct Acceptor {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    builder: http1::Builder,
    app: Arc<App>,
    connections: Arc<Connections>,
    refusals: Arc<Semaphore>,
}

impl Acceptor {
    async fn run(self, stop: CancellationToken) {
        let patience = longest_wait(&self.app.options);
        let mut sweep = interval((patience / 4).max(ACCEPT_PAUSE));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.take_in_backlog().await,
                _ = sweep.tick() => self.connections.close_stuck(patience),
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, addr)) => self.take_in(stream, addr.ip()),
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "failed to accept connections"
                        );
                        self.connections.make_room();
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    async fn take_in_backlog(&self) {
        for _ in 0..MAX_BACKLOG {
            match timeout(BACKLOG_PAUSE, self.listener.accept()).await {
                Ok(Ok((stream, addr))) => self.take_in(stream, addr.ip()),
                Ok(Err(error)) if is_of_one_connection(&error) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    fn take_in(&self, stream: TcpStream, addr: IpAddr) {
        // Only fails on a connection that is gone, which its task will notice.
        let _ = stream.set_nodelay(true);
        match self.connections.admit(Some(addr)) {
            Some(admitted) => {
                let (builder, app) = (self.builder.clone(), Arc::clone(&self.app));
                match &self.tls {
                    None => {
                        tokio::spawn(connection::serve(stream, admitted, builder, app));
                    }
                    Some(tls) => {
                        let acceptor = tls.acceptor();
                        let serving =
                            connection::serve_tls(stream, acceptor, admitted, builder, app);
                        tokio::spawn(serving);
                    }
                }
            }
            None => {
                tracing::debug!("too many connections");
                // An answer in plain text would be noise to those who shake hands.
                if self.tls.is_some() {
                    return;
                }
                if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
                    tokio::spawn(async move {
                        connection::refuse(stream).await;
                        drop(permit);
                    });
                }
            }
        }
    }
}

/// Longer than any step of a request that has a time-out of its own.
fn longest_wait(options: &HttpOptions) -> Duration {
    options
        .header_timeout
        .max(options.body_timeout)
        .max(options.keep_alive_timeout)
        .saturating_add(STUCK_MARGIN)
}

/// Whether `error` says nothing of the next connection.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
