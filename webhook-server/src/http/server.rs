//! The HTTP server: accepts connections, and closes all of them at shutdown.

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

/// How many clients are answered at a time that there are too many connections. Further ones are
/// closed without an answer.
const MAX_REJECTIONS: usize = 64;

/// At shutdown, how long to wait for each connection that the operating system has established but
/// the listener has not accepted yet. Closing the listener would reset it.
const BACKLOG_PAUSE: Duration = Duration::from_millis(50);

/// How many of those are accepted.
const MAX_BACKLOG: usize = 1024;

/// How long to wait after the operating system could not accept a connection, because there are too
/// many open files for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How much longer than any time-out of a request a connection may wait for its client.
const STUCK_MARGIN: Duration = Duration::from_secs(5);

/// How long aborted connections may take to close.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// A running HTTP server.
///
/// Call [`shutdown`](Self::shutdown) to stop it: if it is dropped, it keeps running.
#[derive(Debug)]
pub struct HttpServer {
    addr: SocketAddr,
    app: Arc<App>,
    connections: Arc<Connections>,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
}

impl HttpServer {
    /// Serves `app` on `listener`.
    ///
    /// # Errors
    ///
    /// When the address of the listener cannot be read.
    pub fn start(listener: TcpListener, app: App) -> io::Result<Self> {
        Self::begin(listener, None, app)
    }

    /// Serves `app` on `listener`, over TLS only.
    ///
    /// # Errors
    ///
    /// When the address of the listener cannot be read.
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
            rejections: Arc::new(Semaphore::new(MAX_REJECTIONS)),
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

    /// The address that the server listens on, with the port that the system chose for port 0.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Accepts no more connections, lets the requests being served and the jobs of operators end for up to `drain`, and then
    /// aborts the connections that are left. Returns how many were aborted.
    pub async fn shutdown(self, drain: Duration) -> usize {
        self.app.start_draining();
        self.stop.cancel();
        // The listener is closed once this task has ended. It never panics.
        let _ = self.accepting.await;
        self.connections.finish();
        let jobs = timeout(drain, self.app.end_jobs());
        let closed = timeout(drain, self.connections.closed());
        if let (_, Ok(())) = tokio::join!(jobs, closed) {
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
    rejections: Arc<Semaphore>,
}

impl Acceptor {
    async fn run(self, stop: CancellationToken) {
        let limit = longest_wait(&self.app.options);
        let mut sweep = interval((limit / 4).max(ACCEPT_PAUSE));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.accept_backlog().await,
                _ = sweep.tick() => self.connections.close_stuck(limit),
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, addr)) => self.serve(stream, addr.ip()),
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "failed to accept connections"
                        );
                        self.connections.evict_waiting();
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    async fn accept_backlog(&self) {
        for _ in 0..MAX_BACKLOG {
            match timeout(BACKLOG_PAUSE, self.listener.accept()).await {
                Ok(Ok((stream, addr))) => self.serve(stream, addr.ip()),
                Ok(Err(error)) if is_of_one_connection(&error) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    fn serve(&self, stream: TcpStream, addr: IpAddr) {
        // This fails only on a connection that is closed, which its task notices.
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
                // A client that expects a TLS handshake cannot read an answer in plain text.
                if self.tls.is_some() {
                    return;
                }
                if let Ok(permit) = Arc::clone(&self.rejections).try_acquire_owned() {
                    tokio::spawn(async move {
                        connection::reject(stream).await;
                        drop(permit);
                    });
                }
            }
        }
    }
}

/// A time longer than every time-out of a request.
fn longest_wait(options: &HttpOptions) -> Duration {
    options
        .header_timeout
        .max(options.body_timeout)
        .max(options.keep_alive_timeout)
        .saturating_add(STUCK_MARGIN)
}

/// Whether `error` concerns one connection, so that the next one may be accepted at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
