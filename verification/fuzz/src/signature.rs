//! Fuzzes signatures: genuine, tampered with, and invented.

mod reference;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use webhook_sources::{Outgoing, Request, Unsigned, Unverified, Verification};

use crate::lines::{Headers, Lines};
use reference::{MAX_SECRETS, NOW_SECONDS, SCHEMES, Scheme, TOLERANCE_SECONDS};

/// Checks that what a signer signs is accepted while it is fresh, and that nothing else is
/// accepted, whichever part of it is changed.
///
/// The input begins with a byte that chooses the scheme, one for the number of secrets, two for a
/// bit that is flipped, and two for a shift of the clock. Text follows: an id on a line, a time on
/// a line, and header lines up to an empty one. The rest is the body.
pub fn signature(input: &[u8]) {
    let Some((&[scheme, secrets, a, b, c, d], text)) = input.split_first_chunk() else {
        return;
    };
    let (scheme, secrets) = (
        &SCHEMES[usize::from(scheme) % SCHEMES.len()],
        secrets % MAX_SECRETS + 1,
    );
    let (flip, shift) = (u16::from_be_bytes([a, b]), i16::from_be_bytes([c, d]));
    let mut lines = Lines::new(text);
    let (id, time) = (lines.next_line(), lines.next_line());
    let (id, time) = (String::from_utf8_lossy(id), String::from_utf8_lossy(time));
    let made_up = lines.headers();
    let body = lines.rest();

    let case = Case {
        scheme,
        secrets,
        body,
    };
    case.check(&made_up, at(NOW_SECONDS));
    case.check_time(&time);
    if let Some(signed) = case.check_signer(&id) {
        case.check_freshness(&signed, shift);
        case.check_tampering(&signed, usize::from(flip), &made_up);
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn value<'a>(headers: &'a Headers, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.iter().filter(|(known, _)| known == name);
    values.next().map(|(_, value)| value.as_slice())
}

/// Some secrets of one scheme, and a body.
struct Case<'a> {
    scheme: &'a Scheme,
    secrets: u8,
    body: &'a [u8],
}

