//! What proves who a client is.

use std::time::SystemTime;

use webhook_sources::signature::Signer;

use super::client::post_as;
use super::process::webhook_server;
use super::secrets;

/// A token and its digest, as the command makes them.
pub(crate) async fn token(scope: &str) -> (String, String) {
    token_with(&[scope], &format!("{scope}:")).await
}

/// The same, made with these arguments; its digest begins with `start`.
pub(crate) async fn token_with(args: &[&str], start: &str) -> (String, String) {
    let args = [&["token"], args].concat();
    let (code, out, log) = webhook_server(&args).output().await;
    assert_eq!(code, 0, "{log}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[1].starts_with("wht_") && lines[1].len() > 60, "{out}");
    assert!(lines[3].starts_with(start), "{out}");
    secrets::keep(lines[1]);
    (lines[1].to_owned(), lines[3].to_owned())
}

/// A delivery of `body`, signed as that of `content`.
pub(crate) fn signed_as(signer: &dyn Signer, at: SystemTime, content: &str, body: &str) -> Vec<u8> {
    let mut headers = "Content-Type: application/json\r\n".to_owned();
    for (name, value) in signer.sign("msg_1", at, content.as_bytes()).unwrap() {
        headers.push_str(&format!("{name}: {value}\r\n"));
    }
    post_as(&headers, body)
}

pub(crate) fn signed(signer: &dyn Signer, body: &str) -> Vec<u8> {
    signed_as(signer, SystemTime::now(), body, body)
}
