//! Names that were mistyped: [`did_you_mean`], and [`KnownKinds`], which tells a kind from such a name.

use std::collections::BTreeSet;

use webhook_core::{Admin, Kind, StoreError};

use crate::Caller;

/// The kinds that have events, are paused, or are sources.
#[derive(Debug)]
pub struct KnownKinds(BTreeSet<String>);

impl KnownKinds {
    /// The kinds of the store of `admin`, and the names of `sources`.
    ///
    /// # Errors
    ///
    /// The store's.
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    pub async fn of(
        admin: &dyn Admin,
        sources: impl IntoIterator<Item = String>,
    ) -> Result<Self, StoreError> {
        let mut known: BTreeSet<_> = sources.into_iter().collect();
        for kinds in [admin.kinds().await?, admin.paused().await?] {
            known.extend(kinds.iter().map(Kind::to_string));
        }
        Ok(Self(known))
    }

    /// Only those that `caller` may see.
    pub(crate) fn visible_to(mut self, caller: &Caller) -> Self {
        self.0.retain(|name| caller.sees_name(name));
        self
    }

    /// Checks that something has this kind.
    ///
    /// # Errors
    ///
    /// Nothing has it. The error names the most similar kind, and says in `advice` what else can be done.
    pub fn check(&self, kind: &Kind, advice: &'static str) -> Result<(), UnknownKind> {
        if self.0.contains(kind.as_str()) {
            return Ok(());
        }
        Err(UnknownKind {
            kind: kind.clone(),
            advice,
            similar: did_you_mean(kind.as_str(), self.0.iter().map(String::as_str)),
        })
    }
}

/// No source and no event has the kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no source is named {kind}, and no event has this kind{advice}{similar}")]
pub struct UnknownKind {
    kind: Kind,
    advice: &'static str,
    /// The name that is most like it, as a question.
    similar: String,
}

/// `; did you mean NAME?`, if one of `names` is like `given`.
pub fn did_you_mean<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    // Of a text much longer than any name, the distance would only take time.
    const MAX_BYTES: usize = 64;
    if given.len() > MAX_BYTES {
        return String::new();
    }
    let given = given.to_lowercase().replace('-', "_");
    let distance = |name: &str| strsim::osa_distance(&given, &name.replace('-', "_"));
    let nearest = names
        .into_iter()
        .map(|name| (distance(name), name))
        .min()
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1));
    nearest.map_or_else(String::new, |(_, name)| format!("; did you mean {name}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_are_suggested() {
        let names = ["tolerance", "timeout", "keep"];
        assert_eq!(
            did_you_mean("tolerence", names),
            "; did you mean tolerance?"
        );
        assert_eq!(did_you_mean("Time-Out", names), "; did you mean timeout?");
        assert_eq!(did_you_mean("whsec_abc", names), "");
        assert_eq!(did_you_mean(&"x".repeat(1_000_000), names), "");
    }

    #[test]
    fn mistyped_kinds_are_refused_with_the_nearest_name() {
        let known = KnownKinds(["stripe", "transaction"].map(str::to_owned).into());
        for (name, similar) in [
            ("stirpe", "; did you mean stripe?"),
            ("transactions", "; did you mean transaction?"),
            ("github", ""),
        ] {
            let wrong = known
                .check(&Kind::new(name).unwrap(), ": advice")
                .unwrap_err();
            let message =
                format!("no source is named {name}, and no event has this kind: advice{similar}");
            assert_eq!(wrong.to_string(), message);
        }
        assert_eq!(known.check(&Kind::from_static("stripe"), ""), Ok(()));
    }
}
