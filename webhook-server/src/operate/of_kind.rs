//! The kind of events that a command is about.

use clap::Args;
use webhook_core::Kind;

use crate::shown::{transaction_kind, typed_kind};

/// Which kind of events.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(super) struct OfKind {
    /// Only events of this kind. An app that embeds the crates and uses the same database has kinds of
    /// its own, such as stripe
    #[arg(long, value_parser = typed_kind, default_value_t = transaction_kind())]
    pub(super) kind: Kind,
}
