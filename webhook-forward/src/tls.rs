//! The certificates of a connection: authorities that it trusts, and its own identity.
