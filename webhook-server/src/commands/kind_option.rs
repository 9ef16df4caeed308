//! The option `--kind` of commands.

use clap::Args;
use webhook_core::Kind;

use crate::views::{parse_kind, transaction_kind};

/// The option `--kind`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(super) struct KindOption {
    /// Kind of the events. An app that embeds the crates may have its own kinds in the same database,
    /// such as stripe
    #[arg(long, value_parser = parse_kind, default_value_t = transaction_kind())]
    pub(super) kind: Kind,
}
