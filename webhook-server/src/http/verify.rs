//! Verifies signatures without delaying other requests.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::HeaderMap;

use super::App;
use super::problem::Problem;

/// The longest body that is verified on the thread that serves the request. Hashing 64 KiB takes about
/// as long as the rest of a request; longer bodies are verified on a blocking thread.
pub(super) const MAX_INLINE_BYTES: usize = 64 * 1024;

/// Rejects a delivery whose signature is wrong, then one over the limit of all clients together: only
/// verified deliveries count towards that. Returns the position of the secret that signed it; `None` if
/// deliveries need no signature.
pub(super) async fn check_sender(
    app: &App,
    client: Option<IpAddr>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Option<usize>, Problem> {
    let verified = if body.len() <= MAX_INLINE_BYTES || !app.auth.verifies_senders() {
        app.auth.check_sender(client, headers, body)?
    } else {
        let permit = Arc::clone(&app.verifications)
            .acquire_owned()
            .await
            .map_err(Problem::internal)?;
        let (auth, headers, body) = (Arc::clone(&app.auth), headers.clone(), body.clone());
        let verified = tokio::task::spawn_blocking(move || {
            let verified = auth.check_sender(client, &headers, &body);
            drop(permit);
            verified
        });
        verified.await.map_err(Problem::internal)??
    };
    app.check_global_rate(client)?;
    Ok(verified)
}
