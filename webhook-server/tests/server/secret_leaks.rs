//! No error and no log line shows any part of a secret, whichever parser fails on it.
//!
//! Random secrets are put into malformed input, in every place where a secret belongs or may be put by
//! mistake. No four consecutive bytes of a secret may appear in the output, neither as text nor as
//! numbers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;

use crate::support::files::Files;
use crate::support::process::{Starter, webhook_server};
use crate::support::tls::Authority;

/// How many secrets are tried in each of the surroundings.
const SECRETS: u64 = 2;

/// A secret of letters that make no word; each `seed` has its own.
fn secret(seed: u64) -> String {
    const LETTERS: &[u8] = b"GHJKMNPQRSTVWXZghjkmnpqrstvwxz";
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let letters = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = usize::try_from(state >> 33).unwrap() % LETTERS.len();
        char::from(LETTERS[at])
    });
    letters.take(128).collect()
}

/// The part of `secret` that `output` shows, in any of the ways in which bytes are written.
fn leaked<'a>(secret: &'a str, output: &str) -> Option<&'a str> {
    let lower = output.to_lowercase();
    let joined = |bytes: &[u8], separator: &str, form: fn(&u8) -> String| {
        bytes.iter().map(form).collect::<Vec<_>>().join(separator)
    };
    (0..secret.len() - 5)
        .map(|at| &secret[at..at + 6])
        .find(|six| {
            let run = &six.as_bytes()[..4];
            let numbers = [", ", ",", " ", ":", ""].iter().any(|separator| {
                lower.contains(&joined(run, separator, |byte| format!("{byte:02x}")))
                    || (!separator.is_empty()
                        && lower.contains(&joined(run, separator, |byte| byte.to_string())))
            });
            output.contains(&six[..4]) || output.contains(&STANDARD.encode(six)) || numbers
        })
}

fn assert_hidden(secret: &str, output: &str, what: &str) {
    assert_eq!(leaked(secret, output), None, "{what}: {output}");
}

#[test]
fn leaks_are_detected_in_every_encoding() {
    let secret = secret(1);
    let part = &secret.as_bytes()[41..45];
    for output in [
        secret[41..45].to_owned(),
        format!("{part:?}"),
        format!("{part:x?}"),
        format!("{part:02X?}"),
        STANDARD.encode(&secret[41..47]),
    ] {
        assert!(leaked(&secret, &output).is_some(), "{output}");
    }
    assert_eq!(leaked(&secret, "nothing to see"), None);
}

/// Damaged forms of a private key whose Base64 is `secret`. None can be used.
fn keys(secret: &str) -> Vec<Vec<u8>> {
    let (begin, end) = ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----");
    let (one, two) = secret.split_at(64);
    let mut keys: Vec<Vec<u8>> = [
        format!("{begin}\n{one}\n{two}\n{end}\n"),
        format!("{begin}\\n{one}\\n{two}\\n{end}\\n"),
        format!("{begin}{one}{two}{end}"),
        format!("{begin} {one} {two}"),
        format!("{begin}\n{one}\n-----END {two}-----\n"),
        format!("-----BEGIN {one}\n{two}\n{end}"),
        format!("-----BEGIN {one}-----{two}-----END {one}-----"),
        format!("---BEGIN PRIVATE KEY---\n{one}\n{two}\n---END PRIVATE KEY---"),
        format!("{begin}\n{one}*{two}\n{end}"),
        format!("{begin}\n{one}={two}\n{end}"),
        format!("{begin}\nProc-Type: 4,ENCRYPTED\nDEK-Info: {one}\n\n{two}\n{end}"),
        format!("{begin}\n{one}\n{begin}\n{two}\n{end}"),
        format!("{{\"key\":\"{begin}\\n{one}\"}}"),
        STANDARD.encode(format!("{begin}\n{secret}\n{end}")),
        STANDARD.encode(secret),
        secret.to_owned(),
    ]
    .map(String::into_bytes)
    .into();
    let whole = format!("{begin}\n{secret}\n{end}");
    keys.push([whole.as_bytes(), b"\xff"].concat());
    keys.push(format!("{begin}\n{one}\0{two}\n{end}").into_bytes());
    keys.push(whole.encode_utf16().flat_map(u16::to_le_bytes).collect());
    keys.push([b"\xff\xfe", whole.as_bytes(), b"x"].concat());
    keys
}

