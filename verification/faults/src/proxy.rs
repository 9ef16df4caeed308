//! A network that fails on command: a TCP proxy in front of a database.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// A proxy; it ends with this value.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: watch::Sender<State>,
    cut: Cut,
    task: AbortHandle,
}

/// How the next connection is to be cut that anything passes through.
type Cut = Arc<Mutex<Option<Where>>>;

/// In the middle of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// Half of what the client sends arrives.
    Request,
    /// What the client sends arrives, and nobody waits for the answer.
    Work,
    /// The server has answered, and its answer does not arrive.
    Answer,
}

impl Where {
    pub(crate) const ALL: [Self; 3] = [Self::Request, Self::Work, Self::Answer];
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// Where new connections go to.
    target: u16,
    is_stalled: bool,
    /// Connections before this one end.
    first_kept: u64,
    /// Connections before this one never pass anything again.
    first_heard: u64,
    /// The next connection.
    next: u64,
}

impl Proxy {
    /// A proxy for what listens on port `target`.
    pub(crate) async fn start(target: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let state = watch::Sender::new(State {
            target,
            is_stalled: false,
            first_kept: 0,
            first_heard: 0,
            next: 0,
        });
        let cut = Cut::default();
        let running = run(listener, state.clone(), Arc::clone(&cut));
        Ok(Self {
            port,
            state,
            cut,
            task: tokio::spawn(running).abort_handle(),
        })
    }

    /// Has new connections go elsewhere, and ends those there are.
    pub(crate) fn switch(&self, target: u16) {
        self.state.send_modify(|state| {
            state.target = target;
            state.first_kept = state.next;
        });
    }

    /// Cuts the next connection that something passes through.
    pub(crate) fn cut(&self, place: Where) {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }

    /// Cuts none any more.
    pub(crate) fn cut_no_more(&self) {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Lets nothing pass, and ends nothing, or lets everything pass again.
    pub(crate) fn stall(&self, is_stalled: bool) {
        self.state
            .send_modify(|state| state.is_stalled = is_stalled);
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

async fn run(listener: TcpListener, state: watch::Sender<State>, cut: Cut) -> anyhow::Result<()> {
    let mut relays = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.context("the proxy is broken")?;
        while relays.try_join_next().is_some() {}
        let mut connection = 0;
        state.send_modify(|state| {
            connection = state.next;
            state.next += 1;
        });
        let relay = Relay {
            connection,
            state: state.subscribe(),
            cut: Arc::clone(&cut),
        };
        relays.spawn(relay.run(client));
    }
}

/// One connection.
#[derive(Clone)]
struct Relay {
    connection: u64,
    state: watch::Receiver<State>,
    cut: Cut,
}

impl Relay {
    async fn run(self, mut client: TcpStream) {
        let mut ending = self.state.clone();
        let relay = async {
            let mut waiting = self.clone();
            if !waiting.passes().await {
                return;
            }
            let target = SocketAddr::from(([127, 0, 0, 1], self.state.borrow().target));
            let Ok(mut server) = TcpStream::connect(target).await else {
                return;
            };
            let _ = client.set_nodelay(true);
            let _ = server.set_nodelay(true);
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            tokio::select! {
                () = self.clone().pump(from_client, to_server, &[Where::Request, Where::Work]) => {}
                () = self.clone().pump(from_server, to_client, &[Where::Answer]) => {}
            }
        };
        tokio::select! {
            () = relay => {}
            _ = ending.wait_for(|state| self.connection < state.first_kept) => {}
        }
    }

    /// Passes bytes on until either side ends the connection, or it is cut in one of `places`.
    async fn pump(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, places: &[Where]) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = match from.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(length) => length,
            };
            if !self.passes().await {
                return;
            }
            let cut = self.is_cut(places);
            let passed = match cut {
                None | Some(Where::Work) => length,
                Some(Where::Request) => length / 2,
                Some(Where::Answer) => 0,
            };
            if to.write_all(&buffer[..passed]).await.is_err() || cut.is_some() {
                return;
            }
        }
    }

    fn is_cut(&self, places: &[Where]) -> Option<Where> {
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        cut.take_if(|place| places.contains(place))
    }

    /// Waits until bytes pass; false where the proxy is gone.
    async fn passes(&mut self) -> bool {
        let connection = self.connection;
        let passing = self
            .state
            .wait_for(|state| !state.is_stalled && connection >= state.first_heard);
        passing.await.is_ok()
    }
}
