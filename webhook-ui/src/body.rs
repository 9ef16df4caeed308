//! [`UiBody`]: the body of an answer.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// How many pieces of a streamed body may wait for the client. A producer that is faster waits.
const MAX_WAITING_PIECES: usize = 4;

/// The body of an answer: one buffer, or pieces that arrive while the answer is sent.
pub struct UiBody(Inner);

enum Inner {
    Full(Option<Bytes>),
    Streamed(mpsc::Receiver<Bytes>),
}

impl UiBody {
    /// A body of these bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(Inner::Full((!bytes.is_empty()).then_some(bytes)))
    }

    /// Whether it arrives while the answer is sent. Such an answer may take as long as its client reads.
    pub const fn is_streamed(&self) -> bool {
        matches!(self.0, Inner::Streamed(_))
    }

    /// A body whose pieces are sent one after the other. It ends when the sender is dropped.
    pub(crate) fn streamed() -> (mpsc::Sender<Bytes>, Self) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING_PIECES);
        (sender, Self(Inner::Streamed(receiver)))
    }
}

impl Default for UiBody {
    fn default() -> Self {
        Self::full(Bytes::new())
    }
}

impl Body for UiBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut self.0 {
            Inner::Full(bytes) => Poll::Ready(bytes.take()),
            Inner::Streamed(pieces) => pieces.poll_recv(context),
        };
        piece.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Inner::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |it| it.len() as u64))
            }
            Inner::Streamed(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for UiBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (form, bytes) = match &self.0 {
            Inner::Full(bytes) => ("full", bytes.as_ref().map(Bytes::len)),
            Inner::Streamed(_) => ("streamed", None),
        };
        f.debug_struct("UiBody")
            .field("form", &form)
            .field("bytes", &bytes)
            .finish()
    }
}
