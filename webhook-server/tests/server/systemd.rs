//! What the server tells systemd.

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;
use tokio::task::spawn_blocking;

use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::process::webhook_server;

/// The socket of a systemd. Its path is short: a longer one than 107 bytes cannot be bound.
struct Systemd {
    path: std::path::PathBuf,
    socket: std::sync::Arc<UnixDatagram>,
}

impl Systemd {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("notify-{}-{name}", std::process::id()));
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            path,
            socket: socket.into(),
        }
    }

    /// The next message that is not about the watchdog.
    async fn next(&self) -> String {
        loop {
            let message = self.message().await;
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    async fn message(&self) -> String {
        let socket = std::sync::Arc::clone(&self.socket);
        let received = spawn_blocking(move || {
            let mut buffer = [0; 1024];
            let length = socket.recv(&mut buffer).expect("a message");
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        });
        received.await.unwrap().trim_end().to_owned()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[tokio::test]
async fn systemd_is_told_what_the_server_does() {
    let systemd = Systemd::new("all");
    let mut process = webhook_server(&[])
        .env("NOTIFY_SOCKET", systemd.path.to_str().unwrap())
        .env("WATCHDOG_USEC", "200000")
        .start();
    let addr = process.listens().await;
    let ready = format!("READY=1\nSTATUS=listening on {addr}");
    assert_eq!(systemd.next().await, ready);
    Client::connect(addr).await.get("/").await.json();
    for _ in 0..3 {
        assert_eq!(systemd.message().await, "WATCHDOG=1");
    }
    process.signal(Signal::HUP);
    let reloading = systemd.next().await;
    let lines: Vec<_> = reloading.lines().collect();
    assert_eq!(lines[0], "RELOADING=1");
    let time = lines[1].strip_prefix("MONOTONIC_USEC=").unwrap();
    assert!(time.parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(systemd.next().await, ready);
    process.signal(Signal::TERM);
    assert_eq!(systemd.next().await, "STOPPING=1\nSTATUS=draining");
    assert_eq!(process.ends().await.code(), Some(0));
}

#[tokio::test]
async fn nothing_is_sent_without_a_socket_and_a_missing_one_is_no_failure() {
    let systemd = Systemd::new("none");
    let mut process = webhook_server(&[]).env("WATCHDOG_USEC", "10000").start();
    process.listens().await;
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
    systemd.socket.set_nonblocking(true).unwrap();
    let error = systemd.socket.recv(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);

    let missing = systemd.path.with_extension("missing");
    let mut process = webhook_server(&[])
        .env("NOTIFY_SOCKET", missing.to_str().unwrap())
        .start();
    process.logs("failed to notify systemd").await;
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
}
