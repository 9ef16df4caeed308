//! Who signs the deliveries of transactions.

use std::fmt;
use std::time::SystemTime;

use webhook_sources::spec::Scheme;
use webhook_sources::{
    InvalidSource, Request, SecretLength, Secrets, Unverified, Verification, VerificationOptions,
};
use zeroize::Zeroizing;

/// Verifies the signatures of deliveries.
pub trait Verifier: fmt::Debug + Send + Sync {
    /// Checks what the head of a request shows, before its body is read.
    ///
    /// # Errors
    ///
    /// A reason why [`verify`](Self::verify) would refuse the request with any body.
    fn check_head(&self, request: &Request<'_>, now: SystemTime) -> Result<(), Unverified>;

    /// Verifies a request. Returns the position of the secret that matched.
    ///
    /// # Errors
    ///
    /// The reason, for the log.
    fn verify(&self, request: &Request<'_>, now: SystemTime) -> Result<usize, Unverified>;

    /// The number of secrets; the position of a secret is always less.
    fn secret_count(&self) -> usize;
}

/// The scheme of the senders of transactions, with their secrets.
#[derive(Debug)]
pub struct Senders {
    verification: Verification,
    /// The position in the configuration of the secret with each index.
    positions: Vec<usize>,
}

impl Senders {
    /// Verifies by `scheme`. Keys of Ed25519, which begin with `whpk_` or `whsk_`, are public keys if the scheme takes
    /// any.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the secrets.
    pub fn new(
        scheme: &Scheme,
        secrets: &[Zeroizing<String>],
        secret_length: SecretLength,
    ) -> Result<Self, InvalidSource> {
        let takes_keys = scheme.secret_names().contains(&PUBLIC_KEY);
        let name = |secret: &str| {
            let key = secret.strip_prefix("v1a,").unwrap_or(secret);
            let is_key = key.starts_with("whpk_") || key.starts_with("whsk_");
            if takes_keys && is_key {
                PUBLIC_KEY
            } else {
                SECRET
            }
        };
        let names: Vec<&str> = secrets.iter().map(|secret| name(secret)).collect();
        let named = names.iter().zip(secrets);
        let named = named.fold(Secrets::new(), |all, (name, secret)| {
            all.with(name, secret.as_str())
        });
        let options = VerificationOptions {
            secret_length,
            ..VerificationOptions::default()
        };
        let verification = Verification::new(scheme, &named, options).map_err(|problems| {
            let mut problems = problems.into_iter();
            problems.next().unwrap_or(InvalidSource::ProvesNothing)
        })?;
        let position = |index| {
            let (wanted, place) = verification.secret_name(index)?;
            let mut positions = (0..names.len()).filter(|position| names[*position] == wanted);
            positions.nth(place)
        };
        let positions = (0..verification.secret_count()).filter_map(position);
        Ok(Self {
            positions: positions.collect(),
            verification,
        })
    }
}

/// The names of secrets and of public keys in schemes.
const SECRET: &str = "secret";
const PUBLIC_KEY: &str = "public_key";

impl Verifier for Senders {
    fn check_head(&self, request: &Request<'_>, now: SystemTime) -> Result<(), Unverified> {
        self.verification.check_head(request, now)
    }

    fn verify(&self, request: &Request<'_>, now: SystemTime) -> Result<usize, Unverified> {
        let index = self.verification.verify(request, now)?.secret_index;
        Ok(self.positions.get(index).copied().unwrap_or(index))
    }

    fn secret_count(&self) -> usize {
        self.positions.len()
    }
}

#[cfg(test)]
mod tests {
    use webhook_sources::{Outgoing, preset};

    use super::*;

    #[test]
    fn secrets_have_the_positions_of_the_configuration() {
        let scheme = &preset::get("svix").unwrap().spec.scheme;
        let secrets = [
            "whsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "v1a,whsk_AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "v1,whsec_b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xk",
        ];
        let secrets = secrets.map(|secret| Zeroizing::new(secret.to_owned()));
        let all = Senders::new(scheme, &secrets, SecretLength::Checked).unwrap();
        assert_eq!(all.secret_count(), secrets.len());
        let now = SystemTime::now();
        for (position, secret) in secrets.iter().enumerate() {
            let one = [secret.clone()];
            let one = Senders::new(scheme, &one, SecretLength::Checked).unwrap();
            let request = Request {
                method: "POST",
                target: "/",
                headers: &[],
                body: b"{}",
            };
            let message_id = Some("msg_1");
            let outgoing = Outgoing {
                request,
                message_id,
            };
            let signed = one.verification.sign(&outgoing, now).unwrap();
            let headers = signed.headers.iter();
            let headers: Vec<_> = headers
                .map(|(name, value)| (name.as_str(), value.as_bytes()))
                .collect();
            let request = Request {
                headers: &headers,
                ..request
            };
            assert_eq!(all.verify(&request, now), Ok(position));
        }
    }
}
