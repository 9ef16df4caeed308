//! The option `--kind` of commands.

use clap::Args;
use webhook_core::Kind;

use crate::views::{parse_kind, transaction_kind};

/// The option `--kind`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(super) struct KindOption {
    /// Kind of the events: transaction, or the name of a source, such as stripe. An app that embeds the
    /// crates may have further kinds in the same database
    #[arg(long, value_parser = parse_kind, default_value_t = transaction_kind())]
    pub(super) kind: Kind,
}
