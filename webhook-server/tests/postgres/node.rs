//! Servers on a database of PostgreSQL.

use std::net::SocketAddr;

use crate::support::client::Client;
use crate::support::process::{Starter, webhook_server};

/// A server on the database of `url`, with the rest of what TEST_DATABASE_URL is to be used with.
pub(crate) fn server_on(url: &str, args: &[&str]) -> Starter {
    let mut starter = webhook_server(args).env("DATABASE_URL", url);
    for name in ["PGSSLMODE", "PGSSLROOTCERT"] {
        if let Ok(value) = std::env::var(name) {
            starter = starter.env(name, &value);
        }
    }
    starter
}

/// `url` with these parameters, such as `host=127.0.0.1`, which win over what it says before.
pub(crate) fn with_parameters(url: &str, parameters: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{parameters}")
}

/// The problems that the admin API shows as outages.
pub(crate) async fn outages(addr: SocketAddr) -> Vec<String> {
    let mut client = Client::connect(addr).await;
    let overview = client.get("/v1/operator/overview").await.json();
    let outages = overview["instance"]["outages"].as_array().unwrap().iter();
    let problems = outages.map(|it| it["problem"].as_str().unwrap().to_owned());
    problems.collect()
}
