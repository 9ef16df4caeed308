//! Processes are killed without a chance to clean up, or stopped for a while.

use std::time::Duration;

use rand::RngExt as _;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::backend::{Backend, SqliteFile};
use crate::reconcile::Tally;
use crate::rig::{Rig, Run};
use crate::senders::well;

/// The number of attempts of an event: in a long run, a handler that takes long is killed many times.
const ATTEMPTS: u32 = 100;

/// Kills one of three nodes, chosen at random.
pub(super) async fn one<B: Backend>(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<B>::new(&run).await?;
    rig.max_attempts = ATTEMPTS;
    rig.start_nodes(3).await?;
    kills(rig, |random| vec![random % 3]).await
}

/// Kills one of two nodes that only accept.
pub(super) async fn api<B: Backend>(run: Run) -> anyhow::Result<Tally> {
    let rig = of_roles::<B>(&run, ["api", "api", "worker"]).await?;
    kills(rig, |random| vec![random % 2]).await
}

/// Kills one of two nodes that only work.
pub(super) async fn worker<B: Backend>(run: Run) -> anyhow::Result<Tally> {
    let rig = of_roles::<B>(&run, ["api", "worker", "worker"]).await?;
    kills(rig, |random| vec![1 + random % 2]).await
}

/// Kills all three nodes at once.
pub(super) async fn all<B: Backend>(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<B>::new(&run).await?;
    rig.max_attempts = ATTEMPTS;
    rig.start_nodes(3).await?;
    kills(rig, |_| vec![0, 1, 2]).await
}

/// Kills `webhook-server`, of which there can be one on a file.
pub(super) async fn sqlite_server(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<SqliteFile>::new(&run).await?;
    rig.keeps_ledger = false;
    rig.max_attempts = ATTEMPTS;
    rig.mix = well;
    let mut setup = rig.setup();
    setup.program.clone_from(&run.tools.server);
    rig.start(setup)?;
    rig.ready().await?;
    kills(rig, |_| vec![0]).await
}

/// Stops one of two nodes for longer than its leases, then continues it. Its late settlements of leases
/// that the other one has taken over must have no effect.
pub(super) async fn stopped<B: Backend>(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<B>::new(&run).await?;
    rig.start_nodes(2).await?;
    let load = rig.load();
    rig.about_during(0.3).await;
    rig.nodes[0].signal(Signal::STOP);
    let longer = rig.random.random_range(200..1_000);
    sleep(rig.lease + Duration::from_millis(longer)).await;
    rig.nodes[0].signal(Signal::CONT);
    rig.healed().await?;
    rig.during(0.2).await;
    rig.finish(load).await
}

async fn of_roles<B: Backend>(run: &Run, roles: [&str; 3]) -> anyhow::Result<Rig<B>> {
    let mut rig = Rig::<B>::new(run).await?;
    rig.max_attempts = ATTEMPTS;
    for role in roles {
        let mut setup = rig.setup();
        setup.variables.push(("ROLE", role.to_owned()));
        rig.start(setup)?;
    }
    rig.ready().await?;
    Ok(rig)
}

/// Kills the nodes that `choose` selects by a random number, about once a second.
async fn kills<B: Backend>(
    mut rig: Rig<B>,
    choose: fn(usize) -> Vec<usize>,
) -> anyhow::Result<Tally> {
    let load = rig.load();
    let end = Instant::now() + Duration::from_secs_f64(rig.run.seconds);
    let mut kills = 0;
    loop {
        let pause = rig.random.random_range(300..1_200);
        sleep(Duration::from_millis(pause)).await;
        if kills > 0 && Instant::now() >= end {
            break;
        }
        for victim in choose(rig.random.random_range(0..6)) {
            rig.nodes[victim].signal(Signal::KILL);
            kills += 1;
        }
    }
    rig.notes.push(format!("{kills} kills"));
    rig.healed().await?;
    rig.finish(load).await
}
