//! The limit of HTTP and JSON: a hyper server that only parses the body and answers 202.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::Deserialize;

use crate::http_server;

/// The members that the server reads; the rest of the object is skipped.
#[derive(Deserialize)]
#[expect(dead_code, reason = "parsing them is the work that is measured")]
struct Body<'a> {
    transaction_id: &'a str,
    source_account: &'a str,
    destination_account: &'a str,
    amount: f64,
    currency: &'a str,
}

/// Serves until the process is ended.
pub(crate) fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    http_server::serve(listen, answer)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let parsed = match request.into_body().collect().await {
        Ok(body) => serde_json::from_slice::<Body<'_>>(&body.to_bytes()).is_ok(),
        Err(_) => false,
    };
    let mut response = Response::new(Full::new(Bytes::from_static(
        br#"{"acknowledged":true,"transaction_id":"txn_0123456789abcdef","status":"ACCEPTED","message":"Transaction queued for processing"}"#,
    )));
    *response.status_mut() = if parsed {
        StatusCode::ACCEPTED
    } else {
        StatusCode::BAD_REQUEST
    };
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
