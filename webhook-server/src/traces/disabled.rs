//! What stands in for the traces in a program without the feature `otel`: values of these types do not exist.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Request;
use hyper::http::request::Parts;
use webhook_core::{Accepted, Error, Key, Kind, RawEvent, TraceParent};
use webhook_forward::{RequestSpan, RequestTracer};

use crate::config::Config;
use crate::http::Answer;

/// No traces.
#[derive(Debug)]
pub(crate) enum Traces {}

/// No span.
#[derive(Debug)]
pub(crate) enum Sending {}

impl Traces {
    /// Warns if traces were asked for.
    pub(crate) fn start(config: &Config) -> Option<Arc<Self>> {
        if let Some(otel) = &config.otel {
            let endpoint = &otel.endpoint;
            tracing::warn!(
                %endpoint,
                "no traces are exported: this program was built without its feature otel"
            );
        }
        None
    }

    pub(crate) async fn shutdown(&self) {
        match *self {}
    }

    pub(crate) async fn request(
        &self,
        _: &Parts,
        _: Option<IpAddr>,
        _: impl Future<Output = Answer>,
    ) -> Answer {
        match *self {}
    }
}

impl RequestTracer for Traces {
    fn start(&self, _: &RawEvent, _: &mut Request<Bytes>) -> Option<Box<dyn RequestSpan>> {
        match *self {}
    }
}

impl Sending {
    pub(crate) fn begin(_: Option<&Traces>, _: &Kind, _: usize) -> Option<Self> {
        None
    }

    pub(crate) fn context(&self) -> Option<String> {
        match *self {}
    }

    pub(crate) fn end(self, _: Option<&Traces>, _: Option<&Key>, _: Result<&[Accepted], &Error>) {
        match self {}
    }
}

pub(crate) fn current() -> Option<TraceParent> {
    None
}
