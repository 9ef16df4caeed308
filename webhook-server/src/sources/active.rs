//! [`ActiveSource`]: one source, ready to receive.

use std::sync::Arc;

use webhook_sources::Source;

use super::activity::Activity;
use super::limits::{Admitted, Limits, OverLimit};
use super::masked::Masking;
use crate::config::SourceConfig;

/// A source that receives.
#[derive(Debug)]
pub(crate) struct ActiveSource {
    pub(crate) config: SourceConfig,
    /// The source as it was before its specification or its secrets were changed last, to tell who still signs
    /// with a former secret.
    pub(super) former: Option<Arc<Source>>,
    pub(crate) limits: Limits,
    pub(crate) activity: Arc<Activity>,
    pub(super) masking: Masking,
}

impl ActiveSource {
    /// Makes a source, which follows `former`. `sources` is how many share the room for refused requests.
    pub(super) fn new(config: SourceConfig, former: Option<&Arc<Self>>, sources: usize) -> Self {
        let activity = former.map_or_else(Arc::default, |former| Arc::clone(&former.activity));
        activity.resize(sources);
        Self {
            former: former.and_then(|former| {
                if is_same_sender(&former.config, &config) {
                    former.former.clone()
                } else {
                    Some(Arc::clone(&former.config.source))
                }
            }),
            limits: Limits::new(&config),
            masking: Masking::of(config.source.spec()),
            activity,
            config,
        }
    }

    /// The name, which is the kind of the events as well.
    pub(crate) fn name(&self) -> &str {
        self.config.name.as_str()
    }

    /// The source itself.
    pub(crate) const fn source(&self) -> &Arc<Source> {
        &self.config.source
    }

    /// Admits a verified delivery with a body of `bytes`, which waits for the store until the result is dropped.
    pub(crate) fn admit(&self, bytes: usize) -> Result<Admitted<'_>, OverLimit> {
        if !self.has_room() {
            return Err(OverLimit::Stored);
        }
        self.limits.admit(bytes)
    }

    /// Whether it may store more events, as far as the number of its unsettled ones is known.
    pub(super) fn has_room(&self) -> bool {
        let limit = self.config.max_stored;
        limit.is_none_or(|limit| self.activity.unsettled() < limit.get())
    }
}

/// Whether two configurations verify requests in the same way.
fn is_same_sender(former: &SourceConfig, new: &SourceConfig) -> bool {
    let (old, current) = (&former.secrets, &new.secrets);
    former.source.spec() == new.source.spec()
        && former.public_url == new.public_url
        && old.names().eq(current.names())
        && old
            .names()
            .all(|name| old.named(name).eq(current.named(name)))
}
