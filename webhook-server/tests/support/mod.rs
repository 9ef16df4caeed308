//! The server as a process, and a client that talks to it: what both test targets need.

pub(crate) mod client;
pub(crate) mod files;
pub(crate) mod process;
pub(crate) mod secrets;
pub(crate) mod signed;
pub(crate) mod suite;
pub(crate) mod tls;

use std::future::Future;
use std::time::Duration;

/// Long enough for any machine; no test waits as long unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

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

/// Fails the test where `future` takes longer than anything may.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Waits until `holds`.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    in_time(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
