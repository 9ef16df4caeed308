//! A handler that forwards events.
