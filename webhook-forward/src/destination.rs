//! Where events are forwarded to, and how.
