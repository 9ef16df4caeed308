//! The server as a process, and a client that talks to it: what both test targets need.

pub(crate) mod client;
pub(crate) mod files;
pub(crate) mod inboxes;
pub(crate) mod mixed;
pub(crate) mod node;
pub(crate) mod operator;
pub(crate) mod process;
pub(crate) mod secrets;
pub(crate) mod sender;
pub(crate) mod signed;
pub(crate) mod suite;
pub(crate) mod tls;
pub(crate) mod unusual;

pub(crate) use testkit::wait::{PATIENCE, in_time, until};

/// A body with this id, and amount 1500.50.
pub(crate) fn transaction(id: &str) -> String {
    with_amount(id, "1500.50")
}

pub(crate) fn with_amount(id: &str, amount: &str) -> String {
    let id = serde_json::Value::from(id);
    format!(
        r#"{{"transaction_id":{id},"source_account":"DE89370400440532013000","destination_account":"GB29NWBK60161331926819","amount":{amount},"currency":"EUR"}}"#
    )
}
