//! What texts may be.

use std::time::Duration;

use webhook_sources::spec::{HostPattern, Place, Pointer, Template};

use super::super::super::values;
use super::super::secrets::PlaceOfSecret;
use super::super::shape::{Form, Shape};

pub(super) const SECRETS: Shape = Shape::Any(&[
    Shape::Text(&SECRET_PLACE),
    Shape::List(&Shape::Text(&SECRET_PLACE)),
    Shape::Map(&SECRET_PLACES),
]);
pub(super) const SECRET_PLACES: Shape = Shape::Any(&[
    Shape::Text(&SECRET_PLACE),
    Shape::List(&Shape::Text(&SECRET_PLACE)),
]);

pub(super) const METHOD: Shape = Shape::Text(&Form {
    expected: "a method in upper case, such as POST",
    pattern: "^[A-Z]+$",
    is_valid: |text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase()),
});
pub(super) const HEADER: Shape = Shape::Text(&Form {
    expected: "the name of a header in lower case",
    pattern: "^[a-z0-9!#$%&'*+.^_`|~-]+$",
    is_valid: |text| {
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        is_lower && hyper::header::HeaderName::from_bytes(text.as_bytes()).is_ok()
    },
});
pub(super) const ANY_TEXT: Shape = Shape::Text(&TEXT);

/// The longest body that a source may allow.
pub(super) const MAX_BODY_BYTES: u64 = 1 << 30;

pub(super) const TEXT: Form = Form {
    expected: "a text",
    pattern: "",
    is_valid: |_| true,
};
pub(super) const NAME: Form = Form {
    expected: "a name of a-z, 0-9, '.', '_' and '-'",
    pattern: "^[a-z0-9._-]+$",
    is_valid: |text| {
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        !text.is_empty() && text.bytes().all(is_allowed)
    },
};
pub(super) const URL: Form = Form {
    expected: "a URL such as https://hooks.example.com/path, without a query and without a user",
    pattern: "^https?://[^?#@\\s]+$",
    is_valid: is_url,
};
pub(super) const DURATION: Form = Form {
    expected: "a duration such as 30s, 5m or 1h",
    pattern: "^[0-9]",
    is_valid: |text| duration(text).is_some(),
};
pub(super) const AGE: Form = Form {
    expected: "a duration such as 30s, 5m, 12h or 30d",
    pattern: "^[0-9]",
    is_valid: |text| values::age(text).is_ok(),
};
pub(super) const TOLERANCE: Form = Form {
    expected: "a duration such as 30s, 5m or 1h, or off",
    pattern: "^([0-9].*|off)$",
    is_valid: |text| text == "off" || duration(text).is_some(),
};
pub(super) const PLACE: Form = Form {
    expected: "a place: header:NAME, json:/POINTER, form:FIELD, query:NAME or item:NAME",
    pattern: "^(header|json|form|query|item):",
    is_valid: |text| text.parse::<Place>().is_ok(),
};
pub(super) const POINTER: Form = Form {
    expected: "a JSON pointer: /member/member, with ~1 for / and ~0 for ~",
    pattern: "^(/.*)?$",
    is_valid: |text| text.parse::<Pointer>().is_ok(),
};
pub(super) const ID_TEXT: Form = Form {
    expected: "a place (header:NAME, json:/POINTER, form:FIELD, query:NAME), signed, sha256 or \
               generated",
    pattern: "^(signed|sha256|generated|(header|json|form|query|item):.*)$",
    is_valid: |text| {
        matches!(text, "signed" | "sha256" | "generated") || text.parse::<Place>().is_ok()
    },
};
pub(super) const TEMPLATE: Form = Form {
    expected: "a text with {body}, {timestamp}, {id}, {url}, {method}, {secret}, {header:NAME}, \
               {json:/POINTER}, {form:FIELD}, {form+}, {line:/POINTER}, {line?:/POINTER}, \
               {lines:/POINTER}, {crc32} or {setting:NAME}; {{ and }} for the braces themselves",
    pattern: "",
    is_valid: |text| text.parse::<Template>().is_ok(),
};
pub(super) const HOST: Form = Form {
    expected: "a host in lower case such as api.example.com, in which {region} may stand for the name of a region",
    pattern: "^[a-z0-9{]",
    is_valid: |text| text.parse::<HostPattern>().is_ok(),
};
pub(super) const SECRET_PLACE: Form = Form {
    expected: "env:NAME or file:PATH, which say where the secret is; never the secret itself",
    pattern: "^(env|file):.+$",
    is_valid: |text| PlaceOfSecret::parse(text).is_some(),
};

/// A duration as `webhook_sources` reads it: up to hours.
pub(in crate::config::sources) fn duration(text: &str) -> Option<Duration> {
    let duration: jiff::SignedDuration = text.parse().ok()?;
    Duration::try_from(duration).ok()
}

/// Whether `text` is an absolute URL without user, query and fragment.
fn is_url(text: &str) -> bool {
    let Ok(url) = text.parse::<hyper::Uri>() else {
        return false;
    };
    let has_user = url.authority().is_some_and(|it| it.as_str().contains('@'));
    matches!(url.scheme_str(), Some("http" | "https"))
        && url.host().is_some_and(|host| !host.is_empty())
        && !has_user
        && !text.contains(['?', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_neither_user_nor_query() {
        for good in [
            "https://hooks.example.com",
            "http://127.0.0.1:8000/v1/webhooks/a",
            "https://[::1]/",
        ] {
            assert!(is_url(good), "{good}");
        }
        for wrong in [
            "",
            "hooks.example.com",
            "/v1",
            "ftp://a",
            "https://",
            "https://u:p@a/",
            "https://a/?b",
            "https://a/#b",
            "https://a b/",
        ] {
            assert!(!is_url(wrong), "{wrong}");
        }
    }
}
