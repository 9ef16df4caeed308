//! Signs by the schemes as their providers describe them, without the code under test.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use webhook_sources::spec::{self, HmacScheme, SignatureSpec, TimeSpec, Tolerance};
use webhook_sources::{Secrets, Verification, VerificationOptions, preset};

use super::{Headers, value};

/// The current time.
pub(super) const NOW_SECONDS: u64 = 1_800_000_000;

/// How far a signature's time may differ from it.
pub(super) const TOLERANCE_SECONDS: u64 = 300;

/// More secrets than the number of signatures that a delivery may have.
pub(super) const MAX_SECRETS: u8 = 20;

/// The number of secrets that have a key pair as well. It is small because every signature is
/// checked with every key, which is slow.
const MAX_KEYS: u8 = 2;

/// A kind of signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Standard { publics: bool, macs: bool },
    Stripe,
    Body(Preset),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preset {
    GitHub,
    Razorpay,
    Shopify,
    Cashfree,
    /// The time in seconds, with a full stop between it and the body.
    Own,
}

/// A scheme, with 1 to [`MAX_SECRETS`] secrets.
pub(super) struct Scheme {
    form: Form,
    parties: Vec<Party>,
}

/// The verifier and the signer of a scheme.
struct Party {
    verifier: Verification,
    signer: Verification,
}

pub(super) static SCHEMES: LazyLock<Vec<Scheme>> = LazyLock::new(|| {
    let forms = [
        Form::Standard {
            publics: false,
            macs: true,
        },
        Form::Standard {
            publics: true,
            macs: false,
        },
        Form::Standard {
            publics: true,
            macs: true,
        },
        Form::Stripe,
        Form::Body(Preset::GitHub),
        Form::Body(Preset::Razorpay),
        Form::Body(Preset::Shopify),
        Form::Body(Preset::Cashfree),
        Form::Body(Preset::Own),
    ];
    forms.into_iter().map(Scheme::new).collect()
});

impl Scheme {
    fn new(form: Form) -> Self {
        let parties = (1..=MAX_SECRETS).map(|count| Party {
            verifier: Self::verifier_of(form, count),
            signer: Self::signer_of(form, count),
        });
        Self {
            form,
            parties: parties.collect(),
        }
    }

    /// Uses only the public keys where a scheme has them.
    fn verifier_of(form: Form, count: u8) -> Verification {
        verification(form, count, |key| {
            format!("whpk_{}", STANDARD.encode(key.verifying_key().as_bytes()))
        })
    }

    fn signer_of(form: Form, count: u8) -> Verification {
        verification(form, count, |key| {
            format!("whsk_{}", STANDARD.encode(key.as_bytes()))
        })
    }

    /// The header with the signatures, in each spelling.
    pub(super) fn is_signature_header(&self, name: &str) -> bool {
        match self.form {
            Form::Standard { .. } => ["webhook-signature", "svix-signature"].contains(&name),
            Form::Stripe => name == "stripe-signature",
            Form::Body(preset) => name == preset.header(),
        }
    }

    /// Whether the signatures are in one header with the time.
    pub(super) fn has_time_in_signature(&self) -> bool {
        self.form == Form::Stripe
    }

    /// Whether several schemes are tried, so that their reasons may differ.
    pub(super) fn has_alternatives(&self) -> bool {
        self.has_id()
    }

    pub(super) fn verifier(&self, secrets: u8) -> &Verification {
        &self.parties[usize::from(secrets) - 1].verifier
    }

    pub(super) fn signer(&self, secrets: u8) -> &Verification {
        &self.parties[usize::from(secrets) - 1].signer
    }

    pub(super) fn has_id(&self) -> bool {
        matches!(self.form, Form::Standard { .. })
    }

    pub(super) fn has_time(&self) -> bool {
        match self.form {
            Form::Standard { .. } | Form::Stripe => true,
            Form::Body(preset) => preset.time_header().is_some(),
        }
    }

    pub(super) fn units_a_second(&self) -> u128 {
        if self.form == Form::Body(Preset::Cashfree) {
            1000
        } else {
            1
        }
    }

