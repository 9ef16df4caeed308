//! Records the latencies and answers of one run.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::client::{Answer, Said};

/// The longest latency that is recorded; longer ones count as this one.
const MAX_MICROS: u64 = 120_000_000;

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Latency {
    /// Summarises latencies in microseconds; `None` if there are none.
    pub(crate) fn of(micros: &Histogram<u64>) -> Option<Self> {
        (!micros.is_empty()).then(|| Self {
            p50: millis(micros, 0.5),
            p90: millis(micros, 0.9),
            p99: millis(micros, 0.99),
            p999: millis(micros, 0.999),
            max: millis(micros, 1.0),
        })
    }
}

/// One interval of a run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Point {
    /// When it ended, in seconds from the start of the measurement.
    pub(crate) at: f64,
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// All answers of a run, including those of the warm-up.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Answers {
    pub(crate) accepted: u64,
    pub(crate) duplicate: u64,
    /// 202, but neither accepted nor duplicate.
    pub(crate) other: u64,
    /// The number of answers with each other status.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// The number of requests that got no answer, and the first error.
    pub(crate) unanswered: u64,
    pub(crate) first_error: Option<String>,
}

impl Answers {
    /// Adds those of another run.
    pub(crate) fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.duplicate += other.duplicate;
        self.other += other.other;
        for (status, count) in other.refused {
            *self.refused.entry(status).or_default() += count;
        }
        self.unanswered += other.unanswered;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    /// Returns the number of answers that were 202, or 200 of sources.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.accepted + self.duplicate + self.other
    }

    /// Describes the answers that acknowledged nothing.
    pub(crate) fn complaint(&self) -> Option<String> {
        let refused = self
            .refused
            .iter()
            .map(|(status, count)| format!("{count} answers were {status}"));
        let unanswered = (self.unanswered > 0).then(|| {
            let why = self.first_error.as_deref().unwrap_or("no reason");
            format!("{} requests were not answered ({why})", self.unanswered)
        });
        let complaints: Vec<String> = refused.chain(unanswered).collect();
        (!complaints.is_empty()).then(|| complaints.join(", "))
    }
}

/// Shared by all connections of a run.
#[derive(Debug)]
pub(crate) struct Recording {
    from: Instant,
    until: Instant,
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    answers: Answers,
    /// The latencies of requests that were due to be sent within the measurement.
    latency: Histogram<u64>,
    /// How many answers came within the measurement.
    in_time: u64,
    /// The answers of the current interval.
    stretch: Histogram<u32>,
    stretch_index: u32,
    points: Vec<Point>,
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    /// The latencies in microseconds.
    pub(crate) latency: Histogram<u64>,
    pub(crate) answers: Answers,
    pub(crate) points: Vec<Point>,
}

impl Recording {
    /// Measures between the two instants, with about one point per `interval`.
    pub(crate) fn new(from: Instant, until: Instant, interval: Duration) -> Self {
        Self {
            from,
            until,
            interval,
            state: Mutex::new(State {
                answers: Answers::default(),
                latency: Self::histogram(),
                in_time: 0,
                stretch: Histogram::new_with_bounds(1, MAX_MICROS, 2).expect("bounds are valid"),
                stretch_index: 0,
                points: Vec::new(),
            }),
        }
    }

    /// An empty histogram of latencies in microseconds, as precise as that of a recording.
    pub(crate) fn histogram() -> Histogram<u64> {
        Histogram::new_with_bounds(1, MAX_MICROS, 3).expect("bounds are valid")
    }