impl Case<'_> {
    fn verify(&self, headers: &Headers, body: &[u8], now: SystemTime) -> Result<(), Unverified> {
        let headers = headers.iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (name.as_str(), value.as_slice()))
            .collect();
        let request = request(&headers, body);
        let verifier = self.scheme.verifier(self.secrets);
        let verified = verifier.verify(&request, now);
        // The headers alone must be refused only where the delivery is refused, and for the same
        // reason.
        if let Err(refused) = verifier.check_head(&request, now) {
            if self.scheme.has_alternatives() {
                assert!(verified.is_err());
            } else {
                assert_eq!(verified, Err(refused));
            }
        }
        let verified = verified?;
        assert!(verified.secret_index < verifier.secret_count());
        Ok(())
    }

    /// Checks that accepted headers, whatever they are, were signed.
    fn check(&self, headers: &Headers, now: SystemTime) {
        if self.verify(headers, self.body, now).is_ok() {
            assert!(
                self.scheme.is_signed(self.secrets, headers, self.body, now),
                "{headers:?}"
            );
        }
    }

    /// Checks that a signed time is refused if it is malformed or not near now.
    fn check_time(&self, time: &str) {
        let Some(headers) = self.scheme.signed_at(time, self.body) else {
            return;
        };
        let is_time = (1..=14).contains(&time.len()) && time.bytes().all(|it| it.is_ascii_digit());
        let is_near = |time: u128| {
            let tolerance = u128::from(TOLERANCE_SECONDS) * self.scheme.units_a_second();
            (u128::from(NOW_SECONDS) * self.scheme.units_a_second()).abs_diff(time) <= tolerance
        };
        let is_good = is_time && time.parse().is_ok_and(is_near);
        let verified = self.verify(&headers, self.body, at(NOW_SECONDS));
        assert_eq!(verified.is_ok(), is_good, "{headers:?}");
    }

    /// Checks that what is signed under `id` is accepted.
    fn check_signer(&self, id: &str) -> Option<Headers> {
        let signer = self.scheme.signer(self.secrets);
        let before = UNIX_EPOCH - Duration::from_millis(1);
        assert!(sign(signer, "id", before, self.body).is_err() || !self.scheme.has_time());
        let is_refused = self.scheme.has_id() && !is_id(id);
        let signed = match sign(signer, id, at(NOW_SECONDS), self.body) {
            Ok(signed) => signed,
            Err(error) => {
                assert!(is_refused && error == Unsigned::Id, "{error:?} {id:?}");
                return None;
            }
        };
        assert!(!is_refused);
        assert_eq!(self.verify(&signed, self.body, at(NOW_SECONDS)), Ok(()));
        assert!(
            self.scheme
                .is_signed(self.secrets, &signed, self.body, at(NOW_SECONDS))
        );
        Some(signed)
    }

    /// Checks that a signature is accepted while the clock differs by no more than the tolerance.
    fn check_freshness(&self, signed: &Headers, shift: i16) {
        let shift_seconds = shift;
        let (past, shift) = (shift < 0, u64::from(shift.unsigned_abs()));
        let now = if past {
            NOW_SECONDS - shift
        } else {
            NOW_SECONDS + shift
        };
        let expected = if self.scheme.has_time() && shift > TOLERANCE_SECONDS {
            let seconds = i64::from(shift_seconds);
            Err(Unverified::TooFar { seconds: -seconds })
        } else {
            Ok(())
        };
        assert_eq!(self.verify(signed, self.body, at(now)), expected);
        if self.scheme.has_time() {
            let before = UNIX_EPOCH - Duration::from_secs(shift + 1);
            assert!(self.verify(signed, self.body, before).is_err());
        }
    }

    /// Checks that another body is refused, and so is any other header with a different meaning.
    fn check_tampering(&self, signed: &Headers, flip: usize, made_up: &Headers) {
        let now = at(NOW_SECONDS);
        let longer = [self.body, b" "].concat();
        assert!(self.verify(signed, &longer, now).is_err());
        if !self.body.is_empty() {
            let mut other = self.body.to_vec();
            other[flip / 8 % self.body.len()] ^= 1 << (flip % 8);
            assert!(self.verify(signed, &other, now).is_err());
            assert!(self.verify(signed, &self.body[1..], now).is_err());
        }
        for place in 0..signed.len() {
            let mut other = signed.clone();
            let value = &mut other[place].1;
            let at = flip / 8 % value.len();
            value[at] ^= 1 << (flip % 8);
            self.check(&other, now);
            other.remove(place);
            assert!(self.verify(&other, self.body, now).is_err(), "{other:?}");
        }
        // A second value of a header that the scheme reads must be refused, but for signatures.
        let mixed = [made_up.as_slice(), signed].concat();
        self.check(&mixed, now);
        for place in 0..signed.len() {
            let twice = [signed.as_slice(), &signed[place..=place]].concat();
            let verified = self.verify(&twice, self.body, now);
            let is_signature = self.scheme.is_signature_header(&signed[place].0);
            let is_time = !is_signature || self.scheme.has_time_in_signature();
            let is_right = match verified {
                Ok(()) => !is_time,
                Err(Unverified::TooManySignatures { .. }) => is_signature,
                Err(Unverified::Repeated { .. }) => is_time,
                Err(_) => false,
            };
            assert!(is_right, "{twice:?}: {verified:?}");
        }
    }
}

fn request<'a>(headers: &'a [(&'a str, &'a [u8])], body: &'a [u8]) -> Request<'a> {
    Request {
        method: "POST",
        target: "/",
        headers,
        body,
    }
}

/// The headers to send with `body`.
fn sign(signer: &Verification, id: &str, at: SystemTime, body: &[u8]) -> Result<Headers, Unsigned> {
    let outgoing = Outgoing {
        request: request(&[], body),
        message_id: Some(id),
    };
    let signed = signer.sign(&outgoing, at)?.headers.into_iter();
    Ok(signed
        .map(|(name, value)| (name, value.into_bytes()))
        .collect())
}

/// Returns whether a header may hold it and it has no full stop.
fn is_id(id: &str) -> bool {
    !id.is_empty()
        && id
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'.')
}
