//! From a request to its answer.

use std::net::IpAddr;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use webhook_core::{Admin, Inbox, Key};

use super::answer::{self, Answer};
use super::connections::Peer;
use super::problem::Problem;
use super::ready::Readiness;
use super::tokens::Scope;
use super::{App, body, head, operator, transactions, verify};
use crate::audit::Caller;

const WEBHOOK_PATH: &str = "/v1/webhooks/transactions";
const TRANSACTION_PATH: &str = "/v1/transactions/";

const READ: &str = "GET, HEAD, OPTIONS";
const WRITE: &str = "OPTIONS, POST";
const ANY: &str = "GET, HEAD, OPTIONS, POST";

/// Answers one request of `peer`.
pub(super) async fn respond(app: &App, peer: &Peer, request: Request<Incoming>) -> Answer {
    peer.waits_for_client();
    let (head, body) = request.into_parts();
    let client = client(app, peer, &head);
    let (answer, close) = match route(app, client, &head) {
        Ok(Route::Receive(inbox)) => match body::receive(app, peer, client, body).await {
            Ok(body) => {
                peer.waits_for_server();
                let checked = verify::check_sender(app, client, &head.headers, &body.bytes);
                let received = match checked.await {
                    Ok(verified) => {
                        if verified.is_some() {
                            peer.is_verified();
                        }
                        transactions::receive(inbox, body.bytes).await
                    }
                    Err(problem) => Err(problem),
                };
                (received, false)
            }
            Err(problem) => (Err(problem), false),
        },
        route => {
            let body_is_read = body::discard(app, &head, body).await;
            peer.waits_for_server();
            let answer = match route {
                Ok(route) => run(app, route).await,
                Err(problem) => Err(problem),
            };
            (answer, !body_is_read)
        }
    };
    peer.waits_for_client();
    let (mut answer, close) = match answer {
        Ok(answer) => (answer, close),
        Err(problem) => {
            let close = close || problem.closes();
            (problem.into_answer(), close)
        }
    };
    if close {
        peer.leaves_bytes_unread();
        answer
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    tracing::debug!(
        method = %head.method,
        path = head.uri.path(),
        status = answer.status().as_u16(),
        "answered"
    );
    answer
}

/// The address of the client, as far as proxies that are trusted tell it.
fn client(app: &App, peer: &Peer, head: &Parts) -> Option<IpAddr> {
    let addr = peer.addr()?;
    Some(app.rates.client(addr, &head.headers))
}

/// What a request asks for.
pub(super) enum Route<'a> {
    Health,
    Ready,
    Receive(&'a Inbox),
    Show(&'a Inbox, Key),
    Operator(&'a dyn Admin, Caller, operator::OperatorRequest),
    Options(&'static str),
}

/// Finds the route by the path, whose query is ignored, then by the method; trailing slashes make
/// another path.
fn route<'a>(app: &'a App, client: Option<IpAddr>, head: &Parts) -> Result<Route<'a>, Problem> {
    head::check(head)?;
    if head.method == Method::CONNECT {
        // What follows may be meant for a tunnel.
        return Err(Problem::method_not_allowed(ANY).closing());
    }
    let path = head.uri.path();
    // Whoever looks after the server must be able to, however many others come.
    if !matches!(path, "/" | "/readyz") {
        let checked = app.rates.check_sender(client);
        checked.inspect_err(|_| app.auth.note_rate_limited(client))?;
    }
    if let (Some(path), Some(admin)) = (path.strip_prefix(operator::PREFIX), &app.admin) {
        let token = app.auth.check_operator(client, &head.headers)?;
        app.check_global_rate(client)?;
        let caller = Caller {
            token,
            addr: client,
        };
        return operator::route(&**admin, caller, head, path);
    }
    match (path, &app.inbox) {
        ("/", _) => read(&head.method, || Ok(Route::Health)),
        ("/readyz", _) => read(&head.method, || Ok(Route::Ready)),
        (WEBHOOK_PATH, Some(inbox)) => write(&head.method, || {
            head::check_media_type(&head.headers)?;
            app.auth.check_signature_headers(client, head)?;
            Ok(Route::Receive(inbox))
        }),
        ("*", _) if head.method == Method::OPTIONS => Ok(Route::Options(ANY)),
        (path, Some(inbox)) => match path.strip_prefix(TRANSACTION_PATH) {
            Some(id) if !id.is_empty() && !id.contains('/') => read(&head.method, || {
                app.auth.check_token(client, head, Scope::Read)?;
                app.check_global_rate(client)?;
                key(id)
                    .map(|key| Route::Show(inbox, key))
                    .ok_or_else(Problem::no_such_transaction)
            }),
            _ => Err(Problem::no_such_path()),
        },
        _ => Err(Problem::no_such_path()),
    }
}

pub(super) fn read<'a>(
    method: &Method,
    route: impl FnOnce() -> Result<Route<'a>, Problem>,
) -> Result<Route<'a>, Problem> {
    match *method {
        Method::GET | Method::HEAD => route(),
        Method::OPTIONS => Ok(Route::Options(READ)),
        _ => Err(Problem::method_not_allowed(READ)),
    }
}

