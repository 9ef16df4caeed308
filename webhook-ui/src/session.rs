//! Sessions of the dashboard: a token is exchanged for a cookie.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{COOKIE, HOST, HeaderValue};
use http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::access::{Caller, OverHttps};
use crate::tokens::bearer;
use crate::{Problem, Ui};

/// How long a session lasts without requests.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// How long a session lasts at most.
const ABSOLUTE: Duration = Duration::from_secs(12 * 60 * 60);

/// How many sessions there may be. A new one ends the one that was idle longest.
const MAX_SESSIONS: usize = 1_000;

/// How many wrong tokens an address, or an IPv6 /64 network, may try in [`ATTEMPTS_PERIOD`].
const MAX_ATTEMPTS: u32 = 10;

/// See [`MAX_ATTEMPTS`].
const ATTEMPTS_PERIOD: Duration = Duration::from_secs(60);

/// How many addresses are remembered that tried wrong tokens. Beyond it, sign-ins wait for the next period.
const MAX_ADDRESSES: usize = 10_000;

/// The name of the cookie over TLS: browsers take it only with `Secure`, with the path `/` and without a domain.
const SECURE_COOKIE: &str = "__Host-webhook-session";

/// The name of the cookie on a loopback address, which need not have TLS.
const LOCAL_COOKIE: &str = "webhook-session";

/// Who looks at the dashboard.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    pub(crate) caller: Caller,
    /// What each form must send in the field `form_token`.
    pub(crate) form_token: String,
    /// Whether there is a session, which signing out ends.
    pub(crate) is_signed_in: bool,
}

/// The sessions of a [`Ui`], in memory.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By the digest of the cookie.
    open: HashMap<[u8; 32], Session>,
    attempts: HashMap<Option<IpAddr>, (Instant, u32)>,
}

#[derive(Debug)]
struct Session {
    caller: Caller,
    began: Instant,
    used: Instant,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.began) >= ABSOLUTE || now.duration_since(self.used) >= IDLE
    }
}

impl Sessions {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins a session for the holder of `token`, and returns the value of the header `Set-Cookie`.
pub(crate) fn sign_in(ui: &Ui, token: &str, head: &Parts) -> Result<HeaderValue, Problem> {
    let client = ui.client(head);
    let network = client.map(network);
    let now = Instant::now();
    check_attempts(&mut ui.sessions().state(), network, now)?;
    let Some(caller) = ui.access().of_token(token.trim()) else {
        let mut state = ui.sessions().state();
        state.attempts.entry(network).or_insert((now, 0)).1 += 1;
        tracing::warn!(
            client = client.map(tracing::field::display),
            "a wrong token was used to sign in to the dashboard"
        );
        return Err(Problem::without_token());
    };
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| {
        tracing::error!(%error, "failed to get random bytes");
        Problem::unavailable("Failed to get random bytes; try again", 1)
    })?;
    let cookie = hex::encode(secret);
    let mut state = ui.sessions().state();
    state.open.retain(|_, session| !session.is_over(now));
    if state.open.len() >= MAX_SESSIONS {
        let idlest = state.open.iter().min_by_key(|(_, session)| session.used);
        if let Some(digest) = idlest.map(|(digest, _)| *digest) {
            state.open.remove(&digest);
        }
    }
    let session = Session {
        caller: caller.at(client),
        began: now,
        used: now,
    };
    state.open.insert(digest(&cookie), session);
    // The browser forgets the cookie of the session before this one.
    if let Some(former) = self::cookie(head) {
        state.open.remove(&digest(former));
    }
    drop(state);
    Ok(set_cookie(head, &cookie, ABSOLUTE))
}

/// Ends the session of a request, if there is one, and returns the value of the header `Set-Cookie` that deletes the
/// cookie.
pub(crate) fn sign_out(ui: &Ui, head: &Parts) -> HeaderValue {
    if let Some(cookie) = cookie(head) {
        ui.sessions().state().open.remove(&digest(cookie));
    }
    set_cookie(head, "", Duration::ZERO)
}

/// Who makes a request to the dashboard: the holder of a session, or somebody who needs no token.
pub(crate) fn visitor(ui: &Ui, head: &Parts) -> Result<Visitor, Problem> {
    let client = ui.client(head);
    if let Some(cookie) = cookie(head) {
        let digest = digest(cookie);
        let now = Instant::now();
        let mut state = ui.sessions().state();
        let session = state.open.get_mut(&digest);
        if let Some(session) =
            session.filter(|it| !it.is_over(now) && ui.access().is_current(&it.caller))
        {
            if !is_in_background(head) {
                session.used = now;
            }
            return Ok(Visitor {
                caller: session.caller.clone().at(client),
                form_token: ui.form_token(&digest),
                is_signed_in: true,
            });
        }
        state.open.remove(&digest);
    }
    let caller = ui.access().caller(head, client)?;
    Ok(Visitor {
        form_token: ui.form_token(&[0; 32]),
        caller,
        is_signed_in: false,
    })
}

/// Whether a page makes the request by itself: a session does not last longer since a window is open.
fn is_in_background(head: &Parts) -> bool {
    head.headers.contains_key("dashboard-live") || head.uri.path().ends_with("/dashboard/live")
}

/// Whether the request has an open session or a token, or needs none.
pub(crate) fn is_admitted(ui: &Ui, head: &Parts) -> bool {
    let has_session = cookie(head).is_some_and(|cookie| {
        let state = ui.sessions().state();
        let session = state.open.get(&digest(cookie));
        session.is_some_and(|it| !it.is_over(Instant::now()) && ui.access().is_current(&it.caller))
    });
    let token = bearer(&head.headers).and_then(|it| std::str::from_utf8(it).ok());
    // The last one may count as a request, towards limits that senders need.
    has_session
        || token.is_some_and(|it| ui.access().of_token(it).is_some())
        || ui.access().caller(head, ui.client(head)).is_ok()
}

