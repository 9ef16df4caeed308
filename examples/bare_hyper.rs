//! An app with its own hyper server, in memory or on PostgreSQL.
//!
//! ```text
//! terminal 1:  cargo run -p examples --example bare_hyper
//! terminal 2:  curl -i http://127.0.0.1:3000/orders -d '{"id":"o-1","total_cents":1050}'
//!              curl -i http://127.0.0.1:3000/orders/o-1
//! ```
//!
//! The first call returns `202` and `o-1: New`, the second `200` and `o-1: PROCESSED`; terminal 1
//! prints `shipped o-1 for 1050 cents`. Ctrl-C in terminal 1 drains the worker and ends the app.
//! `BIND_ADDR` sets another address. With `DATABASE_URL=postgres://…` in terminal 1, events outlive
//! the process.

#![expect(clippy::print_stdout, reason = "an example talks to its terminal")]

mod order;

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use webhook_core::{Error, Event, HandlerError, Inbox, Key, Pipeline, PipelineBuilder};
use webhook_memory::MemoryStore;
use webhook_postgres::PgStore;

use order::Order;

const MAX_BODY_BYTES: usize = 64 * 1024;

/// The time limit for a client to send its headers, and the one for its body.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a shutdown waits for requests, and then for handlers.
const DRAIN: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pipeline = backend().await?.handle(ship).start();

    let address = std::env::var("BIND_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener, pipeline.inbox()).await;

    let drained = pipeline.shutdown(DRAIN).await;
    println!("drained, {} released", drained.released);
    Ok(())
}

/// Chooses the backend. The rest of the app does not depend on it.
async fn backend() -> Result<PipelineBuilder, Box<dyn std::error::Error>> {
    match std::env::var("DATABASE_URL") {
        Ok(url) => {
            let store = PgStore::connect(&url).await?;
            store.migrate().await?;
            Ok(Pipeline::builder(store))
        }
        Err(_) => Ok(Pipeline::builder(MemoryStore::default())),
    }
}

async fn ship(event: Event<Order>) -> Result<(), HandlerError> {
    let Order { id, total_cents } = event.payload;
    println!("shipped {id} for {total_cents} cents");
    Ok(())
}

/// Serves until Ctrl-C, then finishes pending requests.
async fn serve(listener: TcpListener, inbox: &Inbox) {
    let mut http = http1::Builder::new();
    // Without a timer, the time-out has no effect.
    http.timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT);
    let connections = GracefulShutdown::new();
    let mut stop = pin!(tokio::signal::ctrl_c());
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    eprintln!("failed to accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            _ = &mut stop => break,
        };
        let inbox = inbox.clone();
        let service = service_fn(move |request| {
            let inbox = inbox.clone();
            async move { Ok::<_, Infallible>(answer(&inbox, request).await) }
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        // An error here means that the client disconnected.
        tokio::spawn(connections.watch(connection));
    }
    let _ = tokio::time::timeout(DRAIN, connections.shutdown()).await;
}

async fn answer(inbox: &Inbox, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let (status, text) = match (request.method(), path.as_str()) {
        (&Method::POST, "/orders") => deliver(inbox, request.into_body()).await,
        (&Method::GET, path) => match path.strip_prefix("/orders/") {
            Some(id) => status(inbox, id).await,
            None => not_found(),
        },
        _ => not_found(),
    };
    let mut response = Response::new(Full::from(text + "\n"));
    *response.status_mut() = status;
    response
}

async fn deliver(inbox: &Inbox, body: Incoming) -> (StatusCode, String) {
    let body = Limited::new(body, MAX_BODY_BYTES).collect();
    let body = match tokio::time::timeout(READ_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return (StatusCode::BAD_REQUEST, error.to_string()),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "body timed out".to_owned()),
    };
    match inbox.receive::<Order>(body).await {
        Ok(receipt) => {
            let text = format!("{}: {:?}", receipt.key, receipt.accepted);
            (StatusCode::ACCEPTED, text)
        }
        Err(Error::Invalid(error)) => (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

async fn status(inbox: &Inbox, id: &str) -> (StatusCode, String) {
    let Ok(key) = Key::new(id) else {
        return not_found();
    };
    match inbox.find::<Order>(&key).await {
        Ok(Some(record)) => (StatusCode::OK, format!("{key}: {}", record.state)),
        Ok(None) => not_found(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

fn not_found() -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, "not found".to_owned())
}
