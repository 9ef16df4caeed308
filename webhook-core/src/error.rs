//! The errors of the inbox and of backends.

use std::sync::Arc;
use std::time::Duration;

use crate::payload::InvalidPayload;

/// The cause of an infrastructure error, shared by all callers of the batch that failed.
pub type Source = Arc<dyn std::error::Error + Send + Sync>;

/// The error of backends: of [`Store`](crate::Store), [`Scheduler`](crate::Scheduler) and
/// [`Admin`](crate::Admin).
///
/// Expected outcomes (a duplicate, a lost lease) are values, never errors.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be reached or has failed. It is unknown whether it committed; every operation may be
    /// repeated.
    #[error("store unavailable")]
    Unavailable {
        /// The backend's own error.
        #[source]
        source: Source,
    },
    /// The store refuses this data, and will refuse it again. Nothing of the batch was stored.
    #[error("store refused the data")]
    Refused {
        /// The backend's own error.
        #[source]
        source: Source,
    },
    /// The store has reached its limit of events or of bytes. Nothing of the batch was stored.
    #[error("store is full: it has reached its limit of {capacity} events, or its limit of bytes")]
    Full {
        /// The limit of events.
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

/// The error of [`Inbox`](crate::Inbox).
///
/// Expected outcomes (a duplicate, a conflict) are values, never errors.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed. Message and causes are those of the store's error.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue of the inbox is full.
    #[error("inbox is overloaded: too many deliveries are waiting to be stored")]
    Overloaded,
    /// The event was not stored within the time limit. It may be stored later; a redelivery tells.
    #[error("event was not stored within {after:?}")]
    TimedOut {
        /// The time limit.
        after: Duration,
    },
    /// The inbox is closed: its process is shutting down.
    #[error("inbox is closed")]
    Closed,
    /// The body is not a valid payload.
    #[error(transparent)]
    Invalid(#[from] InvalidPayload),
    /// There are too many events to be stored together. Nothing was stored.
    #[error("delivery has {events} events, the limit is {limit}")]
    TooManyEvents {
        /// The number of events.
        events: usize,
        /// The limit: [`MAX_TOGETHER`](crate::MAX_TOGETHER).
        limit: usize,
    },
}

/// The class of an [`Error`], which decides the response to the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The delivery is invalid: its sender must not send it again (HTTP 422).
    Invalid,
    /// The inbox or its store is busy or unavailable: the sender should try again (HTTP 503 with
    /// `Retry-After`).
    Temporary,
    /// The store refuses a valid delivery because of a defect in the app or the backend: the sender should try
    /// again (HTTP 500).
    Internal,
}

impl Error {
    /// Returns the class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) | Self::TooManyEvents { .. } => ErrorKind::Invalid,
            Self::Store(StoreError::Refused { .. }) => ErrorKind::Internal,
            Self::Store(StoreError::Unavailable { .. } | StoreError::Full { .. })
            | Self::Overloaded
            | Self::TimedOut { .. }
            | Self::Closed => ErrorKind::Temporary,
        }
    }
}

/// Returns the messages of an error and of its causes, from the error itself to the first cause:
/// `error: cause: cause of the cause`. A cause that the text before ends with is not repeated.
///
/// ```
/// use webhook_core::{StoreError, with_causes};
///
/// let error = StoreError::unavailable(std::io::Error::other("connection refused"));
/// assert_eq!(with_causes(&error), "store unavailable: connection refused");
/// ```
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
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
        let full_message =
            "store is full: it has reached its limit of 7 events, or its limit of bytes";
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
