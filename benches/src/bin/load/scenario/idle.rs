//! The processor time and the queries of the whole stack while it has nothing to do.

use std::time::Duration;

use crate::bench::Bench;
use crate::database::{float, grown};
use crate::report::Section;
use crate::server::{Settings, Variant};

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    for mode in ["direct", "pooler"] {
        let bed = bench.bed("idle").await?;
        let url = match mode {
            "direct" => Some(bed.database.url.clone()),
            _ => bed.database.pooler_url.clone(),
        };
        let Some(url) = url else {
            section.failures.push("there is no pooler".to_owned());
            continue;
        };
        let settings = Settings {
            role: "all",
            delay: Duration::from_secs(30),
            database_url: &url,
            variant: &Variant::default(),
        };
        let server = bench.programs.serve(&settings).await?;
        // Let the work of starting up finish first.
        bench.cluster.checkpoint().await?;
        let length = bench.scale.idle;
        tokio::time::sleep(length / 6).await;

        bench.progress.begin(&format!("idle, {mode}"), 1);
        let watched = bench.watched(&[&server]);
        let transactions = bed.database.tables.transactions().await?;
        let before = watched.usage();
        tokio::time::sleep(length).await;
        let shares = watched.usage().since(&before);
        let transactions = grown(transactions, bed.database.tables.transactions().await?);

        let mut stack = 0.0;
        for share in &shares {
            if ["server", "postgres", "pooler"].contains(&share.who) {
                stack += share.cores * 100.0;
                let name = format!("idle, {mode}: {}", share.who);
                section.figure(name, share.cores * 100.0, "% of a core");
            }
        }
        section.figure(format!("idle, {mode}: processor"), stack, "% of a core");
        let mut line = format!("  idle, {mode}: {stack:.2} % of a core");
        if let Some(transactions) = transactions {
            let per_second = float(transactions) / length.as_secs_f64();
            section.figure(format!("idle, {mode}: queries"), per_second, "/s");
            line.push_str(&format!(", {per_second:.2} queries/s"));
        }
        bench.progress.say(&line);
        server.stop().await?;
        bench.close(bed, section).await?;
    }
    Ok(())
}
