//! Which addresses events may be forwarded to.