/// Damaged forms of a line with a secret. None can be used.
fn lines(secret: &str) -> Vec<Vec<u8>> {
    let (one, two) = secret.split_at(64);
    let mut lines: Vec<Vec<u8>> = [
        format!("\"{secret}"),
        format!("{secret}\""),
        format!("{one}\u{200b}{two}"),
        format!("{one}\t{two}"),
        format!("STRIPE_SECRET={secret}"),
        format!("export SECRET={secret}"),
        format!("{{\"secret\":\"{secret}\"}}"),
        format!("whsec_{one},whsec_{two}"),
        format!("whsec_{one} whsec_{two}"),
        format!("whsec_{one}\\nwhsec_{two}"),
    ]
    .map(String::into_bytes)
    .into();
    lines.push([secret.as_bytes(), b"\xff"].concat());
    lines.push(format!("{one}\0{two}").into_bytes());
    lines
}

/// A server that shows all that it can.
fn server(args: &[&str]) -> Starter {
    webhook_server(args)
        .env("LOG_LEVEL", "trace")
        .env("RUST_BACKTRACE", "full")
        .env("BIND_ADDR", "127.0.0.1:0")
        .env("DATABASE_WAIT_SECONDS", "0")
}

/// Fails unless the server ends with an error, and shows no part of `secret`.
async fn assert_refused(secret: &str, starter: Starter, what: &str) {
    let (code, out, error) = starter.output().await;
    assert_ne!(code, 0, "{what}");
    assert!(!error.is_empty(), "{what}");
    assert_hidden(secret, &format!("{out}{error}"), what);
}

#[tokio::test]
async fn no_part_of_a_private_key_is_shown() {
    let (authority, files) = (Authority::new(), Files::new());
    let identity = authority.issue();
    let cert = files.write("cert.pem", &identity.cert);
    let key = files.write("key.pem", &identity.key);
    let mut process = webhook_server(&["--log-level=trace"])
        .env("TLS_CERT_FILE", &cert)
        .env("TLS_KEY_FILE", &key)
        .start();
    process.listens().await;
    let failed = "failed to reload secrets, tokens and certificates; the current ones stay in use";
    for secret in (1..=SECRETS).map(secret) {
        for content in keys(&secret) {
            let what = String::from_utf8_lossy(&content).into_owned();
            files.write("key.pem", &content);
            for name in ["TLS_KEY_FILE", "TLS_CERT_FILE", "TLS_CLIENT_CA_FILE"] {
                let mut starter = server(&[]);
                for file in ["TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE"] {
                    starter = starter.env(file, if file == name { &key } else { &cert });
                }
                assert_refused(&secret, starter, &what).await;
            }
            process.signal(Signal::HUP);
            process.logs(failed).await;
            assert_hidden(&secret, &process.logged.join("\n"), &what);
        }
        // The key in place of its file.
        for content in keys(&secret) {
            let what = String::from_utf8_lossy(&content).replace('\0', "");
            let starter = server(&[]).env("TLS_CERT_FILE", &cert);
            assert_refused(&secret, starter.env("TLS_KEY_FILE", &what), &what).await;
        }
    }
}

#[tokio::test]
async fn no_part_of_a_secret_or_token_is_shown() {
    let files = Files::new();
    for secret in (1..=SECRETS).map(secret) {
        for content in lines(&secret) {
            let what = String::from_utf8_lossy(&content).into_owned();
            let file = files.write("secrets", &content);
            for scheme in ["standard-webhooks", "stripe", "github"] {
                let server = || server(&[]).env("WEBHOOK_SIGNATURE_SCHEME", scheme);
                let starter = server().env("WEBHOOK_SECRETS_FILE", &file);
                assert_refused(&secret, starter, &what).await;
                if std::str::from_utf8(&content).is_ok() && !content.contains(&0) {
                    let starter = server().env("WEBHOOK_SECRETS", &what);
                    assert_refused(&secret, starter, &what).await;
                }
            }
            for name in ["API_TOKENS_FILE", "FORWARD_SECRETS_FILE"] {
                assert_refused(&secret, server(&[]).env(name, &file), &what).await;
            }
            let starter = server(&["status"]).env("DATABASE_URL_FILE", &file);
            assert_refused(&secret, starter, &what).await;
            for prefix in ["", "read:", "wht_", "operate:00"] {
                let token = format!("{prefix}{secret}");
                assert_refused(&secret, server(&[]).env("API_TOKENS", &token), &token).await;
            }
        }
        // The secret in place of its file.
        for (scheme, name) in [
            ("github", "WEBHOOK_SECRETS_FILE"),
            ("none", "API_TOKENS_FILE"),
            ("none", "FORWARD_SECRETS_FILE"),
            ("none", "DATABASE_URL_FILE"),
        ] {
            for value in [
                secret.clone(),
                format!("whsec_{secret}"),
                format!("a/{secret}"),
            ] {
                let starter = server(&[]).env("WEBHOOK_SIGNATURE_SCHEME", scheme);
                assert_refused(&secret, starter.env(name, &value), &value).await;
            }
        }
    }
}

