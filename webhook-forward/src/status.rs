//! How a destination does.
