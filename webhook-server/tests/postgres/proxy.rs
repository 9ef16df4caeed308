//! A network that fails on command: a TCP proxy in front of the database.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use webhook_postgres::PgOptions;

use crate::node::with_parameters;

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Nothing.
    Up,
    /// They end, and new ones are refused.
    Refusing,
    /// Nothing passes; new ones are taken, and get no answer either.
    Stalled,
    /// Whatever is sent to the database takes so long.
    Slow(Duration),
}

/// A proxy; it ends with this value.
pub(crate) struct Proxy {
    addr: SocketAddr,
    state: watch::Sender<State>,
    task: AbortHandle,
}

#[derive(Clone, Copy)]
struct State {
    network: Network,
    /// Connections before this one end.
    first_kept: u64,
    /// Connections before this one never pass anything again.
    first_heard: u64,
    /// The next connection.
    next: u64,
}

impl Proxy {
    /// A proxy for the server of `url`.
    pub(crate) fn start(url: &str, network: Network) -> Self {
        let server = url.parse::<PgOptions>().unwrap().connection;
        let upstream = (server.get_host().to_owned(), server.get_port());
        let state = watch::Sender::new(State {
            network,
            first_kept: 0,
            first_heard: 0,
            next: 0,
        });
        let socket = bind(([127, 0, 0, 1], 0).into());
        let addr = socket.local_addr().unwrap();
        let task = tokio::spawn(run(socket, upstream, state.clone())).abort_handle();
        Self { addr, state, task }
    }

    /// `url` through the proxy.
    pub(crate) fn url(&self, url: &str) -> String {
        let addr = self.addr;
        with_parameters(url, &format!("host={}&port={}", addr.ip(), addr.port()))
    }

    pub(crate) fn set(&self, network: Network) {
        self.state.send_modify(|state| state.network = network);
    }

    /// Ends the connections there are.
    pub(crate) fn cut(&self) {
        self.state
            .send_modify(|state| state.first_kept = state.next);
    }

    /// Lets nothing more pass through the connections there are, and does not end them: what a
    /// firewall does that has forgotten them.
    pub(crate) fn forget(&self) {
        self.state
            .send_modify(|state| state.first_heard = state.next);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn ends(&self, connection: u64) -> bool {
        self.network == Network::Refusing || connection < self.first_kept
    }

    fn passes(&self, connection: u64) -> bool {
        self.network != Network::Stalled && connection >= self.first_heard
    }
}

/// A socket that is bound and does not listen: connections to it are refused.
fn bind(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(addr).unwrap();
    socket
}

async fn run(mut socket: TcpSocket, upstream: (String, u16), state: watch::Sender<State>) {
    let addr = socket.local_addr().unwrap();
    let mut network = state.subscribe();
    loop {
        let is_refusing = |state: &State| state.network == Network::Refusing;
        network.wait_for(|state| !is_refusing(state)).await.unwrap();
        let listener = socket.listen(1024).unwrap();
        let mut relays = JoinSet::new();
        loop {
            let client = tokio::select! {
                accepted = listener.accept() => accepted.unwrap().0,
                _ = network.wait_for(is_refusing) => break,
            };
            let mut connection = 0;
            state.send_modify(|state| {
                connection = state.next;
                state.next += 1;
            });
            let relay = Relay {
                connection,
                state: state.subscribe(),
            };
            relays.spawn(relay.run(client, upstream.clone()));
        }
        relays.shutdown().await;
        drop(listener);
        socket = bind(addr);
    }
}

/// One connection.
#[derive(Clone)]
struct Relay {
    connection: u64,
    state: watch::Receiver<State>,
}

impl Relay {
    async fn run(self, mut client: TcpStream, upstream: (String, u16)) {
        let mut ending = self.state.clone();
        let relay = async {
            self.clone().passing().await;
            let Ok(mut server) = TcpStream::connect(upstream).await else {
                return;
            };
            let _ = client.set_nodelay(true);
            let _ = server.set_nodelay(true);
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            tokio::select! {
                () = self.clone().pump(from_client, to_server, true) => {}
                () = self.clone().pump(from_server, to_client, false) => {}
            }
        };
        tokio::select! {
            () = relay => {}
            _ = ending.wait_for(|state| state.ends(self.connection)) => {}
        }
    }

    /// Passes bytes on until either side ends the connection.
    async fn pump(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, may_be_slow: bool) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = match from.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(length) => length,
            };
            let network = self.passing().await;
            if let (Network::Slow(duration), true) = (network, may_be_slow) {
                tokio::time::sleep(duration).await;
            }
            if to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    }

    /// Waits until bytes pass.
    async fn passing(&mut self) -> Network {
        let passing = self.state.wait_for(|state| state.passes(self.connection));
        passing.await.unwrap().network
    }
}
