//! A node dies at each step of each operation.

use rand::RngExt as _;

use crate::backend::{Backend, SqliteFile};
use crate::failpoint::{Failpoint, Moment, Operation};
use crate::reconcile::Tally;
use crate::rig::{Rig, Run};

/// The maximum number of operations that a node survives.
const LATEST: u32 = 30;

/// Starts one node for each failpoint, and one that does not die. The others die once each and are
/// started again.
pub(super) async fn on_postgres(run: Run) -> anyhow::Result<Tally> {
    inject(Rig::with_settings(&run, &["max_connections=200"]).await?).await
}

/// Does the same on one file, which all these processes share.
pub(super) async fn on_sqlite(run: Run) -> anyhow::Result<Tally> {
    inject(Rig::<SqliteFile>::new(&run).await?).await
}

async fn inject<B: Backend>(mut rig: Rig<B>) -> anyhow::Result<Tally> {
    rig.start_nodes(1).await?;
    let load = rig.load();
    rig.acknowledges(1).await?;
    for operation in Operation::ALL {
        for moment in Moment::ALL {
            let latest = match operation {
                // With so many nodes, each extends few leases and books few events.
                Operation::Extend | Operation::Book => 3,
                Operation::Accept | Operation::Claim | Operation::Settle => LATEST,
            };
            let failpoint = Failpoint {
                operation,
                moment,
                nth: rig.random.random_range(1..=latest),
            };
            let mut setup = rig.setup();
            setup
                .at_first
                .push(("FAULTS_FAILPOINT", failpoint.to_string()));
            rig.start(setup)?;
        }
    }
    load.finish().await?;
    // The senders must deliver to the new nodes, too.
    let load = rig.load();
    for node in &rig.nodes[1..] {
        node.started(2).await?;
    }
    rig.healed().await?;
    rig.notes.push(format!("{} deaths", rig.nodes.len() - 1));
    rig.finish(load).await
}
