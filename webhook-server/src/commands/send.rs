//! `send`: signs a delivery as the sender of a source does, and sends it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::http::uri::InvalidUri;
use hyper::{Request, StatusCode, Uri};
use tokio::time::timeout;
use webhook_sources::Unsigned;

use super::{CommandError, Output, blocking};
use crate::client::{self, AnyError, Encryption};
use crate::config::{Config, SourceConfig, SourcesFile};
use crate::delivery::{Delivery, random_id};
use crate::logging::escaped;

/// How long the server may take to answer: longer than senders wait.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The largest file that is sent.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// The options of `send`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Send {
    /// Name of the source
    source: String,
    /// File with the body
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Where to send it. Default: the path of the source on BIND_ADDR. Certificates are verified,
    /// except those of this machine
    #[arg(long, value_name = "URL", value_parser = url)]
    url: Option<Uri>,
    /// Id of the delivery, for senders that have it in a header. Default: a random one
    #[arg(long)]
    id: Option<String>,
    /// A further header, such as 'x-github-event: push'. May be repeated
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
}

fn url(text: &str) -> Result<Uri, String> {
    client::http_url(text)
        .ok_or_else(|| "expected a URL such as http://127.0.0.1:8000/v1/webhooks/stripe".to_owned())
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || "expected a name and a value, such as 'x-github-event: push'".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = name.trim().parse().map_err(|_| wrong())?;
    let value = value.trim().parse().map_err(|_| wrong())?;
    Ok((name, value))
}

impl Send {
    pub(super) async fn run(&self, config: &Config) -> Result<(), CommandError> {
        let delivery = self.clone();
        let read = blocking(config, move |config| {
            let file = SourcesFile::read(config).map_err(CommandError::Sources)?;
            let source = find(file, &delivery.source)?;
            let body = read(&delivery.file).map_err(|source| SendError::File {
                path: delivery.file.clone(),
                source,
            })?;
            Ok((source, body))
        });
        let (source, body) = read.await?;
        let url = match &self.url {
            Some(url) => url.clone(),
            None => own_url(config, &source)?,
        };
        let request = self.request(&source, &url, body)?;
        let sent = timeout(
            TIMEOUT,
            client::send_to(
                config,
                self.url.is_none(),
                &url,
                request,
                client::MAX_ANSWER_BYTES,
            ),
        )
        .await;
        let answer = match sent {
            Ok(Ok(answer)) => answer,
            Ok(Err(source)) => {
                let server = client::host_and_port(&url);
                return Err(SendError::Unreachable { server, source }.into());
            }
            Err(_) => return Err(SendError::Silent.into()),
        };
        let status = answer.status();
        Output::new(false).write(&(), |out| {
            writeln!(out, "{status}")?;
            let body = String::from_utf8_lossy(answer.body());
            for line in body.lines() {
                writeln!(out, "{}", escaped(line))?;
            }
            Ok(())
        })?;
        if status.is_success() {
            Ok(())
        } else {
            Err(SendError::Refused { status }.into())
        }
    }

    /// The signed request.
    fn request(
        &self,
        source: &SourceConfig,
        url: &Uri,
        body: Vec<u8>,
    ) -> Result<Request<Full<Bytes>>, CommandError> {
        let target = url.path_and_query().map_or("/", |it| it.as_str());
        let id = self.id.clone().unwrap_or_else(random_id);
        let signed = Delivery::sign(source, target, &id, self.header.clone(), &body);
        let signed = signed.map_err(SendError::Unsigned)?;
        let host = url.authority().map_or("", |it| it.as_str());
        let request = signed.head().header(HOST, host);
        let request = request.body(Full::from(signed.body));
        Ok(request.map_err(|error| SendError::Unreachable {
            server: client::host_and_port(url),
            source: error.into(),
        })?)
    }
}

/// The source `name` of `file`.
pub(super) fn find(file: SourcesFile, name: &str) -> Result<SourceConfig, SendError> {
    let names: Vec<_> = file
        .sources
        .iter()
        .map(|source| source.name.to_string())
        .collect();
    let mut sources = file.sources.into_iter();
    sources
        .find(|source| source.name.as_str() == name)
        .ok_or(SendError::Unknown { names })
}

/// The content of the file at `path`.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let read = File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut body)?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!(
            "it has more than {MAX_FILE_BYTES} bytes"
        )));
    }
    Ok(body)
}

/// The URL of the source on the server of `config`, on this machine.
fn own_url(config: &Config, source: &SourceConfig) -> Result<Uri, SendError> {
    let scheme = Encryption::of(config).scheme();
    let addr = client::reachable(config.bind_addr);
    let url = format!("{scheme}://{addr}{}", source.path());
    url.parse()
        .map_err(|error: InvalidUri| SendError::Unreachable {
            server: addr.to_string(),
            source: error.into(),
        })
}

/// Why no delivery was sent, or it was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no such source.
    #[error("there is no such source: CONFIG_FILE has {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") })]
    Unknown {
        /// The names of the sources.
        names: Vec<String>,
    },
    /// The file with the body cannot be read.
    #[error("failed to read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The delivery cannot be signed.
    #[error("failed to sign the delivery")]
    Unsigned(#[source] Unsigned),
    /// No server answers.
    #[error(
        "failed to send the delivery to {server} (start the server, or name another URL with --url)"
    )]
    Unreachable {
        /// Its host and its port.
        server: String,
        /// The error.
        source: AnyError,
    },
    /// The server does not answer in time.
    #[error("the server did not answer within {TIMEOUT:?}")]
    Silent,
    /// The server did not accept the delivery.
    #[error("the server answered {status}")]
    Refused {
        /// The status.
        status: StatusCode,
    },
}
