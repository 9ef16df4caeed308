//! Routes of sources and destinations.

use std::time::Duration;

use http::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Request;
use super::answer::json;
use super::parameters::boolean;
use crate::actions;
use crate::data::{self, DEFAULT_LIMIT, MAX_LIMIT};
use crate::model::{Destination, SourceStatus};
use crate::{Problem, UiBody};

/// The longest time that a request for copies may wait.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// All sources.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Sources {
    sources: Vec<SourceStatus>,
}

/// All destinations.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Destinations {
    destinations: Vec<Destination>,
}

pub(super) async fn list(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    let sources = data::sources(request.ui, request.caller()?);
    json(&Sources { sources })
}

pub(super) async fn show(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    json(&data::source(
        request.ui,
        request.caller()?,
        &request.source()?,
    )?)
}

pub(super) async fn refused(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    let mut limit = DEFAULT_LIMIT.get();
    request.read_query("limit is", |name, value| {
        (name == "limit").then(|| {
            let number = value.parse().ok().filter(|it| (1..=MAX_LIMIT).contains(it));
            limit = number.ok_or(format!("limit must be a number from 1 to {MAX_LIMIT}"))?;
            Ok(())
        })
    })?;
    json(&data::refused(
        request.ui,
        request.caller()?,
        &request.source()?,
        limit,
    )?)
}

pub(super) async fn copies(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    let (mut after, mut wait) = (None, Duration::ZERO);
    request.read_query("after and wait are", |name, value| {
        let number = value.parse::<u64>().ok();
        match name {
            "after" => Some(match number {
                Some(number) => {
                    after = Some(number);
                    Ok(())
                }
                None => Err("after must be the number of a copy".to_owned()),
            }),
            "wait" => {
                let most = MAX_WAIT.as_secs();
                Some(match number.filter(|seconds| *seconds <= most) {
                    Some(seconds) => {
                        wait = Duration::from_secs(seconds);
                        Ok(())
                    }
                    None => Err(format!("wait must be a number of seconds from 0 to {most}")),
                })
            }
            _ => None,
        }
    })?;
    let (caller, source) = (request.caller()?, request.source()?);
    json(&data::copies(request.ui, caller, &source, after, wait).await?)
}

pub(super) async fn pause(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    let mut new = false;
    request.read_query("new is", |name, value| {
        (name == "new").then(|| boolean(name, value).map(|it| new = it))
    })?;
    let (caller, source) = (request.caller()?, request.source()?);
    json(&match new {
        true => actions::pause_new(request.ui, caller, &source).await?,
        false => actions::pause(request.ui, caller, &source).await?,
    })
}

pub(super) async fn resume(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    json(&actions::resume(request.ui, request.caller()?, &request.source()?).await?)
}

pub(super) async fn send_test(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    json(&actions::send_test(request.ui, request.caller()?, &request.source()?).await?)
}

pub(super) async fn destinations(request: &Request<'_>) -> Result<Response<UiBody>, Problem> {
    request.no_query()?;
    let destinations = data::destinations_now(request.ui, request.caller()?).await?;
    json(&Destinations { destinations })
}
