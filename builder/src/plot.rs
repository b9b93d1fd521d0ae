//! Curves and bars with their intervals, as SVG.

use plotters::coord::ranged1d::KeyPointHint;
use plotters::prelude::*;
use plotters::style::FontTransform;

use crate::{Error, Result};

const SIZE: (u32, u32) = (720, 420);
/// Distinct for readers who do not see all colours (Okabe & Ito).
const COLORS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(128, 128, 128),
];

/// A value, and where it lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Along the axis.
    pub x: f64,
    /// The value.
    pub y: f64,
    /// From and to; none where it is not known.
    pub interval: Option<(f64, f64)>,
}

/// A curve with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// In the legend.
    pub name: String,
    /// By x; values that are no numbers are left out.
    pub points: Vec<Point>,
}

/// Curves over a common axis, each in its band of uncertainty; none if no point is a number.
///
/// # Errors
/// `Image` if the plot cannot be drawn.
pub fn curves(title: &str, x_label: &str, y_label: &str, curves: &[Curve]) -> Result<Option<String>> {
    let good = |point: &&Point| point.x.is_finite() && point.y.is_finite();
    let all: Vec<Point> = curves.iter().flat_map(|curve| curve.points.iter().filter(good)).copied().collect();
    let Some((x, y)) = ranges(&all) else { return Ok(None) };
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        chart.configure_mesh().x_desc(x_label).y_desc(y_label).light_line_style(TRANSPARENT).draw()?;
        for (curve, color) in curves.iter().zip(COLORS.iter().cycle()) {
            let points: Vec<&Point> = curve.points.iter().filter(good).collect();
            let band: Vec<(f64, (f64, f64))> =
                points.iter().filter_map(|point| Some((point.x, point.interval?))).collect();
            let outline =
                band.iter().map(|(x, (low, _))| (*x, *low)).chain(band.iter().rev().map(|(x, (_, high))| (*x, *high)));
            chart.draw_series(std::iter::once(Polygon::new(outline.collect::<Vec<_>>(), color.mix(0.15))))?;
            let line = points.iter().map(|point| (point.x, point.y));
            let color = *color;
            chart
                .draw_series(LineSeries::new(line, color.stroke_width(2)))?
                .label(&curve.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
            if points.len() < 40 {
                chart.draw_series(points.iter().map(|point| Circle::new((point.x, point.y), 3, color.filled())))?;
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        Ok(())
    })
    .map(Some)
}

/// A bar for each named value with its interval; none if no value is a number. `x` is not looked at.
///
/// # Errors
/// `Image` if the plot cannot be drawn.
pub fn bars(title: &str, y_label: &str, bars: &[(String, Point)]) -> Result<Option<String>> {
    let good: Vec<(&str, Point)> = bars
        .iter()
        .filter(|(_, point)| point.y.is_finite())
        .enumerate()
        .map(|(place, (name, point))| (name.as_str(), Point { x: place as f64, ..*point }))
        .collect();
    let zero = Point { x: 0.0, y: 0.0, interval: None };
    let Some((_, y)) = ranges(&good.iter().map(|(_, point)| *point).chain([zero]).collect::<Vec<_>>()) else {
        return Ok(None);
    };
    if good.is_empty() {
        return Ok(None);
    }
    let slanted = good.len() > 5;
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(if slanted { 120 } else { 42 })
            .y_label_area_size(64)
            .build_cartesian_2d(Places(good.len()), y.0..y.1)?;
        let style = ("sans-serif", 12).into_text_style(area);
        let style = if slanted { style.transform(FontTransform::Rotate90) } else { style };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .y_desc(y_label)
            .light_line_style(TRANSPARENT)
            .x_labels(good.len())
            .x_label_style(style)
            .x_label_formatter(&|place| good.get(*place as usize).map_or("", |(name, _)| *name).to_owned())
            .draw()?;
        chart.draw_series(good.iter().map(|(_, point)| {
            Rectangle::new([(point.x - 0.35, 0.0), (point.x + 0.35, point.y)], COLORS[0].mix(0.6).filled())
        }))?;
        let whiskers = good.iter().filter_map(|(_, point)| Some((point.x, point.interval?)));
        chart.draw_series(
            whiskers.map(|(x, (low, high))| PathElement::new([(x, low), (x, high)], BLACK.stroke_width(2))),
        )?;
        Ok(())
    })
    .map(Some)
}

/// An axis of whole places, each with a label.
struct Places(usize);

impl plotters::coord::ranged1d::Ranged for Places {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value + 0.5) / self.0 as f64;
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        (0..self.0).map(|place| place as f64).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        -0.5..self.0 as f64 - 0.5
    }
}

impl plotters::coord::ranged1d::ValueFormatter<f64> for Places {
    fn format(value: &f64) -> String {
        value.to_string()
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn draw(content: impl FnOnce(&Area) -> Drawn) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let drawn = area.fill(&WHITE).map_err(Into::into).and_then(|()| content(&area));
        drawn
            .and_then(|()| area.present().map_err(Into::into))
            .map_err(|error| Error::Image(format!("a plot: {error}")))?;
    }
    Ok(svg)
}

type Span = (f64, f64);

/// The spans of both axes with some air; none without points.
fn ranges(points: &[Point]) -> Option<(Span, Span)> {
    let span = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let air = if high > low { 0.05 * (high - low) } else { 0.5 * high.abs().max(1e-3) };
        (low <= high).then_some((low - air, high + air))
    };
    let x = span(&mut points.iter().map(|point| point.x))?;
    let ends = |point: &Point| {
        let (low, high) = point.interval.unwrap_or((point.y, point.y));
        [point.y, low, high]
    };
    Some((x, span(&mut points.iter().flat_map(ends))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_what_there_is_and_only_that() {
        let point = |x, y, interval| Point { x, y, interval };
        let one = Curve {
            name: "inversion-dpo".to_owned(),
            points: vec![point(0.0, 0.0, None), point(50.0, 0.02, Some((0.01, 0.03))), point(100.0, f64::NAN, None)],
        };
        let svg = curves("Held-out score", "step", "Δ", &[one]).unwrap().unwrap();
        assert!(svg.contains("inversion-dpo") && svg.contains("<polygon"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2);
        assert_eq!(curves("", "", "", &[Curve { name: String::new(), points: Vec::new() }]).unwrap(), None);
        let svg = bars("By kind", "Δ", &[("relation".to_owned(), point(0.0, 0.1, Some((0.0, 0.2))))]).unwrap().unwrap();
        assert!(svg.contains("relation") && svg.contains("<rect"), "{svg}");
        assert_eq!(bars("", "", &[("a".to_owned(), point(0.0, f64::NAN, None))]).unwrap(), None);
    }
}
