//! An app that gets events: an HTTP server that answers what the test says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::wait_until;

pub(super) type Answer = Response<Full<Bytes>>;

/// A request that it got.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
    }
}

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

#[derive(Default)]
struct Seen {
    got: Vec<Got>,
    running: usize,
    most_running: usize,
}

/// Answers on 127.0.0.1 until it is dropped.
pub(super) struct Receiver {
    addr: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    _running: JoinSet<()>,
}

impl Receiver {
    /// Answers each request with what `answer` makes of it and of its number, from 0.
    pub(super) async fn new(
        answer: impl Fn(usize, &Got) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |number, got| {
            let answer = answer(number, &got);
            Box::pin(async move { answer })
        })
        .await
    }

    /// Answers each request with the status.
    pub(super) async fn of(status: u16) -> Self {
        Self::new(move |_, _| answer(status)).await
    }

    /// Answers each request with 200 when there is a permit for it.
    pub(super) async fn gated(gate: Arc<Semaphore>) -> Self {
        Self::start(move |_, _| {
            let gate = Arc::clone(&gate);
            Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                answer(200)
            })
        })
        .await
    }

    /// Answers no request.
    pub(super) async fn hanging() -> Self {
        Self::start(|_, _| Box::pin(std::future::pending())).await
    }

    async fn start(respond: impl Fn(usize, Got) -> Answering + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let respond = Arc::new(respond);
        let mut running = JoinSet::new();
        let shared = Arc::clone(&seen);
        running.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (seen, respond) = (Arc::clone(&shared), Arc::clone(&respond));
                connections.spawn(async move {
                    let service = service_fn(|request| serve(request, &seen, &*respond));
                    // A client that goes away is no error of the test.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(tcp), service)
                        .await;
                });
            }
        });
        Self {
            addr,
            seen,
            _running: running,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hooks?key=swordfish", self.addr)
    }

    pub(super) fn got(&self) -> Vec<Got> {
        self.seen.lock().unwrap().got.clone()
    }

    /// The keys of the events that it got, in their order.
    pub(super) fn keys(&self) -> Vec<String> {
        let got = self.got();
        let keys = got
            .iter()
            .map(|got| got.header("inbox-key").unwrap().to_owned());
        keys.collect()
    }

    /// How many requests it has not answered.
    pub(super) fn running(&self) -> usize {
        self.seen.lock().unwrap().running
    }

    /// The largest number of requests at the same time.
    pub(super) fn most_running(&self) -> usize {
        self.seen.lock().unwrap().most_running
    }

    /// Waits until it got this many requests.
    pub(super) async fn until_got(&self, count: usize) -> Vec<Got> {
        wait_until(&format!("request {count}"), async || {
            let got = self.got();
            (got.len() >= count).then_some(got)
        })
        .await
    }
}

async fn serve(
    request: Request<Incoming>,
    seen: &Mutex<Seen>,
    respond: &(dyn Fn(usize, Got) -> Answering + Send + Sync),
) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let got = Got {
        method: head.method,
        target: head.uri.to_string(),
        headers: head.headers,
        body,
    };
    let (number, _guard) = {
        let mut locked = seen.lock().unwrap();
        locked.got.push(got.clone());
        locked.running += 1;
        locked.most_running = locked.most_running.max(locked.running);
        (locked.got.len() - 1, Running(seen))
    };
    Ok(respond(number, got).await)
}

/// Counts a request as running until it is dropped, also if the client goes away.
struct Running<'a>(&'a Mutex<Seen>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().running -= 1;
    }
}

pub(super) fn answer(status: u16) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

pub(super) fn answer_with(status: u16, name: &'static str, value: &str) -> Answer {
    let mut answer = answer(status);
    answer.headers_mut().insert(name, value.parse().unwrap());
    answer
}
