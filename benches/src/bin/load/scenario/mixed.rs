//! Bodies of several sizes.

use crate::bench::{Bench, Load};
use crate::report::Section;
use crate::request::BODY_BYTES;

const SIZES: [(&str, &[usize]); 4] = [
    ("300 B", &[BODY_BYTES]),
    ("4 KiB", &[4 << 10]),
    ("64 KiB", &[64 << 10]),
    ("all three, evenly", &[BODY_BYTES, 4 << 10, 64 << 10]),
];

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let bed = bench.bed("mixed").await?;
    let server = bench.serve(&bed, "api", bench.scale.parked).await?;
    let servers = [&server];
    for (name, sizes) in SIZES {
        let load = Load {
            sizes,
            ..bench.closed(&servers, 64)
        };
        let run = bench
            .measure(&bed, format!("bodies of {name}"), &load)
            .await?;
        #[expect(clippy::cast_precision_loss, reason = "sizes of bodies are small")]
        let mean_bytes = sizes.iter().sum::<usize>() as f64 / sizes.len() as f64;
        section.figure(
            format!("bodies of {name}: volume"),
            run.per_second * mean_bytes / 1e6,
            "MB/s",
        );
        section.runs.push(run);
    }
    server.stop().await?;
    bench.close(bed, section).await
}
