//! Servers whose log is read all along, and what they show of their transactions.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::Client;
use super::process::Process;
use super::until;

/// What the server at `addr` says of a transaction.
pub(crate) async fn shown(addr: SocketAddr, id: &str) -> Value {
    let mut client = Client::connect(addr).await;
    client.get(&format!("/v1/transactions/{id}")).await.json()
}

pub(crate) async fn until_processed(addr: SocketAddr, id: &str) {
    until(&format!("{id} is processed"), async || {
        shown(addr, id).await["status"] == "PROCESSED"
    })
    .await;
}

/// A server whose log is read all along.
pub(crate) struct Node {
    pub(crate) addr: SocketAddr,
    pid: Pid,
    handled: watch::Receiver<Vec<Handled>>,
    reading: JoinHandle<()>,
}

/// A run of the handler.
#[derive(Clone, Debug)]
pub(crate) struct Handled {
    pub(crate) transaction_id: String,
    pub(crate) attempt: u64,
}

impl Node {
    /// The server that runs in `process`, once it listens.
    pub(crate) async fn of(mut process: Process) -> Self {
        let addr = process.listens().await;
        let pid = process.pid();
        let (sender, handled) = watch::channel(Vec::new());
        // A worker may handle an event before the server listens.
        for line in process.logged.drain(..) {
            note(&serde_json::from_str(&line).unwrap(), &sender);
        }
        let reading = tokio::spawn(async move { read(&mut process, &sender).await });
        Self {
            addr,
            pid,
            handled,
            reading,
        }
    }

    /// Kills it; it has no chance to do anything more.
    pub(crate) fn kill(&self) {
        kill_process(self.pid, Signal::KILL).unwrap();
    }

    /// What its handlers have run at by now.
    pub(crate) fn handled(&self) -> Vec<Handled> {
        self.handled.borrow().clone()
    }

    /// Stops it as an operator does; what its handlers have run at.
    pub(crate) async fn stop(self) -> Vec<Handled> {
        kill_process(self.pid, Signal::TERM).unwrap();
        self.ended().await
    }

    /// Waits until it has ended; what its handlers have run at.
    pub(crate) async fn ended(self) -> Vec<Handled> {
        self.reading.await.unwrap();
        self.handled.borrow().clone()
    }
}

/// Reads the log to its end.
async fn read(process: &mut Process, handled: &watch::Sender<Vec<Handled>>) {
    while let Some(event) = process.next_event().await {
        // Many lines come, and nobody asks for them again.
        process.logged.clear();
        note(&event, handled);
    }
    let status = process.ends().await;
    let killed = status.signal() == Some(Signal::KILL.as_raw());
    assert!(killed || status.success(), "it ended with {status}");
}

/// Keeps the handler's run that `event` tells of, if it does.
fn note(event: &Value, handled: &watch::Sender<Vec<Handled>>) {
    if event["message"] == "transaction processed" {
        let run = Handled {
            transaction_id: event["transaction_id"].as_str().unwrap().to_owned(),
            attempt: event["attempt"].as_u64().unwrap(),
        };
        handled.send_modify(|handled| handled.push(run));
    }
}
