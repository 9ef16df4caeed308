//! The report as tables for a terminal.

use std::io::{self, Write};

use super::{Peer, Report, Run, Section};

/// A header, and rows of the same length.
pub(super) type Table = (Vec<String>, Vec<Vec<String>>);

pub(super) fn print(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(out)?;
    for (name, fact) in report.machine.lines() {
        writeln!(out, "{name:>10}  {fact}")?;
    }
    for section in &report.sections {
        writeln!(out, "\n{}", section.headline())?;
        for table in [runs(section), figures(section), peers(section)]
            .into_iter()
            .flatten()
        {
            print_table(&table, out)?;
        }
        for peer in &section.peers {
            writeln!(out, "  {} {}: {}", peer.queue, peer.version, peer.settings)?;
        }
        for note in &section.notes {
            writeln!(out, "  left out: {note}")?;
        }
        for failure in &section.failures {
            writeln!(out, "  FAILED: {failure}")?;
        }
    }
    if let Some(table) = verdicts(report) {
        let remark = if report.quick {
            " (too small to mean anything: --quick)"
        } else {
            ""
        };
        writeln!(out, "\ntargets{remark}")?;
        print_table(&table, out)?;
    }
    Ok(())
}

fn print_table((header, rows): &Table, out: &mut impl Write) -> io::Result<()> {
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let cells = rows.iter().map(|row| &row[column]);
            let width = |cell: &String| cell.chars().count();
            cells.chain([&header[column]]).map(width).max().unwrap_or(0)
        })
        .collect();
    for row in [header].into_iter().chain(rows) {
        let mut line = String::from(" ");
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            line.push_str(&match column {
                0 => format!(" {cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            });
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Returns the runs of a scenario, one per row.
pub(super) fn runs(section: &Section) -> Option<Table> {
    const WHO: [&str; 6] = [
        "server",
        "postgres",
        "pooler",
        "pgbench",
        "generator",
        "machine",
    ];
    let has = |who: &str| section.runs.iter().any(|run| share(run, who).is_some());
    let shares: Vec<&str> = WHO.into_iter().filter(|who| has(who)).collect();
    let timed = section.runs.iter().any(|run| run.latency.is_some());
    let mut header = vec!["run".to_owned(), "per second".to_owned()];
    if timed {
        header.extend(["p50 ms", "p90", "p99", "p99.9", "max"].map(str::to_owned));
    }
    header.extend(shares.iter().map(|who| format!("{who} cores")));
    let rows =
        section.runs.iter().map(|run| {
            let mut row = vec![run.name.clone(), short(run.per_second)];
            if timed {
                let latency = run
                    .latency
                    .map(|it| [it.p50, it.p90, it.p99, it.p999, it.max]);
                row.extend(latency.map_or([const { String::new() }; 5], |it| it.map(short)));
            }
            row.extend(shares.iter().map(|who| {
                share(run, who).map_or_else(String::new, |cores| format!("{cores:.2}"))
            }));
            row
        });
    let rows: Vec<_> = rows.collect();
    (!rows.is_empty()).then_some((header, rows))
}

/// Returns the other figures of a scenario, one per row.
pub(super) fn figures(section: &Section) -> Option<Table> {
    let header = ["figure", "value", "unit"].map(str::to_owned).to_vec();
    let rows: Vec<_> = section
        .figures
        .iter()
        .map(|it| vec![it.name.clone(), short(it.value), it.unit.to_owned()])
        .collect();
    (!rows.is_empty()).then_some((header, rows))
}

/// Returns the queues, one per row; in parentheses is how many times better this inbox is.
pub(super) fn peers(section: &Section) -> Option<Table> {
    let (inbox, _) = section.peers.split_first()?;
    let header = [
        "queue",
        "enqueued per second",
        "drained per second",
        "picked up after p50 ms",
        "p99",
        "after enqueue returned p50 ms",
        "p99",
    ];
    let rows = section.peers.iter().map(|peer| {
        let more =
            |of: fn(&Peer) -> f64| format!("{} ({:.1}x)", short(of(peer)), of(inbox) / of(peer));
        let less =
            |of: fn(&Peer) -> f64| format!("{} ({:.1}x)", short(of(peer)), of(peer) / of(inbox));
        vec![
            format!("{} {}", peer.queue, peer.version),
            more(|it| it.enqueue_per_second),
            more(|it| it.drain_per_second),
            less(|it| it.pickup_p50),
            less(|it| it.pickup_p99),
            short(peer.after_enqueue_p50),
            short(peer.after_enqueue_p99),
        ]
    });
    Some((header.map(str::to_owned).to_vec(), rows.collect()))
}

/// Returns the targets, the figures measured for them, and whether they were met.
pub(super) fn verdicts(report: &Report) -> Option<Table> {
    let header = ["target", "wanted", "measured", "ratio", ""];
    let rows: Vec<_> = report
        .verdicts
        .iter()
        .map(|verdict| {
            vec![
                verdict.figure.clone(),
                verdict.wanted(),
                verdict.measured.map_or("not measured".to_owned(), |it| {
                    format!("{} {}", short(it), verdict.unit)
                        .trim_end()
                        .to_owned()
                }),
                verdict
                    .ratio()
                    .map_or_else(String::new, |it| format!("{it:.2}")),
                verdict.word().to_owned(),
            ]
        })
        .collect();
    (!rows.is_empty()).then_some((header.map(str::to_owned).to_vec(), rows))
}

fn share(run: &Run, who: &str) -> Option<f64> {
    Some(run.shares.iter().find(|share| share.who == who)?.cores)
}

/// Formats a number with three significant digits, or with all digits before the point, in groups
/// of three.
pub(super) fn short(number: f64) -> String {
    let magnitude = number.abs();
    if magnitude == 0.0 {
        "0".to_owned()
    } else if magnitude < 0.1 {
        format!("{number:.4}")
    } else if magnitude < 10.0 {
        format!("{number:.2}")
    } else if magnitude < 100.0 {
        format!("{number:.1}")
    } else {
        let digits = format!("{magnitude:.0}");
        let mut grouped = String::from(if number < 0.0 { "-" } else { "" });
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.01234, 1.234, 12.34, 123.4, 1234.0, -1_234_567.0].map(short);
        assert_eq!(
            shown,
            ["0", "0.0123", "1.23", "12.3", "123", "1,234", "-1,234,567"]
        );
    }
}
