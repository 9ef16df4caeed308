//! The secrets of a source.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

/// The secrets of a source by their names; several of one name are valid at the same time, while a sender changes
/// from one to another. They are wiped from memory when this is dropped, and `Debug` shows how many there are.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<String, Vec<Zeroizing<String>>>);

impl Secrets {
    /// No secrets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Secrets of the name `secret`, which the schemes of most senders take.
    pub fn of<S: Into<String>>(secrets: impl IntoIterator<Item = S>) -> Self {
        secrets
            .into_iter()
            .fold(Self::new(), |all, secret| all.with("secret", secret))
    }

    /// Adds a secret.
    #[must_use]
    pub fn with(mut self, name: &str, secret: impl Into<String>) -> Self {
        let named = self.0.entry(name.to_owned()).or_default();
        named.push(Zeroizing::new(secret.into()));
        self
    }

    /// The secrets of the name `name`, in the order in which they were added.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.0.get(name).into_iter().flatten();
        named.map(|secret| secret.as_str())
    }

    /// The names that there are secrets of.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.iter().map(|(name, secrets)| (name, secrets.len()));
        f.debug_map().entries(counts).finish()
    }
}
