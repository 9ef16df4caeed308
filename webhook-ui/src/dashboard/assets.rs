//! The style sheet, the scripts and the icon. Their names have digests of their content, so that browsers keep them.

use std::sync::LazyLock;

use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, Response};
use sha2::{Digest, Sha256};

use crate::UiBody;

/// A file of the folder `assets`.
pub(super) struct Asset {
    content_type: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
    /// The name with the digest, such as `dashboard-0123456789abcdef.css`.
    name: String,
}

macro_rules! asset {
    ($stem:literal, $extension:literal, $content_type:literal) => {
        LazyLock::new(|| {
            let plain = include_bytes!(concat!("../../assets/", $stem, ".", $extension));
            let digest = hex::encode(&Sha256::digest(plain)[..8]);
            Asset {
                content_type: $content_type,
                plain,
                gzip: include_bytes!(concat!(env!("OUT_DIR"), "/", $stem, ".", $extension, ".gz")),
                name: format!("{}-{digest}.{}", $stem, $extension),
            }
        })
    };
}

pub(super) static STYLE: LazyLock<Asset> = asset!("dashboard", "css", "text/css; charset=utf-8");
pub(super) static SCRIPT: LazyLock<Asset> =
    asset!("dashboard", "js", "text/javascript; charset=utf-8");
pub(super) static HTMX: LazyLock<Asset> = asset!("htmx", "js", "text/javascript; charset=utf-8");
static ICON: LazyLock<Asset> = asset!("icon", "svg", "image/svg+xml");

/// The colour of an instance that has none: that of the icon's file.
pub(super) const DEFAULT_COLOR: &str = "#1f5fbf";

/// Whether a text is `#` and six hexadecimal digits.
pub(super) fn is_color(text: &str) -> bool {
    let digits = text.strip_prefix('#');
    digits.is_some_and(|it| it.len() == 6 && it.bytes().all(|it| it.is_ascii_hexdigit()))
}

/// The path of the icon, in the colour of the instance if it has one: `/assets/icon-DIGEST.svg`, or
/// `/assets/icon-DIGEST-RRGGBB.svg`.
pub(super) fn icon_path(color: Option<&str>) -> String {
    let path = ICON.path();
    match (color, path.strip_suffix(".svg")) {
        (Some(color), Some(stem)) => format!("{stem}-{}.svg", color.trim_start_matches('#')),
        _ => path,
    }
}

/// The icon in a colour, by its name.
fn colored_icon(name: &str) -> Option<Vec<u8>> {
    let plain = ICON.name.strip_suffix(".svg")?;
    let color = name.strip_prefix(plain)?.strip_suffix(".svg")?;
    let color = format!("#{}", color.strip_prefix('-')?);
    let icon = std::str::from_utf8(ICON.plain).ok()?;
    is_color(&color).then(|| icon.replace(DEFAULT_COLOR, &color).into_bytes())
}

impl Asset {
    fn all() -> [&'static Self; 4] {
        [&STYLE, &SCRIPT, &HTMX, &ICON]
    }

    /// The path below the dashboard.
    pub(super) fn path(&self) -> String {
        format!("/assets/{}", self.name)
    }
}

/// Answers a request for the asset with this name. `None` if there is none: also if it is one of another version.
pub(super) fn respond(head: &Parts, name: &str) -> Option<Response<UiBody>> {
    let asset = Asset::all().into_iter().find(|asset| asset.name == name);
    let takes_gzip = asset.is_some() && takes_gzip(&head.headers);
    let (content_type, body) = match asset {
        Some(asset) if takes_gzip => (asset.content_type, UiBody::full(asset.gzip)),
        Some(asset) => (asset.content_type, UiBody::full(asset.plain)),
        None => (ICON.content_type, UiBody::full(colored_icon(name)?)),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    headers.insert(CACHE_CONTROL, forever);
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if takes_gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Some(response)
}

/// Whether the client names gzip, and does not refuse it with the weight 0.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT_ENCODING).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            parts
                .next()
                .is_some_and(|it| it.eq_ignore_ascii_case("gzip"))
                && parts.all(|weight| {
                    let weight = weight.to_ascii_lowercase();
                    weight.strip_prefix("q=").and_then(|it| it.parse().ok()) != Some(0.0_f32)
                })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_are_small() {
        let bytes: usize = Asset::all().iter().map(|asset| asset.gzip.len()).sum();
        assert!(bytes < 40 * 1024, "{bytes} bytes compressed");
    }

    #[test]
    fn script_is_short() {
        let script = std::str::from_utf8(SCRIPT.plain).unwrap();
        let code = script.lines().map(str::trim);
        let code = code.filter(|line| !line.is_empty() && !line.starts_with("//"));
        let lines = code.count();
        assert!(lines <= 220, "{lines} lines of code");
        let longest = script.lines().map(str::len).max();
        assert!(longest <= Some(120), "a line has {longest:?} bytes");
    }

    #[test]
    fn assets_have_nothing_of_other_hosts() {
        for asset in Asset::all() {
            let text = std::str::from_utf8(asset.plain).unwrap();
            let text = text.replace("http://www.w3.org/", "");
            assert!(
                !text.contains("http://") && !text.contains("https://"),
                "{}",
                asset.name
            );
            assert!(!text.contains("@import"), "{}", asset.name);
        }
    }

    #[test]
    fn htmx_is_the_file_of_its_package() {
        let digest = hex::encode(Sha256::digest(HTMX.plain));
        assert!(include_str!("../../assets/README.md").contains(&digest));
    }

    #[test]
    fn gzip_is_sent_to_clients_that_take_it() {
        for (value, expected) in [
            ("gzip, deflate, br", true),
            ("br;q=1, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0, br", false),
            ("br", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(takes_gzip(&headers), expected, "{value}");
        }
    }

    #[test]
    fn icon_has_the_color_of_the_instance() {
        let (head, ()) = http::Request::new(()).into_parts();
        assert!(
            std::str::from_utf8(ICON.plain)
                .unwrap()
                .contains(DEFAULT_COLOR)
        );
        let path = icon_path(Some("#B00020"));
        let name = path.strip_prefix("/assets/").unwrap();
        let icon = String::from_utf8(colored_icon(name).unwrap()).unwrap();
        assert!(icon.contains("fill=\"#B00020\"") && !icon.contains(DEFAULT_COLOR));
        assert_eq!(
            respond(&head, name).unwrap().headers()[CONTENT_TYPE],
            "image/svg+xml"
        );
        for wrong in ["B0002", "B000200", "B0002g", "\"/><g>"] {
            let name = name.replace("B00020", wrong);
            assert!(respond(&head, &name).is_none(), "{name}");
        }
    }

    #[test]
    fn names_have_digests() {
        let (head, ()) = http::Request::new(()).into_parts();
        for asset in Asset::all() {
            let response = respond(&head, &asset.name).unwrap();
            assert_eq!(
                response.headers()[CACHE_CONTROL],
                "public, max-age=31536000, immutable"
            );
        }
        assert!(respond(&head, "dashboard.css").is_none());
        assert!(respond(&head, "dashboard-0000000000000000.css").is_none());
    }
}
