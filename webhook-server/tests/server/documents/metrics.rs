//! The documents about metrics, and what is made of them: alerts and the dashboard of Grafana.

use std::collections::BTreeSet;

use webhook_core::metrics::{Metric, MetricType};
use webhook_server::metrics::all_metrics;

use super::{anchors, check_generated, read};

const DOCUMENT: &str = "docs/metrics.md";

const BEGIN: &str = "<!-- Generated from the names that the server knows. To update: BLESS=1 cargo test -p webhook-server --test server document -->\n";

fn unit(metric: &Metric) -> &'static str {
    let name = metric.name.trim_end_matches("_total");
    match name.rsplit('_').next() {
        Some("seconds") => "seconds",
        Some("bytes") => "bytes",
        _ if metric.name.contains("_bytes_") => "bytes",
        _ => "–",
    }
}

fn table() -> String {
    let mut table = BEGIN.to_owned();
    table.push_str("| Name | Type | Labels | Unit | Meaning |\n|---|---|---|---|---|\n");
    for metric in all_metrics() {
        let metric_type = match metric.metric_type {
            MetricType::Counter => "counter",
            MetricType::Histogram { .. } => "histogram",
            _ => "gauge",
        };
        let labels = metric.labels.iter().map(|it| format!("`{it}`"));
        let labels = labels.reduce(|all, it| format!("{all}, {it}"));
        let row = [
            &format!("`{}`", metric.name),
            metric_type,
            labels.as_deref().unwrap_or("–"),
            unit(&metric),
            metric.help,
        ];
        table.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    table
}

#[test]
fn document_lists_every_metric() {
    check_generated(DOCUMENT, BEGIN, &table());
}

/// The names of metrics in an expression.
fn names(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_name = |word: &&str| word.starts_with("webhook_") || word.starts_with("process_");
    words.filter(is_name).collect()
}

fn assert_exist(text: &str, of: &str) -> usize {
    let metrics: Vec<_> = all_metrics().collect();
    let names = names(text);
    for name in &names {
        let found = metrics.iter().any(|metric| match metric.metric_type {
            MetricType::Histogram { .. } => {
                let part = name.strip_prefix(metric.name);
                part.is_some_and(|part| matches!(part, "_bucket" | "_sum" | "_count"))
            }
            _ => *name == metric.name,
        });
        assert!(found, "{of} names {name}");
    }
    names.len()
}

#[test]
fn alerts_name_metrics_that_exist_and_have_paragraphs_in_the_runbook() {
    let rules = read("deploy/prometheus/rules.yaml");
    // Without the names of the group, the alerts and the runbook.
    let code = rules.replace("webhook-inbox", "");
    assert!(assert_exist(&code, "rules.yaml") > 10);
    let runbook = read("docs/runbook.md");
    let paragraphs = anchors(&runbook);
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: Vec<_> = alerts.collect();
    let unit_tests =
        read("deploy/prometheus/rules.test.yaml") + &read("deploy/prometheus/rules.week.test.yaml");
    for alert in &alerts {
        let anchor = alert.to_lowercase();
        assert!(
            paragraphs.contains(&anchor),
            "docs/runbook.md lacks {alert}"
        );
        assert!(
            rules.contains(&format!("runbook: docs/runbook.md#{anchor}\n")),
            "{alert}"
        );
        assert!(
            unit_tests.contains(&format!("alertname: {alert}\n")),
            "no test of {alert}"
        );
    }
    // The runbook explains no alert that there is not.
    let headings = runbook.lines().filter_map(|line| line.strip_prefix("### "));
    assert_eq!(
        headings.collect::<BTreeSet<_>>(),
        alerts.into_iter().collect()
    );
}

#[test]
fn alerts_for_kubernetes_are_those_of_prometheus() {
    const MANIFEST: &str = "deploy/kubernetes/metrics/rules.yaml";
    let rules = read("deploy/prometheus/rules.yaml");
    let (_, groups) = rules.split_once("\ngroups:\n").unwrap();
    let groups: String = groups
        .split_inclusive('\n')
        .map(|line| match line.trim() {
            "" => line.to_owned(),
            _ => format!("  {line}"),
        })
        .collect();
    let manifest = read(MANIFEST);
    assert!(manifest.contains("\nspec:\n"));
    check_generated(
        MANIFEST,
        "\nspec:\n",
        &format!("\nspec:\n  groups:\n{groups}"),
    );
}

#[test]
fn dashboard_names_metrics_that_exist() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("deploy/grafana/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut shown = 0;
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let named = assert_exist(target["expr"].as_str().unwrap(), title);
            assert!(named > 0, "{title}");
            shown += named;
        }
    }
    assert!(shown > 30, "{shown}");
    let rows = panels.iter().filter(|panel| panel["type"] == "row");
    let rows: Vec<_> = rows.filter_map(|row| row["title"].as_str()).collect();
    assert_eq!(
        rows,
        [
            "Receiving",
            "Backlog and processing",
            "Destinations",
            "Store"
        ]
    );
}
