//! The sockets of a server, bound before anything else starts.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

use super::error::StartError;
use crate::client::reachable;
use crate::config::Config;

/// The bound sockets.
pub(super) struct Sockets {
    /// `BIND_ADDR`.
    pub(super) public: Bound,
    /// `OPERATOR_ADDR`.
    pub(super) operators: Option<Bound>,
    pub(super) metrics: Option<Bound>,
}

/// A socket that is bound and does not listen yet.
pub(super) struct Bound {
    /// The variable of its address.
    pub(super) name: &'static str,
    pub(super) addr: SocketAddr,
    pub(super) socket: TcpSocket,
}

impl Sockets {
    pub(super) fn bind(config: &Config) -> Result<Self, StartError> {
        let operators = config
            .operator_addr
            .map(|addr| Bound::bind("OPERATOR_ADDR", addr));
        let metrics = config
            .metrics_addr
            .map(|addr| Bound::bind("METRICS_ADDR", addr));
        Ok(Self {
            metrics: metrics.transpose()?,
            public: Bound::bind("BIND_ADDR", config.bind_addr)?,
            operators: operators.transpose()?,
        })
    }
}

impl Sockets {
    /// What URLs of the public address begin with, for clients on this machine.
    pub(super) fn base_url(&self, has_tls: bool) -> String {
        let Bound { addr, socket, .. } = &self.public;
        let addr = reachable(socket.local_addr().unwrap_or(*addr));
        let scheme = if has_tls { "https" } else { "http" };
        format!("{scheme}://{addr}")
    }
}

impl Bound {
    fn bind(name: &'static str, addr: SocketAddr) -> Result<Self, StartError> {
        let bind = || {
            let socket = if addr.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            // A restart must not wait for the connections of the former process to time out. On
            // other systems than Unix, the option would let two servers share one port.
            #[cfg(unix)]
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            Ok(Self { name, addr, socket })
        };
        bind().map_err(|source| StartError::Bind { name, addr, source })
    }
}
