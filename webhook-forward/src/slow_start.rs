//! How many events a destination gets at once after a pause.
