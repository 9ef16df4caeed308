//! A node under test: an app that embeds the inbox as `webhook-server` does. Its handler keeps a
//! ledger and misbehaves when an event's key says so, and the process dies at its failpoint.

mod handler;
mod postgres;
mod sqlite;
mod store;

use std::path::PathBuf;
use std::process::exit;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use faults::failpoint::Failpoint;
use faults::ledger::Ledger;
use tokio::net::TcpSocket;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use webhook_core::{Backoff, Drained, Inbox, Scheduler, Store, Worker, WorkerOptions};
use webhook_server::config::{Config, Role};
use webhook_server::http::{App, HttpServer};
use webhook_server::transaction::Transaction;
use webhook_sqlite::SqliteOptions;

use handler::LedgerHandler;
use store::{Database, Watched};

/// The time between two attempts to reach the database at the start.
const PAUSE: Duration = Duration::from_millis(100);

/// The options of `webhook-server`, and those of the tests.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    config: Config,

    /// The file of the ledger, where the node records what happens
    #[arg(long, env = "FAULTS_LEDGER")]
    ledger: PathBuf,

    /// Where the process dies, such as settle.before:3
    #[arg(long, env = "FAULTS_FAILPOINT")]
    failpoint: Option<Failpoint>,

    /// Answer that one event of each batch is accepted without storing it, in a run that must
    /// detect it
    #[arg(long, env = "FAULTS_LIES")]
    lies: bool,

    /// The time after which a handler has failed
    #[arg(long, env = "FAULTS_HANDLER_TIMEOUT_MS", default_value_t = 5_000)]
    handler_timeout_ms: u64,

    /// How many pages SQLite's write-ahead log has before it is copied into the file. A run lasts
    /// seconds, and has to see that happen often
    #[arg(long, env = "FAULTS_CHECKPOINT_PAGES", default_value_t = 64)]
    checkpoint_pages: u32,

    /// How many keys SQLite's file has in memory before they are written to its index
    #[arg(long, env = "FAULTS_RECENT_KEYS", default_value_t = 64)]
    recent_keys: usize,

    /// How long a write to SQLite's file waits for other processes
    #[arg(long, env = "FAULTS_BUSY_TIMEOUT_MS", default_value_t = 10_000)]
    busy_timeout_ms: u64,
}

#[tokio::main]
async fn main() {
    let line = Line::parse();
    if webhook_server::start_logging(&line.config.log_level, line.config.log_format).is_err() {
        exit(1);
    }
    if let Err(error) = serve(line).await {
        tracing::error!(error = format!("{error:#}"), "failed");
        webhook_server::flush_log();
        exit(1);
    }
    webhook_server::flush_log();
}

async fn serve(line: Line) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let config = &line.config;
    let ledger = Arc::new(Ledger::open(&line.ledger).context("cannot open the ledger")?);
    let database = tokio::select! {
        database = open(&line) => database?,
        _ = terminate.recv() => return Ok(()),
    };
    let store = Arc::new(Watched::new(
        database.clone(),
        Arc::clone(&ledger),
        line.failpoint,
        line.lies,
    ));
    let inbox = (config.role != Role::Worker).then(|| {
        let store = Arc::clone(&store) as Arc<dyn Store>;
        Inbox::new(store, config.inbox_options())
    });
    let worker = (config.role != Role::Api).then(|| {
        let scheduler = Arc::clone(&store) as Arc<dyn Scheduler>;
        let handler = LedgerHandler::new(ledger, Arc::clone(&store));
        Worker::start::<Transaction>(scheduler, worker_options(&line), handler)
    });
    let app = match &inbox {
        Some(inbox) => App::new(inbox.clone(), store, config.http_options()),
        None => App::without_inbox(store, config.http_options()),
    };
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(config.bind_addr)?;
    let server = HttpServer::start(socket.listen(1024)?, app)?;
    tracing::info!(addr = %server.addr(), "listening");

    terminate.recv().await;
    tracing::info!("shutting down");
    let drain = config.drain_seconds;
    let draining = async {
        match worker {
            Some(worker) => worker.shutdown(drain).await,
            None => Drained::default(),
        }
    };
    let (cut_off, drained) = tokio::join!(server.shutdown(drain), draining);
    if let Some(inbox) = inbox {
        inbox.close().await;
    }
    database.close().await;
    tracing::info!(cut_off, ?drained, "stopped");
    Ok(())
}

/// Returns the server's options with shorter times, because a run lasts only seconds.
fn worker_options(line: &Line) -> WorkerOptions {
    line.config
        .worker_options()
        .with_backoff(Backoff::new(
            Duration::from_millis(100),
            Duration::from_millis(500),
        ))
        .with_handler_timeout(Duration::from_millis(line.handler_timeout_ms))
        .with_poll_interval(Duration::from_secs(1))
}

/// Opens the database, and waits for it as the server does.
async fn open(line: &Line) -> anyhow::Result<Database> {
    let config = &line.config;
    let url = config.database_url.as_ref().context("no DATABASE_URL")?;
    let url = url.expose();
    let deadline = Instant::now() + config.database_wait_seconds;
    loop {
        let opened = match url.strip_prefix("sqlite:") {
            Some(path) => {
                let options = SqliteOptions::new(path)
                    .with_checkpoint_pages(line.checkpoint_pages)
                    .with_recent_keys(line.recent_keys)
                    .with_busy_timeout(Duration::from_millis(line.busy_timeout_ms));
                sqlite::open(options).await
            }
            None => {
                let max_connections = config.database_pool_size.get();
                postgres::open(url, max_connections, config.migrate).await
            }
        };
        match opened {
            Ok(database) => return Ok(database),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "database is not ready yet");
                sleep(PAUSE).await;
            }
        }
    }
}
