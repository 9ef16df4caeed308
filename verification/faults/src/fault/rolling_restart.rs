//! Nodes are restarted one after the other, which must not have any visible effect.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use testkit::postgres::Postgres;

use crate::backend::Backend;
use crate::reconcile::Tally;
use crate::rig::{Rig, Run};
use crate::senders::well;

/// Restarts three nodes by SIGTERM under load: senders must not get errors, and no attempt may be
/// used up.
pub(super) async fn of_nodes<B: Backend>(run: Run) -> anyhow::Result<Tally> {
    let mut rig = patient::<B>(&run).await?;
    rig.start_nodes(3).await?;
    one_by_one(rig).await
}

/// Does the same with `webhook-server`, whose handler keeps no ledger.
pub(super) async fn of_servers(run: Run) -> anyhow::Result<Tally> {
    let mut rig = patient::<Postgres>(&run).await?;
    rig.keeps_ledger = false;
    rig.mix = well;
    for _ in 0..3 {
        let mut setup = rig.setup();
        setup.program.clone_from(&run.tools.server);
        rig.start(setup)?;
    }
    rig.ready().await?;
    one_by_one(rig).await
}

/// Without failures nothing may be late; the limit leaves room for a busy machine.
async fn patient<B: Backend>(run: &Run) -> anyhow::Result<Rig<B>> {
    let mut rig = Rig::<B>::new(run).await?;
    rig.lease = Duration::from_secs(60);
    rig.patience = Duration::from_secs(7);
    Ok(rig)
}

async fn one_by_one<B: Backend>(mut rig: Rig<B>) -> anyhow::Result<Tally> {
    rig.spends_no_attempt = true;
    let load = rig.load();
    for node in 0..rig.nodes.len() {
        rig.about_during(0.15).await;
        let node = &rig.nodes[node];
        node.signal(Signal::TERM);
        node.started(2).await?;
        node.ready().await?;
    }
    rig.during(0.2).await;
    rig.healed().await?;
    rig.must_not_be_noticed();
    let ends = rig.nodes.iter().flat_map(|node| node.ends());
    let bad: Vec<_> = ends.filter(|status| !status.success()).collect();
    if !bad.is_empty() {
        rig.violations.push(format!("nodes ended with {bad:?}"));
    }
    let book = Arc::clone(&rig.book);
    let mut tally = rig.finish(load).await?;
    let closed = book.entries().closed_while_idle;
    tally
        .notes
        .push(format!("{closed} connections closed while idle"));
    Ok(tally)
}
