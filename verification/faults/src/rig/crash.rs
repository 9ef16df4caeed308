//! Checks of what a crash leaves of an SQLite file.

use std::error::Error as _;

use anyhow::Context as _;
use webhook_sqlite::SqliteStore;

use crate::backend::{Backend as _, SqliteFile};
use crate::book::Sent;
use crate::disk::Image;
use crate::ledger::{self, What};
use crate::reconcile::{Evidence, reconcile};

use super::{DELAY, Rig};

/// What must have survived a crash.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Promised {
    /// What senders and handlers were told before this time.
    Before(i64),
    /// Nothing, but what is left must be of one moment.
    Nothing,
}

impl Rig<SqliteFile> {
    /// Opens a copy of the files as the next process would, and returns what is wrong.
    pub(crate) async fn violations_of(
        &self,
        image: &Image,
        promised: Promised,
    ) -> anyhow::Result<Vec<String>> {
        let folder = self.run.tools.folder("image")?;
        let file = SqliteFile::within(folder.path());
        image.write(file.path())?;
        match SqliteStore::open(file.path()).await {
            Ok(store) => store.close().await,
            Err(error) => {
                let source = error.source().map(ToString::to_string);
                return Ok(vec![format!("DAMAGED: {error}: {source:?}")]);
            }
        }
        match self.violations_in(&file, promised).await {
            Ok(violations) => Ok(violations),
            Err(error) => Ok(vec![format!("DAMAGED: {error:#}")]),
        }
    }

    async fn violations_in(
        &self,
        file: &SqliteFile,
        promised: Promised,
    ) -> anyhow::Result<Vec<String>> {
        let mut connection = file.connect().await?;
        let mut violations = SqliteFile::damage(&mut connection).await?;
        let stored = SqliteFile::stored(&mut connection).await?;
        let effects = SqliteFile::effects(&mut connection).await?;
        let mut lines = ledger::read(&self.ledger).context("the ledger is damaged")?;
        lines.retain(|line| match promised {
            // What is left may be later, and then depends on handlers that ended later.
            Promised::Before(at_us) => line.at_us < at_us || line.what == What::Ended,
            // Who began had a lease that was promised.
            Promised::Nothing => line.what != What::Begun,
        });
        let mut entries = self.book.entries().sent.clone();
        for sent in entries.values_mut() {
            let is_promised = match promised {
                Promised::Before(at_us) => sent.acknowledged_at_us.is_some_and(|it| it < at_us),
                Promised::Nothing => false,
            };
            *sent = Sent {
                accepted: u32::from(is_promised),
                contested: sent.contested,
                ..Sent::default()
            };
        }
        let tally = reconcile(&Evidence {
            entries: &entries.into(),
            stored: &stored,
            effects: &effects,
            lines: &lines,
            delay: DELAY,
            lease: self.lease,
            max_attempts: self.max_attempts,
            spoilt: None,
            spends_no_attempt: false,
            keeps_ledger: self.keeps_ledger,
            is_over: false,
        });
        violations.extend(tally.violations);
        Ok(violations)
    }
}
