//! What an operator should look at, for the verdict of the overview.

use super::components::{Tone, duration};
use super::destinations::Condition;
use super::snapshot::Snapshot;
use super::sources::{Health, has_failed_lately};
use crate::model::{Destination, SourceOverview};

/// How many names a trouble has.
const MAX_NAMES: usize = 3;

/// Something that an operator should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) tone: Tone,
    pub(super) text: String,
}

impl Trouble {
    fn bad(text: String) -> Self {
        Self {
            tone: Tone::Bad,
            text,
        }
    }

    fn warn(text: String) -> Self {
        Self {
            tone: Tone::Warn,
            text,
        }
    }
}

/// All kinds of trouble that there are now, the worst first, each with the names of the sources that have it.
pub(super) fn troubles(
    snapshot: &Snapshot,
    sources: &[(&SourceOverview, Health)],
    destinations: &[&Destination],
) -> Vec<Trouble> {
    let with = |wanted: Health| -> Vec<&str> {
        let found = sources.iter().filter(|(_, health)| *health == wanted);
        found.map(|(source, _)| &*source.info.name).collect()
    };
    let to = |wanted: Condition| -> Vec<&str> {
        let found = destinations.iter().filter(|it| Condition::of(it) == wanted);
        found.map(|it| &*it.source).collect()
    };
    let failing = sources
        .iter()
        .filter(|(source, health)| *health != Health::Off && has_failed_lately(source));
    let failing = failing.map(|(source, _)| &*source.info.name).collect();
    let gone = to(Condition::Gone);
    let mut paused = with(Health::Paused);
    paused.extend(to(Condition::Paused));
    paused.sort_unstable();
    paused.dedup();
    paused.retain(|name| !gone.contains(name));

    let mut troubles = Vec::new();
    troubles.extend(outages(snapshot).map(Trouble::bad));
    let bad = [
        ("circuit breaker open", to(Condition::Open)),
        ("paused since the destination answered 410", gone),
        ("failing", failing),
    ];
    troubles.extend(bad.iter().filter_map(named).map(Trouble::bad));
    troubles.extend(snapshot.stale_seconds().map(|age| {
        let age = duration(age);
        Trouble::warn(format!("the numbers of events are {age} old"))
    }));
    let warn = [
        ("events wait too long", with(Health::Late)),
        ("silent", with(Health::Silent)),
        ("circuit breaker half open", to(Condition::HalfOpen)),
        (
            "the destination asked for fewer requests",
            to(Condition::Throttled),
        ),
        ("attempts fail", to(Condition::SomeFail)),
        ("paused", paused),
    ];
    troubles.extend(warn.iter().filter_map(named).map(Trouble::warn));
    troubles
}

/// The first outage, and how many others there are.
fn outages(snapshot: &Snapshot) -> Option<String> {
    let (first, others) = snapshot.outages().split_first()?;
    Some(match others.len() {
        0 => first.problem.clone(),
        others => format!("{}, and {others} more", first.problem),
    })
}