#[tokio::test]
async fn no_part_of_a_secret_on_the_command_line_is_shown() {
    for secret in (1..=SECRETS).map(secret) {
        let (one, two) = secret.split_at(64);
        let url = format!("postgres://app:{secret}@127.0.0.1/app");
        for args in [
            &[&url[..]][..],
            &["--webhook-secrets", one, two],
            &[&format!("--webhook-secret={secret}")],
            &[&format!("--api-token={secret}")],
            &[&format!("--database-urll={url}")],
            &[&format!("--bind-addr={url}")],
            &[&format!("--api-tokens={secret}")],
            &[&format!("--webhook-secrets={secret}"), "--role=boss"],
            &["--role", &format!("whsec_{secret}")],
            &["status", &secret],
            &["token", &format!("wht_{secret}")],
        ] {
            assert_refused(&secret, server(args), &args.join(" ")).await;
        }
    }
}

#[tokio::test]
async fn no_part_of_an_env_file_is_shown() {
    for secret in (1..=SECRETS).map(secret) {
        let (one, two) = secret.split_at(64);
        let mut cases: Vec<Vec<u8>> = [
            format!("DATABASE_URL=postgres://app:{one} {two}@127.0.0.1/app"),
            format!("DATABASE_URL=\"{secret}"),
            format!("DATABASE_URL='{secret}"),
            format!("DATABASE_URL postgres://app:{secret}@db/app"),
            format!("DATABASE_URL={one}${two}"),
            format!("DATABASE_URL={one}\\{two}"),
            format!("WEBHOOK_SECRETS={one}\n{two}"),
            format!("WEBHOOK_SECRETS=\"{one}\n{two}\nLOG_LEVEL=info"),
            format!("OTHER={one} {two}\nROLE=boss"),
            format!("{secret}\nROLE=boss"),
        ]
        .map(String::into_bytes)
        .into();
        cases.push([b"DATABASE_URL=", secret.as_bytes(), b"\xff"].concat());
        cases.push(format!("DATABASE_URL={one}\0{two}").into_bytes());
        for content in cases {
            let what = String::from_utf8_lossy(&content).into_owned();
            for args in [&[][..], &["migrate"]] {
                assert_refused(&secret, server(args).env_file(&content), &what).await;
            }
        }
    }
}

/// URLs without a server, and URLs that do not parse.
#[tokio::test]
async fn no_part_of_a_database_password_is_shown() {
    let files = Files::new();
    for secret in (1..=SECRETS).map(secret) {
        let (one, two) = secret.split_at(64);
        for password in [
            secret.clone(),
            format!("{one}@{two}"),
            format!("{one}/{two}"),
            format!("{one}?{two}"),
            format!("{one}#{two}"),
            format!("{one}%{two}"),
            format!("{one}:{two}"),
            format!("{one}%40{two}"),
            format!("{one}%F0%9F%A6%80{two}"),
            format!("{one}%ff{two}"),
        ] {
            for url in [
                format!("postgresql://app:{password}@127.0.0.1:1/app"),
                format!("postgresql://app@127.0.0.1:1/app?password={password}"),
                format!("postgresql://app:{password}@127.0.0.1:port/app"),
                format!("postgresql://app:{password}@127.0.0.1:1/app?sslmode=off"),
                format!("postgresql://app:{password}@127.0.0.1:1,127.0.0.1:2/app"),
                format!("postgres:app:{password}@127.0.0.1:1/app"),
                format!("mysql://app:{password}@127.0.0.1:1/app"),
                format!("app:{password}@127.0.0.1:1/app"),
            ] {
                assert_refused(&secret, server(&[]).env("DATABASE_URL", &url), &url).await;
            }
        }
        let url = format!("postgresql://app:{secret}@127.0.0.1:1/app");
        let file = files.write("url", &url);
        for args in [&[][..], &["migrate"], &["status"]] {
            let starter = server(args).env("DATABASE_URL_FILE", &file);
            assert_refused(&secret, starter, &url).await;
        }
    }
}
