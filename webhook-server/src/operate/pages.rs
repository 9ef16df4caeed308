//! Pages of transactions, for commands that work through all that match.

use webhook_core::{EventSummary, Operator, Page};
use webhook_postgres::PgStore;

use super::OperateError;
use super::output::progress;

/// Calls `work` with each page from `page` on, and shows progress towards `total` transactions. An
/// event that `work` moves to another state is not met twice.
pub(super) async fn each(
    database: &PgStore,
    mut page: Page,
    total: u64,
    mut work: impl AsyncFnMut(&[EventSummary]) -> Result<(), OperateError>,
) -> Result<(), OperateError> {
    let bar = progress(total);
    loop {
        let records = database.list(&page).await?;
        work(&records).await?;
        bar.inc(records.len() as u64);
        if records.len() < page.limit.get() {
            break;
        }
        page.after = records.last().map(|record| record.id);
    }
    bar.finish_and_clear();
    Ok(())
}
