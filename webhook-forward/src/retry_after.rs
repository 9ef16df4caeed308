//! The header `Retry-After`.
