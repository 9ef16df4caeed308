//! Events that harm their handler's process. They must fail with the right reason, and the events
//! that are handled beside them must not.

use std::time::Duration;

use sqlx::query;

use testkit::postgres::Postgres;

use crate::backend::Backend;
use crate::behaviour::Behaviour;
use crate::reconcile::Tally;
use crate::rig::{Rig, Run};
use crate::senders::{brief, deliver_to, key};

/// The number of such events.
const POISON: u64 = 2;

/// The time-out of handlers that are not meant to run into it.
const LONGEST: Duration = Duration::from_secs(5);

/// Each attempt kills its process with all its running attempts. Events have the default number of
/// attempts, because events that are handled beside the poison lose some of theirs.
pub(super) async fn kills<B: Backend>(run: Run) -> anyhow::Result<Tally> {
    poisoned::<B>(run, Behaviour::Kill, 10, LONGEST).await
}

/// Each attempt hangs.
pub(super) async fn hangs<B: Backend>(run: Run) -> anyhow::Result<Tally> {
    poisoned::<B>(run, Behaviour::Hang, 3, Duration::from_secs(2)).await
}

/// Each attempt panics.
pub(super) async fn panics<B: Backend>(run: Run) -> anyhow::Result<Tally> {
    poisoned::<B>(run, Behaviour::Panic, 4, LONGEST).await
}

async fn poisoned<B: Backend>(
    run: Run,
    behaviour: Behaviour,
    max_attempts: u32,
    limit: Duration,
) -> anyhow::Result<Tally> {
    let mut rig = Rig::<B>::new(&run).await?;
    rig.max_attempts = max_attempts;
    // On a busy machine, handlers that take long would come too near to the time-out.
    rig.mix = brief;
    for _ in 0..3 {
        let mut setup = rig.setup();
        let limit_ms = limit.as_millis().to_string();
        setup
            .variables
            .push(("FAULTS_HANDLER_TIMEOUT_MS", limit_ms));
        rig.start(setup)?;
    }
    rig.ready().await?;
    let load = rig.load();
    rig.about_during(0.3).await;
    for number in 0..POISON {
        deliver_to(rig.nodes[0].addr, &rig.book, &key(behaviour, number)).await?;
    }
    rig.during(0.5).await;
    load.finish().await?;
    rig.drained().await?;
    // No more poison is sent. New events must be handled as usual.
    let load = rig.load();
    rig.healed().await?;
    rig.during(0.2).await;
    rig.finish(load).await
}

/// Stored bodies can no longer be decoded.
pub(super) async fn bodies(run: Run) -> anyhow::Result<Tally> {
    const SPOILT: &str = "well-95";
    let mut rig = Rig::<Postgres>::new(&run).await?;
    rig.spoilt = Some(SPOILT);
    let mut setup = rig.setup();
    setup.variables.push(("ROLE", "api".to_owned()));
    rig.start(setup)?;
    rig.ready().await?;
    let load = rig.load();
    rig.about_during(0.2).await;
    for number in 0..5 {
        let key = key(Behaviour::Well, 500_000 + number);
        deliver_to(rig.nodes[0].addr, &rig.book, &key).await?;
    }
    let mut connection = rig.database.connect().await?;
    let bodies = [&b"{\"transaction_id\":"[..], b"", b"\xff\xfe", b"[]", b"{}"];
    for (number, body) in (0..).zip(bodies) {
        query("UPDATE webhook.events SET body = $1 WHERE key = $2")
            .bind(body)
            .bind(key(Behaviour::Well, 500_000 + number))
            .execute(&mut connection)
            .await?;
    }
    rig.start_nodes(2).await?;
    rig.during(0.5).await;
    rig.healed().await?;
    rig.finish(load).await
}
