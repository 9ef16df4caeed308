//! What is kept of a failed attempt.
