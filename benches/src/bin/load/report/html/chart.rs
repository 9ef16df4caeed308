//! Lines over time, as inline SVG.

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::report::table::short;

const SIZE: (u32, u32) = (560, 200);
/// Readable on light and on dark paper.
const AXES: RGBColor = RGBColor(128, 134, 145);

/// Lines in one pair of axes; the horizontal one is time in seconds.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) scale: Scale,
    pub(super) lines: Vec<Line<'a>>,
}

/// How the values are placed on the vertical axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// In proportion, from zero.
    Linear,
    /// By magnitude, so that a rare outlier does not flatten the rest.
    Logarithmic,
}

/// One line.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) colour: RGBColor,
    /// Time and value.
    pub(super) points: Vec<(f64, f64)>,
}

impl Chart<'_> {
    pub(super) fn svg(&self) -> anyhow::Result<String> {
        let (low, high) = self
            .lines
            .iter()
            .flat_map(|line| line.points.iter().map(|(_, value)| *value))
            .filter(|value| *value > 0.0)
            .fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        match self.scale {
            Scale::Logarithmic if high > 0.0 => {
                // Whole powers of ten, since those are labelled.
                let low = 10_f64.powf(low.log10().floor());
                let high = 10_f64.powf(high.log10().ceil());
                self.draw((low..high.max(low * 10.0)).log_scale())
            }
            Scale::Logarithmic | Scale::Linear => {
                self.draw(0.0..if high > 0.0 { high * 1.05 } else { 1.0 })
            }
        }
    }

    fn draw<Y>(&self, values: Y) -> anyhow::Result<String>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let times = self.lines.iter().flat_map(|line| &line.points);
        let end = times.map(|(at, _)| *at).fold(f64::MIN_POSITIVE, f64::max);
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 13, &AXES))
            .margin_right(16)
            .x_label_area_size(24)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end, values)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(6)
            .y_labels(5)
            .axis_style(AXES)
            .bold_line_style(AXES.mix(0.4))
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", 11, &AXES))
            .x_label_formatter(&|at| format!("{} s", short(*at)))
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        for line in &self.lines {
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), line.colour))?
                .label(line.name)
                .legend(|(x, y)| PathElement::new([(x, y), (x + 12, y)], line.colour));
        }
        if self.lines.len() > 1 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .label_font(("sans-serif", 11, &AXES))
                .draw()?;
        }
        drop(chart);
        drop(area);
        Ok(svg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chart_draws_every_point() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            for (points, expected) in [
                (vec![(1.0, 10.0), (2.0, 2000.0), (3.0, 15.0)], 3),
                (vec![(1.0, 0.0), (2.0, 0.0)], 2),
            ] {
                let chart = Chart {
                    title: "per second",
                    scale,
                    lines: vec![Line {
                        name: "rate",
                        colour: RED,
                        points,
                    }],
                };
                let svg = chart.svg().expect("it can be drawn");
                let line = svg
                    .split("<polyline")
                    .find(|element| element.contains("#FF0000"))
                    .expect("there is a red line");
                let drawn = line
                    .split("points=\"")
                    .nth(1)
                    .and_then(|rest| rest.split('"').next())
                    .map(|points| points.split_whitespace().count());
                assert_eq!(drawn, Some(expected), "{svg}");
            }
        }
    }
}
