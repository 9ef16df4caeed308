//! Sources, destinations, nodes, and the overview of all.

use std::collections::BTreeMap;
use std::time::Duration;

use webhook_core::Kind;

use crate::access::Caller;
use crate::model::{
    CopyPage, Destination, Node, Overview, RefusedPage, Sample, SourceInfo, SourceOverview,
    SourceStatus,
};
use crate::{Problem, Ui};

/// What an operator sees first: from memory, without a question to the store.
pub(crate) fn overview(ui: &Ui, caller: &Caller) -> Overview {
    let sampled_at = ui.instance().samples().at;
    let sources = sources(ui, caller).into_iter();
    Overview {
        instance: ui.instance().info(),
        sampled_at,
        sources: sources
            .map(|source| SourceOverview {
                info: source.info,
                sample: source.sample,
                series: source.series,
            })
            .collect(),
        destinations: destinations(ui, caller),
    }
}

/// The sources that the caller may see: those of the process, and those that only have events. From memory.
pub(crate) fn sources(ui: &Ui, caller: &Caller) -> Vec<SourceStatus> {
    let samples = ui.instance().samples();
    let mut by_name: BTreeMap<String, (Option<SourceInfo>, Option<Sample>)> = BTreeMap::new();
    for source in ui.instance().sources() {
        let name = source.name.clone();
        by_name.entry(name).or_default().0 = Some(source);
    }
    for sample in samples.sources {
        let name = sample.source.clone();
        by_name.entry(name).or_default().1 = Some(sample);
    }
    by_name
        .into_iter()
        .filter(|(name, _)| caller.sees_name(name))
        .map(|(name, (info, sample))| {
            let kind = Kind::new(name.clone()).ok();
            SourceStatus {
                info: info.unwrap_or_else(|| SourceInfo {
                    name,
                    state: "enabled".to_owned(),
                    ..SourceInfo::default()
                }),
                sample,
                sampled_at: samples.at,
                series: kind.and_then(|kind| ui.instance().series(&kind)),
            }
        })
        .collect()
}

/// One source.
pub(crate) fn source(ui: &Ui, caller: &Caller, name: &Kind) -> Result<SourceStatus, Problem> {
    let sources = sources(ui, caller).into_iter();
    let mut named = sources.filter(|source| source.info.name == name.as_str());
    named.next().ok_or_else(Problem::no_such_source)
}

/// The latest refused requests of a source, at most `limit`, the latest first.
pub(crate) fn refused(
    ui: &Ui,
    caller: &Caller,
    name: &Kind,
    limit: usize,
) -> Result<RefusedPage, Problem> {
    if !caller.sees(name) {
        return Err(Problem::no_such_source());
    }
    let refused = ui.instance().refused(name, limit);
    refused.ok_or_else(Problem::no_such_source)
}

/// The destinations of the sources that the caller may see.
pub(crate) fn destinations(ui: &Ui, caller: &Caller) -> Vec<Destination> {
    let destinations = ui.instance().destinations().into_iter();
    destinations
        .filter(|it| caller.sees_name(&it.source))
        .collect()
}

/// The processes that serve the inbox now.
pub(crate) async fn nodes(_ui: &Ui, _caller: &Caller) -> Result<Vec<Node>, Problem> {
    Ok(Vec::new())
}

/// Copies of the events that a source accepts.
pub(crate) async fn copies(
    ui: &Ui,
    caller: &Caller,
    name: &Kind,
    after: Option<u64>,
    wait: Duration,
) -> Result<CopyPage, Problem> {
    if !caller.sees(name) {
        return Err(Problem::no_such_source());
    }
    // Copies have whole bodies.
    caller.check_operate()?;
    let copies = ui.instance().copies(name, &caller.name, after, wait).await;
    copies.ok_or_else(Problem::no_such_source)
}
