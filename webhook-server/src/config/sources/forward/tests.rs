use std::ffi::OsString;

use webhook_forward::{Reach, check_address};

use super::super::super::{Config, Secrets};
use super::super::{SourceConfig, SourcesFile, parse};
use super::*;

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// The beginning of a source, of which the fourth line is the next one.
const SOURCE: &str = "[sources.a]\nscheme = \"none\"\nkeep_headers = [\"x-kept\"]\n";

fn read_as(config: &Config, text: &str) -> Result<SourcesFile, Vec<String>> {
    let variable = |name: &str| {
        let value = match name {
            "KEY" => KEY.to_owned(),
            "KEYS" => format!("{KEY}\n{OTHER_KEY}\n"),
            "TOKEN" => "a-token".to_owned(),
            "PAIR" => "user:password".to_owned(),
            "LINES" => "one\ntwo\n".to_owned(),
            _ => return None,
        };
        Some(OsString::from(value))
    };
    let path = Path::new("/nowhere/webhook.toml");
    parse(text, path, config, &variable).map_err(|error| {
        let lines = error.lines();
        let lines = lines
            .iter()
            .map(|line| line.replace("/nowhere/webhook.toml:", ""));
        lines.collect()
    })
}

fn read(text: &str) -> Result<SourcesFile, Vec<String>> {
    read_as(&Config::default(), text)
}

#[track_caller]
fn source(text: &str) -> SourceConfig {
    let file = read(&format!("{SOURCE}{text}")).unwrap();
    file.sources.into_iter().next().unwrap()
}

