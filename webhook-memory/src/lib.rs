//! webhook-memory
