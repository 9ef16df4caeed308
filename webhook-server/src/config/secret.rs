//! Secret values. `Debug` does not show them, and their memory is wiped when they are dropped.

use std::fmt;

use zeroize::Zeroizing;

/// The secrets or digests of a variable. `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets(Zeroizing<String>);

impl Secrets {
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secrets {
    fn from(secrets: String) -> Self {
        Self(Zeroizing::new(secrets))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A database URL, which may contain a password. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(Zeroizing<String>);

impl DatabaseUrl {
    /// The URL, including its password.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the URL seems to contain a password, in any of the places where PostgreSQL reads one.
    pub(crate) fn holds_password(&self) -> bool {
        if self.0.starts_with("sqlite:") {
            return false;
        }
        match self.of_several() {
            Some(mut urls) => urls.any(holds_password),
            None => holds_password(&self.0),
        }
    }

    /// The URLs of several databases of PostgreSQL, with white space between them. `None` if it is one URL.
    pub(super) fn of_several(&self) -> Option<impl Iterator<Item = &str>> {
        let urls = || super::text::value(&self.0).split_whitespace();
        let are_urls = urls().nth(1).is_some() && urls().all(|url| url.starts_with("postgres"));
        are_urls.then(urls)
    }

    /// Whether it is several URLs, of which not all are of PostgreSQL, or with commas between them.
    pub(super) fn is_mixed(&self) -> bool {
        let parts =
            super::text::value(&self.0).split(|char: char| char.is_whitespace() || char == ',');
        let is_url = |part: &str| {
            part.contains("://") || part.starts_with("sqlite:") || part.starts_with("memory:")
        };
        self.of_several().is_none() && parts.skip(1).any(is_url)
    }
}

/// Whether one URL seems to contain a password.
fn holds_password(url: &str) -> bool {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let has_user_info = after_scheme
        .rsplit_once('@')
        .is_some_and(|(user_info, _)| user_info.contains(':'));
    has_user_info || after_scheme.to_ascii_lowercase().contains("password=")
}

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        Self(Zeroizing::new(url))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The longest value that an error quotes, in characters.
const MAX_QUOTED_CHARS: usize = 200;

/// Whether an error must not quote `value`, because it looks like a secret in the wrong place.
pub(crate) fn looks_secret(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let is_marked = [
        "whsec_",
        "whsk_",
        "wht_",
        "-----begin",
        "password",
        "secret",
    ]
    .iter()
    .any(|mark| lower.contains(mark));
    let has_user_info = lower.contains("://") && lower.contains('@');
    is_marked || has_user_info || value.chars().count() > MAX_QUOTED_CHARS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_database_urls_are_found() {
        for (url, holds) in [
            ("postgres://app:hunter2@db/app", true),
            ("postgres://db/app?user=app&password=hunter2", true),
            ("host=db password=hunter2", true),
            ("postgres://app@db:5432/app", false),
            ("postgres://db:5432/app", false),
            ("postgres://app@a:5432/app postgres://app@b:5432/app", false),
            ("postgres://app@a/app postgres://app:hunter2@b/app", true),
            ("postgres://app:hunter 2@db/app", true),
            ("sqlite:/srv/a:b@c.db", false),
        ] {
            let url = DatabaseUrl::from(url.to_owned());
            assert_eq!(url.holds_password(), holds, "{}", url.expose());
            assert_eq!(format!("{url:?}"), "***");
        }
    }
}
