//! Connects to checked addresses only.
