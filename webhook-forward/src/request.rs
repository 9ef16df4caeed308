//! Builds the request of an event.