/// Tells later whether the session or the token of a request of `caller`, which is allowed now, is still valid.
pub(crate) fn watch(
    ui: &Ui,
    head: &Parts,
    caller: &Caller,
) -> impl Fn(&Ui) -> bool + Send + Sync + use<> {
    let session = cookie(head).map(digest);
    let session = session.filter(|it| ui.sessions().state().open.contains_key(it));
    let (head, caller) = (head.clone(), caller.clone());
    move |ui| match &session {
        Some(session) => {
            let state = ui.sessions().state();
            let session = state.open.get(session);
            session
                .is_some_and(|it| !it.is_over(Instant::now()) && ui.access().is_current(&it.caller))
        }
        // Not by the head: that would count as another request, towards limits that senders need.
        None if caller.token_digest.is_some() => ui.access().is_current(&caller),
        None => ui.access().caller(&head, ui.client(&head)).is_ok(),
    }
}

/// Checks that a page of this dashboard makes the browser send a write: by the headers that browsers add, and by the
/// token that the form has.
pub(crate) fn check_write(
    visitor: Option<&Visitor>,
    head: &Parts,
    form_token: Option<&str>,
) -> Result<(), Problem> {
    check_origin(head)?;
    let Some(visitor) = visitor else {
        // Signing in, which needs a token.
        return Ok(());
    };
    let presented = form_token.unwrap_or_default().as_bytes();
    if visitor.form_token.as_bytes().ct_eq(presented).into() {
        Ok(())
    } else {
        Err(Problem::forbidden(
            "The form is of another session; load the page again",
        ))
    }
}

/// Rejects a request that a page of another origin makes a browser send.
fn check_origin(head: &Parts) -> Result<(), Problem> {
    let site = head.headers.get("sec-fetch-site");
    let origin = head.headers.get("origin");
    let host = host(head).map(str::as_bytes);
    let is_own_origin = |origin: &HeaderValue| {
        let origin = origin.as_bytes();
        let authority = origin
            .strip_prefix(b"http://")
            .or_else(|| origin.strip_prefix(b"https://"));
        authority.is_some_and(|it| host.is_some_and(|host| host.eq_ignore_ascii_case(it)))
    };
    // Each browser sends at least one of them with a form. Pages have the policy `no-referrer`, which makes the origin
    // `null`: it is only taken beside the other header, which other origins cannot have.
    let is_own_site = site.is_some_and(|site| site == "same-origin");
    if (site.is_some() || origin.is_none()) && !is_own_site
        || origin.is_some_and(|it| !(is_own_origin(it) || it == "null" && is_own_site))
    {
        return Err(Problem::forbidden(
            "Only pages of this dashboard may send that",
        ));
    }
    Ok(())
}

fn check_attempts(state: &mut State, network: Option<IpAddr>, now: Instant) -> Result<(), Problem> {
    let attempts = &mut state.attempts;
    attempts.retain(|_, (began, _)| now.duration_since(*began) < ATTEMPTS_PERIOD);
    let made = attempts.get(&network).map_or(0, |(_, made)| *made);
    if made >= MAX_ATTEMPTS || attempts.len() >= MAX_ADDRESSES {
        return Err(Problem::too_many_requests(
            "Too many wrong tokens; try again in a minute",
            60,
        ));
    }
    Ok(())
}

/// The address, or the /64 network of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address => address,
    }
}

fn digest(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie).into()
}

/// The host that the request names. HTTP/2 has it in the URI instead of a header.
fn host(head: &Parts) -> Option<&str> {
    match head.headers.get(HOST) {
        Some(host) => host.to_str().ok(),
        None => head.uri.authority().map(|it| it.as_str()),
    }
}

/// Whether the request names this machine by a loopback address, so that browsers keep cookies without TLS apart. A proxy
/// may replace the host by one, and say that it got the request by HTTPS.
fn is_local(head: &Parts) -> bool {
    if head.extensions.get::<OverHttps>().is_some() {
        return false;
    }
    let authority = host(head).and_then(|host| host.parse::<http::uri::Authority>().ok());
    authority.is_some_and(|authority| {
        let name = authority.host();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address
            .parse::<IpAddr>()
            .map_or(name.eq_ignore_ascii_case("localhost"), |it| {
                it.to_canonical().is_loopback()
            })
    })
}

/// The value of the cookie of a session.
fn cookie(head: &Parts) -> Option<&str> {
    let name = if is_local(head) {
        LOCAL_COOKIE
    } else {
        SECURE_COOKIE
    };
    named_cookie(head, name)
}

/// The value of a cookie of a request.
pub(crate) fn named_cookie<'h>(head: &'h Parts, name: &str) -> Option<&'h str> {
    let lines = head.headers.get_all(COOKIE).iter();
    let mut cookies = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    cookies.find_map(|cookie| {
        let (found, value) = cookie.trim().split_once('=')?;
        (found == name && !value.is_empty()).then_some(value)
    })
}

fn set_cookie(head: &Parts, value: &str, age: Duration) -> HeaderValue {
    let (name, secure) = if is_local(head) {
        (LOCAL_COOKIE, "")
    } else {
        (SECURE_COOKIE, "; Secure")
    };
    let age = age.as_secs();
    let line = format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
    let mut value = HeaderValue::try_from(line).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}
