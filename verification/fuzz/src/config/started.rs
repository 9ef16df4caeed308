//! Starts the parts of a server on a memory store, with the limits that a configuration sets.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use webhook_core::{Inbox, Scheduler, Store, Worker};
use webhook_memory::{MemoryOptions, MemoryStore, WhenFull};
use webhook_server::LogTransaction;
use webhook_server::config::Config;
use webhook_server::http::{App, serve_stream};
use webhook_server::transaction::Transaction;

use crate::paused;

/// Checks that the parts start, answer a request and stop.
pub(super) fn check(config: &Config) {
    paused::block_on(start_and_stop(config));
}

async fn start_and_stop(config: &Config) {
    let memory = Arc::new(MemoryStore::new(
        MemoryOptions::default()
            .with_capacity(config.memory_capacity)
            .with_max_bytes(config.memory_max_bytes)
            .with_when_full(WhenFull::EvictProcessed),
    ));
    let store: Arc<dyn Store> = Arc::clone(&memory) as _;
    let scheduler: Arc<dyn Scheduler> = memory;
    let worker = Worker::start::<Transaction>(scheduler, config.worker_options(), LogTransaction);
    let inbox = Inbox::new(Arc::clone(&store), config.inbox_options());
    let app = App::new(inbox.clone(), store, config.http_options());

    let (mut client, stream) = duplex(4096);
    let serving = tokio::spawn(serve_stream(Arc::new(app), stream));
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    client.write_all(request).await.expect("it listens");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("it answers");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    serving.await.expect("it does not panic");

    inbox.close().await;
    worker.shutdown(Duration::ZERO).await;
}
