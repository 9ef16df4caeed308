//! The server as a process on a real PostgreSQL, whose servers `scripts/with-postgres` starts.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod commands;
mod conformance;
mod delay;
mod documented;
mod former_schema;
#[path = "../../../webhook-postgres/tests/inbox/mod.rs"]
mod inbox;
mod kill;
mod kinds;
mod least_rights;
mod logs;
mod metrics;
mod move_events;
mod node;
mod outage;
mod partitions;
mod pause;
mod pooler;
mod proxy;
mod psql;
mod roles;
mod schemas;
mod sources;
mod startup;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "the tests without a database need more of it")]
mod support;
mod upgrade;
mod view;
mod view_columns;
