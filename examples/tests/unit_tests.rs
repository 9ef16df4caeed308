//! Runs the unit tests in the examples. cargo does not run tests of an example that it also builds
//! as a program.

#[expect(dead_code, reason = "what runs it as a program is of no use here")]
#[path = "../axum_webhooks.rs"]
mod axum_webhooks;
