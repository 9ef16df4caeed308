//! webhook-server
fn main() {}
