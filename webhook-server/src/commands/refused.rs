//! `refused`: lists the latest requests that a source refused, with the reasons.

use std::io::{self, Write};
use std::num::NonZeroU16;

use clap::Args;
use serde_json::Value;
use webhook_core::Kind;

use super::output::plain;
use super::server_api::ServerApi;
use super::{CommandError, Output};
use crate::config::Config;
use crate::views::{counted, parse_kind, plural};

/// The most characters of a text in a list.
const WIDTH: usize = 400;

/// The options of `refused`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Refused {
    /// Name of the source
    #[arg(value_parser = parse_kind)]
    source: Kind,
    /// Most requests, the latest first, up to 1000
    #[arg(long, value_name = "COUNT", default_value = "20")]
    limit: NonZeroU16,
    /// Print one JSON object per line instead of a list
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerApi,
}

impl Refused {
    pub(super) async fn run(&self, config: &Config) -> Result<(), CommandError> {
        let path = format!(
            "/v1/operator/sources/{}/refused?limit={}",
            self.source, self.limit
        );
        let listed = self.server.get(config, &path).await?;
        let refused = listed["refused"].as_array().map_or(&[][..], Vec::as_slice);
        let mut output = Output::new(self.json);
        for request in refused {
            output.write(request, |out| write(request, out))?;
        }
        if !self.json {
            let total = listed["total"].as_u64().unwrap_or_default();
            output.write(&(), |out| {
                writeln!(
                    out,
                    "{} of {} that {} refused since the server started",
                    refused.len(),
                    counted(total, "request", "requests"),
                    plural(&total, "was", "were")
                )
            })?;
        }
        Ok(())
    }
}

fn write(request: &Value, out: &mut dyn Write) -> io::Result<()> {
    let text = |member: &str| request[member].as_str().map(|text| plain(text, WIDTH));
    writeln!(
        out,
        "{}  {}  {} {}  {}",
        text("at").unwrap_or_default(),
        text("client").unwrap_or_else(|| "-".to_owned()),
        text("method").unwrap_or_default(),
        request["status"],
        text("reason").unwrap_or_default(),
    )?;
    if let Some(hint) = text("hint") {
        writeln!(out, "    hint: {hint}")?;
    }
    if let Some(query) = text("query").filter(|query| !query.is_empty()) {
        writeln!(out, "    query: {query}")?;
    }
    for header in request["headers"].as_array().into_iter().flatten() {
        let part = |member: &str| plain(header[member].as_str().unwrap_or_default(), WIDTH);
        writeln!(out, "    {}: {}", part("name"), part("value"))?;
    }
    match request["body_bytes"].as_u64() {
        Some(bytes) => writeln!(out, "    body of {bytes} bytes")?,
        None => writeln!(out, "    body not read")?,
    }
    match &request["body"]["content"] {
        Value::Null => Ok(()),
        Value::String(body) => writeln!(out, "    {}", plain(body, WIDTH)),
        body => writeln!(out, "    {}", plain(&body.to_string(), WIDTH)),
    }
}
