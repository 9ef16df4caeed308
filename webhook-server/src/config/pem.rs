//! Reads keys and certificates in PEM (RFC 7468). Line breaks may be missing, doubled or written as
//! `\n`, as secret stores leave them. No error quotes the input.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::text;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// The number of Base64 characters of a line.
const LINE_CHARS: usize = 64;

/// The beginning of every PEM file, in Base64.
const BEGIN_IN_BASE64: &str = "LS0tLS1CRUdJTi";

/// What is wrong with a file that should be PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// There is no BEGIN line.
    #[error("it contains no line -----BEGIN ...-----; it is not PEM")]
    NoBegin,
    /// The PEM is encoded in Base64 once more.
    #[error("it is a PEM file encoded in Base64; decode it first (base64 --decode)")]
    Encoded,
    /// A BEGIN line has no END line.
    #[error(
        "a line -----BEGIN ...----- has no matching -----END ...-----; the file is cut off or damaged"
    )]
    NoEnd,
    /// The content is not Base64.
    #[error("the text between BEGIN and END is not Base64; the file is damaged")]
    NotBase64,
    /// The private key needs a passphrase.
    #[error("the private key is encrypted with a passphrase; decrypt it (openssl pkey)")]
    Encrypted,
    /// The private key is in the format of OpenSSH.
    #[error("the private key is in the format of OpenSSH; convert it (ssh-keygen -p -m PEM)")]
    OpenSsh,
    /// There is PEM, but no private key.
    #[error("it contains no private key")]
    NoKey,
    /// There is PEM, but no certificate.
    #[error("it contains no certificate")]
    NoCertificate,
}

/// The first private key in `text`.
pub(super) fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, PemError> {
    let sections = sections(text)?;
    let known = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
    let key = sections.iter().find(|it| known.contains(&&*it.label));
    let Some(key) = key else {
        let has = |label: &str| sections.iter().any(|section| section.label == label);
        return Err(if has("ENCRYPTED PRIVATE KEY") {
            PemError::Encrypted
        } else if has("OPENSSH PRIVATE KEY") {
            PemError::OpenSsh
        } else {
            PemError::NoKey
        });
    };
    // The error of the parser may quote the key.
    PrivateKeyDer::from_pem_slice(key.canonical()?.as_bytes()).map_err(|_| PemError::NotBase64)
}

/// All certificates in `text`, at least one.
pub(super) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let mut found = Vec::new();
    for section in sections(text)? {
        if ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"].contains(&&*section.label) {
            let pem = Section {
                label: "CERTIFICATE".to_owned(),
                ..section
            }
            .canonical()?;
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes());
            found.push(certificate.map_err(|_| PemError::NotBase64)?);
        }
    }
    if found.is_empty() {
        return Err(PemError::NoCertificate);
    }
    Ok(found)
}

/// Everything in `text` in the form of RFC 7468, for other parsers.
pub(super) fn canonical(text: &str) -> Result<Zeroizing<String>, PemError> {
    let sections = sections(text)?;
    let length = sections.iter().map(|it| 2 * it.body.len() + 256).sum();
    let mut all = Zeroizing::new(String::with_capacity(length));
    for section in &sections {
        all.push_str(&section.canonical()?);
    }
    Ok(all)
}

/// The text between a BEGIN and its END.
struct Section {
    label: String,
    /// Without line breaks and white space.
    body: Zeroizing<String>,
}

fn sections(text: &str) -> Result<Vec<Section>, PemError> {
    let text = text::trim(text);
    let text = text::unquoted(text).unwrap_or(text);
    // No PEM contains a backslash.
    let text = Zeroizing::new(text.replace("\\r", "\n"));
    let text = Zeroizing::new(text.replace("\\n", "\n"));
    let mut sections = Vec::new();
    let mut rest = text.as_str();
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let (label, after) = after.split_once(DASHES).ok_or(PemError::NoEnd)?;
        let end = format!("{END}{label}{DASHES}");
        let (body, after) = after.split_once(&end).ok_or(PemError::NoEnd)?;
        if body.contains(BEGIN) {
            return Err(PemError::NoEnd);
        }
        // RFC 1421's headers, which OpenSSL once wrote.
        if body.contains("ENCRYPTED") {
            return Err(PemError::Encrypted);
        }
        let mut compact = Zeroizing::new(String::with_capacity(body.len()));
        compact.extend(
            body.chars()
                .filter(|c| !c.is_whitespace() && !text::is_unseen(*c)),
        );
        sections.push(Section {
            label: label.to_owned(),
            body: compact,
        });
        rest = after;
    }
    match sections.is_empty() {
        false => Ok(sections),
        true if text.contains(BEGIN_IN_BASE64) => Err(PemError::Encoded),
        true => Err(PemError::NoBegin),
    }
}

