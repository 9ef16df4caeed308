//! Where events are forwarded to: transactions by `FORWARD_URL`, those of a source by its `forward`.

use std::num::{NonZeroU32, NonZeroUsize};

use hyper::header::{CONTENT_TYPE, HeaderValue};
use sha2::{Digest, Sha256};
use toml::de::DeValue;
use webhook_forward::{
    Destination, InvalidDestination, InvalidSchedule, InvalidSigningKey, Schedule, SigningKeys,
};
use zeroize::Zeroizing;

use super::{Config, DestinationUrl, SecretsError};

/// A destination, and what is told of it.
#[derive(Clone, Debug)]
pub(crate) struct Forwarding {
    /// The URL. It is shown without its query.
    pub(crate) url: DestinationUrl,
    /// All that is needed to forward.
    pub(crate) destination: Destination,
    /// Where the keys are that sign, and how many there are.
    pub(crate) keys: Vec<(String, usize)>,
    /// Differs where anything differs that the destination was made of, such as the content of a file.
    pub(crate) inputs: InputsDigest,
}

/// The keys for destinations that name none; there may be none.
#[derive(Clone)]
pub(crate) struct DefaultKeys {
    pub(super) secrets: Vec<Zeroizing<String>>,
    pub(crate) keys: SigningKeys,
}

/// Where the keys are if a destination names none.
pub(super) const DEFAULT_KEYS: &str = "FORWARD_SECRETS";

/// What is wrong without keys.
pub(super) const NO_KEY: &str = "nothing would be signed, so that the destination could not tell who sends: make a \
                                 key with `webhook-server secret`, and set";

impl Config {
    /// Where transactions go; `None` if this server processes them itself. Blocks while it reads the file of the keys.
    ///
    /// # Errors
    ///
    /// When the keys cannot be read, or there are none although the destination is not on this machine.
    pub(crate) fn forwarding(&self) -> Result<Option<Forwarding>, ForwardError> {
        let DefaultKeys { secrets, keys } = self.default_keys()?;
        let Some(url) = &self.forward_url else {
            return Ok(None);
        };
        if keys.is_empty() && !url.is_loopback() {
            return Err(ForwardError::NoKey);
        }
        let mut inputs = Inputs::default();
        inputs.add(url.uri().to_string());
        for secret in &secrets {
            inputs.add(secret.as_bytes());
        }
        let concurrency = NonZeroUsize::new(self.worker_concurrency).unwrap_or(NonZeroUsize::MIN);
        let count = keys.len();
        let schedule = Schedule::default();
        let attempts = self.max_attempts.min(schedule.attempts());
        let destination = of_transactions(url)
            .with_keys(keys)
            .with_schedule(with_attempts(&schedule, attempts)?)
            .with_concurrency(concurrency);
        destination.check()?;
        Ok(Some(Forwarding {
            url: url.clone(),
            destination,
            keys: (count > 0)
                .then(|| (DEFAULT_KEYS.to_owned(), count))
                .into_iter()
                .collect(),
            inputs: inputs.digest(),
        }))
    }

    /// The keys for destinations that name none. Blocks while it reads their file.
    ///
    /// # Errors
    ///
    /// When the keys cannot be read, or are no keys.
    pub(crate) fn default_keys(&self) -> Result<DefaultKeys, ForwardError> {
        let secrets = self.forward_keys()?;
        let keys = signing_keys(&secrets)?;
        Ok(DefaultKeys { secrets, keys })
    }
}

/// A destination of transactions without keys, and without anything else that is set for one.
pub(crate) fn of_transactions(url: &DestinationUrl) -> Destination {
    let json = HeaderValue::from_static("application/json");
    // Transactions are JSON, and no header is kept with them.
    Destination::new(url.uri().clone()).with_headers([(CONTENT_TYPE, json)])
}

/// The keys that these texts are.
pub(super) fn signing_keys(
    secrets: &[Zeroizing<String>],
) -> Result<SigningKeys, InvalidSigningKey> {
    SigningKeys::parse(secrets.iter().map(|secret| secret.as_str()))
}

/// The first delays of `schedule`, for this many attempts. Where it has fewer, its last delay repeats.
pub(super) fn with_attempts(
    schedule: &Schedule,
    attempts: NonZeroU32,
) -> Result<Schedule, InvalidSchedule> {
    if attempts == NonZeroU32::MIN {
        let first = schedule.nominal(1);
        return Schedule::exponential(first, 1.0, first, attempts);
    }
    Schedule::list((1..attempts.get()).map(|attempt| schedule.nominal(attempt)))
}

/// What is dangerous about a destination, and what to do about it.
pub(super) fn warnings(url: &DestinationUrl, is_signed: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if !is_signed {
        warnings.push(format!(
            "what is forwarded to {url} is not signed, so that every program on this machine could send the same: \
             make a key with `webhook-server secret`, and set FORWARD_SECRETS"
        ));
    }
    if url.is_exposed() {
        warnings.push(format!(
            "what is forwarded to {url} can be read and changed on its way: use https"
        ));
    }
    warnings
}

/// Hashes what a destination is made of.
#[derive(Default)]
pub(super) struct Inputs(Sha256);

/// The hash of all inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InputsDigest([u8; 32]);

impl Inputs {
    pub(super) fn add(&mut self, input: impl AsRef<[u8]>) {
        let input = input.as_ref();
        // No two lists of inputs have the same bytes.
        self.0.update(input.len().to_be_bytes());
        self.0.update(input);
    }

    /// Adds a value of `webhook.toml`, wherever it stands there.
    pub(super) fn add_value(&mut self, value: &DeValue<'_>) {
        match value {
            DeValue::String(text) => self.add(text.as_bytes()),
            DeValue::Integer(number) => self.add(number.as_str()),
            DeValue::Float(number) => self.add(number.as_str()),
            DeValue::Boolean(is_true) => self.add([u8::from(*is_true)]),
            DeValue::Datetime(_) => {}
            DeValue::Array(items) => {
                self.add(items.len().to_be_bytes());
                for item in items.iter() {
                    self.add_value(item.get_ref());
                }
            }
            DeValue::Table(table) => {
                self.add(table.len().to_be_bytes());
                for (key, value) in table {
                    self.add(key.get_ref().as_bytes());
                    self.add_value(value.get_ref());
                }
            }
        }
    }

    pub(super) fn digest(self) -> InputsDigest {
        InputsDigest(self.0.finalize().into())
    }
}

/// Why nothing can be forwarded to `FORWARD_URL`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// The keys cannot be read.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// A key does not have the form of a key.
    #[error("invalid FORWARD_SECRETS or FORWARD_SECRETS_FILE")]
    Key(#[from] InvalidSigningKey),
    /// There are no keys, and the destination is on another machine.
    #[error("FORWARD_URL needs FORWARD_SECRETS or FORWARD_SECRETS_FILE: {NO_KEY} one of them")]
    NoKey,
    /// The delays between attempts cannot be used.
    #[error("invalid MAX_ATTEMPTS")]
    Schedule(#[from] InvalidSchedule),
    /// The destination cannot be used.
    #[error("invalid FORWARD_URL")]
    Destination(#[from] InvalidDestination),
}
