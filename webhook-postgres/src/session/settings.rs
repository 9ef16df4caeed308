//! The settings of a session that promises and statements depend on.
//!
//! Sessions of our own get them in the start packet and by one `set_config`: both outrank the
//! settings of roles, databases and `postgresql.conf`, and survive reloads. Transactions on
//! sessions of others set them with `SET LOCAL`.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use super::ANSWER_GRACE;
use crate::options::Durability;

/// What the statements rely on. No value needs quotation marks in SQL.
///
/// Plans may be made while a table is empty and be kept until it is huge: only index scans, in
/// the index's order, are right for both. The JIT compiler must not be started by what the
/// planner imagines the other ones to cost.
///
/// `search_path` comes first: operators and functions must be PostgreSQL's before anything else
/// is resolved. `pg_temp` is named so that it is searched last. With `row_security` off, a policy
/// that would hide rows is an error.
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

/// Statements that stay prepared keep the plan that they got first. Otherwise the planner makes five
/// plans for the arguments at hand, and goes on to do so for as long as it takes them for the cheaper ones:
/// a plan for a batch of one always looks cheaper, and to make one takes longer than to run it.
const KEEP_PLANS: (&str, &str) = ("plan_cache_mode", "force_generic_plan");

/// What does not stay prepared is planned anyway, so for the arguments at hand.
const PLAN_ANEW: &str = "SET LOCAL plan_cache_mode = force_custom_plan;";

/// `default_transaction_read_only` is not set: where it is on, an operator has frozen the database.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED;";

/// Pins `synchronous_commit`, and ends `transaction_timeout` where the server knows it
/// (PostgreSQL 17). The third argument of `set_config` is whether for the transaction alone.
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

/// Replaces `off` alone: every other value waits for the local disk.
macro_rules! durable {
    ($local:literal) => {
        pin!(
            "CASE pg_catalog.current_setting('synchronous_commit') WHEN 'off' THEN 'on' \
             ELSE pg_catalog.current_setting('synchronous_commit') END",
            $local
        )
    };
}

/// Statements for the start of a session that has [`of_own_session`] already.
pub(super) fn once_per_session(durability: Durability) -> &'static str {
    match durability {
        Durability::Synchronous => durable!("false"),
        Durability::Asynchronous => pin!("'off'", "false"),
    }
}

/// Pins the durability of the transaction that is open, where [`STATEMENTS`] are set.
pub(super) fn once_per_transaction(durability: Durability) -> &'static str {
    match durability {
        Durability::Synchronous => durable!("true"),
        Durability::Asynchronous => pin!("'off'", "true"),
    }
}

/// The settings for the start packet of a session.
pub(super) fn of_own_session(statement_timeout: Duration) -> Vec<(&'static str, String)> {
    let mut settings = of_sessions(statement_timeout);
    settings.push((KEEP_PLANS.0, KEEP_PLANS.1.to_owned()));
    settings.push(("default_transaction_isolation", "read committed".to_owned()));
    settings
}

/// Begins a transaction on a session that has [`of_own_session`], with plans for the arguments at hand.
pub(super) fn begin_and_plan_anew() -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("{BEGIN} {PLAN_ANEW}"))
}

/// Begins a transaction and sets all of it.
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
