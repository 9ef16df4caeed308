//! What a source has received and refused since the server started.

use std::time::SystemTime;

use serde::Serialize;
use webhook_sources::spec::Scheme;

use super::{Body, BodyMembers, as_instant, as_instant_or_null};
use crate::sources::{ActiveSource, Counts, RefusedRequest};

/// A source of a running server.
#[derive(Serialize)]
pub(crate) struct SourceStatusView<'a> {
    name: &'a str,
    path: String,
    preset: Option<&'a str>,
    scheme: &'static str,
    state: &'static str,
    /// How many secrets are set.
    secrets: usize,
    /// How many deliveries each of them has verified since it was read, in their order.
    verified_by_secret: Vec<u64>,
    #[serde(flatten)]
    counts: Counts,
    #[serde(serialize_with = "as_instant_or_null")]
    last_received_at: Option<SystemTime>,
    #[serde(serialize_with = "as_instant_or_null")]
    last_refused_at: Option<SystemTime>,
    /// Since when it has received nothing, if that is longer than `expect_every`.
    #[serde(serialize_with = "as_instant_or_null")]
    silent_since: Option<SystemTime>,
}

impl<'a> SourceStatusView<'a> {
    pub(crate) fn of(source: &'a ActiveSource) -> Self {
        let config = &source.config;
        let activity = &source.activity;
        Self {
            name: source.name(),
            path: config.path(),
            preset: config.preset.as_deref(),
            scheme: scheme_name(&source.source().spec().scheme),
            state: config.state(),
            secrets: source.source().verification().secret_count(),
            verified_by_secret: source.verified_by_secret(),
            counts: activity.counts(),
            last_received_at: activity.last_received(),
            last_refused_at: activity.last_refused(),
            silent_since: source.silent_since(),
        }
    }
}

/// The key of a scheme in the configuration.
const fn scheme_name(scheme: &Scheme) -> &'static str {
    match scheme {
        Scheme::None => "none",
        Scheme::Hmac(_) => "hmac",
        Scheme::Token(_) => "token",
        Scheme::Basic(_) => "basic",
        Scheme::PublicKey(_) => "public_key",
        Scheme::Digest(_) => "digest",
        Scheme::AnyOf(_) => "any_of",
        Scheme::AllOf(_) => "all_of",
        _ => "other",
    }
}

/// A request that a source refused.
#[derive(Serialize)]
pub(crate) struct RefusedView<'a> {
    #[serde(serialize_with = "as_instant")]
    at: SystemTime,
    client: Option<String>,
    method: &'a str,
    query: &'a str,
    status: u16,
    reason: &'a str,
    hint: Option<&'a str>,
    headers: Vec<HeaderText<'a>>,
    body_bytes: Option<usize>,
    #[serde(flatten)]
    body: BodyMembers<'a>,
}

/// A header, with its value as far as it may be shown.
#[derive(Serialize)]
struct HeaderText<'a> {
    name: &'a str,
    value: &'a str,
}

impl<'a> RefusedView<'a> {
    pub(crate) fn of(request: &'a RefusedRequest) -> Self {
        let headers = request.headers.lines();
        let headers = headers.filter_map(|line| line.split_once(": "));
        Self {
            at: request.at,
            client: request.client.map(|addr| addr.to_string()),
            method: &request.method,
            query: &request.query,
            status: request.status,
            reason: &request.reason,
            hint: request.hint.get().map(String::as_str),
            headers: headers
                .map(|(name, value)| HeaderText { name, value })
                .collect(),
            body_bytes: request.body_bytes,
            body: request.body.as_ref().map(|body| Body::of(body)).into(),
        }
    }
}
