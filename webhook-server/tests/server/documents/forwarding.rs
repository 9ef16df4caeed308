//! `docs/forwarding.md` says what is forwarded, when, and what errors there are.

use std::time::Duration;

use webhook_core::{EventType, Key, Kind, RawEvent};
use webhook_forward::{Destination, ErrorClass, Forwarder, Schedule, SigningKeys, Trigger};

use super::{read, rows};
use crate::sources::Setup;
use crate::support::tls::Authority;

const DOCUMENT: &str = "docs/forwarding.md";

/// The part of the document under this title.
fn section(title: &str) -> String {
    let text = read(DOCUMENT);
    let (_, section) = text.split_once(&format!("\n## {title}\n")).unwrap();
    section.split("\n## ").next().unwrap().to_owned()
}

/// The first block of code in `text` that is in `language`.
fn block<'t>(text: &'t str, language: &str) -> &'t str {
    let (_, code) = text.split_once(&format!("```{language}\n")).unwrap();
    code.split("```").next().unwrap()
}

fn seconds(text: &str) -> Duration {
    let parts = text.split_whitespace().map(|part| {
        let (number, unit) = part.split_at(part.len() - 1);
        let unit = ["s", "m", "h"].iter().position(|it| *it == unit).unwrap();
        number.parse::<u64>().unwrap() * 60_u64.pow(u32::try_from(unit).unwrap())
    });
    Duration::from_secs(parts.sum())
}

#[test]
fn request_of_the_document_is_what_is_sent() {
    let section = section("What is sent");
    let shown: Vec<(&str, &str)> = block(&section, "http")
        .lines()
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_once(": ").unwrap())
        .collect();
    let value = |name: &str| shown.iter().find(|(it, _)| *it == name).unwrap().1;
    let keys: SigningKeys = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
    let destination = Destination::new("http://127.0.0.1:3000/hooks".parse().unwrap());
    let forwarder = Forwarder::new(destination.with_keys(keys)).unwrap();
    let event = RawEvent::raw(Kind::from_static("shop"), &b"{}"[..])
        .with_key(Key::new(value("inbox-key")).unwrap())
        .with_event_type(EventType::new(value("inbox-type")).unwrap());
    let request = forwarder.request(&event, Trigger::Schedule);
    assert_eq!(
        request.headers()["webhook-id"].to_str().unwrap(),
        value("webhook-id")
    );
    for name in request.headers().keys() {
        assert!(shown.iter().any(|(it, _)| name == it), "{name}");
        let row = format!("| `{name}` |");
        assert!(
            name == "user-agent" || section.contains(&row),
            "{name} is not in the table"
        );
    }
}

#[test]
fn schedule_of_the_document_is_the_default() {
    let schedule = Schedule::default();
    let section = section("The schedule");
    let mut sum = Duration::ZERO;
    let mut attempts = 1;
    for row in rows(&section).filter(|row| row[0].parse::<u32>().is_ok()) {
        assert_eq!(row[0], attempts.to_string());
        let delay = schedule.nominal(attempts);
        sum += delay;
        assert_eq!((seconds(row[1]), seconds(row[2])), (delay, sum), "{row:?}");
        attempts += 1;
    }
    assert_eq!(attempts, schedule.attempts().get());
    assert_eq!(sum, schedule.span());
}

#[test]
fn error_classes_of_the_document_are_all_there_are() {
    let section = section("Troubleshooting");
    let listed: Vec<&str> = rows(&section)
        .filter_map(|row| row[0].strip_prefix('`')?.strip_suffix('`'))
        .filter(|name| *name != "error_class")
        .collect();
    let mut classes = ErrorClass::ALL.map(ErrorClass::as_str);
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    classes.sort_unstable();
    assert_eq!(sorted, classes);
}

#[test]
fn code_of_the_document_is_that_of_the_receivers() {
    let section = section("In your app");
    for (language, file) in [
        ("python", "receiver.py"),
        ("typescript", "receiver.ts"),
        ("rust", "receiver.rs"),
    ] {
        let receiver = read(&format!("examples/receivers/{file}"));
        for line in block(&section, language).lines() {
            assert!(receiver.contains(line), "{file}: {line}");
        }
    }
}

#[tokio::test]
async fn examples_of_the_document_are_valid() {
    // No test looks up a host of the internet.
    let complete = section("All keys").replace("app.example.com", "127.0.0.1");
    let complete = block(&complete, "toml");
    let schedules = section("The schedule");
    let schedules = block(&schedules, "toml").lines();
    let schedules = schedules.map(|line| {
        format!(
            "[sources.github]\npreset = \"github\"\nsecrets = \"env:GITHUB_WEBHOOK_SECRET\"\n\
             [sources.github.forward]\nurl = \"http://127.0.0.1:3000/\"\n{line}\n"
        )
    });
    let authority = Authority::new();
    let own = authority.issue();
    for toml in schedules.chain([complete.to_owned()]) {
        let setup = Setup::new(&toml);
        let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        for (name, content) in [
            ("app-key", key),
            ("api-key", "a-key-of-the-app"),
            ("token", "a-token-of-the-app"),
            ("ca.pem", &authority.pem()),
            ("client.pem", &own.cert),
            ("client.key", &own.key),
        ] {
            setup.files.write(name, content);
        }
        let server = setup
            .server(&["check"])
            .env("GITHUB_WEBHOOK_SECRET", "a-secret-of-github");
        let (code, _, log) = server.env("FORWARD_SECRETS", key).output().await;
        assert_eq!(code, 0, "{toml}{log}");
    }
}
