//! How many events a destination takes in a time.
