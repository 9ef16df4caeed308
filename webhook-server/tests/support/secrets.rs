//! What no log may show, whichever test makes the process log it.

use std::sync::{PoisonError, RwLock};

/// The accounts of [`transaction`](super::transaction).
const ACCOUNTS: [&str; 2] = ["DE89370400440532013000", "GB29NWBK60161331926819"];

/// Anything shorter may stand in a log by chance.
const MIN_LENGTH: usize = 6;

/// What was used as a secret so far, by all tests of this process.
static SECRETS: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// From now on nothing may log `secret`.
pub(crate) fn keep(secret: &str) {
    let is_known = |known: &[String]| known.iter().any(|it| it == secret);
    if secret.len() < MIN_LENGTH
        || is_known(&SECRETS.read().unwrap_or_else(PoisonError::into_inner))
    {
        return;
    }
    let mut known = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    known.push(secret.to_owned());
}

/// Keeps what a setting of the server holds of secrets.
pub(crate) fn keep_setting(variable: &str, value: &str) {
    match variable {
        "DATABASE_URL" => {
            for part in value.split(['?', '&', ' ']) {
                let userinfo = part.rsplit_once('@').map_or("", |(userinfo, _)| userinfo);
                let (_, userinfo) = userinfo.split_once("://").unwrap_or_default();
                if let Some((_, password)) = userinfo.split_once(':') {
                    keep(password);
                }
                if let Some(password) = part.strip_prefix("password=") {
                    keep(password);
                }
            }
        }
        "WEBHOOK_SECRETS" | "FORWARD_SECRETS" => {
            for secret in value.lines() {
                keep(secret.strip_prefix("whsec_").unwrap_or(secret));
            }
        }
        "API_TOKENS" => {
            for token in value.split([',', ' ']) {
                keep(token.split_once(':').map_or(token, |(_, digest)| digest));
            }
        }
        _ => {}
    }
}

/// Keeps what the headers of a request hold: tokens and signatures.
pub(crate) fn keep_headers(request: &[u8]) {
    let head = request.split(|&byte| byte == b'\0').next().unwrap_or(&[]);
    let head = String::from_utf8_lossy(head);
    for line in head.lines().skip(1).take_while(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let name = name.to_ascii_lowercase();
        if ["authorization", "signature", "hmac", "x-mine"]
            .iter()
            .any(|part| name.contains(part))
        {
            let parts = value.split([' ', ',', '=']);
            parts.filter(|part| part.len() > 16).for_each(keep);
        }
    }
}

/// What is wrong with a line of a server's log, if anything is.
pub(crate) fn fault(line: &str) -> Option<&'static str> {
    let secrets = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    if secrets.iter().any(|secret| line.contains(secret)) {
        Some("shows a secret")
    } else if ACCOUNTS.iter().any(|account| line.contains(account)) {
        Some("shows a whole account number")
    } else if line.contains("panicked at") {
        Some("tells of a panic")
    } else if [r#""status":500"#, " status=500", "request failed"]
        .iter()
        .any(|part| line.contains(part))
    {
        Some("tells of an answer 500")
    } else if line.chars().any(is_unprintable) {
        Some("has characters that do not show themselves")
    } else {
        None
    }
}

fn is_unprintable(c: char) -> bool {
    c.is_control() || (!c.is_ascii() && c.escape_debug().len() > 1)
}
