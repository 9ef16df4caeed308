//! The client: connections, answers and what goes wrong with both.

mod answers;
mod peer;

use bytes::Bytes;
use http::Request;
use webhook_forward::{Client, ClientOptions, Exchange};

/// The request that the tests send.
fn post(url: &str) -> Request<Bytes> {
    Request::post(url)
        .header("content-type", "application/json")
        .body(Bytes::from_static(b"{\"id\":1}"))
        .unwrap()
}

/// Sends the request of the tests by a new client with the default options.
async fn send(url: &str) -> Exchange {
    Client::new(ClientOptions::default()).send(post(url)).await
}