pub(super) fn write<'a>(
    method: &Method,
    route: impl FnOnce() -> Result<Route<'a>, Problem>,
) -> Result<Route<'a>, Problem> {
    match *method {
        Method::POST => route(),
        Method::OPTIONS => Ok(Route::Options(WRITE)),
        _ => Err(Problem::method_not_allowed(WRITE)),
    }
}

/// The key that a path's last segment stands for. `None` where no event can have it: no key is
/// written with a broken percent-encoding, in another encoding than UTF-8, or with a NUL.
pub(super) fn key(segment: &str) -> Option<Key> {
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let broken = |digit: Option<u8>| !digit.is_some_and(|digit| digit.is_ascii_hexdigit());
        if byte == b'%' && (broken(bytes.next()) || broken(bytes.next())) {
            return None;
        }
    }
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    Key::new(text).ok()
}

async fn run(app: &App, route: Route<'_>) -> Result<Answer, Problem> {
    match route {
        Route::Health => Ok(answer::json(
            StatusCode::OK,
            format!(
                r#"{{"status":"HEALTHY","current_time":"{:.0}"}}"#,
                Timestamp::now()
            ),
        )),
        Route::Ready => ready(app).await,
        Route::Show(inbox, key) => transactions::show(inbox, &key).await,
        Route::Operator(operator, caller, asked) => {
            operator::answer(app, operator, caller, asked).await
        }
        Route::Options(allow) => Ok(answer::options(allow)),
        Route::Receive(_) => unreachable!("a delivery is answered by its body"),
    }
}

async fn ready(app: &App) -> Result<Answer, Problem> {
    if app.is_draining() {
        return Err(Problem::unavailable("Shutting down", 1));
    }
    let limit = app.options.ready_timeout;
    match app.ready.check(&app.store, limit).await {
        Readiness::Ready => Ok(answer::json(StatusCode::OK, r#"{"status":"READY"}"#)),
        Readiness::Unavailable => Err(Problem::unavailable("Store unavailable", 1)),
        Readiness::TooSlow => Err(Problem::unavailable("Store too slow", 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_or_name_nothing() {
        for (segment, id) in [
            ("tx-1", Some("tx-1")),
            ("a%2Fb", Some("a/b")),
            ("a%2fb%20c", Some("a/b c")),
            ("a+b", Some("a+b")),
            ("caf%C3%A9", Some("café")),
            ("%25zz", Some("%zz")),
            ("%", None),
            ("a%4", None),
            ("a%zz", None),
            ("%%41", None),
            ("%ff", None),
            ("%C3", None),
            ("a%00b", None),
            ("a%0A", None),
            ("%C2%85", None),
        ] {
            let key = key(segment);
            assert_eq!(key.as_ref().map(Key::as_str), id, "{segment}");
        }
        assert!(key(&"x".repeat(512)).is_some());
        assert!(key(&"x".repeat(513)).is_none());
    }
}
