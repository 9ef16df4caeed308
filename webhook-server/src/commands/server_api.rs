//! Asks a running server what only it knows.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::http::uri::InvalidUri;
use hyper::{Request, StatusCode, Uri};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::client::{self, AnyError, Encryption};
use crate::config::Config;

/// What a server says of a path that it does not serve. What it says of unknown sources is longer.
const NO_ROUTE: &str = "Not found";

/// What of an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How long the server may take to answer.
    pub(super) time: Duration,
    /// How long the answer may be.
    pub(super) answer_bytes: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(10),
            answer_bytes: client::MAX_ANSWER_BYTES,
        }
    }
}

/// Where the server is, and what proves that an operator asks.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(super) struct ServerApi {
    /// The server. Default: OPERATOR_ADDR, or else BIND_ADDR. Certificates are verified, except those of
    /// this machine
    #[arg(long, value_name = "URL", value_parser = url)]
    url: Option<Uri>,
    /// Token of the scope read; listen needs one of the scope operate. Set the variable rather than the flag: every user of the machine can see
    /// flags
    #[arg(
        long,
        value_name = "TOKEN",
        env = "WEBHOOK_SERVER_TOKEN",
        hide_env_values = true
    )]
    token: Option<Token>,
}

/// A token, which `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
struct Token(Zeroizing<String>);

impl FromStr for Token {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(text.trim().to_owned())))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

fn url(text: &str) -> Result<Uri, String> {
    let url = client::http_url(text).filter(|url| url.path() == "/" && url.query().is_none());
    url.ok_or_else(|| "expected a URL without a path, such as http://127.0.0.1:8000".to_owned())
}

impl ServerApi {
    /// Whether a token is set, or a server is named, so that the operator wants to ask one.
    pub(super) fn is_set(&self) -> bool {
        self.url.is_some() || self.token().is_some()
    }

    /// Gets the JSON document at `path`, which begins with a slash.
    pub(super) async fn get(&self, config: &Config, path: &str) -> Result<Value, ServerApiError> {
        self.ask(config, path, Patience::default()).await
    }

    /// Gets the document at `path`, which may be large or take long.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        config: &Config,
        path: &str,
        patience: Patience,
    ) -> Result<T, ServerApiError> {
        let server = match &self.url {
            Some(url) => url.clone(),
            None => own_url(config)?,
        };
        let unreachable = |source: AnyError| ServerApiError::Unreachable {
            server: client::host_and_port(&server),
            source,
        };
        let host = server.authority().map_or("", |it| it.as_str());
        let mut request = Request::get(path).header(HOST, host);
        // An open server on this machine needs none.
        if let Some(token) = self.token() {
            let bearer = Zeroizing::new(format!("Bearer {}", *token.0));
            let bearer = HeaderValue::from_str(&bearer);
            let mut bearer = bearer.map_err(|error| unreachable(error.into()))?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        let request = request
            .body(Full::<Bytes>::default())
            .map_err(|error| unreachable(error.into()))?;
        let Patience { time, answer_bytes } = patience;
        let sent = client::send_to(config, self.url.is_none(), &server, request, answer_bytes);
        let answer = match timeout(time, sent).await {
            Ok(answer) => answer.map_err(unreachable)?,
            Err(_) => return Err(ServerApiError::Silent { time }),
        };
        let body = answer.body();
        match answer.status() {
            StatusCode::OK => {
                serde_json::from_slice(body).map_err(|error| unreachable(error.into()))
            }
            StatusCode::UNAUTHORIZED if self.token().is_none() => Err(ServerApiError::NoToken),
            status => {
                let problem = serde_json::from_slice(body).ok();
                let detail = problem.and_then(|it: Value| Some(it["detail"].as_str()?.to_owned()));
                if status == StatusCode::NOT_FOUND && detail.as_deref() == Some(NO_ROUTE) {
                    let server = client::host_and_port(&server);
                    return Err(ServerApiError::NotServed { server });
                }
                Err(ServerApiError::Refused { status, detail })
            }
        }
    }

    fn token(&self) -> Option<&Token> {
        self.token.as_ref().filter(|token| !token.0.is_empty())
    }
}

/// The URL of the server of `config`, on this machine.
fn own_url(config: &Config) -> Result<Uri, ServerApiError> {
    let addr = client::reachable(config.operator_addr.unwrap_or(config.bind_addr));
    let scheme = Encryption::of(config).scheme();
    let url = format!("{scheme}://{addr}").parse();
    url.map_err(|error: InvalidUri| ServerApiError::Unreachable {
        server: addr.to_string(),
        source: error.into(),
    })
}

/// Why a server does not tell what it knows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerApiError {
    /// No token is set.
    #[error(
        "the server answers operators only: set WEBHOOK_SERVER_TOKEN to a token, which `webhook-server token read` \
         makes; listen needs one of the scope operate"
    )]
    NoToken,
    /// No server answers.
    #[error("failed to ask the server at {server} (start it, or name another one with --url)")]
    Unreachable {
        /// Its host and its port.
        server: String,
        /// The error.
        source: AnyError,
    },
    /// The server does not answer in time.
    #[error("the server did not answer within {time:?}")]
    Silent {
        /// How long it had.
        time: Duration,
    },
    /// The server does not serve operators at this address.
    #[error(
        "the server at {server} does not serve operators there: name its OPERATOR_ADDR with --url, or give it a token of \
         the scope operate in API_TOKENS, without which it serves no operators"
    )]
    NotServed {
        /// Its host and its port.
        server: String,
    },
    /// The server does not answer the question.
    #[error("the server answered {status}{}", detail.as_ref().map_or_else(String::new, |it| format!(": {it}")))]
    Refused {
        /// The status.
        status: StatusCode,
        /// What is wrong, in its words.
        detail: Option<String>,
    },
}
