//! Signatures that are verified by a certificate, whose URL is in the request.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use spki::der::{Decode, Encode};
use webpki::{EndEntityCert, KeyUsage, ring as algorithms};
use x509_cert::Certificate;

use super::content::{Attempt, Form};
use super::public_key::{self, PublicKey};
use super::{CertificateProblem, Unverified, Verified};
use crate::keys::{KeyRequest, Keys, split_url};
use crate::spec::{Algorithm, HostPattern, Place};

/// The most certificates of a document that are read: that of the sender, and those of the authorities between it and
/// one that the system trusts.
const MAX_CERTIFICATES: usize = 8;

/// The usage `serverAuth` (RFC 5280, section 4.2.1.12): senders sign with certificates that were issued for TLS.
const SERVER_AUTH: &[u8] = &[43, 6, 1, 5, 5, 7, 3, 1];

/// A scheme of certificates that are fetched.
#[derive(Clone)]
pub(super) struct FetchedCertificate {
    pub(super) form: Form,
    pub(super) url: Place,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) path_prefix: String,
    pub(super) path_suffix: String,
    pub(super) algorithm_at: Place,
    pub(super) algorithms: Vec<(String, Algorithm)>,
    pub(super) required: Vec<(Place, String)>,
    pub(super) trust: Option<Trust>,
    pub(super) known: Option<Arc<dyn Keys>>,
}

/// Whose certificates are trusted, besides where they are.
#[derive(Clone)]
pub(super) struct Trust {
    pub(super) names: Vec<ServerName<'static>>,
    pub(super) authorities: Arc<[TrustAnchor<'static>]>,
}

impl FetchedCertificate {
    /// Reads as much as the head has.
    pub(super) fn check_head(&self, attempt: &Attempt<'_, '_>) -> Result<(), Unverified> {
        self.form
            .claim(attempt, public_key::is_length(Algorithm::RsaPkcs1Sha256))?;
        for (place, expected) in self.required.iter().filter(|(place, _)| attempt.has(place)) {
            check_required(attempt, place, expected)?;
        }
        if attempt.has(&self.algorithm_at) {
            self.algorithm(attempt)?;
        }
        if attempt.has(&self.url) {
            self.request(attempt)?;
        }
        Ok(())
    }

    pub(super) fn verify(&self, attempt: &Attempt<'_, '_>) -> Result<Verified, Unverified> {
        let is_length = public_key::is_length(Algorithm::RsaPkcs1Sha256);
        let claim = self.form.claim(attempt, is_length)?;
        for (place, expected) in &self.required {
            check_required(attempt, place, expected)?;
        }
        let algorithm = self.algorithm(attempt)?;
        let pieces = self.form.pieces(attempt, &claim)?;
        // Last, so that requests that can never be accepted cause no fetch.
        let request = self.request(attempt)?;
        let document = self.known.as_ref().and_then(|known| known.find(&request));
        let Some(document) = document else {
            return Err(Unverified::KeyNotFetched { request });
        };
        let key = self
            .public_key(&document, algorithm, attempt.now)
            .map_err(|problem| Unverified::Certificate { problem })?;
        let content = public_key::joined(&pieces);
        let mut signatures = claim.signatures.iter();
        let is_genuine = signatures.any(|signature| {
            attempt.may_check_public_key() && key.has_signed(algorithm, &content, signature)
        });
        if !is_genuine {
            return Err(Unverified::NoMatch);
        }
        Ok(Verified {
            secret_index: 0,
            message_id: claim.message_id.map(Into::into),
        })
    }

    fn algorithm(&self, attempt: &Attempt<'_, '_>) -> Result<Algorithm, Unverified> {
        let named = attempt.text(&self.algorithm_at)?;
        let mut allowed = self.algorithms.iter();
        let found = allowed.find(|(name, _)| *name == named);
        let (_, algorithm) = found.ok_or_else(|| Unverified::Algorithm {
            place: self.algorithm_at.clone(),
        })?;
        Ok(*algorithm)
    }

    /// What to fetch, if the sender uses such a URL.
    fn request(&self, attempt: &Attempt<'_, '_>) -> Result<KeyRequest, Unverified> {
        let url = attempt.text(&self.url)?;
        let is_allowed = split_url(&url).is_some_and(|(host, path)| {
            self.hosts.iter().any(|pattern| pattern.matches(host))
                && path.starts_with(&self.path_prefix)
                && path.ends_with(&self.path_suffix)
        });
        if !is_allowed {
            return Err(Unverified::Url {
                place: self.url.clone(),
            });
        }
        Ok(KeyRequest::get(&url))
    }

    /// The public key of the first certificate in `document`, if it is valid now.
    fn public_key(
        &self,
        document: &[u8],
        algorithm: Algorithm,
        now: SystemTime,
    ) -> Result<PublicKey, CertificateProblem> {
        let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(document)
            .take(MAX_CERTIFICATES)
            .collect::<Result<_, _>>()
            .map_err(|_| CertificateProblem::Unreadable)?;
        let (first, others) = certificates
            .split_first()
            .ok_or(CertificateProblem::Unreadable)?;
        let parsed = Certificate::from_der(first).map_err(|_| CertificateProblem::Unreadable)?;
        let body = parsed.tbs_certificate();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let validity = body.validity();
        if since < validity.not_before.to_unix_duration()
            || since > validity.not_after.to_unix_duration()
        {
            return Err(CertificateProblem::NotValidNow);
        }
        if let Some(trust) = &self.trust {
            trust.check(first, others, UnixTime::since_unix_epoch(since))?;
        }
        let info = body.subject_public_key_info().to_der();
        let key = info
            .ok()
            .and_then(|info| public_key::of_info(&info, algorithm).ok());
        key.ok_or(CertificateProblem::Key)
    }
}

impl Trust {
    /// Checks that an authority has issued the certificate for one of the names.
    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateProblem> {
        let certificate =
            EndEntityCert::try_from(certificate).map_err(|_| CertificateProblem::Unreadable)?;
        certificate
            .verify_for_usage(
                &[
                    algorithms::RSA_PKCS1_2048_8192_SHA256,
                    algorithms::RSA_PKCS1_2048_8192_SHA384,
                    algorithms::RSA_PKCS1_2048_8192_SHA512,
                    algorithms::ECDSA_P256_SHA256,
                    algorithms::ECDSA_P384_SHA384,
                ],
                &self.authorities,
                others,
                now,
                KeyUsage::required_if_present(SERVER_AUTH),
                None,
                None,
            )
            .map_err(|_| CertificateProblem::Untrusted)?;
        let has_name = |name| certificate.verify_is_valid_for_subject_name(name).is_ok();
        if !self.names.iter().any(has_name) {
            return Err(CertificateProblem::Name);
        }
        Ok(())
    }
}

fn check_required(
    attempt: &Attempt<'_, '_>,
    place: &Place,
    expected: &str,
) -> Result<(), Unverified> {
    if attempt.text(place)? != expected {
        return Err(Unverified::OtherValue {
            place: place.clone(),
        });
    }
    Ok(())
}

impl fmt::Debug for FetchedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchedCertificate")
            .field("form", &self.form)
            .field("url", &self.url)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}
