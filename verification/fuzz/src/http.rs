//! Fuzzes the bytes that a client sends over a connection.

mod answers;
mod requests;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::task::yield_now;
use tokio::time::timeout;
use webhook_core::{Admin as _, Inbox, InboxOptions, Store, payload};
use webhook_memory::{MemoryOptions, MemoryStore};
use webhook_server::http::{AnonymousAccess, App, Auth, AuthConfig, HttpOptions, serve_stream};
use webhook_server::transaction::Transaction;

use crate::paused;
use crate::transaction::is_transaction;
use answers::Answer;
use requests::Request;

/// The body limit, which is short enough for an input to exceed it.
const MAX_BODY_BYTES: usize = 1024;

/// Holds the answers to the longest input, because the client reads only after it has written all.
const PIPE_BYTES: usize = 1 << 20;

/// Longer than all time-outs of the server. The clock is advanced, so nothing waits.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// What a client does after it has sent everything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The client closes its half of the connection.
    Close,
    /// The client waits.
    Stay,
}

/// Checks that a connection gets an answer to every request that can be separated from the next
/// one, or is closed, and that the inbox holds exactly the acknowledged events, all of them valid.
///
/// The input is what the client sends. The result must not depend on how it is split into pieces.
pub fn http(input: &[u8]) {
    let requests = requests::of(input);
    let check = |pieces: &[&[u8]], then| {
        let (mut answers, stored) = paused::block_on(serve(pieces, then));
        check_answers(&requests, &answers, stored);
        // hyper answers malformed requests or not, depending on how many bytes arrive at once.
        answers.pop_if(|last| last.is_of_hyper());
        answers
            .iter()
            .map(|answer| answer.status)
            .collect::<Vec<_>>()
    };
    let whole = check(&[input], Then::Close);
    // The place varies between inputs, but is always the same for one input.
    let sum = input.iter().map(|&byte| usize::from(byte)).sum::<usize>();
    let (first, second) = input.split_at(sum % (input.len() + 1));
    let cut = check(&[first, second], Then::Close);
    assert_eq!(cut, whole);
    check(&[first, second], Then::Stay);
}

/// Serves a client on an inbox of its own; returns its answers and the number of stored events.
async fn serve(pieces: &[&[u8]], then: Then) -> (Vec<Answer>, u64) {
    let memory = Arc::new(MemoryStore::new(MemoryOptions::default()));
    let store: Arc<dyn Store> = Arc::clone(&memory) as _;
    let inbox = Inbox::new(Arc::clone(&store), InboxOptions::default());
    let options = HttpOptions {
        max_body_bytes: MAX_BODY_BYTES,
        ..HttpOptions::default()
    };
    // Without it, requests that name a host other than this machine would get 403.
    let auth = Auth::new(AuthConfig {
        anonymous_access: AnonymousAccess::Everyone,
        ..AuthConfig::default()
    });
    let app = App::new(inbox.clone(), store, options).with_auth(Arc::new(auth));
    let app = Arc::new(app);
    let (mut client, stream) = duplex(PIPE_BYTES);
    let serving = tokio::spawn(serve_stream(app, stream));
    for piece in pieces {
        // If the server has already closed, nobody reads the rest.
        let _ = client.write_all(piece).await;
        for _ in 0..8 {
            yield_now().await;
        }
    }
    if then == Then::Close {
        let _ = client.shutdown().await;
    }
    let mut bytes = Vec::new();
    let ended = timeout(PATIENCE, client.read_to_end(&mut bytes)).await;
    ended.expect("it ends").expect("a pipe does not break");
    drop(client);
    timeout(PATIENCE, serving)
        .await
        .expect("it ends")
        .expect("it does not panic");
    inbox.close().await;
    let kind = payload::kind_of::<Transaction>();
    let counts = memory.counts(&kind).await.expect("a memory answers");
    (answers::of(&bytes), counts.waiting + counts.due)
}

fn check_answers(requests: &[Request], answers: &[Answer], stored: u64) {
    let mut new = 0;
    // Some 1xx answers may come before the final answer to a request.
    let last = answers.iter().filter(|answer| !answer.is_interim());
    for (number, answer) in last.enumerate() {
        answer.check();
        let request = requests.get(number);
        if answer.status == 202 {
            let body = request.and_then(Request::delivered);
            let body = body.unwrap_or_else(|| panic!("request {number} delivers nothing"));
            assert_ne!(
                is_transaction(body),
                Some(false),
                "{:?}",
                body.escape_ascii().to_string()
            );
            new += u64::from(answer.member("status") == "ACCEPTED");
        }
        // Otherwise the request is refused because of its body.
        let is_refused = answer.status == 422 || answer.detail().starts_with("Malformed body");
        if is_refused && let Some(body) = request.and_then(Request::delivered) {
            assert_ne!(
                is_transaction(body),
                Some(true),
                "{:?}",
                body.escape_ascii().to_string()
            );
        }
    }
    assert_eq!(new, stored, "stored is what is acknowledged");
}
