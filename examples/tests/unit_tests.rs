//! The unit tests that examples have beside their code: cargo runs none in an example that it also
//! builds as a program.

#[expect(dead_code, reason = "what runs it as a program is of no use here")]
#[path = "../axum_webhooks.rs"]
mod axum_webhooks;
