//! A network in front of the database that fails on command.

use std::ops::Deref;

pub(crate) use testkit::proxy::Network;
use webhook_postgres::PgOptions;

use crate::node::with_parameters;

/// A proxy for the server of a database's URL.
pub(crate) struct Proxy(testkit::proxy::Proxy);

impl Proxy {
    /// A proxy for the server of `url`.
    pub(crate) fn start(url: &str, network: Network) -> Self {
        let server = url.parse::<PgOptions>().unwrap().connection;
        let (host, port) = (server.get_host(), server.get_port());
        Self(testkit::proxy::Proxy::start(host, port, network))
    }

    /// `url` through the proxy.
    pub(crate) fn url(&self, url: &str) -> String {
        let addr = self.addr();
        with_parameters(url, &format!("host={}&port={}", addr.ip(), addr.port()))
    }
}

impl Deref for Proxy {
    type Target = testkit::proxy::Proxy;

    fn deref(&self) -> &testkit::proxy::Proxy {
        &self.0
    }
}
