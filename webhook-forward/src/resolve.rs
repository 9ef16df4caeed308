//! Finds the addresses of a host.
