//! Encodes and decodes bytes as text.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use zeroize::Zeroizing;

/// RFC 4648 section 4, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// RFC 4648 section 5, with or without padding.
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The text encoding of a signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Encoding {
    /// Hexadecimal, in either case; encoded in lower case.
    #[default]
    Hex,
    /// Base64 (RFC 4648, section 4), with or without padding; encoded with padding.
    Base64,
    /// Base64 with the alphabet for URLs (RFC 4648, section 5), with or without padding; encoded without padding.
    Base64Url,
}

impl Encoding {
    pub(crate) fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => BASE64.decode(text).ok(),
            Self::Base64Url => BASE64_URL.decode(text).ok(),
        }
    }

    /// Decodes a secret into memory that is wiped when it is dropped, also after an error.
    pub(crate) fn decode_secret(self, text: &str) -> Option<Zeroizing<Vec<u8>>> {
        // Allocates all of it at once, since a growing buffer would leave copies in memory.
        let mut bytes = Zeroizing::new(vec![0; text.len()]);
        let decoded_bytes = match self {
            Self::Hex => {
                let half = text.len() / 2;
                hex::decode_to_slice(text, &mut bytes[..half]).ok()?;
                half
            }
            Self::Base64 => BASE64.decode_slice_unchecked(text, &mut bytes).ok()?,
            Self::Base64Url => BASE64_URL.decode_slice_unchecked(text, &mut bytes).ok()?,
        };
        bytes.truncate(decoded_bytes);
        Some(bytes)
    }

    pub(crate) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => BASE64.encode(bytes),
            Self::Base64Url => BASE64_URL.encode(bytes),
        }
    }
}
