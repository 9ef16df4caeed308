//! TLS termination.

use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::{fmt, io};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How many bytes a client may send before its handshake is complete, which is enough for chains of
/// certificates and post-quantum key shares. rustls would buffer 64 KiB.
const MAX_HANDSHAKE_BYTES: usize = 24 * 1024;

/// The TLS configuration of new connections. It can be replaced at any time.
pub struct Tls {
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Uses `config`, with `http/1.1` as the only ALPN protocol.
    pub fn new(config: ServerConfig) -> Self {
        Self {
            config: RwLock::new(for_http(config)),
        }
    }

    /// Uses `config` for new connections from now on.
    pub fn replace(&self, config: ServerConfig) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = for_http(config);
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }
}

/// Performs the TLS handshake on `stream`.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    acceptor: TlsAcceptor,
    stream: S,
) -> io::Result<TlsStream<Limited<S>>> {
    let stream = Limited {
        stream,
        left_bytes: Some(MAX_HANDSHAKE_BYTES),
    };
    let mut accepted = acceptor.accept(stream).await?;
    accepted.get_mut().0.left_bytes = None;
    Ok(accepted)
}

/// A stream that limits how much is read during the handshake.
pub(super) struct Limited<S> {
    stream: S,
    left_bytes: Option<usize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Limited<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left_bytes == Some(0) {
            let detail = format!("handshake longer than {MAX_HANDSHAKE_BYTES} bytes");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, detail)));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read_bytes = buffer.filled().len() - before;
        self.left_bytes = self.left_bytes.map(|left| left.saturating_sub(read_bytes));
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Limited<S> {
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
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

fn for_http(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Does not show the private key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
