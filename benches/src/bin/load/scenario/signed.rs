//! Signed deliveries to twenty sources, beside unsigned transactions with bodies of the same size.

use crate::backend::Backend;
use crate::bench::{Bench, Load, Party};
use crate::report::Section;
use crate::request::Destination;
use crate::server::{ASIDE, Variant};
use crate::signed;

/// The length of the bodies.
const BODY_BYTES: usize = 1024;

/// The connections of each measurement.
const CONNECTIONS: [usize; 2] = [64, 256];

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let parked = bench.scale.parked;
    let delay = match bench.backend {
        Backend::Postgres => parked,
        Backend::Sqlite | Backend::Memory => ASIDE,
    };
    let file = bench.programs.folder().join("webhook.toml");
    std::fs::write(&file, signed::configuration(delay))?;
    let variant = Variant::default()
        .with_env("CONFIG_FILE", file.display().to_string())
        .with_env(signed::SECRET_VARIABLE, signed::SECRET);
    // Both servers have the sources, so that they differ in nothing but the deliveries.
    let plain = bench.bed_of("plain", variant.clone()).await?;
    let sources = bench.bed_of("sources", variant).await?;
    let plain_server = bench.serve(&plain, "api", parked).await?;
    let sources_server = bench.serve(&sources, "api", parked).await?;
    let (to_plain, to_sources) = ([&plain_server], [&sources_server]);
    for connections in CONNECTIONS {
        let load = Load {
            sizes: &[BODY_BYTES],
            ..bench.closed(&to_plain, connections)
        };
        let signed = Load {
            servers: &to_sources,
            destination: Destination::Sources,
            ..load.clone()
        };
        let names = [
            format!("transactions of 1 KiB, {connections} connections"),
            format!("signed deliveries of 1 KiB to 20 sources, {connections} connections"),
        ];
        let parties = [
            (names[0].clone(), Party::Inbox { bed: &plain, load }),
            (
                names[1].clone(),
                Party::Inbox {
                    bed: &sources,
                    load: signed,
                },
            ),
        ];
        bench.in_turns(section, &parties).await?;
        let rate = |name: &str| {
            let run = section.runs.iter().find(|run| run.name == name);
            run.map(|run| run.per_second)
        };
        if let (Some(plain), Some(signed)) = (rate(&names[0]), rate(&names[1])) {
            section.figure(
                format!("signed deliveries over transactions, {connections} connections"),
                signed / plain,
                "x",
            );
        }
    }
    plain_server.stop().await?;
    sources_server.stop().await?;
    bench.close(plain, section).await?;
    bench.close(sources, section).await
}
