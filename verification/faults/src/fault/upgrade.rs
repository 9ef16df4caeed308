//! Servers of the previous release are replaced by current ones, one after the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use rustix::process::Signal;
use sqlx::{PgConnection, query_scalar};

use testkit::postgres::Postgres;

use crate::book::Content;
use crate::node::{Node, NodeSetup};
use crate::reconcile::Tally;
use crate::rig::{Rig, Run};
use crate::senders::{Senders, deliver_content_to, well};

/// The number of events that the previous release has accepted and that are delivered to the
/// current one again.
const REDELIVERED: usize = 30;

/// Replaces three nodes under load. Of the former ones
///
/// - the first continues beside the current one that migrates, and is stopped by SIGTERM:
///   senders must not get errors, and no attempt may be used up;
/// - the second is killed, and starts again on the newer schema, as a node does
///   that may not migrate (`MIGRATE=off`); then SIGTERM stops it;
/// - the third is killed and does not start again.
pub(super) async fn one_by_one(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    rig.keeps_ledger = false;
    rig.mix = well;
    // Before a node is killed nothing may be late, even on a busy machine, but the leases of a
    // killed node have to be taken over while the run lasts.
    rig.lease = Duration::from_secs(10);
    rig.patience = Duration::from_secs(7);
    let former = former_setup(&rig);
    for _ in 0..3 {
        rig.start(former.clone())?;
    }
    rig.ready().await?;
    let mut connection = rig.database.connect().await?;
    let version = schema_version(&mut connection).await?;
    let load = rig.load();
    rig.acknowledges(REDELIVERED).await?;
    let accepted_before: Vec<_> = {
        let entries = rig.book.entries();
        let sent = entries.sent.iter();
        let accepted = sent.filter(|(_, sent)| sent.accepted > 0);
        accepted.map(|(key, _)| key.clone()).collect()
    };
    let mut logs = Vec::new();

    rig.about_during(0.15).await;
    start_current(&mut rig, &load).await?;
    rig.about_during(0.15).await;
    let mut first = rig.nodes.remove(0);
    first.stop().await?;
    load.remove(first.addr);
    logs.push(log_of(&first));
    rig.must_not_be_noticed();
    let retried: i64 = query_scalar("SELECT count(*) FROM webhook.outcomes WHERE attempts <> 1")
        .fetch_one(&mut connection)
        .await?;
    if retried > 0 {
        let retried =
            format!("{retried} events needed a second attempt before any node was killed");
        rig.violations.push(retried);
    }
    let handled_twice = handled_twice(logs.iter().chain(&logs_of(&rig)));
    if handled_twice > 0 {
        let twice = format!("{handled_twice} events handled twice before any node was killed");
        rig.violations.push(twice);
    }

    start_current(&mut rig, &load).await?;
    rig.nodes[0].signal(Signal::KILL);
    rig.nodes[0].started(2).await?;
    rig.nodes[0].ready().await?;
    rig.about_during(0.15).await;
    let mut second = rig.nodes.remove(0);
    second.stop().await?;
    load.remove(second.addr);
    logs.push(log_of(&second));

    start_current(&mut rig, &load).await?;
    rig.about_during(0.15).await;
    let mut third = rig.nodes.remove(0);
    third.kill().await?;
    load.remove(third.addr);
    logs.push(log_of(&third));

    rig.during(0.2).await;
    rig.healed().await?;
    for (number, key) in accepted_before.iter().take(REDELIVERED).enumerate() {
        let node = &rig.nodes[number % rig.nodes.len()];
        for content in [Content::Own, Content::Other] {
            deliver_content_to(node.addr, &rig.book, key, content).await?;
        }
    }
    let migrated = schema_version(&mut connection).await?;
    ensure!(migrated >= version, "version {migrated} after {version}");
    drop(connection);
    logs.extend(logs_of(&rig));
    let complaints = logs.iter().filter_map(|(name, log)| {
        let line = log.lines().find(|line| line.contains(" ERROR "))?;
        Some(format!("{name}: {line}"))
    });
    rig.violations.extend(complaints);
    let book = Arc::clone(&rig.book);
    let mut tally = rig.finish(load).await?;
    let former = match &run.former_server {
        Some(program) => program.display().to_string(),
        None => "the current server".to_owned(),
    };
    let entries = book.entries();
    tally.notes.extend([
        format!("{former} replaced, its schema of version {version} migrated to {migrated}"),
        format!(
            "{} acknowledged, {} answered 503, {} unanswered, {} connections closed while idle, \
             longest time without a 202: {:?}",
            tally.acknowledged,
            entries.unavailable,
            entries.unanswered,
            entries.closed_while_idle,
            entries.longest_pause,
        ),
    ]);
    Ok(tally)
}

/// Starts a server of the previous release, which may migrate when it is first started alone.
fn former_setup(rig: &Rig) -> NodeSetup {
    let mut setup = rig.setup();
    let tools = &rig.run.tools;
    let former = rig.run.former_server.as_ref();
    setup.program.clone_from(former.unwrap_or(&tools.server));
    setup.variables.push(("MIGRATE", "off".to_owned()));
    setup.at_first.push(("MIGRATE", "auto".to_owned()));
    setup
}

/// Adds a current server, which migrates, once it is ready.
async fn start_current(rig: &mut Rig, load: &Senders) -> anyhow::Result<()> {
    let mut setup = rig.setup();
    setup.program.clone_from(&rig.run.tools.server);
    rig.start(setup)?;
    let node = rig.nodes.last().expect("one was just started");
    node.ready().await?;
    load.add(node.addr);
    Ok(())
}

async fn schema_version(connection: &mut PgConnection) -> anyhow::Result<i32> {
    let version = query_scalar("SELECT max(version) FROM webhook.migrations");
    Ok(version.fetch_one(connection).await?)
}

/// Returns a node's name and its log.
fn log_of(node: &Node) -> (String, String) {
    (node.name.clone(), node.log())
}

fn logs_of(rig: &Rig) -> Vec<(String, String)> {
    rig.nodes.iter().map(log_of).collect()
}

/// Counts the events that the logs show as processed more than once.
fn handled_twice<'a>(logs: impl Iterator<Item = &'a (String, String)>) -> usize {
    let mut times: HashMap<&str, u32> = HashMap::new();
    for (_, log) in logs {
        for line in log
            .lines()
            .filter(|it| it.contains("transaction processed"))
        {
            if let Some((_, id)) = line.split_once("transaction_id=") {
                let id = id.split(' ').next().unwrap_or(id);
                *times.entry(id).or_default() += 1;
            }
        }
    }
    times.values().filter(|times| **times > 1).count()
}
