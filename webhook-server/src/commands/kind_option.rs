//! The kind of events that a command is about.

use clap::Args;
use webhook_core::Kind;

use crate::views::{parse_kind, transaction_kind};

/// Which kind of events.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(super) struct KindOption {
    /// Only events of this kind. An app that embeds the crates and uses the same database has kinds of
    /// its own, such as stripe
    #[arg(long, value_parser = parse_kind, default_value_t = transaction_kind())]
    pub(super) kind: Kind,
}
