//! The client: connections, answers and what goes wrong with both.

mod answers;
mod certificates;
mod connections;
mod hostile;
mod http2;
mod peer;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use webhook_forward::{Client, ClientOptions, ErrorClass, Exchange, Failure};

/// Longer than any answer takes that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options with which nothing ends too early on a busy machine.
fn options() -> ClientOptions {
    let mut options = ClientOptions::default();
    options.timeout = PATIENCE;
    options.connect_timeout = PATIENCE;
    options
}

fn client() -> Client {
    Client::new(options())
}

/// The request that the tests send.
fn post(url: &str) -> Request<Bytes> {
    Request::post(url)
        .header("content-type", "application/json")
        .body(Bytes::from_static(b"{\"id\":1}"))
        .unwrap()
}

/// Sends the request of the tests by a new client.
async fn send(url: &str) -> Exchange {
    client().send(post(url)).await
}

/// Why an exchange failed.
fn failure(exchange: Exchange) -> Failure {
    let failure = match exchange.result {
        Ok(answer) => panic!("there is an answer, {}", answer.status),
        Err(failure) => failure,
    };
    assert_eq!(failure.message.lines().count(), 1, "{failure:?}");
    failure
}

fn class_of(exchange: Exchange) -> ErrorClass {
    failure(exchange).class
}
