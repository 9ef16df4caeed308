//! Standard error does not accept any lines.

use rustix::process::Signal;

use testkit::postgres::Postgres;

use crate::node::LogSink;
use crate::reconcile::Tally;
use crate::rig::{Rig, Run};

/// Three nodes log at the most verbose level: to a reader that has gone, to one that reads nothing,
/// and to a full disk. One node is killed meanwhile; in the end all nodes drain.
pub(super) async fn unwritable(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    for log_sink in [LogSink::Closed, LogSink::Stalled, LogSink::Full] {
        let mut setup = rig.setup();
        setup.log_sink = log_sink;
        setup.variables.retain(|(name, _)| *name != "LOG_LEVEL");
        setup.variables.push(("LOG_LEVEL", "trace".to_owned()));
        rig.start(setup)?;
    }
    rig.ready().await?;
    let load = rig.load();
    rig.during(0.5).await;
    rig.nodes[1].signal(Signal::KILL);
    rig.during(0.5).await;
    rig.healed().await?;
    rig.finish(load).await
}
