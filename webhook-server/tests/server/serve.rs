//! Servers in the process of the test, on any store.

use std::sync::Arc;
use std::time::Duration;

use webhook_core::{Scheduler, Store};
use webhook_memory::MemoryStore;
use webhook_server::config::Config;
use webhook_server::{Backend, Server};

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
