//! `destinations`: shows how the destinations of a running server do.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::output::plain;
use super::server_api::ServerApi;
use super::{CommandError, Output};
use crate::config::Config;
use crate::views::duration;

/// The most characters of a text in a list.
const WIDTH: usize = 200;

/// How many of the last answers the table has.
const ANSWERS: usize = 3;

/// The options of `destinations`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Destinations {
    /// Print one JSON object per line instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerApi,
}

impl Destinations {
    pub(super) async fn run(&self, config: &Config) -> Result<(), CommandError> {
        let listed = self.server.get(config, "/v1/operator/destinations").await?;
        let destinations = listed["destinations"].as_array();
        let destinations = destinations.map_or(&[][..], Vec::as_slice);
        let mut output = Output::new(self.json);
        if destinations.is_empty() && !self.json {
            output.write(&(), |out| writeln!(out, "this server forwards nothing"))?;
        }
        let rows: Vec<_> = destinations.iter().map(Row::of).collect();
        let width = |title: &str, text: fn(&Row) -> &str| {
            let longest = rows.iter().map(|row| text(row).chars().count()).max();
            longest.unwrap_or_default().max(title.len())
        };
        let name = width("NAME", |row| &row.name);
        let state = width("STATE", |row| &row.state);
        for (index, (destination, row)) in destinations.iter().zip(&rows).enumerate() {
            // A JSON value does not obey a width.
            let number = |member: &str| destination[member].as_u64().unwrap_or_default();
            output.write(destination, |out| {
                if index == 0 {
                    writeln!(
                        out,
                        "{:<name$}  {:<state$}  {:>9}  {:>6}  {:>9}  {:>6}  URL",
                        "NAME", "STATE", "IN FLIGHT", "OLDEST", "DELIVERED", "FAILED"
                    )?;
                }
                writeln!(
                    out,
                    "{:<name$}  {:<state$}  {:>9}  {:>6}  {:>9}  {:>6}  {}",
                    row.name,
                    row.state,
                    number("in_flight"),
                    row.oldest,
                    number("delivered"),
                    number("failed"),
                    row.url
                )?;
                if destination["paused"] == true {
                    write_pause(&destination["paused_because"], out)?;
                }
                let answers = destination["last_answers"].as_array();
                for answer in answers.into_iter().flatten().take(ANSWERS) {
                    write_answer(answer, out)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// A row of the table, as far as its width depends on its content.
struct Row {
    name: String,
    state: String,
    oldest: String,
    url: String,
}

impl Row {
    fn of(destination: &Value) -> Self {
        let text = |member: &str| plain(destination[member].as_str().unwrap_or_default(), WIDTH);
        let lag = destination["oldest_due_age_seconds"].as_f64();
        let lag = lag.and_then(|lag| Duration::try_from_secs_f64(lag.round()).ok());
        Self {
            name: text("source"),
            state: state(destination),
            oldest: lag.map_or_else(|| "-".to_owned(), duration),
            url: text("url"),
        }
    }
}

/// Whether events are forwarded, in words.
fn state(destination: &Value) -> String {
    let until = plain(destination["until"].as_str().unwrap_or_default(), WIDTH);
    match destination["state"].as_str().unwrap_or_default() {
        _ if destination["paused"] == true => "paused".to_owned(),
        "closed" => "forwarding".to_owned(),
        "open" => format!("failing, until {until}"),
        "half_open" => "probing".to_owned(),
        "throttled" => format!("throttled, until {until}"),
        other => plain(other, WIDTH),
    }
}

/// Why it is paused, as far as the server knows.
fn write_pause(because: &Value, out: &mut dyn Write) -> io::Result<()> {
    match because.as_str() {
        Some(because) => writeln!(out, "    paused because {}", plain(because, WIDTH)),
        None => writeln!(
            out,
            "    paused by an operator, or by the answer 410 to another server"
        ),
    }
}

fn write_answer(answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    let text = |member: &str| answer[member].as_str().map(|text| plain(text, WIDTH));
    write!(out, "    {}  ", text("at").unwrap_or_default())?;
    match (answer["status"].as_u64(), text("error_class")) {
        (Some(status), Some(class)) => write!(out, "{status} ({class})")?,
        (Some(status), None) => write!(out, "{status}")?,
        (None, class) => write!(out, "{}", class.unwrap_or_default())?,
    }
    // The API has whole milliseconds, as a number with a fraction.
    if let Some(duration) = answer["duration_ms"].as_f64() {
        write!(out, "  in {duration:.0} ms")?;
    }
    writeln!(out, "  {}", text("key").unwrap_or_default())
}
