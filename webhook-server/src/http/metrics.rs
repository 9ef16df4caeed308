//! The metrics of the process.

use hyper::header::ACCEPT;
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};

use super::answer::{Answer, answer};
use super::method::{Allowed, read};
use super::problem::Problem;
use crate::metrics::{Exporter, Format};

pub(super) const PATH: &str = "/metrics";

const OPEN_METRICS: &str = "application/openmetrics-text";

/// Which format a request asks for.
pub(super) fn route(head: &Parts) -> Result<Allowed<Format>, Problem> {
    read(&head.method, || Ok(format(&head.headers)))
}

/// All metrics, as text.
pub(super) fn show(exporter: &Exporter, format: Format) -> Result<Answer, Problem> {
    let text = exporter.text(format).map_err(Problem::internal)?;
    Ok(answer(StatusCode::OK, format.content_type(), text))
}

/// OpenMetrics if the client accepts it. A client that does not has lower quality for it, or does not name it.
fn format(headers: &HeaderMap) -> Format {
    let accepted = headers.get_all(ACCEPT).iter();
    let mut ranges = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let accepts_open_metrics = ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_open_metrics = parts
            .next()
            .is_some_and(|it| it.eq_ignore_ascii_case(OPEN_METRICS));
        is_open_metrics && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0"))
    });
    if accepts_open_metrics {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        for (accept, expected) in [
            (None, Format::Prometheus),
            (Some("*/*"), Format::Prometheus),
            (Some("text/plain"), Format::Prometheus),
            // What Prometheus 2 sends.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                Format::OpenMetrics,
            ),
            (
                Some("text/html, Application/OpenMetrics-Text"),
                Format::OpenMetrics,
            ),
            (
                Some("application/openmetrics-text; q=0"),
                Format::Prometheus,
            ),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(format(&headers), expected, "{accept:?}");
        }
    }
}
