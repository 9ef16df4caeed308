//! An axum app with the admin API and the dashboard of its inbox below `/inbox`.
//!
//! ```text
//! terminal 1:  cargo run -p examples --example axum_ui
//! terminal 2:  curl -H 'Authorization: Bearer example-token' http://127.0.0.1:3000/inbox/v1/operator/events
//! ```
//!
//! The dashboard is at <http://127.0.0.1:3000/inbox/dashboard>: sign in with `example-token`. Its events are those of a
//! kind `order` that this app accepts when it starts, and that its handler refuses. `BIND_ADDR` sets another address.
//!
//! A token of your own must be long and random; the app needs only its digest.

#![expect(clippy::print_stdout, reason = "an example talks to its terminal")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use webhook_core::{
    Envelope, Fingerprint, HandlerError, Key, Kind, NewEvent, RawEvent, Store, Worker,
    WorkerOptions,
};
use webhook_memory::MemoryStore;
use webhook_ui::{Scope, TokenDigest, Tokens, Ui};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let store = Arc::new(MemoryStore::default());
    let kind = Kind::from_static("order");
    for number in 1..=3 {
        let key = Key::new(format!("o-{number}"))?;
        let body = format!(r#"{{"id":"o-{number}","card_number":"4242"}}"#);
        let fingerprint = Fingerprint::of([body.as_str()]);
        let order = Envelope::new(kind.clone(), key, fingerprint, body.into());
        store
            .accept(&[NewEvent::new(order, Duration::ZERO)])
            .await?;
    }
    let handler = async |_order: RawEvent| Err::<(), _>(HandlerError::reject("out of stock"));
    let worker = Worker::builder()
        .handle_raw(kind, WorkerOptions::default(), handler)
        .start(store.clone());

    let token = TokenDigest::of(Scope::Operate, "example-token").named("example".parse().ok());
    let ui = Ui::builder(store.clone(), store)
        .access(Arc::new(Tokens::new([token])))
        .mounted_at("/inbox")
        .build();

    let addr = std::env::var("BIND_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(addr).await?;
    println!("http://{}/inbox/dashboard", listener.local_addr()?);
    let interrupted = {
        let ui = ui.clone();
        async move {
            // Without a handler for Ctrl-C, the process ends at once.
            let _ = tokio::signal::ctrl_c().await;
            // Pages that are open have streams, for which the server would wait.
            ui.shutdown().await;
        }
    };
    let app = Router::new().nest_service("/inbox", ui);
    axum::serve(listener, app)
        .with_graceful_shutdown(interrupted)
        .await?;
    worker.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
