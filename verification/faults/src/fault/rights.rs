//! A database role that lacks rights.

use anyhow::ensure;

use testkit::postgres::Postgres;

use crate::reconcile::Tally;
use crate::rig::{Rig, Run};
use crate::tools::url_of;

const GRANT: &str = "
    GRANT USAGE ON SCHEMA webhook TO guest;
    GRANT ALL ON ALL TABLES IN SCHEMA webhook TO guest;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA webhook TO guest";

/// A role without rights is refused; one that loses its rights is unavailable until it gets them
/// back.
pub(super) async fn inject(run: Run) -> anyhow::Result<Tally> {
    let mut rig = Rig::<Postgres>::new(&run).await?;
    rig.database.execute("CREATE ROLE guest LOGIN").await?;
    let url = url_of("guest", rig.database.port());
    let as_guest = [("DATABASE_URL", url.clone())];
    let ended = rig.server(&[], &as_guest).await?;
    rig.must_refuse(&ended, "permission denied");
    let migrated = rig.server(&["migrate"], &[]).await?;
    ensure!(migrated.code == Some(0), "{}", migrated.log);
    // Now the schema exists, but this role cannot read it.
    let ended = rig.server(&[], &as_guest).await?;
    rig.must_refuse(&ended, "permission denied");

    rig.database.execute(GRANT).await?;
    for _ in 0..2 {
        let mut setup = rig.setup();
        setup.variables.push(("DATABASE_URL", url.clone()));
        rig.start(setup)?;
    }
    rig.ready().await?;
    let load = rig.load();
    rig.about_during(0.3).await;
    for rights in ["INSERT", "SELECT", "UPDATE, DELETE"] {
        let revoke = format!("REVOKE {rights} ON ALL TABLES IN SCHEMA webhook FROM guest");
        rig.database.execute(revoke).await?;
        rig.about_during(0.15).await;
    }
    rig.refuses().await?;
    rig.database.execute(GRANT).await?;
    rig.healed().await?;
    rig.finish(load).await
}
