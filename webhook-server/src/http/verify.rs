//! Verifying signatures without holding up other requests.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::HeaderMap;
use webhook_sources::signature::Verified;

use super::Site;
use super::problem::Problem;

/// Longer bodies are verified on a blocking thread: hashing 64 KiB takes about as long as the rest
/// of a request.
const MAX_INLINE_BYTES: usize = 64 * 1024;

/// How many long bodies are verified at a time.
pub(super) const MAX_CONCURRENT: usize = 2;

/// Refuses a delivery that no sender signed, and then one over the limit of all requests: only
/// verified ones count towards it. `None` where senders do not sign.
pub(super) async fn check_sender(
    site: &Site,
    client: Option<IpAddr>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Option<Verified>, Problem> {
    let verified = if body.len() <= MAX_INLINE_BYTES || !site.auth.verifies_senders() {
        site.auth.check_sender(client, headers, body)?
    } else {
        let permit = Arc::clone(&site.verifying)
            .acquire_owned()
            .await
            .map_err(Problem::internal)?;
        let (auth, headers, body) = (Arc::clone(&site.auth), headers.clone(), body.clone());
        let verified = tokio::task::spawn_blocking(move || {
            let verified = auth.check_sender(client, &headers, &body);
            drop(permit);
            verified
        });
        verified.await.map_err(Problem::internal)??
    };
    site.check_rate_of_all(client)?;
    Ok(verified)
}
