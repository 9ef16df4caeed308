//! The chosen backends through the server, in turns.

use crate::bench::Bench;
use crate::report::Section;
use crate::scenario::{compare_backends, variants};

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let backends = bench.options.backends();
    if backends.len() < 2 {
        section
            .notes
            .push("it compares at least two backends: see --backend");
        return Ok(());
    }
    let mut beds = Vec::new();
    for &backend in &backends {
        bench.backend = backend;
        beds.push((backend.to_string(), bench.bed("backends").await?));
    }
    variants::compare(bench, section, beds).await?;
    compare_backends(section, &backends);
    Ok(())
}
