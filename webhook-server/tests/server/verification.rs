//! Signatures of long bodies are verified on threads that serve no requests.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::ThreadId;
use std::time::{Duration, SystemTime};

use tokio::io::duplex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use webhook_core::{Inbox, InboxOptions, Store};
use webhook_memory::MemoryStore;
use webhook_server::http::{App, Auth, AuthConfig, HttpOptions, Verifier, serve_stream};
use webhook_sources::{Request, Unverified};

use crate::support::client::{Client, post};
use crate::support::{PATIENCE, in_time};

/// The longest body that is verified on the thread of its connection.
const LONGEST_INLINE: usize = 64 * 1024;

/// Refuses every delivery. On another thread than the server's it waits for permission first.
#[derive(Debug)]
struct Forgeries {
    server: ThreadId,
    begun: UnboundedSender<ThreadId>,
    permissions: Mutex<Receiver<()>>,
}

impl Verifier for Forgeries {
    fn check_head(&self, _: &Request<'_>, _: SystemTime) -> Result<(), Unverified> {
        Ok(())
    }

    fn verify(&self, _: &Request<'_>, _: SystemTime) -> Result<usize, Unverified> {
        let thread = std::thread::current().id();
        self.begun.send(thread).unwrap();
        if thread != self.server {
            let permissions = self.permissions.lock().unwrap();
            permissions.recv_timeout(PATIENCE).unwrap();
        }
        Err(Unverified::NoMatch)
    }

    fn secret_count(&self) -> usize {
        1
    }
}

/// A server on the thread of the test.
struct OnThisThread {
    app: Arc<App>,
    thread: ThreadId,
    begun: UnboundedReceiver<ThreadId>,
    permit: mpsc::Sender<()>,
}

impl OnThisThread {
    fn new() -> Self {
        let (begun, verifications) = unbounded_channel();
        let (permit, permissions) = mpsc::channel();
        let thread = std::thread::current().id();
        let senders = Forgeries {
            server: thread,
            begun,
            permissions: Mutex::new(permissions),
        };
        let config = AuthConfig {
            senders: Some(Arc::new(senders)),
            ..AuthConfig::default()
        };
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let inbox = Inbox::new(Arc::clone(&store), InboxOptions::default());
        let app = App::new(inbox, store, HttpOptions::default());
        Self {
            app: Arc::new(app.with_auth(Arc::new(Auth::new(config)))),
            thread,
            begun: verifications,
            permit,
        }
    }

    fn client(&self) -> Client<tokio::io::DuplexStream> {
        let (client, stream) = duplex(1 << 20);
        tokio::spawn(serve_stream(Arc::clone(&self.app), stream));
        Client::over(client)
    }

    /// The thread of the next verification.
    async fn verification(&mut self) -> ThreadId {
        in_time("verification", self.begun.recv()).await.unwrap()
    }
}

#[tokio::test]
async fn forged_long_bodies_do_not_hold_up_other_requests() {
    let mut server = OnThisThread::new();
    let long = post("x".repeat(LONGEST_INLINE + 1));
    let mut forgers: Vec<_> = (0..3).map(|_| server.client()).collect();
    for forger in &mut forgers {
        forger.send(&long).await;
    }
    // Two are verified at a time; both wait for permission.
    for _ in 0..2 {
        assert_ne!(server.verification().await, server.thread);
    }
    let mut other = server.client();
    assert_eq!(other.get("/").await.status, 200);
    other.get("/v1/transactions/none").await.problem(404);
    other.post("{}").await.problem(401);
    assert_eq!(server.verification().await, server.thread);
    // On a slow machine it would miss a third one, and not fail for nothing.
    let third = timeout(Duration::from_millis(100), server.begun.recv()).await;
    assert!(third.is_err(), "a third one has begun");
    for _ in &forgers {
        server.permit.send(()).unwrap();
    }
    assert_ne!(server.verification().await, server.thread);
    for forger in &mut forgers {
        forger.reply().await.problem(401);
    }
}

#[tokio::test]
async fn bodies_are_verified_on_another_thread_from_their_length_on() {
    let mut server = OnThisThread::new();
    let mut client = server.client();
    for (length, is_inline) in [
        (0, true),
        (LONGEST_INLINE, true),
        (LONGEST_INLINE + 1, false),
        (1 << 20, false),
    ] {
        server.permit.send(()).unwrap();
        client.post("x".repeat(length)).await.problem(401);
        let thread = server.verification().await;
        assert_eq!(thread == server.thread, is_inline, "{length} bytes");
    }
}
