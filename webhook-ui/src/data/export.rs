//! Exports: all events that match a filter, one JSON document a line.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::events::{LARGEST_PAGE, scan, visible};
use crate::access::Caller;
use crate::filter::Filter;
use crate::model::EventSummary;
use crate::{Problem, Ui, UiBody};

/// How many exports may run at the same time.
const MAX_EXPORTS: usize = 4;

/// How many events one export has at most.
const MAX_EXPORTED: u64 = 1_000_000;

/// How long a client may take to read what it was sent.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The exports that run.
#[derive(Debug)]
pub(crate) struct Exports(Arc<Semaphore>);

impl Default for Exports {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_EXPORTS)))
    }
}

impl Exports {
    /// Room for one export, until it is dropped.
    pub(crate) fn begin(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = Arc::clone(&self.0).try_acquire_owned();
        permit.map_err(|_| Problem::unavailable("Too many exports; wait until one has ended", 15))
    }
}

/// Sends a piece of an export. Returns whether the client still reads.
pub(crate) async fn send_piece(sender: &mpsc::Sender<Bytes>, piece: Vec<u8>) -> bool {
    let sent = timeout(READ_TIMEOUT, sender.send(piece.into())).await;
    matches!(sent, Ok(Ok(())))
}

/// Exports what lists show of all events that match, the newest first. If it ends early, its last line is an object with
/// the member `ended_early`, which says why. It ends early, too, when `is_allowed` says that its caller lost access.
pub(crate) fn export(
    ui: &Ui,
    caller: &Caller,
    filter: &Filter,
    is_allowed: impl Fn(&Ui) -> bool + Send + Sync + 'static,
) -> Result<UiBody, Problem> {
    let filter = visible(caller, filter)?;
    let permit = ui.exports().begin()?;
    let (sender, body) = UiBody::streamed();
    let ui = ui.clone();
    tokio::spawn(async move {
        let _permit = permit;
        if let Err(reason) = write(&ui, &filter, &is_allowed, &sender).await {
            let line = format!("{}\n", json!({ "ended_early": reason }));
            // If it cannot be sent, the client is gone.
            send_piece(&sender, line.into()).await;
        }
    });
    Ok(body)
}

async fn write(
    ui: &Ui,
    filter: &Filter,
    is_allowed: impl Fn(&Ui) -> bool,
    sender: &mpsc::Sender<Bytes>,
) -> Result<(), String> {
    let (mut before, mut exported) = (None, 0);
    loop {
        if ui.is_stopping() {
            return Err("The process stops".to_owned());
        }
        if !is_allowed(ui) {
            return Err("The session has ended, or the token is no longer valid".to_owned());
        }
        let page = scan(ui, filter, before, LARGEST_PAGE).await;
        let page = page.map_err(|problem| problem.detail().to_owned())?;
        let mut lines = Vec::new();
        for event in &page.events {
            if exported == MAX_EXPORTED {
                break;
            }
            exported += 1;
            serde_json::to_writer(&mut lines, &EventSummary::of(event))
                .map_err(|error| error.to_string())?;
            lines.push(b'\n');
        }
        if !lines.is_empty() && !send_piece(sender, lines).await {
            return Err("The client does not read".to_owned());
        }
        match page.next {
            None => return Ok(()),
            Some(_) if exported == MAX_EXPORTED => {
                return Err(format!("An export has at most {MAX_EXPORTED} events"));
            }
            next => before = next,
        }
        if sender.is_closed() {
            return Ok(());
        }
    }
}
