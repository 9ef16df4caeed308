//! A set of HTTP statuses.
