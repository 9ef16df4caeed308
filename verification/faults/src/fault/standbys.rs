//! Two servers, and an address that is switched from one to the other.

use rustix::process::{Signal, kill_process};
use testkit::proxy::{Network, Proxy};

use testkit::postgres::Postgres;

use crate::reconcile::Tally;
use crate::rig::{Rig, Run};
use crate::standby::{follow, promote, receiver};

/// The standby stops receiving for a while, so that no commit returns. Then the primary dies, and
/// the standby is promoted.
pub(super) async fn failover(run: Run) -> anyhow::Result<Tally> {
    let (mut rig, proxy) = two_nodes_behind_an_address(&run).await?;
    let standby = follow(&rig).await?;
    let load = rig.load();
    rig.about_during(0.2).await;
    let receiver = receiver(&standby).await?;
    kill_process(receiver, Signal::STOP)?;
    rig.about_during(0.4).await;
    rig.refuses().await?;
    kill_process(receiver, Signal::CONT)?;
    rig.about_during(0.2).await;
    rig.database.end(Signal::KILL).await?;
    promote(&standby).await?;
    proxy.switch(standby.port());
    rig.database = standby;
    rig.healed().await?;
    rig.during(0.4).await;
    if rig.nodes.iter().any(|node| node.starts() > 1) {
        let restarted = "a node had to be started again".to_owned();
        rig.violations.push(restarted);
    }
    rig.finish(load).await
}

/// The address leads to a standby for a while, which is read-only.
pub(super) async fn read_only(run: Run) -> anyhow::Result<Tally> {
    let (mut rig, proxy) = two_nodes_behind_an_address(&run).await?;
    let standby = follow(&rig).await?;
    let load = rig.load();
    rig.about_during(0.3).await;
    proxy.switch(standby.port());
    rig.about_during(0.5).await;
    rig.refuses().await?;
    proxy.switch(rig.database.port());
    rig.healed().await?;
    rig.finish(load).await
}

async fn two_nodes_behind_an_address(run: &Run) -> anyhow::Result<(Rig, Proxy)> {
    let mut rig = Rig::<Postgres>::new(run).await?;
    let proxy = Proxy::start("127.0.0.1", rig.database.port(), Network::Up);
    for _ in 0..2 {
        rig.start(rig.setup_at(proxy.addr().port()))?;
    }
    rig.ready().await?;
    Ok((rig, proxy))
}