    /// Returns headers with `time`, valid or not, signed with the first secret. `None` if the
    /// scheme has no time, or no header can hold it.
    pub(super) fn signed_at(&self, time: &str, body: &[u8]) -> Option<Headers> {
        if !self.has_time() || !time.is_ascii() {
            return None;
        }
        let signature = self.signatures(1, b"id", time.as_bytes(), body).remove(0);
        let header = |name: &str, value: String| (name.to_owned(), value.into_bytes());
        Some(match self.form {
            Form::Standard { .. } => vec![
                header("webhook-id", "id".to_owned()),
                header("webhook-timestamp", time.to_owned()),
                header("webhook-signature", signature),
            ],
            // In both headers these characters end the time.
            Form::Stripe if time.contains(',') => return None,
            Form::Stripe => vec![header("stripe-signature", format!("t={time},{signature}"))],
            Form::Body(preset) => vec![
                header(preset.time_header()?, time.to_owned()),
                header(preset.header(), signature),
            ],
        })
    }

    /// Returns whether `headers` hold a signature by one of the secrets over their content and
    /// `body`, with a time near `now`. It searches for the text of a signature anywhere in its
    /// header.
    pub(super) fn is_signed(
        &self,
        secrets: u8,
        headers: &Headers,
        body: &[u8],
        now: SystemTime,
    ) -> bool {
        let text = |name: &str| {
            let value = value(headers, name)?;
            str::from_utf8(value).ok().map(str::to_owned)
        };
        // Each value of the header with the signatures counts.
        let tags = |name: &str| {
            let values = headers.iter().filter(|(known, _)| known == name);
            let values = values.filter_map(|(_, value)| str::from_utf8(value).ok());
            Some(values.collect::<Vec<_>>().join(","))
        };
        match self.form {
            Form::Standard { .. } => ["webhook", "svix"].iter().any(|name| {
                let part = |part: &str| text(&format!("{name}-{part}"));
                let tags = tags(&format!("{name}-signature"));
                self.is_claim_signed(secrets, part("id"), part("timestamp"), tags, body, now)
            }),
            Form::Stripe => {
                let tags = tags("stripe-signature");
                let time = tags.as_deref().and_then(|tags| {
                    let mut items = tags
                        .split(',')
                        .filter_map(|item| item.trim_ascii().split_once('='));
                    let time = items.find(|(name, _)| *name == "t");
                    time.map(|(_, time)| time.to_owned())
                });
                self.is_claim_signed(secrets, Some(String::new()), time, tags, body, now)
            }
            Form::Body(preset) => {
                let time = preset.time_header().map_or(Some(String::new()), text);
                let tags = tags(preset.header());
                self.is_claim_signed(secrets, Some(String::new()), time, tags, body, now)
            }
        }
    }

    fn is_claim_signed(
        &self,
        secrets: u8,
        id: Option<String>,
        time: Option<String>,
        tags: Option<String>,
        body: &[u8],
        now: SystemTime,
    ) -> bool {
        let (Some(id), Some(time), Some(tags)) = (id, time, tags) else {
            return false;
        };
        let signatures = self.signatures(secrets, id.as_bytes(), time.as_bytes(), body);
        let holds = |signature: &String| {
            // White space may surround the `=` in Stripe's header.
            let signature = signature.strip_prefix("v1=").unwrap_or(signature);
            let signature = signature.trim_end_matches('=');
            if self.is_hex() {
                tags.to_ascii_lowercase()
                    .contains(&signature.to_ascii_lowercase())
            } else {
                tags.contains(signature)
            }
        };
        let is_id = !self.has_id() || !id.is_empty() && !id.contains('.');
        is_id && self.is_near(&time, now) && signatures.iter().any(holds)
    }

    fn is_hex(&self) -> bool {
        use Preset::{GitHub, Own, Razorpay};
        matches!(
            self.form,
            Form::Stripe | Form::Body(GitHub | Razorpay | Own)
        )
    }

    fn is_near(&self, time: &str, now: SystemTime) -> bool {
        if !self.has_time() {
            return true;
        }
        let Ok(number) = time.parse::<u64>() else {
            return false;
        };
        let time = if self.units_a_second() == 1000 {
            Duration::from_millis(number)
        } else {
            Duration::from_secs(number)
        };
        let now = now.duration_since(UNIX_EPOCH);
        now.is_ok_and(|now| now.abs_diff(time) <= Duration::from_secs(TOLERANCE_SECONDS))
    }

