//! What can go wrong, for callers of the inbox and for backends.

use std::sync::Arc;
use std::time::Duration;

use crate::payload::InvalidPayload;

/// The cause of an infrastructure error, shared by every caller of the batch that met it.
pub type Source = Arc<dyn std::error::Error + Send + Sync>;

/// A backend failed: the error of [`Store`](crate::Store), [`Scheduler`](crate::Scheduler) and
/// [`Admin`](crate::Admin).
///
/// Expected outcomes (a duplicate, a lost lease) are values, never errors.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be reached, or did not commit. Whether it committed is unknown; every
    /// operation may be repeated.
    #[error("store unavailable")]
    Unavailable {
        /// The backend's own error.
        #[source]
        source: Source,
    },
    /// The store was reached and refuses this data; repeating it will not help. Nothing of the
    /// batch was stored.
    #[error("store refused the data")]
    Refused {
        /// The backend's own error.
        #[source]
        source: Source,
    },
    /// A bounded store holds as many events, or as many bytes, as it may. Nothing of the batch was
    /// stored.
    #[error("store is full: it holds {capacity} events, or as many bytes as it may")]
    Full {
        /// How many events it may hold.
        capacity: usize,
    },
}

impl StoreError {
    /// A [`StoreError::Unavailable`] caused by `source`.
    pub fn unavailable(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unavailable {
            source: Arc::new(source),
        }
    }

    /// A [`StoreError::Refused`] caused by `source`.
    pub fn refused(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Refused {
            source: Arc::new(source),
        }
    }
}

/// An [`Inbox`](crate::Inbox) failed, or its caller asked for what cannot be.
///
/// Expected outcomes (a duplicate, a conflict) are values, never errors.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The inbox's store failed. Message and causes are those of the store's error.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More deliveries are waiting to be made durable than the inbox may hold.
    #[error("too many deliveries waiting to be made durable")]
    Overloaded,
    /// The event was not made durable in time. It may become so yet: a redelivery settles it.
    #[error("not made durable within {after:?}")]
    TimedOut {
        /// The deadline.
        after: Duration,
    },
    /// The inbox is closed: its process is shutting down.
    #[error("inbox is closed")]
    Closed,
    /// The delivery's payload is not one.
    #[error(transparent)]
    Invalid(#[from] InvalidPayload),
}

/// The class of an [`Error`], which decides the answer to the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The delivery is invalid: its sender must not send it again (HTTP 422).
    Invalid,
    /// The inbox or its store is busy or unavailable: the sender should try again (HTTP 503 with
    /// `Retry-After`).
    Temporary,
    /// The store refuses a valid delivery, which is a mistake in the app or the backend: the sender
    /// should try again (HTTP 500).
    Internal,
}

impl Error {
    /// Its class: invalid, temporary or internal.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::Store(StoreError::Refused { .. }) => ErrorKind::Internal,
            Self::Store(StoreError::Unavailable { .. } | StoreError::Full { .. })
            | Self::Overloaded
            | Self::TimedOut { .. }
            | Self::Closed => ErrorKind::Temporary,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io;

    use super::*;

    #[test]
    fn errors_of_the_store_keep_their_messages_and_causes() {
        let refused = StoreError::refused(io::Error::other("bad row"));
        let unavailable = StoreError::unavailable(io::Error::other("gone"));
        let full = StoreError::Full { capacity: 7 };
        let full_message = "store is full: it holds 7 events, or as many bytes as it may";
        for (error, message, cause, kind) in [
            (
                unavailable,
                "store unavailable",
                Some("gone"),
                ErrorKind::Temporary,
            ),
            (
                refused,
                "store refused the data",
                Some("bad row"),
                ErrorKind::Internal,
            ),
            (full, full_message, None, ErrorKind::Temporary),
        ] {
            let inbox_error = Error::from(error.clone());
            assert_eq!(error.to_string(), message);
            assert_eq!(inbox_error.to_string(), message);
            assert_eq!(error.source().map(ToString::to_string).as_deref(), cause);
            let inbox_cause = inbox_error.source().map(ToString::to_string);
            assert_eq!(inbox_cause.as_deref(), cause);
            assert_eq!(inbox_error.kind(), kind);
        }
    }
}
