//! Whatever is the server's fault is answered 503, in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::faulty::{FaultyStore, Mode};
use crate::serve::serve_on;
use webhook_memory::MemoryStore;

const GITHUB: &str = r#"
[sources.github]
preset = "github"
secrets = "file:secret"
"#;

#[tokio::test]
async fn faults_of_the_store_are_answered_503_in_time() {
    let store = FaultyStore::new(Mode::Down);
    let setup = Setup::new(GITHUB);
    let mut config = setup.config();
    config.accept_timeout_seconds = Duration::from_secs(60);
    let scheduler = Arc::new(MemoryStore::default());
    let server = serve_on(Arc::clone(&store) as _, scheduler, &config);
    let mut client = Client::connect(server.addr()).await;
    let github = Sender::of("github");
    for (mode, detail) in [
        (Mode::Down, "Store unavailable"),
        (Mode::Full, "Store full"),
        (Mode::Hanging, "Store too slow"),
    ] {
        store.set(mode);
        let asked = Instant::now();
        let reply = client.ask(github.github("a", "{}")).await;
        assert_eq!(reply.unavailable(), detail);
        // The limit of the server is two seconds, and that of transactions a minute.
        assert!(asked.elapsed() < Duration::from_secs(30));
        // Whoever is refused does not learn it.
        let forger = Sender::preset("github", "github", OTHER_SECRET);
        assert_refused(&client.ask(forger.github("a", "{}")).await);
    }
    store.set(Mode::Up);
    assert_stored(&client.ask(github.github("a", "{}")).await);
    assert_eq!(
        shown(&mut client, "github", "a").await["status"],
        "PROCESSING"
    );
}
