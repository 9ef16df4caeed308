//! Sources, destinations, nodes, and the overview of all.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use webhook_core::Kind;

use crate::access::Caller;
use crate::audit::Action;
use crate::model::{
    CopyPage, Destination, DestinationState, Node, Overview, RefusedPage, Sample, Samples,
    SourceInfo, SourceOverview, SourceStatus, Time,
};
use crate::{Problem, Ui};

/// The body of the example of a source.
const TEST_BODY: &str = r#"{"test":true}"#;

/// What an operator sees first: from memory, without a question to the store.
pub(crate) fn overview(ui: &Ui, caller: &Caller) -> Overview {
    let sampled_at = ui.instance().samples().at;
    let sources = sources(ui, caller).into_iter();
    let mut instance = ui.instance().info();
    if caller.source.is_some() {
        // They are about everything that is configured.
        instance.warnings.clear();
    }
    Overview {
        instance,
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
    let samples = samples(ui);
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
    let mut source = named.next().ok_or_else(Problem::no_such_source)?;
    if caller.may_operate() {
        let body = Bytes::from_static(TEST_BODY.as_bytes());
        source.info.example = ui.instance().signed_curl(name, &body);
    }
    Ok(source)
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
    refused.map_err(|problem| without_names(caller, problem))
}

/// The problem without the names of other sources, where the caller sees only one: a process may list those that it has.
pub(crate) fn without_names(caller: &Caller, problem: Problem) -> Problem {
    match caller.source {
        Some(_) if problem.status() == StatusCode::NOT_FOUND => Problem::no_such_source(),
        _ => problem,
    }
}

/// The destinations of the sources that the caller may see, with what the latest samples say about their events. From
/// memory.
pub(crate) fn destinations(ui: &Ui, caller: &Caller) -> Vec<Destination> {
    let samples = samples(ui);
    let mut destinations = visible_destinations(ui, caller);
    for destination in &mut destinations {
        let mut of_source = samples.sources.iter();
        if let Some(sample) = of_source.find(|it| it.source == destination.source) {
            destination.oldest_due_age_seconds = sample.oldest_due_age_seconds;
            let resumed_or_paused = ui.pauses().get(&destination.source).map(|(_, at)| *at);
            set_paused(
                destination,
                sample.paused,
                samples.at.max(resumed_or_paused),
            );
        }
    }
    destinations
}

/// The same, with what the store says about their events now.
pub(crate) async fn destinations_now(
    ui: &Ui,
    caller: &Caller,
) -> Result<Vec<Destination>, Problem> {
    let mut destinations = visible_destinations(ui, caller);
    let kinds = destinations.iter();
    let kinds: Vec<_> = kinds
        .filter_map(|it| Kind::new(it.source.clone()).ok())
        .collect();
    // The oldest event and the pause are exact, however few events are counted.
    let samples = ui.admin().sample(&kinds, NonZeroUsize::MIN).await?;
    for destination in &mut destinations {
        let mut of_source = samples.iter();
        if let Some(sample) = of_source.find(|it| it.kind.as_str() == destination.source) {
            let oldest = sample.oldest_due;
            destination.oldest_due_age_seconds = oldest.map(|age| age.as_secs_f64());
            set_paused(destination, sample.paused, Some(Time::now()));
        }
    }
    Ok(destinations)
}

fn visible_destinations(ui: &Ui, caller: &Caller) -> Vec<Destination> {
    let destinations = ui.instance().destinations().into_iter();
    destinations
        .filter(|it| caller.sees_name(&it.source))
        .collect()
}

/// Sets whether the source of a destination is paused, as the store said it at `known_at`.
fn set_paused(destination: &mut Destination, paused: bool, known_at: Option<Time>) {
    destination.paused = paused;
    // A forwarder notices that its source was resumed when it gets the next event. What the store said before the pause
    // tells nothing about it.
    if destination.state == DestinationState::Paused
        && !paused
        && known_at >= destination.paused_since
    {
        destination.state = DestinationState::Closed;
        destination.paused_because = None;
        destination.paused_since = None;
    }
}

/// The latest samples, with what operators have paused and resumed here since then.
fn samples(ui: &Ui) -> Samples {
    let mut samples = ui.instance().samples();
    for (source, (paused, at)) in ui.pauses().iter() {
        if samples.at.is_some_and(|sampled| sampled >= *at) {
            continue;
        }
        let mut of_source = samples.sources.iter_mut();
        match of_source.find(|it| it.source == *source) {
            Some(sample) => sample.paused = *paused,
            None => samples.sources.push(Sample {
                source: source.clone(),
                paused: *paused,
                ..Sample::default()
            }),
        }
    }
    samples
}

/// The processes that serve the inbox now. They work on the events of all sources, so a caller of one source does not
/// see them.
pub(crate) async fn nodes(ui: &Ui, caller: &Caller) -> Result<Vec<Node>, Problem> {
    if caller.source.is_some() {
        return Err(Problem::no_such_path());
    }
    let nodes = ui.admin().nodes().await?.into_iter();
    let nodes = nodes.map(|node| Node {
        id: node.id.to_string(),
        role: node.role.as_str().to_owned(),
        version: node.version.as_str().to_owned(),
        host: node.host.as_str().to_owned(),
        slots: node.slots,
        running: node.running,
        started_at: node.started_at.into(),
        last_seen_at: node.last_seen_at.into(),
    });
    Ok(nodes.collect())
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
    let page = ui
        .instance()
        .copies(name, &caller.name, after, wait)
        .await
        .map_err(|problem| without_names(caller, problem))?;
    if page.is_first {
        let action = Action::begin(ui, "copies", caller, name.to_string());
        return action.end(Ok(page)).await;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_destination_that_answered_410_is_paused_until_the_store_says_that_it_is_not() {
        let time = |second| Time::from(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        for (paused, known_at, expected) in [
            (false, None, DestinationState::Paused),
            (false, Some(time(9)), DestinationState::Paused),
            (true, Some(time(9)), DestinationState::Paused),
            (true, Some(time(11)), DestinationState::Paused),
            (false, Some(time(11)), DestinationState::Closed),
        ] {
            let mut destination = Destination {
                state: DestinationState::Paused,
                paused_because: Some("it answered 410 Gone".to_owned()),
                paused_since: Some(time(10)),
                ..Destination::healthy("shop")
            };
            set_paused(&mut destination, paused, known_at);
            assert_eq!(destination.state, expected, "{paused} {known_at:?}");
            assert_eq!(destination.paused, paused);
            let is_paused = expected == DestinationState::Paused;
            assert_eq!(destination.paused_because.is_some(), is_paused);
        }
    }
}
