//! The failed attempts of an event, with what the destination answered.

use maud::{Markup, html};
use serde::Deserialize;
use webhook_core::MAX_FAILED_ATTEMPTS;

use crate::dashboard::components::{Tone, ago, badge, code, exact};
use crate::dashboard::json_tree::json_tree;
use crate::dashboard::refused::headers;
use crate::json_text::Value;
use crate::model::{Attempt, Event, EventState, Header};

/// What a forwarder keeps about an attempt. Other handlers keep other things.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    error_class: Option<String>,
    status: Option<u16>,
    peer: Option<String>,
    timings_ms: Timings,
    headers: Vec<AnswerHeader>,
    body: Option<String>,
    body_base64: Option<String>,
    body_is_whole: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Timings {
    dns: Option<f64>,
    connect: Option<f64>,
    tls: Option<f64>,
    first_byte: Option<f64>,
    total: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct AnswerHeader {
    name: String,
    value: String,
}

/// The attempts, the latest first.
pub(super) fn tab(event: &Event) -> Markup {
    let attempts = &event.failed_attempts;
    html! {
        @if attempts.is_empty() {
            p.faint #no-attempts {
                "No attempt has failed."
                @if event.summary.state == EventState::Processed { " An attempt that succeeds leaves nothing but the state." }
            }
        } @else {
            p.faint {
                "Failed attempts, the latest first. An attempt that succeeds leaves nothing but the state."
                @if attempts.len() >= MAX_FAILED_ATTEMPTS { " Only the latest " (MAX_FAILED_ATTEMPTS) " are kept." }
            }
            ol.cards #attempts {
                // The number of a card stays the same when there are more.
                @for (number, attempt) in (0..attempts.len()).rev().zip(attempts) { (card(attempt, number)) }
            }
        }
    }
}

fn card(attempt: &Attempt, number: usize) -> Markup {
    let raw = attempt.details.as_ref().map(|it| it.get());
    let details = raw.and_then(|it| serde_json::from_str::<Details>(it).ok());
    let details = details.filter(|it| it.error_class.is_some());
    html! {
        li.card id={ "attempt-" (number) } {
            div.card-head {
                h2 { "Attempt " (attempt.attempt) }
                @if let Some(class) = details.as_ref().and_then(|it| it.error_class.as_deref()) {
                    " " (badge(Tone::Bad, class))
                }
                " " span { (exact(attempt.ended_at)) ", " (ago(attempt.ended_at)) }
            }
            p.refused-reason { (attempt.reason) }
            @match (&details, raw) {
                (Some(details), _) => (answer(details, number)),
                (None, Some(raw)) => @if let Some(value) = Value::parse(raw) { (json_tree(&format!("details-{number}"), &value)) },
                (None, None) => {},
            }
            @if let Some(base64) = &attempt.details_base64 {
                (code(&format!("details-{number}"), "Details in Base64", base64))
            }
        }
    }
}

fn answer(details: &Details, number: usize) -> Markup {
    let timings = &details.timings_ms;
    let parts = [
        ("DNS", timings.dns),
        ("connect", timings.connect),
        ("TLS", timings.tls),
        ("first byte", timings.first_byte),
        ("total", timings.total),
    ];
    let headers_shown: Vec<Header> = details
        .headers
        .iter()
        .map(|header| Header {
            name: header.name.clone(),
            value: Some(header.value.clone()),
        })
        .collect();
    html! {
        dl.facts {
            @if let Some(explained) = details.error_class.as_deref().and_then(explanation) {
                div { dt { "What it means" } dd { (explained) } }
            }
            @if let Some(status) = details.status { div { dt { "Status" } dd { (status) } } }
            @if let Some(peer) = &details.peer { div { dt { "Address" } dd { code { (peer) } } } }
            @if timings.total.is_some() {
                div { dt { "Time" } dd {
                    @for (index, (name, time)) in parts.iter().filter_map(|(name, time)| Some((name, (*time)?))).enumerate() {
                        @if index > 0 { " · " } (name) " " (format!("{time:.1} ms"))
                    }
                } }
            }
        }
        @if let Some(body) = &details.body {
            (code(&format!("answer-{number}"), "The answer", body))
        }
        @if let Some(body) = &details.body_base64 {
            (code(&format!("answer-{number}"), "The answer in Base64", body))
        }
        @if details.body_is_whole == Some(false) { p.note { "Only the beginning of the answer is kept." } }
        @if !headers_shown.is_empty() {
            details { summary { "Headers of the answer" } (headers("Headers of the answer", &headers_shown)) }
        }
    }
}

/// What a class of errors of the forwarder means, and what helps.
fn explanation(class: &str) -> Option<&'static str> {
    Some(match class {
        "dns" => {
            "The name of the destination does not resolve. Check its URL, and the DNS of this machine."
        }
        "connect" | "timeout_connect" => {
            "Nothing accepts connections at this address. Check that the app runs, and that no firewall blocks them."
        }
        "tls_verify" => {
            "The certificate of the destination is not accepted: it has expired, is of another name, or its authority is not \
             trusted here."
        }
        "tls_handshake" => {
            "The connection could not be encrypted. Check that the port of the URL speaks TLS."
        }
        "timeout_response" => {
            "The app did not answer in time. Let it answer first and work later, or raise the time-out."
        }
        "reset" => {
            "The connection broke before the answer. The app, or a proxy before it, may have restarted."
        }
        "blocked_address" => {
            "The destination has only addresses that events are not forwarded to. Allow them in the configuration if they are \
             right."
        }
        "redirect" => {
            "The app answered with a redirect, which is not followed. Set the URL to where it leads."
        }
        "status_4xx" => "The app understood the request and rejected it. Look at its answer.",
        "status_5xx" => "The app failed. Look at its answer, and at its log.",
        "throttled" => "The app asked for fewer requests. Set a rate for the destination.",
        "gone" => "The app answered that the URL is gone for good. Set the new one.",
        "aborted" => "The attempt was ended from here, before an answer.",
        "too_large" => "The head of the answer is larger than what is read.",
        "protocol" => "What answers there does not speak HTTP. Check the port of the URL.",
        _ => return None,
    })
}
