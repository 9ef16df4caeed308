//! A false acknowledgement, which the reconciliation must detect.

use testkit::postgres::Postgres;

use crate::reconcile::Tally;
use crate::rig::{Rig, Run};

/// A node answers 202 for an event that it does not store.
pub(super) async fn inject(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    let mut setup = rig.setup();
    setup.variables.push(("FAULTS_LIES", "true".to_owned()));
    rig.start(setup)?;
    rig.ready().await?;
    rig.expects_violations = true;
    let load = rig.load();
    rig.during(1.0).await;
    rig.finish(load).await
}
