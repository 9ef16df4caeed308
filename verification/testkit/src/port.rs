//! Ports for servers that come and go.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use rand::RngExt as _;

/// A port of 127.0.0.1 that no other [`Port`] has while this value lives, whether its server runs or
/// not.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// The UDP port of the same number, which no server here uses: only one process can hold it.
    _token: UdpSocket,
}

impl Port {
    /// A free port, below those that systems assign to outgoing connections.
    ///
    /// # Errors
    ///
    /// When the system refuses to bind a port for another reason than that it is in use.
    pub fn reserve() -> io::Result<Self> {
        loop {
            let number = rand::rng().random_range(20_000..30_000);
            let address = ("127.0.0.1", number);
            let reserved = UdpSocket::bind(address)
                .and_then(|token| TcpListener::bind(address).map(|_| token));
            match reserved {
                Ok(token) => {
                    return Ok(Self {
                        number,
                        _token: token,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.number))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_port_is_given_out_once() {
        let ports: Vec<_> = (0..500)
            .map(|_| Port::reserve().expect("a port is free"))
            .collect();
        let numbers: HashSet<_> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), ports.len());
    }
}
