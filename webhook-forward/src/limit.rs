//! How many events may be claimed for a destination.
