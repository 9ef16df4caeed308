//! The circuit breaker of a destination.