    /// Records an answer that came `now`, to a request that was due to be sent at `intended`.
    pub(crate) fn answered(&self, intended: Instant, now: Instant, answer: Answer) {
        let mut state = self.lock();
        let answers = &mut state.answers;
        match (answer.status, answer.said) {
            // A source answers 200 and says nothing.
            (202, Said::Accepted) | (200, _) => answers.accepted += 1,
            (202, Said::Duplicate) => answers.duplicate += 1,
            (202, Said::Other) => answers.other += 1,
            (status, _) => {
                *answers.refused.entry(status).or_default() += 1;
                return;
            }
        }
        let micros = now.saturating_duration_since(intended).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX).max(1);
        if (self.from..self.until).contains(&intended) {
            state.latency.saturating_record(micros);
        }
        if (self.from..self.until).contains(&now) {
            state.in_time += 1;
            let elapsed = now - self.from;
            while elapsed >= self.interval * (state.stretch_index + 1) {
                state.close_stretch(self.interval);
            }
            state.stretch.saturating_record(micros);
        }
    }

    /// Records a request that got no answer.
    pub(crate) fn failed(&self, error: &dyn std::error::Error) {
        let answers = &mut self.lock().answers;
        answers.unanswered += 1;
        answers.first_error.get_or_insert_with(|| error.to_string());
    }

    /// Returns how many answers acknowledged an event so far, and the latest point.
    pub(crate) fn so_far(&self) -> (u64, Option<Point>) {
        let state = self.lock();
        (state.answers.acknowledged(), state.points.last().copied())
    }

    pub(crate) fn finish(self) -> Recorded {
        let mut state = self
            .state
            .into_inner()
            .expect("nothing panics under the lock");
        let measured = self.until - self.from;
        while self.interval * (state.stretch_index + 1) <= measured {
            state.close_stretch(self.interval);
        }
        Recorded {
            seconds: measured.as_secs_f64(),
            #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 answers")]
            per_second: state.in_time as f64 / measured.as_secs_f64(),
            latency: state.latency,
            answers: state.answers,
            points: state.points,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under the lock")
    }
}

impl State {
    fn close_stretch(&mut self, interval: Duration) {
        self.stretch_index += 1;
        #[expect(clippy::cast_precision_loss, reason = "no stretch has 2^52 answers")]
        let per_second = self.stretch.len() as f64 / interval.as_secs_f64();
        self.points.push(Point {
            at: interval.as_secs_f64() * f64::from(self.stretch_index),
            per_second,
            p50: millis(&self.stretch, 0.5),
            p99: millis(&self.stretch, 0.99),
            max: millis(&self.stretch, 1.0),
        });
        self.stretch.reset();
    }
}

#[expect(clippy::cast_precision_loss, reason = "bounded by MAX_MICROS")]
fn millis<C: hdrhistogram::Counter>(histogram: &Histogram<C>, quantile: f64) -> f64 {
    if histogram.is_empty() {
        return 0.0;
    }
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: Answer = Answer {
        status: 202,
        said: Said::Accepted,
    };

    #[test]
    fn answers_outside_of_the_measurement_do_not_count() {
        let from = Instant::now() + Duration::from_secs(10);
        let second = Duration::from_secs(1);
        let recording = Recording::new(from, from + 4 * second, second);
        // Before, within, due within but late, and after.
        recording.answered(from - second, from - second / 2, ACCEPTED);
        recording.answered(from, from + second / 2, ACCEPTED);
        recording.answered(from + second, from + 3 * second, ACCEPTED);
        recording.answered(from + 3 * second, from + 5 * second, ACCEPTED);
        recording.answered(from + 4 * second, from + 5 * second, ACCEPTED);
        let recorded = recording.finish();
        assert_eq!(recorded.answers.accepted, 5);
        assert!((recorded.per_second - 0.5).abs() < 1e-9);
        let latency = Latency::of(&recorded.latency).unwrap();
        assert!((latency.p50 - 2000.0).abs() < 2.0, "{latency:?}");
        let rates: Vec<f64> = recorded
            .points
            .iter()
            .map(|point| point.per_second)
            .collect();
        assert_eq!(rates, [1.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn complaints_name_what_was_not_202() {
        let now = Instant::now();
        let recording = Recording::new(now, now + Duration::from_secs(1), Duration::from_secs(1));
        let overloaded = Answer {
            status: 503,
            said: Said::Other,
        };
        recording.answered(now, now, overloaded);
        recording.failed(&std::io::Error::other("reset"));
        let complaint = recording.finish().answers.complaint();
        assert_eq!(
            complaint.as_deref(),
            Some("1 answers were 503, 1 requests were not answered (reset)")
        );
    }
}
