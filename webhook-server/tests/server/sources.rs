//! Sources: the senders of `webhook.toml`.

mod answers;
mod bad_input;
mod commands;
mod counts;
mod faults;
mod fetched_keys;
mod handshakes;
mod limits;
mod mixed;
mod operator;
mod read;
mod receive;
mod refused;
mod reload;

use std::time::SystemTime;

use webhook_server::Server;
use webhook_server::config::Config;
use webhook_sources::spec::SourceSpec;
use webhook_sources::{Outgoing, Request, Secrets, Source, SourceOptions, preset};

use crate::support::client::{Client, Reply, request_of};
use crate::support::files::Files;
use crate::support::process::{Starter, webhook_server};
use crate::support::secrets;

/// The secret of every source, if a test needs no other.
pub(crate) const SECRET: &str = "not-known-to-anybody-else";
const OTHER_SECRET: &str = "known-to-somebody-else";

/// A configuration file and its secrets.
pub(crate) struct Setup {
    pub(crate) files: Files,
    toml: String,
}

impl Setup {
    /// A file with this text, in which `file:secret` has [`SECRET`].
    pub(crate) fn new(toml: &str) -> Self {
        let files = Files::new();
        let setup = Self {
            toml: files.write("webhook.toml", toml),
            files,
        };
        setup.set_secret(SECRET);
        setup
    }

    fn set_secret(&self, secret: &str) {
        secrets::keep(secret);
        self.files.write("secret", secret);
    }

    pub(crate) fn rewrite(&self, toml: &str) {
        self.files.write("webhook.toml", toml);
    }

    /// The server as a process.
    pub(crate) fn server(&self, args: &[&str]) -> Starter {
        let file = format!("--config-file={}", self.toml);
        webhook_server(&[&[file.as_str()], args].concat())
    }

    /// The server in the process of the test.
    fn config(&self) -> Config {
        let mut config = crate::serve::config();
        config.config_file = Some(self.toml.clone().into());
        config
    }
}

/// Signs as a sender does.
pub(crate) struct Sender {
    name: String,
    source: Source,
}

impl Sender {
    /// The sender of the preset `preset`, which delivers to the source `name`.
    pub(crate) fn preset(name: &str, preset: &str, secret: &str) -> Self {
        Self::with_spec(name, preset::get(preset).unwrap().spec.clone(), secret)
    }

    /// A sender with the preset's name as that of its source.
    pub(crate) fn of(preset: &str) -> Self {
        Self::preset(preset, preset, SECRET)
    }

    fn with_spec(name: &str, spec: SourceSpec, secret: &str) -> Self {
        let secrets = Secrets::of([secret]);
        let options = SourceOptions::default();
        Self {
            name: name.to_owned(),
            source: Source::new(spec, &secrets, options).unwrap(),
        }
    }

    /// A signed delivery of `body` with these headers besides.
    fn delivery(&self, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
        self.delivery_at(SystemTime::now(), headers, body)
    }

    fn delivery_at(
        &self,
        at: SystemTime,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Vec<u8> {
        let target = format!("/v1/webhooks/{}", self.name);
        let bytes = headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()));
        let bytes: Vec<_> = bytes.collect();
        let request = Request {
            method: "POST",
            target: &target,
            headers: &bytes,
            body: body.as_ref(),
        };
        let outgoing = Outgoing {
            request,
            message_id: None,
        };
        let signed = self.source.sign(&outgoing, at).unwrap();
        let own = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let all: Vec<_> = own.chain(signed.headers).collect();
        request_of("POST", &signed.target, &all, &signed.body)
    }

    /// A delivery of GitHub's form, with this id. A body that comes again with another id is a duplicate.
    pub(crate) fn github(&self, id: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
        let headers = [
            ("content-type", "application/json"),
            ("x-github-delivery", id),
            ("x-github-event", "push"),
        ];
        self.delivery(&headers, body)
    }
}

/// Sends a request and reads its reply.
async fn ask(client: &mut Client, request: &[u8]) -> Reply {
    client.send(request).await;
    if request.starts_with(b"HEAD ") {
        client.reply_head().await
    } else {
        client.reply().await
    }
}

/// Asserts that a delivery was stored, and answered as most senders want it.
#[track_caller]
pub(crate) fn assert_stored(reply: &Reply) {
    assert_eq!((reply.status, reply.text()), (200, ""), "{reply:?}");
}

/// Asserts that a request was refused, and that the answer does not tell why.
#[track_caller]
fn assert_refused(reply: &Reply) {
    assert_eq!(reply.problem(401), "Signature missing or wrong");
    assert_eq!(reply.header("www-authenticate"), Some("Webhook-Signature"));
}

async fn shown(client: &mut Client, source: &str, id: &str) -> serde_json::Value {
    let reply = client.get(&format!("/v1/events/{source}/{id}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// A server in this process, on memory.
fn serve(setup: &Setup) -> Server {
    crate::serve::serve(&setup.config())
}
