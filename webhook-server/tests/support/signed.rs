//! What proves who a client is.

use std::time::SystemTime;

use webhook_server::config::SignatureScheme;
use webhook_sources::{
    Outgoing, Request, SecretLength, Secrets, Unsigned, Verification, VerificationOptions,
};

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

/// A sender of transactions.
pub(crate) struct Signer(Verification);

impl Signer {
    /// Signs by the scheme that `WEBHOOK_SIGNATURE_SCHEME` names, with a secret of any length.
    pub(crate) fn new(scheme: &str, secret: &str) -> Self {
        let scheme: SignatureScheme = scheme.parse().unwrap();
        let options = VerificationOptions {
            secret_length: SecretLength::Unchecked,
            ..VerificationOptions::default()
        };
        let secrets = Secrets::of([secret]);
        Self(Verification::new(&scheme.scheme().unwrap(), &secrets, options).unwrap())
    }

    /// The headers to send with `body`.
    pub(crate) fn sign(
        &self,
        id: &str,
        at: SystemTime,
        body: &[u8],
    ) -> Result<Vec<(String, String)>, Unsigned> {
        let request = Request {
            method: "POST",
            target: "/v1/webhooks/transactions",
            headers: &[],
            body,
        };
        let message_id = Some(id);
        let outgoing = Outgoing {
            request,
            message_id,
        };
        Ok(self.0.sign(&outgoing, at)?.headers)
    }
}

/// A delivery of `body`, signed as that of `content`.
pub(crate) fn signed_as(signer: &Signer, at: SystemTime, content: &str, body: &str) -> Vec<u8> {
    let mut headers = "Content-Type: application/json\r\n".to_owned();
    for (name, value) in signer.sign("msg_1", at, content.as_bytes()).unwrap() {
        headers.push_str(&format!("{name}: {value}\r\n"));
    }
    post_as(&headers, body)
}

pub(crate) fn signed(signer: &Signer, body: &str) -> Vec<u8> {
    signed_as(signer, SystemTime::now(), body, body)
}
