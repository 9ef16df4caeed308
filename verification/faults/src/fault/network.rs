//! Faults of network connections.

use std::time::Duration;

use rand::RngExt as _;
use testkit::proxy::{Cut, Network, Proxy};
use tokio::time::{Instant, sleep};

use testkit::postgres::Postgres;

use crate::reconcile::Tally;
use crate::rig::{Rig, Run};
use crate::tools::url_at;

/// Connections are cut during a request, before an answer, and after a commit whose answer is lost:
/// each time the result is unknown. One of two nodes ends its statements with an explicit COMMIT,
/// as it does behind a pooler.
pub(super) async fn cuts(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    let proxy = Proxy::start("127.0.0.1", rig.database.port(), Network::Up);
    rig.start(rig.setup_at(proxy.addr().port()))?;
    let mut setup = rig.setup_at(proxy.addr().port());
    let url = format!("{}&pooler=transaction", url_at(proxy.addr().port()));
    setup.variables.push(("DATABASE_URL", url));
    rig.start(setup)?;
    rig.ready().await?;
    let load = rig.load();
    let end = Instant::now() + Duration::from_secs_f64(run.seconds);
    let mut cuts = 0;
    while Instant::now() < end {
        proxy.cut_next(Cut::ALL[rig.random.random_range(0..Cut::ALL.len())]);
        cuts += 1;
        let pause = rig.random.random_range(5..60);
        sleep(Duration::from_millis(pause)).await;
    }
    proxy.cut_none();
    rig.notes.push(format!("{cuts} cuts"));
    rig.healed().await?;
    rig.finish(load).await
}

/// One node's network stalls for longer than its leases, then recovers. The node's late settlements
/// of leases that others have taken over must have no effect.
pub(super) async fn stalls(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    let proxy = beside_another(&mut rig).await?;
    let load = rig.load();
    rig.about_during(0.3).await;
    proxy.set(Network::Stalled);
    let longer = rig.random.random_range(200..1_500);
    sleep(rig.lease + Duration::from_millis(longer)).await;
    rig.refuses().await?;
    proxy.set(Network::Up);
    rig.healed().await?;
    rig.during(0.2).await;
    rig.finish(load).await
}

/// One node's connections stay open but pass no data any more.
pub(super) async fn forgets(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    let proxy = beside_another(&mut rig).await?;
    let load = rig.load();
    rig.about_during(0.5).await;
    proxy.forget();
    rig.refuses().await?;
    rig.healed().await?;
    rig.finish(load).await
}

/// Starts a node behind a proxy, and one without.
async fn beside_another(rig: &mut Rig) -> anyhow::Result<Proxy> {
    let proxy = Proxy::start("127.0.0.1", rig.database.port(), Network::Up);
    rig.start(rig.setup_at(proxy.addr().port()))?;
    rig.start_nodes(1).await?;
    Ok(proxy)
}
