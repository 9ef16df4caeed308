//! Servers under test and the clients that talk to them.

pub(crate) mod client;
pub(crate) mod faulty;
pub(crate) mod process;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use webhook_core::{Scheduler, Store};
use webhook_memory::MemoryStore;
use webhook_server::config::Config;
use webhook_server::{Backend, Server};

/// Long enough for any machine; no test waits as long unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Default configuration on a port of its own.
pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.bind_addr = ([127, 0, 0, 1], 0).into();
    config.drain_seconds = Duration::from_secs(20);
    config
}

/// A server in memory.
pub(crate) fn serve(config: &Config) -> Server {
    let store = Arc::new(MemoryStore::default());
    serve_on(Arc::clone(&store) as Arc<dyn Store>, store, config)
}

pub(crate) fn serve_on(
    store: Arc<dyn Store>,
    scheduler: Arc<dyn Scheduler>,
    config: &Config,
) -> Server {
    Server::start_on(Backend::new(store, scheduler), config).unwrap()
}

/// A body with this id, and amount 1500.50.
pub(crate) fn transaction(id: &str) -> String {
    with_amount(id, "1500.50")
}

pub(crate) fn with_amount(id: &str, amount: &str) -> String {
    let id = serde_json::Value::from(id);
    format!(
        r#"{{"transaction_id":{id},"source_account":"DE89370400440532013000","destination_account":"GB29NWBK60161331926819","amount":{amount},"currency":"EUR"}}"#
    )
}

/// Fails the test where `future` takes longer than anything may.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Waits until `holds`.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    in_time(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