    /// Returns the signatures as the header writes them, one for each secret.
    fn signatures(&self, secrets: u8, id: &[u8], time: &[u8], body: &[u8]) -> Vec<String> {
        let numbers = 0..secrets;
        match self.form {
            Form::Standard { publics, macs } => {
                let content = [id, b".", time, b".", body].concat();
                let by_mac = numbers.clone().filter(|_| macs).map(|number| {
                    format!("v1,{}", STANDARD.encode(tag(&secret(number), &content)))
                });
                let with_key = numbers.take(usize::from(MAX_KEYS));
                let by_key = with_key.filter(|_| publics).map(|number| {
                    let signature = key(number).sign(&content).to_bytes();
                    format!("v1a,{}", STANDARD.encode(signature))
                });
                by_mac.chain(by_key).collect()
            }
            Form::Stripe => {
                let content = [time, b".", body].concat();
                let sign = |number| hex::encode(tag(text_secret(number).as_bytes(), &content));
                numbers
                    .map(|number| format!("v1={}", sign(number)))
                    .collect()
            }
            Form::Body(preset) => {
                let separator: &[u8] = if preset == Preset::Own { b"." } else { b"" };
                let content = [time, separator, body].concat();
                let sign = |number| {
                    let tag = tag(text_secret(number).as_bytes(), &content);
                    match preset {
                        Preset::GitHub => format!("sha256={}", hex::encode(tag)),
                        Preset::Shopify | Preset::Cashfree => STANDARD.encode(tag),
                        Preset::Razorpay | Preset::Own => hex::encode(tag),
                    }
                };
                numbers.map(sign).collect()
            }
        }
    }
}

impl Preset {
    fn header(self) -> &'static str {
        match self {
            Self::GitHub => "x-hub-signature-256",
            Self::Razorpay => "x-razorpay-signature",
            Self::Shopify => "x-shopify-hmac-sha256",
            Self::Cashfree => "x-webhook-signature",
            Self::Own => "x-signature",
        }
    }

    fn time_header(self) -> Option<&'static str> {
        match self {
            Self::Cashfree => Some("x-webhook-timestamp"),
            Self::Own => Some("x-time"),
            Self::GitHub | Self::Razorpay | Self::Shopify => None,
        }
    }
}

fn secret(number: u8) -> Vec<u8> {
    vec![number + 1; 24 + usize::from(number)]
}

/// Returns a secret for schemes whose secrets are texts, which use it unchanged.
fn text_secret(number: u8) -> String {
    format!("whsec_{}", STANDARD_NO_PAD.encode(secret(number)))
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number + 101; 32])
}

fn tag(secret: &[u8], content: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length will do");
    mac.update(content);
    mac.finalize().into_bytes().into()
}

/// A scheme with its secrets; `write` writes those that are keys.
fn verification(form: Form, count: u8, write: impl Fn(&SigningKey) -> String) -> Verification {
    let texts = || Secrets::of((0..count).map(text_secret));
    let preset = |name| {
        let preset = preset::get(name).expect("it is a preset");
        preset.spec.scheme.clone()
    };
    let (mut scheme, secrets) = match form {
        Form::Standard { publics, macs } => {
            let macs = (0..count).filter(|_| macs).map(text_secret_of_bytes);
            let keys = (0..count.min(MAX_KEYS)).filter(|_| publics);
            let secrets = keys.fold(Secrets::of(macs), |all, number| {
                all.with("public_key", write(&key(number)))
            });
            (preset("svix"), secrets)
        }
        Form::Stripe => (preset("stripe"), texts()),
        Form::Body(Preset::GitHub) => (preset("github"), texts()),
        Form::Body(Preset::Razorpay) => (preset("razorpay"), texts()),
        Form::Body(Preset::Shopify) => (preset("shopify"), texts()),
        Form::Body(Preset::Cashfree) => (preset("cashfree"), texts()),
        Form::Body(Preset::Own) => {
            let place = |text: &str| text.parse().expect("it is a place");
            let signed = "{timestamp}.{body}".parse().expect("it is a template");
            let signature = SignatureSpec::new(place("header:X-Signature"));
            let mut scheme = HmacScheme::new(signed, signature);
            scheme.time = Some(TimeSpec::new(place("header:x-time")));
            (spec::Scheme::Hmac(scheme), texts())
        }
    };
    let tolerance = Tolerance::Within(Duration::from_secs(TOLERANCE_SECONDS));
    scheme.each_time(&mut |time| time.tolerance = tolerance);
    Verification::new(&scheme, &secrets, VerificationOptions::default()).expect("good secrets")
}

/// Returns a secret whose bytes are the signing key.
fn text_secret_of_bytes(number: u8) -> String {
    format!("whsec_{}", STANDARD.encode(secret(number)))
}
