//! Serves one connection.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use webhook_ui::UiBody;

use super::connections::{Admitted, Connections, Order, Peer, Phase};
use super::route;
use super::tls::accept;
use super::{App, Forwarding};

/// The longest head of a request; longer ones get 431.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// How many bytes of a connection are read ahead. Longer bodies arrive in pieces of this size.
const MAX_BUFFER_BYTES: usize = 16 * 1024;

/// How long a rejected connection is still read, so that its client gets the answer.
const REJECTION_LINGER: Duration = Duration::from_secs(2);

/// While the server stops, how long after its start a connection may still send its first request.
/// hyper would close a connection without a request at once, although one may be on its way.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(2);

/// The settings of hyper for every connection.
pub(super) fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // hyper's would start when the last answer ends: `serve` tells a slow head from an idle
        // connection.
        .header_read_timeout(None)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_BUFFER_BYTES)
        // A client may close its half of the connection after its request, and still gets its answer.
        .half_close(true)
        // No pipeline_flush: with it, hyper 1.12 never sends an answer while it has unread bytes of the
        // client in its buffer, as it has after a head or a chunk that cannot be parsed.
        // Answers are short: hyper copies them behind their heads, and sends both in one plain write.
        .writev(false);
    builder
}

/// Serves `app` over one stream, which need not be a socket, until one side closes it.
///
/// The connection belongs to no [`HttpServer`](super::HttpServer): no limit counts it, no shutdown ends
/// it, and a client that does not read its answers blocks it for ever.
pub async fn serve_stream(app: Arc<App>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let alone = Arc::new(Connections::new(1, None, Forwarding::default()));
    if let Some(admitted) = alone.admit(None) {
        serve(stream, admitted, builder(), app).await;
    }
}

/// Serves `stream` over TLS. The handshake may take as long as the head of a request.
pub(super) async fn serve_tls(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    admitted: Admitted,
    builder: http1::Builder,
    app: Arc<App>,
) {
    let peer = admitted.peer();
    let mut handshake = pin!(timeout(
        app.options.header_timeout,
        accept(acceptor, stream)
    ));
    let accepted = poll_fn(|context| match peer.poll_order(context) {
        Order::Serve => handshake.as_mut().poll(context).map(Some),
        Order::Finish | Order::Abort => Poll::Ready(None),
    });
    match accepted.await {
        // Boxed: the future would hold it several times.
        Some(Ok(Ok(stream))) => serve(Box::new(stream), admitted, builder, app).await,
        Some(Ok(Err(error))) => tracing::debug!(
            error = &error as &dyn std::error::Error,
            "TLS handshake failed"
        ),
        Some(Err(_)) => tracing::debug!("TLS handshake timed out"),
        None => {}
    }
}

/// Serves `stream` until one side closes it.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    admitted: Admitted,
    builder: http1::Builder,
    app: Arc<App>,
) {
    let peer = admitted.peer();
    let service = service_fn(|request| {
        let (app, peer) = (Arc::clone(&app), Arc::clone(peer));
        async move {
            peer.begins(Phase::Busy);
            let answer = route::respond(&app, &peer, request).await;
            Ok::<_, Infallible>(answer.map(|body| SentBody::new(body, peer)))
        }
    });
    let io = TokioIo::new(Lingering {
        stream,
        peer: Arc::clone(peer),
        linger: app.options.body_timeout,
        until: None,
    });
    let mut connection = pin!(builder.serve_connection(io, service));
    let (head_limit, idle_limit) = (app.options.header_timeout, app.options.keep_alive_timeout);
    peer.begins(Phase::First);
    let mut timer = pin!(sleep(head_limit));
    let mut first_request_grace = pin!(sleep(FIRST_REQUEST_GRACE));
    let mut finishing = false;
    let ended = poll_fn(|context| {
        loop {
            let finish = match peer.poll_order(context) {
                Order::Serve => false,
                Order::Finish => !finishing,
                Order::Abort => return Poll::Ready(Ok(())),
            };
            let is_young = finish
                && peer.awaits_first_request()
                && first_request_grace.as_mut().poll(context).is_pending();
            if finish && !is_young {
                finishing = true;
                connection.as_mut().graceful_shutdown();
            }
            if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                return Poll::Ready(ended);
            }
            if !is_young || peer.awaits_first_request() {
                break;
            }
        }
        while let Some(due) = peer.closes_at(head_limit, idle_limit) {
            if due < timer.deadline() {
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(context));
            if due <= Instant::now() {
                tracing::debug!("connection closed: its client was idle or too slow");
                return Poll::Ready(Ok(()));
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "connection failed"
        );
    }
}

/// The body of an answer. The connection is idle once it has all of it.
struct SentBody {
    body: UiBody,
    /// `None` once the connection is idle.
    peer: Option<Arc<Peer>>,
}

impl SentBody {
    fn new(body: UiBody, peer: Arc<Peer>) -> Self {
        let mut sent = Self {
            body,
            peer: Some(peer),
        };
        if !sent.body.is_streamed() {
            sent.end();
        }
        sent
    }

    fn end(&mut self) {
        if let Some(peer) = self.peer.take() {
            peer.begins(Phase::Idle);
        }
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match (&frame, &self.peer) {
            // The client has read what was sent before, as far as that did not fit into buffers.
            (Some(_), Some(peer)) => peer.waits_for_client(),
            (None, Some(_)) => self.end(),
            (_, None) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for SentBody {
    fn drop(&mut self) {
        self.end();
    }
}

/// Answers 503 to a client for which there are too many connections, without waiting for its request.
pub(super) async fn reject(mut stream: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
        content-type: application/problem+json\r\n\
        cache-control: no-store\r\n\
        x-content-type-options: nosniff\r\n\
        retry-after: 1\r\n\
        content-length: 108\r\n\
        connection: close\r\n\
        \r\n\
        {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
        \"detail\":\"Too many connections; try again\"}";
    let rejected = async {
        stream.write_all(ANSWER).await?;
        stream.shutdown().await?;
        // Closing a connection with unread bytes would reset it, and the client would lose the answer.
        let mut dropped = [0; 4096];
        while stream.read(&mut dropped).await? > 0 {}
        io::Result::Ok(())
    };
    // If this fails, the client is gone or does not read.
    let _ = timeout(REJECTION_LINGER, rejected).await;
}

/// A stream whose shutdown reads and drops what the client still sends, for a while. Closing it with
/// unread bytes would make the kernel reset the connection, and the client would lose the answer
/// (RFC 9112, section 9.6).
struct Lingering<S> {
    stream: S,
    peer: Arc<Peer>,
    /// How long a shutdown reads on.
    linger: Duration,
    until: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.peer.receives_bytes();
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.until.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            if !self.peer.may_be_sending() {
                return Poll::Ready(Ok(()));
            }
            self.until = Some(Box::pin(sleep(self.linger)));
        }
        let mut dropped = [0; 16 * 1024];
        loop {
            let over = self
                .until
                .as_mut()
                .is_none_or(|until| until.as_mut().poll(context).is_ready());
            if over || !self.peer.may_be_sending() {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut dropped);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}
