//! Ports for servers that come and go.

use std::io;
use std::net::{TcpListener, UdpSocket};

use rand::RngExt as _;

/// A port of 127.0.0.1, kept from others as long as this value lives, whether its server runs or not.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    /// The UDP port of the same number, which nobody uses: whoever has it has the other one too.
    _token: UdpSocket,
}

impl Port {
    /// One that is free, below those that systems hand out by themselves.
    pub(crate) fn reserve() -> io::Result<Self> {
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
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_port_is_given_out_once() {
        let ports: Vec<_> = (0..500).map(|_| Port::reserve().unwrap()).collect();
        let numbers: HashSet<_> = ports.iter().map(|port| port.number).collect();
        assert_eq!(numbers.len(), ports.len());
    }
}
