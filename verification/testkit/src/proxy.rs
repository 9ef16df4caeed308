//! A network that fails on command: a TCP proxy in front of a server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Nothing.
    Up,
    /// They end, and new ones are refused.
    Refusing,
    /// Nothing passes; new ones are accepted, and get no answer either.
    Stalled,
    /// Whatever is sent to the server arrives, and its answers wait.
    NoAnswers,
    /// Whatever is sent to the server takes so long.
    Slow(Duration),
}

/// Where in an exchange a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Half of what the client sends arrives.
    InRequest,
    /// What the client sends arrives, and the connection ends before the answer.
    AfterRequest,
    /// The server has answered, and its answer does not arrive.
    BeforeAnswer,
}

impl Cut {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::InRequest, Self::AfterRequest, Self::BeforeAnswer];
}

/// A proxy on a port of 127.0.0.1. It ends with this value.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    state: watch::Sender<State>,
    next_cut: NextCut,
    task: AbortHandle,
}

/// How the next connection is cut that anything passes through.
type NextCut = Arc<Mutex<Option<Cut>>>;

#[derive(Clone, Debug)]
struct State {
    /// Host and port that new connections lead to.
    target: (String, u16),
    network: Network,
    /// Connections before this one end.
    first_kept: u64,
    /// Connections before this one never pass anything again.
    first_heard: u64,
    /// The next connection.
    next: u64,
}

impl Proxy {
    /// Starts a proxy for the server at `host` and `port`; must be called within a tokio runtime.
    ///
    /// # Panics
    ///
    /// When the system has no free port.
    pub fn start(host: &str, port: u16, network: Network) -> Self {
        let state = watch::Sender::new(State {
            target: (host.to_owned(), port),
            network,
            first_kept: 0,
            first_heard: 0,
            next: 0,
        });
        let socket = bind(([127, 0, 0, 1], 0).into());
        let addr = socket.local_addr().expect("the socket is bound");
        // At once: a client may connect before the proxy's task runs.
        let entrance = match network {
            Network::Refusing => Entrance::Closed(socket),
            _ => Entrance::Open(listen(socket)),
        };
        let next_cut = NextCut::default();
        let running = run(addr, entrance, state.clone(), Arc::clone(&next_cut));
        Self {
            addr,
            state,
            next_cut,
            task: tokio::spawn(running).abort_handle(),
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sets what happens to connections from now on.
    pub fn set(&self, network: Network) {
        self.state.send_modify(|state| state.network = network);
    }

    /// Leads new connections to another port of the same host, and ends the connections there are.
    pub fn switch(&self, port: u16) {
        self.state.send_modify(|state| {
            state.target.1 = port;
            state.first_kept = state.next;
        });
    }

    /// Ends the connections there are.
    pub fn end_connections(&self) {
        self.state
            .send_modify(|state| state.first_kept = state.next);
    }

    /// Lets nothing more pass through the connections there are, and does not end them: what a
    /// firewall does that has forgotten them.
    pub fn forget(&self) {
        self.state
            .send_modify(|state| state.first_heard = state.next);
    }

    /// Cuts the next connection that something passes through.
    pub fn cut_next(&self, cut: Cut) {
        *self.next_cut() = Some(cut);
    }

    /// Takes back [`cut_next`](Self::cut_next), where no connection has been cut yet.
    pub fn cut_none(&self) {
        *self.next_cut() = None;
    }

    fn next_cut(&self) -> std::sync::MutexGuard<'_, Option<Cut>> {
        self.next_cut.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn passes(&self, connection: u64, direction: Direction) -> bool {
        let is_open = match self.network {
            Network::Stalled => false,
            Network::NoAnswers => direction == Direction::ToServer,
            Network::Up | Network::Refusing | Network::Slow(_) => true,
        };
        is_open && connection >= self.first_heard
    }
}

/// A socket that is bound and does not listen: connections to it are refused.
fn bind(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("the system has sockets");
    socket.set_reuseaddr(true).expect("the socket is new");
    socket.bind(addr).expect("the address is free");
    socket
}

fn listen(socket: TcpSocket) -> TcpListener {
    socket.listen(1024).expect("the socket is bound")
}

/// Where new connections come in.
enum Entrance {
    /// Bound, so that nobody else takes the address, and refusing connections.
    Closed(TcpSocket),
    Open(TcpListener),
}

async fn run(
    addr: SocketAddr,
    mut entrance: Entrance,
    state: watch::Sender<State>,
    next_cut: NextCut,
) {
    let mut network = state.subscribe();
    loop {
        let is_refusing = |state: &State| state.network == Network::Refusing;
        let listener = match entrance {
            Entrance::Open(listener) => listener,
            Entrance::Closed(socket) => {
                if network.wait_for(|state| !is_refusing(state)).await.is_err() {
                    return;
                }
                listen(socket)
            }
        };
        let mut relays = JoinSet::new();
        loop {
            let client = tokio::select! {
                accepted = listener.accept() => accepted.expect("the listener is open").0,
                _ = network.wait_for(is_refusing) => break,
            };
            while relays.try_join_next().is_some() {}
            let mut connection = 0;
            state.send_modify(|state| {
                connection = state.next;
                state.next += 1;
            });
            let relay = Relay {
                connection,
                state: state.subscribe(),
                next_cut: Arc::clone(&next_cut),
            };
            relays.spawn(relay.run(client));
        }
        relays.shutdown().await;
        drop(listener);
        entrance = Entrance::Closed(bind(addr));
    }
}

/// One connection.
#[derive(Clone)]
struct Relay {
    connection: u64,
    state: watch::Receiver<State>,
    next_cut: NextCut,
}

impl Relay {
    async fn run(self, mut client: TcpStream) {
        let mut ending = self.state.clone();
        let relay = async {
            if self.clone().passing(Direction::ToServer).await.is_none() {
                return;
            }
            let target = self.state.borrow().target.clone();
            let Ok(mut server) = TcpStream::connect(target).await else {
                return;
            };
            let _ = client.set_nodelay(true);
            let _ = server.set_nodelay(true);
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            tokio::select! {
                () = self.clone().pump(from_client, to_server, Direction::ToServer) => {}
                () = self.clone().pump(from_server, to_client, Direction::ToClient) => {}
            }
        };
        tokio::select! {
            () = relay => {}
            _ = ending.wait_for(|state| state.ends(self.connection)) => {}
        }
    }

    /// Passes bytes on until either side ends the connection, or it is cut.
    async fn pump(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, direction: Direction) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = match from.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(length) => length,
            };
            let Some(network) = self.passing(direction).await else {
                return;
            };
            if let (Network::Slow(duration), Direction::ToServer) = (network, direction) {
                tokio::time::sleep(duration).await;
            }
            let cut = self.take_cut(direction);
            let passed = match cut {
                None | Some(Cut::AfterRequest) => length,
                Some(Cut::InRequest) => length / 2,
                Some(Cut::BeforeAnswer) => 0,
            };
            if to.write_all(&buffer[..passed]).await.is_err() || cut.is_some() {
                return;
            }
        }
    }

    fn take_cut(&self, direction: Direction) -> Option<Cut> {
        let mut cut = self.next_cut.lock().unwrap_or_else(PoisonError::into_inner);
        cut.take_if(|cut| (*cut == Cut::BeforeAnswer) == (direction == Direction::ToClient))
    }

    /// Waits until bytes pass; none where the proxy is gone.
    async fn passing(&mut self, direction: Direction) -> Option<Network> {
        let passing = self
            .state
            .wait_for(|state| state.passes(self.connection, direction));
        passing.await.ok().map(|state| state.network)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}
