//! Makes one request, and says what came of it.
