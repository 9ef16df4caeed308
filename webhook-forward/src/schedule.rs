//! When a failed attempt is repeated.
