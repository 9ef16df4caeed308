//! [`KnownKinds`]: tells a kind from a name that was mistyped.

use std::collections::BTreeSet;

use webhook_core::{Admin, Kind, StoreError};

use crate::config::did_you_mean;
use crate::views::transaction_kind;

/// The kinds that have events, are paused, or are sources.
#[derive(Debug)]
pub(crate) struct KnownKinds(BTreeSet<String>);

impl KnownKinds {
    /// The kinds of the store of `admin`, and the names of `sources`.
    pub(crate) async fn of(
        admin: &dyn Admin,
        sources: impl IntoIterator<Item = String>,
    ) -> Result<Self, StoreError> {
        let mut known: BTreeSet<_> = sources.into_iter().collect();
        known.insert(transaction_kind().to_string());
        for kinds in [admin.kinds().await?, admin.paused().await?] {
            known.extend(kinds.iter().map(Kind::to_string));
        }
        Ok(Self(known))
    }

    /// An error if nothing has this kind. It says in `advice` what else can be done.
    pub(crate) fn check(&self, kind: &Kind, advice: &'static str) -> Result<(), UnknownKind> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