/// A trouble with the first names of those that have it, and how many others there are; `None` if there are none.
fn named((what, names): &(&str, Vec<&str>)) -> Option<String> {
    let (first, others) = names.split_at(names.len().min(MAX_NAMES));
    match others.len() {
        _ if first.is_empty() => None,
        0 => Some(format!("{what}: {}", first.join(", "))),
        others => Some(format!("{what}: {} and {others} more", first.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::model::{
        DestinationState, InstanceInfo, Outage, Overview, Sample, Series, SourceInfo, Time,
    };

    /// Sources that have received something, of which nothing has failed, and their destinations, which do well.
    fn healthy(names: &[&str]) -> Overview {
        let source = |name: &&str| SourceOverview {
            info: SourceInfo {
                name: (*name).to_owned(),
                state: "enabled".to_owned(),
                path: Some(format!("/v1/webhooks/{name}")),
                last_received_at: Some(Time::now()),
                ..SourceInfo::default()
            },
            sample: Some(Sample::default()),
            series: Some(Series::default()),
        };
        Overview {
            instance: InstanceInfo::default(),
            sampled_at: Some(Time::now()),
            sources: names.iter().map(source).collect(),
            destinations: names.iter().map(|it| Destination::healthy(it)).collect(),
        }
    }

    fn healths(snapshot: &Snapshot) -> Vec<(&SourceOverview, Health)> {
        let Overview {
            sources,
            destinations,
            ..
        } = &snapshot.overview;
        let health = |source: &SourceOverview| {
            let mut destinations = destinations.iter();
            let destination = destinations.find(|it| it.source == source.info.name);
            Health::of(source, destination.map(|it| it.state), snapshot.outages())
        };
        sources.iter().map(|it| (it, health(it))).collect()
    }

    fn troubles_of(overview: Overview) -> Vec<(Tone, String)> {
        let snapshot = Snapshot::of(overview);
        let destinations: Vec<_> = snapshot.overview.destinations.iter().collect();
        let troubles = troubles(&snapshot, &healths(&snapshot), &destinations);
        troubles.into_iter().map(|it| (it.tone, it.text)).collect()
    }

    fn away(overview: &mut Overview, count: usize) {
        let outage = |number| Outage {
            problem: format!("partition {number} of 9 does not answer"),
            effect: "its events wait".to_owned(),
            since: Time::now(),
        };
        overview.instance.outages = (0..count).map(outage).collect();
    }

    fn pause(overview: &mut Overview, source: usize) {
        overview.sources[source].sample = Some(Sample {
            paused: true,
            ..Sample::default()
        });
        overview.destinations[source].paused = true;
    }

    fn gone(overview: &mut Overview, source: usize) {
        overview.destinations[source].state = DestinationState::Paused;
        overview.destinations[source].paused_because = Some("it answered 410 Gone".to_owned());
    }

    fn fail(overview: &mut Overview, source: usize) {
        overview.sources[source].series = Some(Series {
            failed: vec![0, 1, 0],
            ..Series::default()
        });
    }

    #[test]
    fn each_kind_of_trouble_is_told() {
        use Tone::{Bad, Warn};
        type Change = fn(&mut Overview);
        let cases: [(Change, Tone, &str); 16] = [
            (|it| away(it, 1), Bad, "partition 0 of 9 does not answer"),
            (
                |it| away(it, 3),
                Bad,
                "partition 0 of 9 does not answer, and 2 more",
            ),
            (
                |it| it.destinations[0].state = DestinationState::Open,
                Bad,
                "circuit breaker open: shop",
            ),
            (
                |it| gone(it, 0),
                Bad,
                "paused since the destination answered 410: shop",
            ),
            (
                |it| {
                    gone(it, 0);
                    pause(it, 0);
                },
                Bad,
                "paused since the destination answered 410: shop",
            ),
            (|it| fail(it, 0), Bad, "failing: shop"),
            (
                |it| it.sampled_at = Some(SystemTime::UNIX_EPOCH.into()),
                Warn,
                "the numbers of events are ",
            ),
            (
                |it| {
                    it.sources[0]
                        .sample
                        .as_mut()
                        .unwrap()
                        .oldest_due_age_seconds = Some(301.0);
                },
                Warn,
                "events wait too long: shop",
            ),
            (
                |it| it.sources[0].info.silent_since = Some(Time::now()),
                Warn,
                "silent: shop",
            ),
            (
                |it| it.destinations[0].state = DestinationState::HalfOpen,
                Warn,
                "circuit breaker half open: shop",
            ),
            (
                |it| it.destinations[0].state = DestinationState::Throttled,
                Warn,
                "the destination asked for fewer requests: shop",
            ),
            (
                |it| it.destinations[0].consecutive_failures = 1,
                Warn,
                "attempts fail: shop",
            ),
            (|it| pause(it, 0), Warn, "paused: shop"),
            (
                |it| {
                    it.destinations.clear();
                    it.sources[0].sample.as_mut().unwrap().paused = true;
                },
                Warn,
                "paused: shop",
            ),
            (
                // Another process got the answer of the destination.
                |it| it.destinations[0].state = DestinationState::Paused,
                Warn,
                "paused: shop",
            ),
            (
                // Before anything was received, too.
                |it| {
                    away(it, 1);
                    it.sources.clear();
                    it.destinations.clear();
                },
                Bad,
                "partition 0 of 9 does not answer",
            ),
        ];
        assert_eq!(troubles_of(healthy(&["shop"])), []);
        for (change, tone, text) in cases {
            let mut overview = healthy(&["shop"]);
            change(&mut overview);
            let troubles = troubles_of(overview);
            let [(told, words)] = &troubles[..] else {
                panic!("{text}: {troubles:?}");
            };
            assert_eq!(*told, tone, "{text}");
            assert!(words.starts_with(text), "{text}: {words}");
        }
    }

    #[test]
    fn all_kinds_are_told_the_worst_first_and_names_are_bounded() {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        let mut overview = healthy(&names);
        for source in 0..5 {
            fail(&mut overview, source);
        }
        overview.destinations[4].state = DestinationState::Open;
        pause(&mut overview, 5);
        gone(&mut overview, 6);
        away(&mut overview, 1);
        let told: Vec<_> = troubles_of(overview)
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        assert_eq!(
            told,
            [
                "partition 0 of 9 does not answer",
                "circuit breaker open: e",
                "paused since the destination answered 410: g",
                "failing: a, b, c and 2 more",
                "paused: f",
            ]
        );
    }

    #[test]
    fn a_source_that_is_turned_off_is_no_trouble() {
        let mut overview = healthy(&["shop"]);
        fail(&mut overview, 0);
        overview.sources[0].info.state = "disabled".to_owned();
        assert_eq!(troubles_of(overview), []);
    }

    #[test]
    fn no_source_is_healthy_while_the_store_is_away() {
        let mut overview = healthy(&["shop"]);
        let health = |overview: &Overview| healths(&Snapshot::of(overview.clone()))[0].1;
        assert_eq!(health(&overview), Health::Healthy);
        away(&mut overview, 1);
        assert_eq!(health(&overview), Health::Away);
    }
}
