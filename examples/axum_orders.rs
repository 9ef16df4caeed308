//! An axum app with its own payload type: it stores orders, answers, and ships them later.
//!
//! ```text
//! terminal 1:  cargo run -p examples --example axum_orders
//! terminal 2:  curl -i http://127.0.0.1:3000/orders -d '{"id":"o-1","total_cents":995}'
//! ```
//!
//! Terminal 2 prints `202` and `New`; terminal 1 prints `shipping order o-1 of 995 cents`. The same
//! call again returns `202` and `Duplicate`, with another total `Conflict`, and without an id
//! `422`; nothing is shipped twice. Ctrl-C in terminal 1 drains the worker and ends the app.
//! `BIND_ADDR` sets another address.
//!
//! The inbox takes 36 lines: those from `struct Order` to the end of `deliver`, and in `main` those
//! down to `let inbox` and the one with `shutdown`. The others belong to any axum app. Events in
//! memory are lost when the process ends; `bare_hyper` shows how to use PostgreSQL.

#![expect(clippy::print_stdout, reason = "an example talks to its terminal")]

use std::time::Duration;

use axum::{Router, extract::State, http::StatusCode, routing::post};
use bytes::Bytes;
use serde::Deserialize;
use tokio::net::TcpListener;
use webhook_core::{
    ErrorKind, Event, HandlerError, Headers, Identity, Inbox, InvalidPayload, Payload, Pipeline,
};
use webhook_memory::MemoryStore;

#[derive(Deserialize)]
struct Order {
    id: String,
    total_cents: u64,
}

impl Payload for Order {
    const KIND: &'static str = "order";

    // Events with the same id are the same event; with another total, a redelivery is a conflict.
    fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
        Identity::of_json(body, "/id", &["/total_cents"])
    }

    fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
        Ok(serde_json::from_slice(body)?)
    }
}

async fn ship(order: Event<Order>) -> Result<(), HandlerError> {
    let Order { id, total_cents } = order.payload;
    println!("shipping order {id} of {total_cents} cents");
    Ok(())
}

async fn deliver(State(inbox): State<Inbox>, body: Bytes) -> (StatusCode, String) {
    let error = match inbox.receive::<Order>(body).await {
        Ok(receipt) => return (StatusCode::ACCEPTED, format!("{:?}\n", receipt.accepted)),
        Err(error) => error,
    };
    let status = match error.kind() {
        ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Temporary => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, format!("{error}\n"))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let pipeline = Pipeline::builder(MemoryStore::default())
        .handle(ship)
        .start();
    let inbox = pipeline.inbox().clone();

    let app = Router::new().route("/orders", post(deliver));
    let address = std::env::var("BIND_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let server = axum::serve(listener, app.with_state(inbox));
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    server.with_graceful_shutdown(stop).await?;
    pipeline.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
