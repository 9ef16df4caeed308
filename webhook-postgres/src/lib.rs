//! webhook-postgres
