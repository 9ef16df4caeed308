//! The route that shows an event of a source.

use std::net::IpAddr;

use hyper::StatusCode;
use hyper::http::request::Parts;
use tokio::time::timeout;
use webhook_core::{EventRef, StoreError};
use webhook_ui::key_in_path;

use super::App;
use super::answer::Answer;
use super::document::document;
use super::method::{Allowed, read};
use super::problem::Problem;
use super::sources::FLAW_HEADER;
use crate::sources::Named;
use crate::views::SourceEventView;

/// Parses which event to show: `path` is `SOURCE/ID`. Checks the token of the reader, which the events of a source
/// need unless it says otherwise; whoever has none does not learn which sources there are.
pub(super) fn route(
    app: &App,
    client: Option<IpAddr>,
    head: &Parts,
    path: &str,
) -> Result<Allowed<EventRef>, Problem> {
    let (name, id) = match (path.split_once('/'), &app.sources) {
        (Some((name, id)), Some(_)) if !id.is_empty() && !id.contains('/') => (name, id),
        _ => return Err(Problem::no_such_path()),
    };
    read(&head.method, || {
        let source = match app.sources.as_ref().map(|sources| sources.named(name)) {
            Some(Named::Source(source)) => Some(source),
            _ => None,
        };
        if source
            .as_ref()
            .is_none_or(|source| source.config.reads_need_token)
        {
            app.auth
                .check_reader(client, head, name, Problem::no_such_event)?;
        }
        app.check_global_rate(client)?;
        let source = source.ok_or_else(Problem::no_such_event)?;
        let key = key_in_path(id).ok_or_else(Problem::no_such_event)?;
        Ok(EventRef {
            kind: source.config.name.clone(),
            key,
        })
    })
}

/// Shows the state of an event, without its body.
pub(super) async fn show(app: &App, event: &EventRef) -> Result<Answer, Problem> {
    let found = async {
        let found = app.store.find(std::slice::from_ref(event)).await?;
        let Some(record) = found.into_iter().flatten().next() else {
            return Ok(None);
        };
        let admin = app.intake.as_ref().and_then(|intake| intake.admin.as_ref());
        let conflicts = match admin {
            Some(admin) if record.conflict_count > 0 => admin.conflicts(event).await?,
            _ => Vec::new(),
        };
        Ok::<_, StoreError>(Some((record, conflicts)))
    };
    let found = timeout(app.options.ready_timeout, found).await;
    let found = found.map_err(|_| Problem::unavailable("Store too slow", 1))??;
    let (record, conflicts) = found.ok_or_else(Problem::no_such_event)?;
    document(
        StatusCode::OK,
        &SourceEventView::of(&record, &conflicts, FLAW_HEADER),
    )
}