impl Section {
    /// The section in the form of RFC 7468.
    fn canonical(&self) -> Result<Zeroizing<String>, PemError> {
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
        if self.body.is_empty() || !self.body.bytes().all(is_base64) {
            return Err(PemError::NotBase64);
        }
        let length = self.body.len() + self.body.len() / LINE_CHARS + 2 * self.label.len() + 64;
        let mut pem = Zeroizing::new(String::with_capacity(length));
        for part in [BEGIN, &self.label, DASHES, "\n"] {
            pem.push_str(part);
        }
        for (at, c) in self.body.chars().enumerate() {
            if at > 0 && at % LINE_CHARS == 0 {
                pem.push('\n');
            }
            pem.push(c);
        }
        for part in ["\n", END, &self.label, DASHES, "\n"] {
            pem.push_str(part);
        }
        Ok(pem)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// What editors and secret stores make of a PEM file.
    fn damaged(pem: &str) -> Vec<String> {
        let one_line = pem.trim_end();
        vec![
            pem.to_owned(),
            pem.replace('\n', "\\n"),
            pem.replace('\n', "\\r\\n"),
            pem.replace('\n', "\\n\n"),
            pem.replace('\n', "\n\n"),
            pem.replace('\n', " "),
            pem.replace('\n', ""),
            pem.replace('\n', "\n    "),
            pem.replace('\n', " \n"),
            format!("\"{}\"", one_line.replace('\n', "\\n")),
            format!("'{one_line}'\n"),
            format!("\n\u{feff} {one_line}"),
            format!("Bag Attributes\n    friendlyName: x\n{pem}"),
        ]
    }

    #[test]
    fn keys_are_read_with_any_line_breaks() {
        let pem = KeyPair::generate().unwrap().serialize_pem();
        let expected = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        for text in damaged(&pem) {
            assert_eq!(private_key(&text), Ok(expected.clone_key()), "{text}");
        }
    }

    #[test]
    fn certificates_are_read_with_any_line_breaks() {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let pem = certificate.pem().replace("\r\n", "\n");
        for text in damaged(&format!("{pem}{pem}")) {
            let read = certificates(&text).unwrap();
            assert_eq!(read, [certificate.der().clone(), certificate.der().clone()]);
        }
    }

    #[test]
    fn unusable_pem_files_have_distinct_errors() {
        let section = |label: &str, body: &str| {
            format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
        };
        for (text, expected) in [
            (String::new(), PemError::NoBegin),
            ("c2VjcmV0".to_owned(), PemError::NoBegin),
            ("LS0tLS1CRUdJTiBQUklWQVRF".to_owned(), PemError::Encoded),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA".to_owned(),
                PemError::NoEnd,
            ),
            ("-----BEGIN PRIVATE KEY".to_owned(), PemError::NoEnd),
            (section("PRIVATE KEY", "AA*A"), PemError::NotBase64),
            (section("PRIVATE KEY", "AAAAA"), PemError::NotBase64),
            (section("PRIVATE KEY", ""), PemError::NotBase64),
            (
                section("ENCRYPTED PRIVATE KEY", "AAAA"),
                PemError::Encrypted,
            ),
            (
                section("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nAAAA"),
                PemError::Encrypted,
            ),
            (section("OPENSSH PRIVATE KEY", "AAAA"), PemError::OpenSsh),
            (section("CERTIFICATE", "AAAA"), PemError::NoKey),
        ] {
            assert_eq!(private_key(&text), Err(expected), "{text}");
        }
        let key = section("PRIVATE KEY", "AAAA");
        assert_eq!(certificates(&key), Err(PemError::NoCertificate));
    }
}
