//! The receiver of forwarded events, and a bare client beside the forwarder.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::http_server;
use crate::recording::Recording;
use crate::request::{self, BODY_BYTES};
use crate::scenario::Measured;

/// How long the receiver takes for an event.
const WORK: Duration = Duration::from_millis(1);

/// Takes events until the process is ended.
pub(crate) fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    http_server::serve(listen, answer)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_whole = request.into_body().collect().await.is_ok();
    tokio::time::sleep(WORK).await;
    let mut response = Response::new(Full::new(Bytes::from_static(b"ok")));
    if !is_whole {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}

/// Sends the bodies of events to the receiver at `target` over so many connections, each one after
/// the other. Returns how many were taken, how long that took, and the times that the answers took
/// in microseconds.
pub(crate) async fn send(
    target: SocketAddr,
    connections: usize,
    length: Duration,
) -> anyhow::Result<Measured> {
    let numbers = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for _ in 0..connections {
        let numbers = Arc::clone(&numbers);
        tasks.spawn(async move {
            let stream = TcpStream::connect(target).await?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let host = HeaderValue::try_from(target.to_string())?;
            let mut latency = Recording::histogram();
            while start.elapsed() < length {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let body = request::body(request::preloaded_key(number), BODY_BYTES);
                let mut request = Request::new(Full::new(Bytes::from(body)));
                *request.method_mut() = Method::POST;
                let headers = request.headers_mut();
                headers.insert(HOST, host.clone());
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                let sent = Instant::now();
                let response = sender.send_request(request).await?;
                ensure!(response.status() == StatusCode::OK, "{response:?}");
                response.into_body().collect().await?;
                let micros = u64::try_from(sent.elapsed().as_micros())?;
                latency.saturating_record(micros.max(1));
            }
            anyhow::Ok(latency)
        });
    }
    let mut latency = Recording::histogram();
    while let Some(connection) = tasks.join_next().await {
        latency.add(connection??)?;
    }
    Ok((latency.len(), start.elapsed(), Some(latency)))
}
