//! An app that events are forwarded to.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinHandle;
use webhook_sources::{Outcome, Secrets, Source, SourceOptions, preset};

use crate::support::in_time;

/// The app. It answers 200, until it is told something else.
pub(crate) struct Receiver {
    addr: SocketAddr,
    status: Arc<AtomicU16>,
    received: UnboundedReceiver<Received>,
    serving: JoinHandle<()>,
}

/// A request.
pub(crate) struct Received {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let status = Arc::new(AtomicU16::new(200));
        let (sender, received) = mpsc::unbounded_channel();
        let answering = Arc::clone(&status);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (sender, status) = (sender.clone(), Arc::clone(&answering));
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (sender, status) = (sender.clone(), Arc::clone(&status));
                    async move {
                        let (head, body) = request.into_parts();
                        assert_eq!(head.method, "POST");
                        let _ = sender.send(Received {
                            target: head.uri.to_string(),
                            headers: head.headers,
                            body: body.collect().await.unwrap().to_bytes(),
                        });
                        let mut response = Response::new(Empty::<Bytes>::new());
                        *response.status_mut() = status.load(Ordering::Relaxed).try_into().unwrap();
                        Ok::<_, Infallible>(response)
                    }
                });
                let io = TokioIo::new(stream);
                let serving =
                    hyper::server::conn::http1::Builder::new().serve_connection(io, answer);
                tokio::spawn(serving);
            }
        });
        Self {
            addr,
            status,
            received,
            serving,
        }
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Answers with this status from now on.
    pub(crate) fn answers(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// Whether no request waits to be looked at.
    pub(crate) fn is_unused(&self) -> bool {
        self.received.is_empty()
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> Received {
        in_time("a request of the forwarder", self.received.recv())
            .await
            .unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Received {
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        let value = value.unwrap_or_else(|| panic!("{name} is missing: {:?}", self.headers));
        value.to_str().unwrap()
    }

    /// Asserts that it is signed with `key`, as a receiver of Standard Webhooks verifies it.
    #[track_caller]
    pub(crate) fn assert_signed_with(&self, key: &str) {
        assert!(self.is_signed_with(key), "{:?}", self.headers);
    }

    pub(crate) fn is_signed_with(&self, key: &str) -> bool {
        let spec = preset::get("standard-webhooks").unwrap().spec.clone();
        let source = Source::new(spec, &Secrets::of([key]), SourceOptions::default()).unwrap();
        let headers = self.headers.iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let request = webhook_sources::Request {
            method: "POST",
            target: &self.target,
            headers: &headers,
            body: &self.body,
        };
        matches!(
            source.receive(&request, SystemTime::now()),
            Outcome::Received(_)
        )
    }
}