#[track_caller]
fn forwarding(text: &str) -> Forwarding {
    source(text).forward.unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn one_line_is_enough_for_an_app_on_this_machine() {
    let source = source("forward = \"http://127.0.0.1:3000/hooks?a=b\"\n");
    let forward = source.forward.unwrap();
    assert_eq!(forward.url.to_string(), "http://127.0.0.1:3000/hooks");
    let destination = forward.destination;
    assert_eq!(destination.url, "http://127.0.0.1:3000/hooks?a=b");
    assert!(destination.keys.is_empty() && forward.keys.is_empty());
    assert_eq!(destination.timeout, seconds(15));
    assert_eq!(destination.connect_timeout, seconds(5));
    assert_eq!(destination.concurrency.get(), 32);
    assert_eq!(destination.schedule, Schedule::default());
    assert_eq!(source.max_attempts.get(), 13, "not those of the server");
}

#[test]
fn keys_of_the_server_sign_unless_the_destination_has_its_own() {
    let config = Config {
        forward_secrets: Some(Secrets::from(format!("{KEY}\n"))),
        ..Config::default()
    };
    let keys = |more: &str| {
        let text =
            format!("{SOURCE}[sources.a.forward]\nurl = \"https://app.example.com\"\n{more}");
        let file = read_as(&config, &text).unwrap();
        let forward = file.sources[0].forward.clone().unwrap();
        (forward.destination.keys.len(), forward.keys)
    };
    assert_eq!(keys(""), (1, vec![("FORWARD_SECRETS".to_owned(), 1)]));
    let own = "sign_with = [\"env:KEYS\", \"env:KEY\"]\n";
    let places = vec![("env:KEYS".to_owned(), 2), ("env:KEY".to_owned(), 1)];
    assert_eq!(keys(own), (3, places));
}

#[test]
fn every_setting_is_read() {
    let source = source(
        r#"concurrency = 7
max_attempts = 9
[sources.a.forward]
url = "https://app.example.com/hooks"
sign_with = "env:KEY"
timeout = "30s"
connect_timeout = "2s"
rate = "100/s"
burst = 200
schedule = ["1h", "5s"]
give_up_after = "3d"
fail_on = ["400", "411-422"]
pass_headers = ["x-kept", "content-type"]
headers = { x-api-key = "env:TOKEN" }
bearer = "env:TOKEN"
"#,
    );
    let forward = source.forward.unwrap();
    let destination = &forward.destination;
    assert_eq!(
        (destination.timeout, destination.connect_timeout),
        (seconds(30), seconds(2))
    );
    let rate = destination.rate.unwrap();
    assert_eq!(
        (rate.to_string().as_str(), rate.burst.get()),
        ("100/s", 200)
    );
    assert_eq!(destination.give_up_after, Some(seconds(3 * 86_400)));
    assert_eq!(destination.fail_on.to_string(), "400, 411-422");
    assert_eq!(destination.pass_headers, ["x-kept", "content-type"]);
    let values: Vec<_> = destination
        .headers
        .iter()
        .map(|(name, value)| {
            assert!(value.is_sensitive());
            (name.as_str(), value.to_str().unwrap())
        })
        .collect();
    assert_eq!(
        values,
        [
            ("x-api-key", "a-token"),
            ("authorization", "Bearer a-token")
        ]
    );
    assert_eq!(destination.concurrency.get(), 7);
    let delays = [1, 2, 8].map(|attempt| destination.schedule.nominal(attempt));
    assert_eq!(
        delays,
        [seconds(3_600), seconds(5), seconds(5)],
        "the last one repeats"
    );
    let attempts = destination.schedule.attempts().get();
    assert_eq!((attempts, source.max_attempts.get()), (9, 9));
}

#[test]
fn delays_may_grow_and_users_have_passwords() {
    let forward = forwarding(
        "forward = { url = \"http://localhost\", basic = \"env:PAIR\", \
         schedule = { first = \"10s\", factor = 1.5, max = \"1m\", attempts = 8 } }\n",
    );
    let schedule = &forward.destination.schedule;
    assert_eq!(schedule.attempts().get(), 8);
    let delays = [1, 2, 3, 7].map(|attempt| schedule.nominal(attempt).as_secs_f64());
    assert_eq!(delays, [10.0, 15.0, 22.5, 60.0]);
    let (name, value) = &forward.destination.headers[0];
    assert_eq!(
        (name, value.as_bytes()),
        (&AUTHORIZATION, &b"Basic dXNlcjpwYXNzd29yZA=="[..])
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let table = "[sources.a.forward]\nurl = \"http://localhost:3000\"\n";
    let blocked = check_address([169, 254, 169, 254].into(), Reach::Private).unwrap_err();
    let blocked = format!("4:11: sources.a.forward: {blocked}");
    let mut wrong = Vec::new();
    for (text, expected) in [
        (
            "forward = \"app.example.com\"\n".to_owned(),
            &["4:11: sources.a.forward: expected a URL such as http://127.0.0.1:3000/hooks"][..],
        ),
        (
            "forward = \"https://user:password@app.example.com/\"\n".to_owned(),
            &["4:11: sources.a.forward: expected a URL"],
        ),
        (
            "forward = 3000\n".to_owned(),
            &["4:11: sources.a.forward: expected a URL such as"],
        ),
        (
            "forward = \"http://169.254.169.254/latest\"\n".to_owned(),
            &[blocked.as_str()],
        ),
        (
            "forward = \"https://app.example.com/\"\n".to_owned(),
            &["4:11: sources.a.forward: nothing would be signed"],
        ),
        (
            "[sources.a.forward]\ntimout = \"1s\"\n".to_owned(),
            &[
                "4:1: sources.a.forward.url is missing",
                "5:1: sources.a.forward: unknown key timout; did you mean timeout?",
            ],
        ),
        (
            format!(
                "{table}sign_with = [\"env:TOKEN\"]\ntimeout = \"6m\"\nconnect_timeout = \"7m\"\nburst = 5\n\
                 rate = \"5/d\"\nschedule = []\ngive_up_after = \"soon\"\n"
            ),
            &[
                "6:13: sources.a.forward.sign_with: ",
                "7:11: sources.a.forward.timeout: expected a duration from 1s to 5m",
                "8:19: sources.a.forward.connect_timeout: expected more than 0",
                "10:8: sources.a.forward.rate: expected a rate such as 100/s",
                "11:12: sources.a.forward.schedule: a schedule needs at least one delay",
                "12:17: sources.a.forward.give_up_after: expected a duration such as",
            ],
        ),
        (
            format!(
                "{table}burst = 5\nschedule = [\"5s\", \"0s\", \"31d\"]\n\
                 fail_on = [\"299\", \"410\", \"400-422\", \"600\", \"404, 405\"]\n"
            ),
            &[
                "6:9: sources.a.forward.burst: needs rate",
                "7:19: sources.a.forward.schedule[1]: expected a delay of more than 0 and at most 30d",
                "7:25: sources.a.forward.schedule[2]: expected a delay",
                "8:12: sources.a.forward.fail_on[0]: expected a status from 300 to 599",
                "8:19: sources.a.forward.fail_on[1]: expected a status",
                "8:26: sources.a.forward.fail_on[2]: expected a status",
                "8:37: sources.a.forward.fail_on[3]: expected a status",
                "8:44: sources.a.forward.fail_on[4]: expected a status",
            ],
        ),
        (
            format!("{table}schedule = {{ first = \"2h\", factor = 0.5, max = \"1h\" }}\n"),
            &[
                "6:12: sources.a.forward.schedule.attempts is missing",
                "6:37: sources.a.forward.schedule.factor: expected a number from 1 to 100",
            ],
        ),
        (
            format!("{table}schedule = {{ first = \"2h\", max = \"1h\", attempts = 5 }}\n"),
            &["6:12: sources.a.forward.schedule: "],
        ),
        (
            format!("{table}pass_headers = [\"x-kept\", \"x-other\"]\n"),
            &[
                "6:27: sources.a.forward.pass_headers[1]: the source does not keep this header; add it to keep_headers",
            ],
        ),
        (
            format!(
                "{table}pass_headers = [\"X-Kept\"]\nheaders = {{ X-Key = \"env:TOKEN\", x-lines = \"env:LINES\", \
                 x-plain = \"a-token\" }}\n"
            ),
            &[
                "6:17: sources.a.forward.pass_headers[0]: expected the name of a header in lower case",
                "7:13: sources.a.forward.headers: expected names of headers in lower case",
                "7:44: sources.a.forward.headers.x-lines: the place has several lines",
                "7:67: sources.a.forward.headers.x-plain: expected env:NAME or file:PATH",
            ],
        ),
        (
            format!("{table}bearer = \"env:TOKEN\"\nbasic = \"env:TOKEN\"\n"),
            &[
                "7:9: sources.a.forward.basic: a request has one header authorization",
                "7:9: sources.a.forward.basic: expected USER:PASSWORD at this place",
            ],
        ),
        (
            format!("max_attempts = 2000\n{table}"),
            &["5:1: sources.a.max_attempts: "],
        ),
        (
            format!("{table}headers = {{ host = \"env:TOKEN\" }}\n"),
            &["4:1: sources.a.forward: the header host cannot be chosen"],
        ),
        (
            format!("{table}ca = \"none.pem\"\nclient_certificate = \"none.pem\"\n"),
            &[
                "6:6: failed to read sources.a.forward.ca",
                "7:22: sources.a.forward.client_certificate: needs client_key",
            ],
        ),
        (
            format!("{table}client_key = \"none.key\"\nconcurency = 5\n"),
            &[
                "6:14: sources.a.forward.client_key: needs client_certificate",
                "7:1: sources.a.forward: unknown key concurency",
            ],
        ),
    ] {
        let errors = read(&format!("{SOURCE}{text}")).err().unwrap_or_default();
        let is_said = errors.len() == expected.len()
            && errors
                .iter()
                .zip(expected)
                .all(|(error, expected)| error.starts_with(expected));
        if !is_said {
            wrong.push(format!("{text}\n{errors:#?}\n{expected:#?}"));
        }
        let shown = errors.concat();
        assert!(
            !shown.contains("a-token") && !shown.contains("password@"),
            "{shown}"
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn default_keys_that_cannot_be_used_are_an_error_of_whoever_needs_them() {
    for (secrets, part) in [
        ("", "contains no key"),
        (
            "not-a-key",
            "invalid FORWARD_SECRETS or FORWARD_SECRETS_FILE: not a signing key",
        ),
    ] {
        let config = Config {
            forward_secrets: Some(Secrets::from(secrets.to_owned())),
            ..Config::default()
        };
        let unused =
            format!("{SOURCE}forward = {{ url = \"http://localhost\", sign_with = \"env:KEY\" }}");
        assert!(read_as(&config, &unused).is_ok());
        let used = format!("{SOURCE}forward = \"http://localhost\"");
        let errors = read_as(&config, &used).unwrap_err();
        assert!(errors.len() == 1 && errors[0].contains(part), "{errors:?}");
        assert!(!errors[0].contains("not-a-key"), "{errors:?}");
        let twice = format!("{used}\n{}", used.replace("[sources.a]", "[sources.b]"));
        assert_eq!(read_as(&config, &twice).unwrap_err(), errors);
    }
}

#[test]
fn dangerous_destinations_are_warned_of() {
    let warnings = |forward: &str| {
        let file = read(&format!("{SOURCE}{forward}")).unwrap();
        let of_forward = |it: &String| it.contains("forwarded");
        let found = file.warnings.into_iter().filter(of_forward);
        found.collect::<Vec<_>>()
    };
    let signed = |url: &str| format!("forward = {{ url = \"{url}\", sign_with = \"env:KEY\" }}");
    assert!(warnings(&signed("http://10.0.0.7:3000/")).is_empty());
    assert!(warnings(&signed("https://app.example.com/")).is_empty());
    let exposed = warnings(&signed("http://app.example.com/?key=hunter2"));
    assert_eq!(
        exposed,
        [
            "source a: what is forwarded to http://app.example.com/ can be read and changed on its way: use https"
        ]
    );
    let unsigned = warnings("forward = \"http://localhost:3000/\"");
    assert!(
        unsigned.len() == 1 && unsigned[0].contains("is not signed"),
        "{unsigned:?}"
    );
}

#[test]
fn digest_changes_with_what_is_read_and_not_with_where_it_stands() {
    let inputs = |before: &str, forward: &str| {
        let file = read(&format!("{before}{SOURCE}{forward}")).unwrap();
        file.sources[0].forward.as_ref().unwrap().inputs
    };
    let one = inputs("", "forward = \"http://localhost:3000/\"");
    assert_eq!(
        one,
        inputs("# moved\n", "forward = \"http://localhost:3000/\"")
    );
    for other in [
        "forward = \"http://localhost:3001/\"",
        "concurrency = 5\nforward = \"http://localhost:3000/\"",
        "forward = { url = \"http://localhost:3000/\", sign_with = \"env:KEY\" }",
    ] {
        assert_ne!(one, inputs("", other), "{other}");
    }
    let signed = |place: &str| {
        inputs(
            "",
            &format!("forward = {{ url = \"http://localhost\", sign_with = \"{place}\" }}"),
        )
    };
    assert_ne!(signed("env:KEY"), signed("env:KEYS"));
}
