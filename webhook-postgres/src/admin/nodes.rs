//! Nodes: the processes that use the inbox.

use sqlx::Row;
use sqlx::postgres::PgRow;
use webhook_core::{MAX_NODE_EXPIRY, MAX_NODES, NodeId, NodeRecord, NodeReport};

use crate::error::PgError;
use crate::microseconds;
use crate::session::Session;

pub(crate) async fn heartbeat(
    session: &mut Session<'_>,
    report: &NodeReport,
) -> Result<Vec<NodeRecord>, PgError> {
    let expiry = report.expires_after.min(MAX_NODE_EXPIRY);
    let rows = session
        .rows(include_str!("heartbeat.sql"), |query| {
            query
                .bind(report.id.as_str().to_owned())
                .bind(report.role.as_str().to_owned())
                .bind(report.version.as_str().to_owned())
                .bind(report.host.as_str().to_owned())
                .bind(i64::from(report.slots))
                .bind(i64::from(report.running))
                .bind(microseconds::of(expiry))
                .bind(limit())
        })
        .await?;
    rows.iter().map(node).collect()
}

pub(crate) async fn nodes(session: &mut Session<'_>) -> Result<Vec<NodeRecord>, PgError> {
    let rows = session
        .rows(include_str!("nodes.sql"), |query| query.bind(limit()))
        .await?;
    rows.iter().map(node).collect()
}

/// Returns whether the node was live.
pub(crate) async fn retire(session: &mut Session<'_>, node: &NodeId) -> Result<bool, PgError> {
    let rows = session
        .rows(include_str!("retire.sql"), |query| {
            query.bind(node.as_str().to_owned())
        })
        .await?;
    match rows.first() {
        Some(row) => Ok(row.try_get("was_live")?),
        None => Ok(false),
    }
}

fn limit() -> i64 {
    i64::try_from(MAX_NODES).expect("there are few nodes")
}

fn node(row: &PgRow) -> Result<NodeRecord, PgError> {
    let id = NodeId::new(row.try_get::<String, _>("id")?);
    let id = id.map_err(|error| PgError::Damaged {
        detail: format!("the id of a node {error}"),
    })?;
    let text = |column: &str| row.try_get::<String, _>(column);
    let number = |column: &str| -> Result<u32, PgError> {
        let number: i64 = row.try_get(column)?;
        Ok(u32::try_from(number).unwrap_or(0))
    };
    let report = NodeReport::new(id, text("role")?)
        .with_version(text("version")?)
        .with_host(text("host")?)
        .with_slots(number("slots")?)
        .with_running(number("running")?);
    Ok(NodeRecord::new(
        &report,
        microseconds::time(row.try_get("started_at_us")?),
        microseconds::time(row.try_get("last_seen_at_us")?),
    ))
}
