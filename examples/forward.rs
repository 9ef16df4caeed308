//! Forwards events to an app by HTTP, signed by Standard Webhooks. Here the app is another example.
//!
//! ```text
//! terminal 1:  cargo run -p examples --example bare_hyper
//! terminal 2:  cargo run -p examples --example forward -- http://127.0.0.1:3000/orders
//! ```
//!
//! Terminal 1 prints `shipped o-1 for 100 cents` and two more lines, terminal 2 prints
//! `delivered 3, failed 0` and ends. If you start terminal 2 first, it goes on trying: after 5 s,
//! after 30 s, and so on. An app of your own checks the signature with the key `KEY`, which it
//! would share with this program only.

#![expect(clippy::print_stdout, reason = "an example talks to its terminal")]

use std::sync::Arc;
use std::time::Duration;

use webhook_core::{Envelope, Fingerprint, Inbox, InboxOptions, Key, Kind, Worker, WorkerOptions};
use webhook_forward::{Destination, Forwarder, SigningKeys};
use webhook_memory::MemoryStore;

const ORDER: Kind = Kind::from_static("order");

/// An app has a key of its own, made by `SigningKeys::generate`.
const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args()
        .nth(1)
        .ok_or("the argument is missing: the URL of the app")?;
    let store = Arc::new(MemoryStore::default());

    let keys: SigningKeys = KEY.parse()?;
    let destination = Destination::new(url.parse()?).with_keys(keys);
    let forwarder = Forwarder::new(destination)?.with_admin(store.clone());
    let options = forwarder.worker_options(WorkerOptions::default());
    let worker = Worker::builder()
        .handle_raw(ORDER, options, forwarder.clone())
        .start(store.clone());

    let inbox = Inbox::new(store, InboxOptions::default());
    for number in 1..=3 {
        let key = format!("o-{number}");
        let body = format!(r#"{{"id":"{key}","total_cents":{}}}"#, 100 * number);
        let fingerprint = Fingerprint::of([&body]);
        let order = Envelope::new(ORDER, Key::new(key)?, fingerprint, body.into());
        inbox.accept(order).await?;
    }

    worker.idle().await;
    let status = forwarder.status();
    println!("delivered {}, failed {}", status.delivered, status.failed);
    worker.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
