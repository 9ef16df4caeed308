//! Lines over time, as inline SVG.

use std::fmt::Write as _;

use crate::report::table::short;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 24.0;

/// Lines in one pair of axes; the horizontal one is time in seconds.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) scale: Scale,
    pub(super) lines: Vec<Line<'a>>,
}

/// How heights are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// In proportion.
    FromZero,
    /// By magnitude, so that a rare outlier does not flatten the rest.
    Logarithmic,
}

/// One line, and the class that colours it.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) class: &'a str,
    /// Time and value.
    pub(super) points: Vec<(f64, f64)>,
}

impl Chart<'_> {
    pub(super) fn svg(&self) -> String {
        let points = || {
            self.lines
                .iter()
                .flat_map(|line| line.points.iter().copied())
        };
        let end = points().map(|(at, _)| at).fold(f64::MIN_POSITIVE, f64::max);
        let axis = Axis::around(self.scale, points().map(|(_, value)| value));
        let x = |at: f64| LEFT + at / end * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - axis.share(value) * (HEIGHT - TOP - BOTTOM);

        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title} over time\">\
             <text x=\"0\" y=\"12\">{title}</text>",
            title = self.title
        );
        for tick in &axis.ticks {
            let y = y(*tick);
            let _ = write!(
                svg,
                "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                short(*tick)
            );
        }
        for at in [0.0, end / 2.0, end] {
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{} s</text>",
                x(at).min(WIDTH - 16.0),
                HEIGHT - 6.0,
                short(at)
            );
        }
        let mut legend = LEFT + 60.0;
        for line in &self.lines {
            let class = line.class;
            if self.lines.len() > 1 {
                let name = line.name;
                let _ = write!(
                    svg,
                    "<text class=\"{class}\" x=\"{legend}\" y=\"12\">{name}</text>"
                );
                legend += 48.0;
            }
            let _ = write!(svg, "<polyline class=\"{class}\" points=\"");
            for (at, value) in &line.points {
                let _ = write!(svg, "{:.1},{:.1} ", x(*at), y(*value));
            }
            svg.push_str("\"/>");
        }
        svg.push_str("</svg>");
        svg
    }
}

struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn around(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|value| *value > 0.0)
            .fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        match scale {
            _ if high == 0.0 => Self {
                scale: Scale::FromZero,
                low: 0.0,
                high: 1.0,
                ticks: vec![0.0, 1.0],
            },
            Scale::FromZero => {
                let step = nice_step(high / 4.0);
                let count = (high / step).ceil();
                let ticks = (0..=8).map(|n| f64::from(n) * step);
                Self {
                    scale,
                    low: 0.0,
                    high: step * count,
                    ticks: ticks.filter(|tick| *tick <= step * count).collect(),
                }
            }
            Scale::Logarithmic => {
                let low = 10_f64.powf(low.log10().floor());
                let high = 10_f64.powf(high.log10().ceil()).max(low * 10.0);
                let ticks = (0..=12).map(|n| low * 10_f64.powi(n));
                Self {
                    scale,
                    low,
                    high,
                    ticks: ticks.filter(|tick| *tick <= high * 1.001).collect(),
                }
            }
        }
    }

    /// Where between the ends of the axis a value is, from 0 to 1.
    fn share(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::FromZero => value / self.high,
            Scale::Logarithmic => {
                (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
            }
        };
        share.clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let nice = [1.0, 2.0, 5.0].map(|digit| digit * power);
    nice.into_iter()
        .find(|nice| *nice >= step)
        .unwrap_or(power * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_their_values() {
        let linear = Axis::around(Scale::FromZero, [0.0, 870.0].into_iter());
        assert_eq!(linear.ticks, [0.0, 500.0, 1000.0]);
        assert!((linear.share(500.0) - 0.5).abs() < 1e-9);
        let log = Axis::around(Scale::Logarithmic, [0.3, 45.0].into_iter());
        assert_eq!(log.ticks.len(), 4);
        assert!((log.share(1.0) - 1.0 / 3.0).abs() < 1e-9);
        let empty = Axis::around(Scale::Logarithmic, [0.0].into_iter());
        assert!(empty.share(0.0) == 0.0);
    }

    #[test]
    fn a_chart_draws_every_point() {
        let chart = Chart {
            title: "per second",
            scale: Scale::FromZero,
            lines: vec![Line {
                name: "rate",
                class: "one",
                points: vec![(1.0, 10.0), (2.0, 20.0), (3.0, 15.0)],
            }],
        };
        let svg = chart.svg();
        let points = svg
            .split("points=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        assert_eq!(
            points.map(|points| points.split_whitespace().count()),
            Some(3)
        );
    }
}
