//! The session settings on which the guarantees and the statements depend.
//!
//! Sessions of this crate get them in the start-up packet and by one `set_config`. Both take precedence over
//! the settings of roles, databases and `postgresql.conf`, and survive reloads. Transactions on other sessions
//! set them with `SET LOCAL`.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use super::{ANSWER_GRACE, Engine};
use crate::options::Durability;

/// The settings that the statements need. No value needs quotation marks in SQL.
///
/// A plan may be made while a table is empty, and kept until the table is huge. Only index scans in the order
/// of the index are right for both. The planner assigns high costs to disabled scans, which must not start the
/// JIT compiler.
///
/// `search_path` comes first, so that all operators and functions are PostgreSQL's own. `pg_temp` is named so
/// that it is searched last. With `row_security` off, a policy that would hide rows is an error.
pub(super) const STATEMENTS: [(&str, &str); 11] = [
    ("search_path", "pg_catalog,pg_temp"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_indexscan", "on"),
    ("enable_indexonlyscan", "on"),
    ("enable_nestloop", "on"),
    ("jit", "off"),
    ("row_security", "off"),
    ("standard_conforming_strings", "on"),
    ("transform_null_equals", "off"),
    ("IntervalStyle", "postgres"),
];

/// Prepared statements keep their first, generic plan. By default, the planner makes plans for the actual
/// arguments five times, and continues to do so while they look cheaper. A plan for a batch of one event always
/// looks cheaper, and planning takes longer than running it.
///
/// Not in Citus: it cannot make a generic plan of a statement with several parts, and keeps those of others by itself.
const KEEP_PLANS: (&str, &str) = ("plan_cache_mode", "force_generic_plan");

/// Statements that do not stay prepared are planned each time anyway, so they are planned for the actual
/// arguments.
const PLAN_ANEW: &str = "SET LOCAL plan_cache_mode = force_custom_plan;";

/// Does not set `default_transaction_read_only`: if it is on, an operator has made the database read-only on
/// purpose.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED;";

/// Sets `synchronous_commit`, and turns off `transaction_timeout` if the server has it (PostgreSQL 17). The
/// third argument of `set_config` says whether this applies only to the transaction.
macro_rules! pin {
    ($synchronous_commit:literal, $local:literal) => {
        concat!(
            "SELECT pg_catalog.set_config('synchronous_commit', ",
            $synchronous_commit,
            ", ",
            $local,
            "); SELECT pg_catalog.set_config('transaction_timeout', '0', ",
            $local,
            ") WHERE pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL"
        )
    };
}

/// Replaces only the value `off`: every other value waits for the local disk.
macro_rules! durable {
    ($local:literal) => {
        pin!(
            "CASE pg_catalog.current_setting('synchronous_commit') WHEN 'off' THEN 'on' \
             ELSE pg_catalog.current_setting('synchronous_commit') END",
            $local
        )
    };
}

/// Returns the statements for the start of a session that has [`of_own_session`] already.
pub(super) fn once_per_session(durability: Durability) -> &'static str {
    match durability {
        Durability::Synchronous => durable!("false"),
        Durability::Asynchronous => pin!("'off'", "false"),
    }
}

/// Returns the statements that set the durability of the open transaction, in which [`STATEMENTS`] are set.
pub(super) fn once_per_transaction(durability: Durability) -> &'static str {
    match durability {
        Durability::Synchronous => durable!("true"),
        Durability::Asynchronous => pin!("'off'", "true"),
    }
}

/// Returns the settings for the start-up packet of a session.
pub(super) fn of_own_session(
    statement_timeout: Duration,
    engine: Engine,
) -> Vec<(&'static str, String)> {
    let mut settings = of_sessions(statement_timeout);
    if engine == Engine::Postgres {
        settings.push((KEEP_PLANS.0, KEEP_PLANS.1.to_owned()));
    }
    settings.push(("default_transaction_isolation", "read committed".to_owned()));
    settings
}

/// Returns the statements that begin a transaction on a session with [`of_own_session`], with plans for the
/// actual arguments.
pub(super) fn begin_and_plan_anew() -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("{BEGIN} {PLAN_ANEW}"))
}

/// Returns the statements of [`begin_and_plan_anew`], with another time limit.
pub(super) fn begin_and_plan_anew_within(statement_timeout: Duration) -> AssertSqlSafe<String> {
    let timeout_ms = statement_timeout.as_millis();
    AssertSqlSafe(format!(
        "{BEGIN} {PLAN_ANEW} SET LOCAL statement_timeout = {timeout_ms};"
    ))
}

/// Returns the statements that begin a transaction and set everything.
pub(super) fn begin_and_set(statement_timeout: Duration, durability: Durability) -> String {
    let mut sql = String::from(BEGIN);
    for (name, value) in of_sessions(statement_timeout) {
        sql.push_str(&format!("SET LOCAL {name} = {value};"));
    }
    sql.push_str(PLAN_ANEW);
    sql.push_str(once_per_transaction(durability));
    sql
}

fn of_sessions(statement_timeout: Duration) -> Vec<(&'static str, String)> {
    let statements = STATEMENTS.map(|(name, value)| (name, value.to_owned()));
    let idle = statement_timeout + ANSWER_GRACE;
    let mut settings = Vec::from(statements);
    settings.extend([
        ("lock_timeout", "0".to_owned()),
        (
            "statement_timeout",
            statement_timeout.as_millis().to_string(),
        ),
        (
            "idle_in_transaction_session_timeout",
            idle.as_millis().to_string(),
        ),
    ]);
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_plans_are_forced_in_postgresql_only() {
        let has_plans = |engine| {
            let settings = of_own_session(Duration::from_secs(1), engine);
            settings.iter().any(|(name, _)| *name == KEEP_PLANS.0)
        };
        assert!(has_plans(Engine::Postgres));
        assert!(!has_plans(Engine::Citus));
    }
}
