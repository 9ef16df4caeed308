//! What is no fault at all: nodes are restarted one after the other.

use rustix::process::Signal;

use crate::reconcile::Tally;
use crate::rig::{Rig, Run};

/// By SIGTERM, three nodes under load: senders notice nothing, and no attempt is spent.
pub(super) async fn inject(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::new(&run).await?;
    rig.start_nodes(3).await?;
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
    let (book, ends) = (rig.book.clone(), rig.nodes.iter().flat_map(|it| it.ends()));
    let bad: Vec<_> = ends.filter(|status| !status.success()).collect();
    if !bad.is_empty() {
        rig.violations.push(format!("nodes ended with {bad:?}"));
    }
    rig.spends_no_attempt = true;
    let mut tally = rig.finish(load).await?;
    let entries = book.entries();
    tally.notes.push(format!(
        "{} connections closed while idle",
        entries.closed_while_idle
    ));
    Ok(tally)
}
